"""DQM files of a simulated run as genuine ROOT writes them: harvested, online, and one per lumisection."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import (
    HALVES,
    HO_MAP,
    IETA_LABELS,
    N_DQM_IETA,
    N_IPHI,
    N_MAPS,
    Era,
    Subdetector,
    ho_in_depth_4,
)
from hcal_root_ad.errors import OutputError
from hcal_root_ad.files import whole_file
from hcal_root_ad.simulate.simulated_run import SimulatedRun

ZLIB = 101
"""ROOT's number of zlib, level 1, with which CMS writes DQM files."""
LS_AXIS_BIT = 1 << 22
"""Object bit with which hcaldqm marks an x axis of lumisections (``DQM/HcalCommon``)."""


def root() -> Any:
    """The ROOT module in batch mode.

    Raises:
        OutputError: ROOT is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # The wheel says on import that it is an alpha release.
            import ROOT
    except ImportError:
        raise OutputError(
            "Simulated ROOT files are written by genuine ROOT, which is not installed: "
            "install the test extra (pip install 'hcal-root-ad[test]'), or choose the format 'dials'."
        ) from None
    ROOT.gROOT.SetBatch(True)
    return ROOT


@contextmanager
def root_file(path: Path, title: str = "", compression: int = ZLIB) -> Iterator[Any]:
    """A new ROOT file, complete or not there at all; ``compression`` is ROOT's number of codec and level."""
    with whole_file(path) as partial:
        file = root().TFile(str(partial), "RECREATE", title, compression)
        if file.IsZombie():
            raise OutputError(f"{path} cannot be written: ROOT could not create it there.")
        try:
            yield file
        finally:
            file.Close()


def occupancy_map(name: str, counts: NDArray[np.int64]) -> Any:
    """TH2F of counts (84, 72) on the DQM's ieta and iphi axes (``DQM/HcalCommon/src/DetectorQuantity.cc``)."""
    hist = ours(root().TH2F(name, name, N_DQM_IETA, 0.0, N_DQM_IETA, N_IPHI, 0.5, N_IPHI + 0.5))
    for number, label in enumerate(IETA_LABELS, start=1):
        hist.GetXaxis().SetBinLabel(number, label)
    hist.GetXaxis().SetTitle("ieta")
    hist.GetYaxis().SetTitle("iphi")
    fill_map(hist, counts)
    return hist


def fill_map(hist: Any, counts: NDArray[np.int64]) -> None:
    """Put counts (x, y) into a TH2F, with the entries and statistics that filling one by one would leave."""
    contents(hist, np.float32)[:] = np.pad(counts.T.astype(np.float32), 1).ravel()
    hist.ResetStats()
    hist.SetEntries(float(counts.sum()))


def strips(name: str, counts: NDArray[np.int64], lumisections: NDArray[np.int32]) -> Any:
    """TH2F of counts (LS, 72) on LS × iphi axes, bin = LS; 4000 LS as online, more where needed."""
    n = max(4000, int(lumisections[-1]))
    hist = ours(root().TH2F(name, name, n, 1.0, n + 1.0, N_IPHI, 0.5, N_IPHI + 0.5))
    hist.GetXaxis().SetTitle("LS")
    hist.GetYaxis().SetTitle("iphi")
    hist.SetBit(LS_AXIS_BIT)
    cells = np.zeros((n, N_IPHI), dtype=np.int64)
    cells[lumisections - 1] = counts
    fill_map(hist, cells)
    return hist


