"""nanoDQMIO of a simulated run: one tree per kind of monitor element, and an index of lumisections.

Layout of CMSSW's ``DQMServices/FwkIO/plugins/DQMRootOutputModule.cc`` and ``format.h``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_DQM_IETA, N_IPHI
from hcal_root_ad.simulate.dqm_files import depth_maps
from hcal_root_ad.simulate.genuine_root import ZLIB, fill_map, occupancy_map, ours, root, root_file
from hcal_root_ad.simulate.run import SimulatedRun

_TREES = {
    "Ints": "Value/L", "Floats": "Value/D", "Strings": "", "TH1Fs": "TH1F", "TH1Ss": "TH1S", "TH1Ds": "TH1D",
    "TH2Fs": "TH2F", "TH2Ss": "TH2S", "TH2Ds": "TH2D", "TH3Fs": "TH3F", "TProfiles": "TProfile",
    "TProfile2Ds": "TProfile2D",
}  # fmt: skip
"""Tree of each type, in the order of the type numbers 0…11."""
_LS_SECONDS = 23.311
_FIRST_SECOND = 1_700_000_000
_OTHERS = 2
"""Maps of another subsystem in each LS, which a reader must step over."""
_DIGIS = 40.0
"""Digis in a cell of them, on average."""


class _Elements:
    """One tree of monitor elements, with what its branches read from."""

    def __init__(self, name: str, value: Any) -> None:
        self.full_name, self.value = root().std.string(""), value
        self._flags = np.zeros(1, dtype=np.uint32)
        self.tree = root().TTree(name, name)
        self.tree.Branch("FullName", self.full_name)
        self.tree.Branch("Flags", self._flags, "Flags/i")
        if "/" in _TREES[name]:
            self.tree.Branch("Value", value, _TREES[name])
        elif _TREES[name]:
            # Basket size and split level of the output module.
            self.tree.Branch("Value", value, 128 * 1024, 0)
        else:
            self.tree.Branch("Value", value)

    def fill(self, full_name: str) -> int:
        """Add the present value under a name; returns the row."""
        self.full_name.assign(full_name)
        self.tree.Fill()
        return int(self.tree.GetEntries()) - 1


def write_nanodqmio(
    simulated: SimulatedRun, folder: Path, *, others: int = _OTHERS, compression: int = ZLIB
) -> tuple[Path, ...]:
    """``nanodqmio_run<N>.root``: ``Occupancy`` and ``OccupancyCut`` per LS beside other subsystems' elements.

    LS come nearly in order, as from several streams; events are in ``Ecal/EventInfo/processedEvents``.
    ``others`` is the number of another subsystem's maps in each LS, ``compression`` ROOT's number of codec and level.
    """
    path = folder / f"nanodqmio_run{simulated.run}.root"
    draw = np.random.default_rng(np.random.SeedSequence([simulated.seed, simulated.run, 0x10]))
    order = np.argsort(np.arange(len(simulated.maps)) + draw.uniform(0.0, 4.0, len(simulated.maps)))
    with root_file(path, title="1", compression=compression) as file:
        _write_history(file)
        file.cd()
        index = _Index(simulated.run)
        trees = {name: _Elements(name, _empty_value(name)) for name in _TREES}
        for row in order:
            maps_of_others = draw.poisson(_DIGIS, (others, N_DQM_IETA, N_IPHI))
            _fill_lumisection(trees, index, simulated, int(row), maps_of_others)
        for tree in (index.tree, *(elements.tree for elements in trees.values())):
            tree.Write()
    return (path,)


def _empty_value(name: str) -> Any:
    """What the branch ``Value`` of a tree reads from."""
    if name in ("Ints", "Floats"):
        return np.zeros(1, dtype=np.int64 if name == "Ints" else np.float64)
    if name == "Strings":
        return root().std.string("")
    if name == "TH2Fs":
        return occupancy_map("depth1", np.zeros((84, 72), dtype=np.int64))
    return ours(getattr(root(), _TREES[name])())


def _fill_lumisection(
    trees: dict[str, _Elements], index: _Index, simulated: SimulatedRun, row: int, others: NDArray[np.int64]
) -> None:
    """All elements of one LS and their two rows of the index; ``others`` are another subsystem's maps."""
    ls = int(simulated.maps.lumisections[row])
    maps = trees["TH2Fs"]
    first = int(maps.tree.GetEntries())
    for kind, cut in (("Occupancy", False), ("OccupancyCut", True)):
        for name, counts in depth_maps(simulated, row, cut).items():
            maps.value.SetNameTitle(name, name)
            fill_map(maps.value, counts)
            maps.fill(f"Hcal/DigiTask/{kind}/depth/{name}")
    for other, counts in enumerate(others):
        maps.value.SetNameTitle(f"map{other:03d}", f"map{other:03d}")
        fill_map(maps.value, counts)
        maps.fill(f"Ecal/Other/map{other:03d}")
    index.fill(ls, kind=list(_TREES).index("TH2Fs"), first=first, last=int(maps.tree.GetEntries()) - 1)
    trees["Ints"].value[0] = simulated.maps.events[row]
    counter = trees["Ints"].fill("Ecal/EventInfo/processedEvents")
    index.fill(ls, kind=list(_TREES).index("Ints"), first=counter, last=counter)


class _Index:
    """The tree ``Indices``: which rows of which tree belong to which LS; both ends included."""

    def __init__(self, run: int) -> None:
        self._fields = {name: np.zeros(1, dtype=np.uint32) for name in ("Run", "Lumi", "ProcessHistoryIndex", "Type")}
        self._fields |= {name: np.zeros(1, dtype=np.uint64)
                         for name in ("BeginTime", "EndTime", "FirstIndex", "LastIndex")}  # fmt: skip
        self.tree = root().TTree("Indices", "Indices")
        for name, value in self._fields.items():
            self.tree.Branch(name, value, f"{name}/{'i' if value.dtype == np.uint32 else 'l'}")
        self._fields["Run"][0] = run

    def fill(self, ls: int, kind: int, first: int, last: int) -> None:
        row = {"Lumi": ls, "Type": kind, "BeginTime": _time(ls - 1), "EndTime": _time(ls)}
        for name, value in (row | {"FirstIndex": first, "LastIndex": last}).items():
            self._fields[name][0] = value
        self.tree.Fill()


def _time(lumisections: int) -> int:
    """CMS time stamp some LS into the run: seconds in the upper 32 bits, microseconds in the lower."""
    seconds = _FIRST_SECOND + lumisections * _LS_SECONDS
    return int(seconds) << 32 | int(seconds % 1 * 1e6)


def _write_history(file: Any) -> None:
    """``MetaData/ProcessHistories`` with the one process that wrote the file."""
    file.mkdir("MetaData").cd()
    tree = root().TTree("ProcessHistories", "ProcessHistories")
    number, name = np.zeros(1, dtype=np.uint32), root().std.string("HARVESTING")
    tree.Branch("Index", number, "Index/i")
    tree.Branch("ProcessName", name)
    tree.Fill()
    tree.Write()
