"""Depth maps read by genuine ROOT, in a loop that ROOT compiles: no faster way is known to us."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_DQM_IETA, N_IPHI
from hcal_root_ad.simulate.root_files import root

_SHAPE = (N_IPHI + 2, N_DQM_IETA + 2)
"""Of a map's bins as ROOT holds them, with under- and overflow."""
_LOOP = """
#include <TFile.h>
#include <TH2F.h>
#include <TTree.h>
#include <cstring>
#include <string>

long read_depth_maps(const char *path, const char *tree_name, const char *prefix, float *out, long capacity) {
   TFile file(path);
   auto tree = file.Get<TTree>(tree_name);
   std::string *name = nullptr;
   TH2F *map = nullptr;
   tree->SetBranchAddress("FullName", &name);
   tree->SetBranchAddress("Value", &map);
   auto names = tree->GetBranch("FullName"), maps = tree->GetBranch("Value");
   const auto length = std::strlen(prefix);
   long found = 0;
   for (Long64_t entry = 0; entry < tree->GetEntries(); ++entry) {
      names->GetEntry(entry);
      if (name->compare(0, length, prefix) != 0)
         continue;
      maps->GetEntry(entry);
      if (found < capacity)
         std::memcpy(out + found * map->GetNcells(), map->GetArray(), sizeof(float) * map->GetNcells());
      ++found;
   }
   tree->ResetBranchAddresses();
   delete map;
   delete name;
   return found;
}
"""


def read_maps(path: str, tree: str, prefix: str) -> NDArray[np.float32]:
    """(maps, 74, 86) contents, with under- and overflow, of the entries whose name begins with ``prefix``."""
    if not hasattr(root(), "read_depth_maps"):
        root().gInterpreter.Declare(_LOOP)
    with_room = _entries(path, tree)
    out = np.empty((with_room, *_SHAPE), dtype=np.float32)
    found = root().read_depth_maps(path, tree, prefix, out.ravel(), len(out))
    return out[:found]


def _entries(path: str, tree: str) -> int:
    """Entries of the tree: no more maps than these can be wanted. Memory that is not written is never taken."""
    file = root().TFile(path)
    entries = int(file.Get(tree).GetEntries())
    file.Close()
    return entries