def digis_vs_ls(
    name: str, lumisections: NDArray[np.int32], events: NDArray[np.int64],
    digis: NDArray[np.int64], variance: NDArray[np.float64],
) -> Any:  # fmt: skip
    """TProfile vs LS as if filled once per event with its number of digis; bin entries are events.

    ``digis``: (LS,) sum over the events; ``variance``: (LS,) of the digis of one event.
    """
    n = max(1000, int(lumisections[-1]))
    hist = ours(root().TProfile(name, name, n, 1.0, n + 1.0))
    hist.GetXaxis().SetTitle("LS")
    hist.SetBit(LS_AXIS_BIT)
    squares = np.where(events > 0, digis.astype(np.float64) ** 2 / np.maximum(events, 1) + events * variance, 0.0)
    for ls, entries, total, square in zip(lumisections, events, digis, squares, strict=True):
        hist.SetBinEntries(int(ls), float(entries))
        hist.SetBinContent(int(ls), float(total))
        hist.GetSumw2()[int(ls)] = float(square)
    hist.ResetStats()
    hist.SetEntries(float(events.sum()))
    return hist


def number_of_events(events: int) -> Any:
    """TH1D with one bin that holds the events of an LS, as ``Hcal/RunInfo/NumberOfEvents``."""
    hist = ours(root().TH1D("NumberOfEvents", "NumberOfEvents", 1, 0.0, 1.0))
    hist.SetBinContent(1, float(events))
    hist.SetEntries(1.0)
    return hist


def write_at(file: Any, folder: str, *objects: Any) -> None:
    """Write objects into a folder, made where it is not there yet."""
    directory = file.GetDirectory(folder) or file.mkdir(folder, "", True)
    for item in objects:
        directory.WriteTObject(item)


def write_scalar(file: Any, folder: str, name: str, value: int) -> None:
    """An integer as the DQM stores it: a TObjString whose key name is its whole text."""
    text = f"<{name}>i={value}</{name}>"
    (file.GetDirectory(folder) or file.mkdir(folder, "", True)).WriteTObject(root().TObjString(text), text)


def contents(hist: Any, dtype: type[np.generic]) -> NDArray[Any]:
    """The bin array of a histogram, under- and overflow included, as a view that can be written."""
    return np.frombuffer(hist.GetArray(), dtype=dtype, count=hist.GetNcells())


def ours(hist: Any) -> Any:
    """Take a histogram out of ROOT's current directory, so that only we write it and it is freed with its name."""
    hist.SetDirectory(root().nullptr)
    root().SetOwnership(hist, True)
    return hist


DATASET = {
    Era.RUN2_2017: "SimulatedZeroBias__Run2017-v1__DQMIO",
    Era.RUN2_2018: "SimulatedZeroBias__Run2018-v1__DQMIO",
    Era.RUN3: "SimulatedZeroBias__Run3-v1__DQMIO",
}
"""Dataset part of offline file names; the name says that no real event is in it."""


def depth_maps(simulated: SimulatedRun, rows: slice | int, cut: bool = False) -> dict[str, NDArray[np.int64]]:
    """Digis on the DQM's axes (84, 72), by name of the map, summed over a slice of LS or of one LS (its index).

    With ``cut`` only the digis above the charge cut. Before Run 3, HO is in ``depth4``, as CMSSW filled it then.
    """
    table, counts = simulated.detector.channels, simulated.cut_counts if cut else simulated.maps.counts
    ho_apart = not ho_in_depth_4(table.era)
    maps = np.zeros((N_MAPS, N_DQM_IETA, N_IPHI), dtype=np.int64)
    number = table.dqm_map if ho_apart else table.depth
    maps[number - 1, table.dqm_x, table.dqm_y] = np.atleast_2d(counts[rows]).sum(axis=0, dtype=np.int64)
    names = [f"depth{number}" for number in range(1, HO_MAP)] + ["depthHO"] * ho_apart
    return dict(zip(names, maps, strict=False))


def write_dqm_file(simulated: SimulatedRun, folder: Path) -> tuple[Path, ...]:
    """One offline harvested file: run totals, and ``By Lumi Section n-n`` with maps and ``NumberOfEvents``."""
    path = folder / f"{_offline(simulated)}.root"
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
    paths = tuple(folder / f"{_offline(simulated)}_L{ls:09d}.root" for ls in simulated.maps.lumisections)
    place = f"DQMData/Run {simulated.run}/HcalAll/Run summary/DigiTask/Occupancy/depth"
    for index, path in enumerate(paths):
        with root_file(path) as file:
            _write_maps(file, place, depth_maps(simulated, index))
    return paths


