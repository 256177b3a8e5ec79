"""HcalAnalyzer file of a simulated run: counts per LS, ieta and iphi as TH3I, one per depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hcal_root_ad.detector import N_DEPTH, N_IETA, N_IPHI, Subdetector
from hcal_root_ad.errors import OutputError
from hcal_root_ad.simulate.genuine_root import contents, ours, root, root_file
from hcal_root_ad.simulate.run import SimulatedRun

_N_LS = 2000
"""Bins of the LS axis, 0…2000."""


def write_hcalanalyzer(simulated: SimulatedRun, folder: Path) -> tuple[Path, ...]:
    """``hcalanalyzer_run<N>.root``: ``Hcal4DQMAnalyzer/hist3D_depth1…7`` and ``evttree``, a row per event.

    Every integer is filled as it is, so LS n is in bin n + 1, row ieta 0 is empty and iphi 72 is in the
    overflow, as in the original producer. Unlike there no charge cut is made: all containers of a
    simulated run hold the same counts.

    Raises:
        OutputError: a lumisection beyond the axis, which would be lost.
    """
    last = int(simulated.maps.lumisections[-1])
    path = folder / f"hcalanalyzer_run{simulated.run}.root"
    if last >= _N_LS:
        raise OutputError(f"{path} cannot hold LS {last}: the LS axis of HcalAnalyzer files ends at {_N_LS - 1}.")
    with root_file(path) as file:
        directory = file.mkdir("Hcal4DQMAnalyzer")
        directory.cd()
        for depth in range(1, N_DEPTH + 1):
            directory.WriteTObject(_cube(simulated, depth))
        _event_tree(simulated).Write()
    return (path,)


def _cube(simulated: SimulatedRun, depth: int) -> Any:
    """TH3I of one depth of HB and HE."""
    half = N_IETA // 2
    name = f"hist3D_depth{depth}"
    hist = ours(root().TH3I(name, name, _N_LS, 0.0, _N_LS, N_IETA, -half, half, N_IPHI, 0.0, N_IPHI))
    channels = simulated.detector.channels
    rows = np.flatnonzero((channels.depth == depth) & (channels.subdetector <= Subdetector.HE))
    cells = contents(hist, np.int32).reshape(N_IPHI + 2, N_IETA + 2, _N_LS + 2)
    ls, x, y = simulated.maps.lumisections + 1, channels.ieta[rows] + half + 1, channels.iphi[rows] + 1
    cells[y[None, :], x[None, :], ls[:, None]] = simulated.maps.counts[:, rows]
    hist.SetEntries(float(simulated.maps.counts[:, rows].sum(dtype=np.int64)))
    return hist


def _event_tree(simulated: SimulatedRun) -> Any:
    tree = root().TTree("evttree", "evttree")
    run, lumisection = np.array([simulated.run], dtype=np.int32), np.zeros(1, dtype=np.int32)
    tree.Branch("RunNum", run, "RunNum/I")
    tree.Branch("LumiSec", lumisection, "LumiSec/I")
    for ls in np.repeat(simulated.maps.lumisections, simulated.maps.events):
        lumisection[0] = ls
        tree.Fill()
    return tree
