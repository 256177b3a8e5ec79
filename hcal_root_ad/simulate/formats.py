"""Simulated runs in every format that users have, with the truth beside them, one or many of one detector.

The layout of nanoDQMIO is that of CMSSW's ``DQMServices/FwkIO/plugins/DQMRootOutputModule.cc`` and ``format.h``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hcal_root_ad.detector import N_DEPTH, N_DQM_IETA, N_IETA, N_IPHI, ChannelTable, Era, Subdetector
from hcal_root_ad.errors import OutputError, UsageError
from hcal_root_ad.files import whole_file, write_text
from hcal_root_ad.simulate import root_files
from hcal_root_ad.simulate.scenario import InjectedFault, mixed_faults, read_faults, simulate_conditions
from hcal_root_ad.simulate.simulated_detector import simulate_detector
from hcal_root_ad.simulate.simulated_run import FIRST_RUN, SimulatedRun, simulate_run

Writer = Callable[[SimulatedRun, Path], tuple[Path, ...]]

LOW_EVENTS = 200
"""LS with fewer events are listed in the truth: nobody can be asked to judge them."""


def write_truth(simulated: SimulatedRun, path: Path) -> Path:
    """Write what is true of a run as JSON.

    Keys: run, lumisections (number), events and pileup per LS, low_event_ls, no_collisions_ls, masked
    channels, seeds, and faults with kind, unit, scale, first_ls, last_ls, factor (and added digi
    probability) and channels as [sub-detector, ieta, iphi, depth]. Where factor or added change from LS
    to LS they are lists.
    """
    maps, detector, conditions = simulated.maps, simulated.detector, simulated.conditions
    truth = {
        "run": simulated.run,
        "lumisections": len(maps),
        "detector_seed": detector.seed,
        "era": str(detector.era),
        "events": maps.events.tolist(),
        "pileup": np.round(conditions.pileup, 3).tolist(),
        "low_event_ls": maps.lumisections[maps.events < LOW_EVENTS].tolist(),
        "no_collisions_ls": maps.lumisections[conditions.gap].tolist(),
        "masked": _cells(detector.channels, np.flatnonzero(detector.masked)),
        "faults": [_fault_truth(detector.channels, fault) for fault in simulated.faults],
    }
    write_text(path, json.dumps(truth, indent=1))
    return path


def _fault_truth(channels: ChannelTable, fault: InjectedFault) -> dict[str, Any]:
    factor, added = np.round(fault.factor, 6).tolist(), np.round(fault.added, 6).tolist()
    return {
        "kind": str(fault.kind),
        "unit": fault.unit,
        "scale": fault.scale,
        "factor": factor[0] if fault.constant else factor,
        "added": added[0] if fault.constant else added,
        "first_ls": fault.first,
        "last_ls": fault.last,
        "channels": _cells(channels, fault.rows),
    }


def _cells(channels: ChannelTable, rows: np.ndarray) -> list[list[Any]]:
    some = channels.take(rows)
    columns = (some.names, some.ieta.tolist(), some.iphi.tolist(), some.depth.tolist())
    return [list(cell) for cell in zip(*columns, strict=True)]


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
        self.full_name, self.value = root_files.root().std.string(""), value
        self._flags = np.zeros(1, dtype=np.uint32)
        self.tree = root_files.root().TTree(name, name)
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
    simulated: SimulatedRun, folder: Path, *, others: int = _OTHERS, compression: int = root_files.ZLIB
) -> tuple[Path, ...]:
    """``nanodqmio_run<N>.root``: ``Occupancy`` and ``OccupancyCut`` per LS beside other subsystems' elements.

    LS come nearly in order, as from several streams; events are in ``Ecal/EventInfo/processedEvents``.
    ``others`` is the number of another subsystem's maps in each LS, ``compression`` ROOT's number of codec and level.
    """
    path = folder / f"nanodqmio_run{simulated.run}.root"
    draw = np.random.default_rng(np.random.SeedSequence([simulated.seed, simulated.run, 0x10]))
    order = np.argsort(np.arange(len(simulated.maps)) + draw.uniform(0.0, 4.0, len(simulated.maps)))
    with root_files.root_file(path, title="1", compression=compression) as file:
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
        return root_files.root().std.string("")
    if name == "TH2Fs":
        return root_files.occupancy_map("depth1", np.zeros((84, 72), dtype=np.int64))
    return root_files.ours(getattr(root_files.root(), _TREES[name])())


def _fill_lumisection(
    trees: dict[str, _Elements], index: _Index, simulated: SimulatedRun, row: int, others: NDArray[np.int64]
) -> None:
    """All elements of one LS and their two rows of the index; ``others`` are another subsystem's maps."""
    ls = int(simulated.maps.lumisections[row])
    maps = trees["TH2Fs"]
    first = int(maps.tree.GetEntries())
    for kind, cut in (("Occupancy", False), ("OccupancyCut", True)):
        for name, counts in root_files.depth_maps(simulated, row, cut).items():
            maps.value.SetNameTitle(name, name)
            root_files.fill_map(maps.value, counts)
            maps.fill(f"Hcal/DigiTask/{kind}/depth/{name}")
    for other, counts in enumerate(others):
        maps.value.SetNameTitle(f"map{other:03d}", f"map{other:03d}")
        root_files.fill_map(maps.value, counts)
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
        self.tree = root_files.root().TTree("Indices", "Indices")
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
    tree = root_files.root().TTree("ProcessHistories", "ProcessHistories")
    number, name = np.zeros(1, dtype=np.uint32), root_files.root().std.string("HARVESTING")
    tree.Branch("Index", number, "Index/i")
    tree.Branch("ProcessName", name)
    tree.Fill()
    tree.Write()


