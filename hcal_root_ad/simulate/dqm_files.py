"""Harvested and online DQM files of a simulated run (``DQMData/Run N/Hcal/…``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import HALVES, HO_MAP, N_DQM_IETA, N_IPHI, N_MAPS, Era, Subdetector, ho_in_depth_4
from hcal_root_ad.simulate.genuine_root import (
    digis_vs_ls,
    number_of_events,
    occupancy_map,
    root_file,
    strips,
    write_at,
    write_scalar,
)
from hcal_root_ad.simulate.run import SimulatedRun

DATASET = {
    Era.RUN2_2017: "SimulatedZeroBias__Run2017-v1__DQMIO",
    Era.RUN2_2018: "SimulatedZeroBias__Run2018-v1__DQMIO",
    Era.RUN3: "SimulatedZeroBias__Run3-v1__DQMIO",
}
"""Dataset part of offline file names; the name says that no real event is in it."""


def depth_maps(simulated: SimulatedRun, part: slice | int, cut: bool = False) -> dict[str, NDArray[np.int64]]:
    """Digis on the DQM's axes (84, 72), by name of the map, summed over a slice of LS or of one LS (its index).

    With ``cut`` only the digis above the charge cut. Before Run 3, HO is in ``depth4``, as CMSSW filled it then.
    """
    table, counts = simulated.detector.channels, simulated.cut_counts if cut else simulated.maps.counts
    ho_apart = not ho_in_depth_4(table.era)
    maps = np.zeros((N_MAPS, N_DQM_IETA, N_IPHI), dtype=np.int64)
    number = table.dqm_map if ho_apart else table.depth
    maps[number - 1, table.dqm_x, table.dqm_y] = np.atleast_2d(counts[part]).sum(axis=0, dtype=np.int64)
    names = [f"depth{number}" for number in range(1, HO_MAP)] + ["depthHO"] * ho_apart
    return dict(zip(names, maps, strict=False))


def write_dqm_file(simulated: SimulatedRun, folder: Path) -> tuple[Path, ...]:
    """One offline harvested file: run totals, and ``By Lumi Section n-n`` with maps and ``NumberOfEvents``."""
    path = folder / f"DQM_V0001_R{simulated.run:09d}__{DATASET[simulated.detector.era]}.root"
    everything = slice(0, len(simulated.maps))
    with root_file(path) as file:
        summary = f"DQMData/Run {simulated.run}/Hcal/Run summary"
        _write_maps(file, f"{summary}/DigiTask/Occupancy/depth", depth_maps(simulated, everything))
        _write_profiles(file, summary, simulated, everything)
        _write_event_info(file, summary, simulated, everything)
        for index, (ls, events) in enumerate(zip(simulated.maps.lumisections, simulated.maps.events, strict=True)):
            section = f"DQMData/Run {simulated.run}/Hcal/By Lumi Section {ls}-{ls}"
            _write_maps(file, f"{section}/DigiTask/Occupancy/depth", depth_maps(simulated, index))
            write_at(file, f"{section}/RunInfo", number_of_events(int(events)))
    return (path,)


def write_per_lumisection(simulated: SimulatedRun, folder: Path) -> tuple[Path, ...]:
    """One harvested file per LS, as those of run 306138: maps under ``HcalAll``, no counter of events."""
    stem = f"DQM_V0001_R{simulated.run:09d}__{DATASET[simulated.detector.era]}"
    paths = []
    for index, ls in enumerate(simulated.maps.lumisections):
        path = folder / f"{stem}_L{ls:09d}.root"
        with root_file(path) as file:
            place = f"DQMData/Run {simulated.run}/HcalAll/Run summary/DigiTask/Occupancy/depth"
            _write_maps(file, place, depth_maps(simulated, index))
        paths.append(path)
    return tuple(paths)


def write_online(simulated: SimulatedRun, folder: Path) -> tuple[Path, ...]:
    """The file that the online DQM leaves: run totals, profiles and LS × iphi strips, no map per LS."""
    path = folder / f"DQM_V0001_Hcal_R{simulated.run:09d}.root"
    with root_file(path) as file:
        _write_online_run(file, simulated, slice(0, len(simulated.maps)))
    return (path,)


def write_snapshots(simulated: SimulatedRun, folder: Path) -> tuple[Path, ...]:
    """What the online DQM saves after each LS: the run so far, under names that end in the LS."""
    paths = []
    for index, ls in enumerate(simulated.maps.lumisections):
        path = folder / f"DQM_V0001_Hcal_R{simulated.run:09d}.root.ls{ls:08d}_hostsimulation_pid00000001"
        with root_file(path) as file:
            _write_online_run(file, simulated, slice(0, index + 1))
        paths.append(path)
    return tuple(paths)


def _write_online_run(file: Any, simulated: SimulatedRun, part: slice) -> None:
    """Online monitor elements of the LS in ``part``."""
    summary = f"DQMData/Run {simulated.run}/Hcal/Run summary"
    _write_maps(file, f"{summary}/DigiTask/Occupancy/depth", depth_maps(simulated, part))
    _write_maps(file, f"{summary}/DigiTask/OccupancyCut/depth", depth_maps(simulated, part, cut=True))
    _write_profiles(file, summary, simulated, part)
    _write_strips(file, f"{summary}/DigiTask/OccupancyCutvsiphivsLS/SubdetPM", simulated, part)
    _write_event_info(file, summary, simulated, part)


def _write_maps(file: Any, folder: str, maps: Mapping[str, NDArray[np.int64]]) -> None:
    write_at(file, folder, *(occupancy_map(name, counts) for name, counts in maps.items()))


def _write_profiles(file: Any, summary: str, simulated: SimulatedRun, part: slice) -> None:
    """``OccupancyvsLS/Subdet/{HB,HE,HO,HF}``."""
    channels, events = simulated.detector.channels, simulated.maps.events[part]
    for name in Subdetector.__members__:
        counts = simulated.maps.counts[part][:, channels.rows_of(name)]
        # One event's digis, taken as independent between channels.
        share = counts / np.maximum(events, 1)[:, None]
        variance = (share * (1.0 - share)).sum(axis=1)
        digis = counts.sum(axis=1, dtype=np.int64)
        profile = digis_vs_ls(name, simulated.maps.lumisections[part], events, digis, variance)
        write_at(file, f"{summary}/DigiTask/OccupancyvsLS/Subdet", profile)


def _write_strips(file: Any, folder: str, simulated: SimulatedRun, part: slice) -> None:
    """LS × iphi of the digis above the charge cut, per half sub-detector."""
    channels = simulated.detector.channels
    for half, name in enumerate(HALVES):
        inside = channels.half == half
        along = np.zeros((simulated.maps.lumisections[part].size, N_IPHI), dtype=np.int64)
        np.add.at(along.T, channels.iphi[inside] - 1, simulated.cut_counts[part][:, inside].T)
        write_at(file, folder, strips(name, along, simulated.maps.lumisections[part]))


def _write_event_info(file: Any, summary: str, simulated: SimulatedRun, part: slice) -> None:
    values = {
        "iRun": simulated.run,
        "iLumiSection": int(simulated.maps.lumisections[part][-1]),
        "processedEvents": int(simulated.maps.events[part].sum()),
    }
    for name, value in values.items():
        write_scalar(file, f"{summary}/EventInfo", name, value)
