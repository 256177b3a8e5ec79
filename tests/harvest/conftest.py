"""Small DQM files, written on the fly, whose counts one can work out by hand."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from numpy.typing import NDArray

from hcal_root_ad.detector import N_DEPTH, N_DQM_IETA, N_IPHI, N_MAPS, channel_table, era_of_run

Maps = NDArray[np.float64]
RUN = 370_000


@pytest.fixture(scope="session")
def samples() -> Path:
    """Folder of the sample files beside the checkout."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the sample data are not here")
    return folder


@pytest.fixture(scope="session")
def depth_maps() -> Callable[..., Maps]:
    """(7, 84, 72) maps of an LS: HF at the event count, HB and HE binomial with a rate per channel.

    With ``ho`` an eighth, HO's, whose channels hold a tenth of the events.
    """

    def maps(events: int, seed: int = 0, run: int = RUN, hf: bool = True, ho: bool = False) -> Maps:
        table = channel_table(era_of_run(run))
        rates = np.random.default_rng(99).uniform(0.05, 0.9, len(table))
        counts = np.random.default_rng(seed).binomial(events, rates)
        rows = table.rows_of("HB", "HE")
        grid = np.zeros((N_MAPS if ho else N_DEPTH, N_DQM_IETA, N_IPHI))
        grid[table.depth[rows] - 1, table.dqm_x[rows], table.dqm_y[rows]] = counts[rows]
        forward = table.rows_of("HF")
        grid[table.depth[forward] - 1, table.dqm_x[forward], table.dqm_y[forward]] = events if hf else 0
        if ho:
            outer = table.rows_of("HO")
            grid[-1, table.dqm_x[outer], table.dqm_y[outer]] = events // 10
        return grid

    return maps


@pytest.fixture(scope="session")
def channel_counts() -> Callable[..., NDArray[np.int64]]:
    """Counts that maps hold, in the order of ``LumiMaps.counts``; of HO zeros where there is no eighth map."""

    def counts(maps: Maps, run: int = RUN) -> NDArray[np.int64]:
        table = channel_table(era_of_run(run))
        every = np.concatenate([maps, np.zeros((N_MAPS - len(maps), *maps.shape[1:]))])
        return every[table.dqm_map - 1, table.dqm_x, table.dqm_y].astype(np.int64)

    return counts


@pytest.fixture(scope="session")
def write_harvested() -> Callable[..., Path]:
    """Write a harvested file with uproot: ``folders`` maps a folder below the run to its depth maps.

    ``events`` maps a folder to the content of its ``RunInfo/NumberOfEvents``.
    """

    def write(
        path: Path,
        folders: Mapping[str, Maps],
        run: int = RUN,
        quantity: str = "Occupancy",
        events: Mapping[str, int] | None = None,
    ) -> Path:
        with uproot.recreate(path) as file:
            for folder, maps in folders.items():
                for depth, values in zip((*range(1, N_DEPTH + 1), "HO"), maps, strict=False):
                    file[f"DQMData/Run {run}/{folder}/DigiTask/{quantity}/depth/depth{depth}"] = _histogram(values)
            for folder, number in (events or {}).items():
                file[f"DQMData/Run {run}/{folder}/RunInfo/NumberOfEvents"] = (
                    np.array([float(number)]),
                    np.array([0, 1.0]),
                )
        return path

    return write


def _histogram(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    return values, np.arange(values.shape[0] + 1.0), np.arange(values.shape[1] + 1.0) + 0.5


@pytest.fixture(scope="session")
def root() -> Any:
    """Genuine ROOT."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("ROOT")
    module.gROOT.SetBatch(True)
    return module


DqmioRow = tuple[int, int, Sequence[tuple[str, Any]]]
"""Run, LS, and (full name, object) of each element; objects are ROOT histograms or ints."""


@pytest.fixture(scope="session")
def write_dqmio(root: Any) -> Callable[..., Path]:
    """Write DQMIO trees with ROOT as CMSSW's DQMRootOutputModule does, one index row per row and class."""
    order = ("Ints", "TH1Fs", "TH1Ds", "TH2Fs", "TH2Ss", "TH2Ds", "TProfiles", "TH2Is")
    numbers = {"Ints": 0, "TH1Fs": 3, "TH1Ds": 5, "TH2Fs": 6, "TH2Ss": 7, "TH2Ds": 8, "TProfiles": 10, "TH2Is": 13}

    def write(path: Path, rows: Sequence[DqmioRow]) -> Path:
        file = root.TFile(str(path), "RECREATE", "1", 101)
        index = []
        for tree in order:
            filled = 0
            objects = [(run, ls, [p for p in pairs if _tree_of(p[1]) == tree]) for run, ls, pairs in rows]
            index += _fill_tree(root, tree, objects, numbers[tree], filled)
        _write_index(root, index)
        file.Close()
        return path

    return write


def _tree_of(value: Any) -> str:
    return "Ints" if isinstance(value, int) else f"{value.ClassName()}s"


def _fill_tree(root: Any, name: str, rows: list[Any], number: int, filled: int) -> list[tuple[int, ...]]:
    tree, full_name, flags = root.TTree(name, name), root.std.string(), np.zeros(1, "u4")
    tree.Branch("FullName", full_name)
    tree.Branch("Flags", flags, "Flags/i")
    integer = np.zeros(1, "i8")
    first = next((value for _, _, pairs in rows for _, value in pairs), None)
    if name == "Ints":
        tree.Branch("Value", integer, "Value/L")
    else:
        tree.Branch("Value", name[:-1], first or getattr(root, name[:-1])(), 128 * 1024, 0)
    index = []
    for run, ls, pairs in rows:
        for element, value in pairs:
            full_name.replace(0, root.std.string.npos, element)
            if name == "Ints":
                integer[0] = value
            else:
                tree.SetBranchAddress("Value", value)
            tree.Fill()
        if pairs:
            index.append((run, ls, 0, 0, 0, number, filled, filled + len(pairs) - 1))
            filled += len(pairs)
    tree.ResetBranchAddresses()
    tree.Write()
    return index


def _write_index(root: Any, index: list[tuple[int, ...]]) -> None:
    columns = (("Run", "i"), ("Lumi", "i"), ("ProcessHistoryIndex", "i"), ("BeginTime", "l"), ("EndTime", "l"),
               ("Type", "i"), ("FirstIndex", "l"), ("LastIndex", "l"))  # fmt: skip
    tree = root.TTree("Indices", "Indices")
    places = [np.zeros(1, "u4" if kind == "i" else "u8") for _, kind in columns]
    for (name, kind), place in zip(columns, places, strict=True):
        tree.Branch(name, place, f"{name}/{kind}")
    for row in index:
        for place, value in zip(places, row, strict=True):
            place[0] = value
        tree.Fill()
    tree.Write()


@pytest.fixture(scope="session")
def root_map(root: Any) -> Callable[..., Any]:
    """A ROOT 2D histogram with the bins of a depth map."""

    def histogram(values: NDArray[np.float64], classname: str = "TH2F") -> Any:
        made = getattr(root, classname)("depth", "depth", *_axes(values))
        made.SetDirectory(0)
        for x, y in np.argwhere(values):
            made.SetBinContent(int(x) + 1, int(y) + 1, float(values[x, y]))
        return made

    return histogram


def _axes(values: NDArray[np.float64]) -> tuple[int | float, ...]:
    return values.shape[0], 0.0, float(values.shape[0]), values.shape[1], 0.5, values.shape[1] + 0.5