_N_LS = 2000
"""Bins of the LS axis, 0…2000."""


def write_hcalanalyzer(simulated: SimulatedRun, folder: Path) -> tuple[Path, ...]:
    """``hcalanalyzer_run<N>.root``: ``Hcal4DQMAnalyzer/hist3D_depth1…7`` and ``evttree``, a row per event.

    Every integer is filled as it is, so LS n is in bin n + 1, row ieta 0 is empty and iphi 72 is in the
    overflow, as in the original producer. Unlike there no charge cut is made: all formats of a
    simulated run hold the same counts.

    Raises:
        OutputError: a lumisection beyond the axis, which would be lost.
    """
    last = int(simulated.maps.lumisections[-1])
    path = folder / f"hcalanalyzer_run{simulated.run}.root"
    if last >= _N_LS:
        raise OutputError(f"{path} cannot hold LS {last}: the LS axis of HcalAnalyzer files ends at {_N_LS - 1}.")
    with root_files.root_file(path) as file:
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
    hist = root_files.ours(
        root_files.root().TH3I(name, name, _N_LS, 0.0, _N_LS, N_IETA, -half, half, N_IPHI, 0.0, N_IPHI)
    )
    channels = simulated.detector.channels
    rows = np.flatnonzero((channels.depth == depth) & (channels.subdetector <= Subdetector.HE))
    cells = root_files.contents(hist, np.int32).reshape(N_IPHI + 2, N_IETA + 2, _N_LS + 2)
    ls, x, y = simulated.maps.lumisections + 1, channels.ieta[rows] + half + 1, channels.iphi[rows] + 1
    cells[y[None, :], x[None, :], ls[:, None]] = simulated.maps.counts[:, rows]
    hist.SetEntries(float(simulated.maps.counts[:, rows].sum(dtype=np.int64)))
    return hist


def _event_tree(simulated: SimulatedRun) -> Any:
    tree = root_files.root().TTree("evttree", "evttree")
    run, lumisection = np.array([simulated.run], dtype=np.int32), np.zeros(1, dtype=np.int32)
    tree.Branch("RunNum", run, "RunNum/I")
    tree.Branch("LumiSec", lumisection, "LumiSec/I")
    for ls in np.repeat(simulated.maps.lumisections, simulated.maps.events):
        lumisection[0] = ls
        tree.Fill()
    return tree


_SCHEMA = pa.schema({
    "me": pa.string(), "run_number": pa.int64(), "ls_number": pa.int64(), "data": pa.list_(pa.list_(pa.float32())),
})  # fmt: skip