def _offline(simulated: SimulatedRun) -> str:
    return f"DQM_V0001_R{simulated.run:09d}__{DATASET[simulated.detector.era]}"


def write_online(simulated: SimulatedRun, folder: Path) -> tuple[Path, ...]:
    """The file that the online DQM leaves: run totals, profiles and LS × iphi strips, no map per LS."""
    path = folder / f"DQM_V0001_Hcal_R{simulated.run:09d}.root"
    with root_file(path) as file:
        _write_online_run(file, simulated, slice(0, len(simulated.maps)))
    return (path,)


def write_snapshots(simulated: SimulatedRun, folder: Path) -> tuple[Path, ...]:
    """What the online DQM saves after each LS: the run so far, under names that end in the LS."""
    stem, lumisections = f"DQM_V0001_Hcal_R{simulated.run:09d}.root", simulated.maps.lumisections
    paths = tuple(folder / f"{stem}.ls{ls:08d}_hostsimulation_pid00000001" for ls in lumisections)
    for index, path in enumerate(paths):
        with root_file(path) as file:
            _write_online_run(file, simulated, slice(0, index + 1))
    return paths


def _write_online_run(file: Any, simulated: SimulatedRun, rows: slice) -> None:
    """Online monitor elements of the LS in ``rows``."""
    summary = f"DQMData/Run {simulated.run}/Hcal/Run summary"
    _write_maps(file, f"{summary}/DigiTask/Occupancy/depth", depth_maps(simulated, rows))
    _write_maps(file, f"{summary}/DigiTask/OccupancyCut/depth", depth_maps(simulated, rows, cut=True))
    _write_profiles(file, summary, simulated, rows)
    _write_strips(file, f"{summary}/DigiTask/OccupancyCutvsiphivsLS/SubdetPM", simulated, rows)
    _write_event_info(file, summary, simulated, rows)


def _write_maps(file: Any, folder: str, maps: Mapping[str, NDArray[np.int64]]) -> None:
    write_at(file, folder, *(occupancy_map(name, counts) for name, counts in maps.items()))


def _write_profiles(file: Any, summary: str, simulated: SimulatedRun, rows: slice) -> None:
    """``OccupancyvsLS/Subdet/{HB,HE,HO,HF}``."""
    channels, events = simulated.detector.channels, simulated.maps.events[rows]
    for name in Subdetector.__members__:
        counts = simulated.maps.counts[rows][:, channels.rows_of(name)]
        share = counts / np.maximum(events, 1)[:, None]
        variance = (share * (1.0 - share)).sum(axis=1)  # of one event's digis, independent between channels
        digis = counts.sum(axis=1, dtype=np.int64)
        profile = digis_vs_ls(name, simulated.maps.lumisections[rows], events, digis, variance)
        write_at(file, f"{summary}/DigiTask/OccupancyvsLS/Subdet", profile)


def _write_strips(file: Any, folder: str, simulated: SimulatedRun, rows: slice) -> None:
    """LS × iphi of the digis above the charge cut, per half sub-detector."""
    channels = simulated.detector.channels
    for half, name in enumerate(HALVES):
        inside = channels.half == half
        along = np.zeros((simulated.maps.lumisections[rows].size, N_IPHI), dtype=np.int64)
        np.add.at(along.T, channels.iphi[inside] - 1, simulated.cut_counts[rows][:, inside].T)
        write_at(file, folder, strips(name, along, simulated.maps.lumisections[rows]))


def _write_event_info(file: Any, summary: str, simulated: SimulatedRun, rows: slice) -> None:
    values = {
        "iRun": simulated.run,
        "iLumiSection": int(simulated.maps.lumisections[rows][-1]),
        "processedEvents": int(simulated.maps.events[rows].sum()),
    }
    for name, value in values.items():
        write_scalar(file, f"{summary}/EventInfo", name, value)