def write_dials(simulated: SimulatedRun, folder: Path) -> tuple[Path, ...]:
    """``dials_run<N>.parquet``: columns me, run_number, ls_number, data; data are 72 rows (iphi) of 84 (ieta)."""
    path = folder / f"dials_run{simulated.run}.parquet"
    with whole_file(path) as partial, pq.ParquetWriter(partial, _SCHEMA, compression="zstd") as writer:
        for row, ls in enumerate(simulated.maps.lumisections):
            for kind, cut in (("Occupancy", False), ("OccupancyCut", True)):
                writer.write_batch(_batch(simulated, kind, int(ls), root_files.depth_maps(simulated, row, cut)))
    return (path,)


def _batch(simulated: SimulatedRun, kind: str, ls: int, maps: Mapping[str, NDArray[np.int64]]) -> pa.RecordBatch:
    """The maps of one kind of element in one LS."""
    rows = np.stack([*maps.values()]).transpose(0, 2, 1).astype(np.float32)
    inner = pa.ListArray.from_arrays(np.arange(0, rows.size + 1, rows.shape[2], dtype=np.int32), rows.ravel())
    data = pa.ListArray.from_arrays(np.arange(0, len(rows) * rows.shape[1] + 1, rows.shape[1], dtype=np.int32), inner)
    names = [f"Hcal/DigiTask/{kind}/depth/{name}" for name in maps]
    columns = [pa.array(names), pa.array([simulated.run] * len(maps)), pa.array([ls] * len(maps)), data]
    return pa.record_batch(columns, schema=_SCHEMA)


RUNS_PER_SEED = 1000
"""Run numbers are first run of the era + 1000 × seed + number of the run, so seeds never collide."""


def simulate_campaign(
    folder: Path,
    format_name: str,
    n_lumisections: int,
    n_runs: int,
    detector_seed: int,
    seed: int,
    faults: str | Path = "none",
    progress: Callable[[int, int], None] | None = None,
    era: Era = Era.RUN3,
) -> tuple[Path, ...]:
    """Simulate ``n_runs`` runs of the detector ``detector_seed`` and write each with ``run<N>_truth.json``.

    ``faults`` is ``"none"``, ``"mixed"`` or a file as in :func:`read_faults`; ``progress(done, n_runs)`` is
    called after each run. Returns all files. Each run has conditions, drifts and faults of its own,
    drawn from its number.

    Raises:
        UsageError: a format, seed or number that cannot be.
        InputError: the list of faults cannot be used.
        OutputError: a file cannot be written.
    """
    write = _writer(format_name)
    if not 1 <= n_runs <= RUNS_PER_SEED:
        raise UsageError(f"One seed gives 1 to {RUNS_PER_SEED} runs; {n_runs} were asked for.")
    if seed < 0 or detector_seed < 0:
        raise UsageError(f"Seeds are whole numbers from 0 on, not {min(seed, detector_seed)}.")
    detector = simulate_detector(detector_seed, era)
    written: list[Path] = []
    for number in range(n_runs):
        run = FIRST_RUN[detector.era] + RUNS_PER_SEED * seed + number
        conditions, injected = simulate_conditions(n_lumisections, run), tuple[InjectedFault, ...]()
        if faults == "mixed":
            injected = mixed_faults(detector, conditions, run)
        elif faults != "none":
            injected = read_faults(Path(faults), detector, run)
        simulated = simulate_run(detector, conditions, injected, run, run)
        written += [*write(simulated, folder), write_truth(simulated, folder / f"run{run}_truth.json")]
        if progress:
            progress(number + 1, n_runs)
    return tuple(written)


FORMATS: Mapping[str, Writer] = {
    "nanodqmio": write_nanodqmio,
    "dqm_file": root_files.write_dqm_file,
    "per_lumisection": root_files.write_per_lumisection,
    "snapshots": root_files.write_snapshots,
    "online": root_files.write_online,
    "hcalanalyzer": write_hcalanalyzer,
    "dials": write_dials,
}
"""Who writes a run in which format."""


def write_format(simulated: SimulatedRun, folder: Path, name: str) -> tuple[Path, ...]:
    """Write a run in one format; returns the files, in the order of the LS.

    Raises:
        UsageError: an unknown format.
        OutputError: the file cannot be written, for example because ROOT is missing.
    """
    return _writer(name)(simulated, folder)


def _writer(name: str) -> Writer:
    if name not in FORMATS:
        raise UsageError(f"No format is called {name!r}; there are {', '.join(FORMATS)}.")
    return FORMATS[name]
