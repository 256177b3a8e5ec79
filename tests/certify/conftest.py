"""Records made by hand, and a small simulated campaign with known faults."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.certify.policy import Policy, load_policy
from hcal_root_ad.cli.main import main
from hcal_root_ad.detector import N_DEPTH, N_DQM_IETA, N_IPHI
from hcal_root_ad.judge.verdict import Finding, Kind, Level, ModelInfo
from hcal_root_ad.lumi_maps import Source
from hcal_root_ad.publish.saved_verdict import PartRecord, RunRecord
from hcal_root_ad.simulate.formats import write_dials, write_truth
from hcal_root_ad.simulate.scenario import make_fault, simulate_conditions
from hcal_root_ad.simulate.simulated_detector import simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run

RUN = 370101
PER_BOX = {"HB": 252, "HE": 188}
BOXES = {"HB": slice(0, 36), "HE": slice(36, 72)}
HEP07, HBP09 = 3 * 18 + 6, 1 * 18 + 8
JUDGE = ModelInfo("he-graphstad", "1", "ab12cd34ef56ab12", 5.0, 0.5)

Counts = Mapping[tuple[int, int], int]
"""Channels by (LS, readout box)."""
MakeRecord = Callable[..., RunRecord]


def make_part(
    name: str,
    lumisections: np.ndarray,
    bad: Counts,
    problematic: Counts,
    unassessed: tuple[int, ...] = (),
    findings: tuple[Finding, ...] = (),
    granularity: str = "lumisection",
) -> PartRecord:
    judged = np.zeros((len(lumisections), 72), dtype=np.int32)
    for one, boxes in BOXES.items():
        judged[:, boxes] = 4 if name == "strips" else PER_BOX[one] * (one == name)
    states = {"bad": np.zeros_like(judged), "problematic": np.zeros_like(judged)}
    for what, counts in (("bad", bad), ("problematic", problematic)):
        for (ls, box), n in counts.items():
            states[what][lumisections == ls, box] = n
    assessed = ~np.isin(lumisections, unassessed)
    for counts_of in (judged, *states.values()):
        counts_of[~assessed] = 0
    nothing = np.zeros((0, len(lumisections)), dtype=np.float32)
    maps = {key: np.zeros((N_DEPTH, N_DQM_IETA, N_IPHI), dtype=np.float32)
            for key in ("worst", "fraction", "observed", "expected", "score")}  # fmt: skip
    return PartRecord(name=name, granularity=granularity, judge=JUDGE, assessed=assessed, judged=judged, **states,
                      box_states=np.zeros_like(judged, dtype=np.uint8), findings=findings, finding_observed=nothing,
                      finding_expected=nothing, **maps)  # fmt: skip


def record_of_parts(lumisections: np.ndarray, *parts: PartRecord, run: int = RUN) -> RunRecord:
    events = np.full(len(lumisections), 1500, dtype=np.int64)
    sources = (Source("nanodqmio.root", 1, "00ff"),)
    return RunRecord(run, "nanodqmio", lumisections, events, sources, ("a note",), "hcal-root-ad 0", parts)


@pytest.fixture(scope="session")
def make_record() -> MakeRecord:
    """A record of HB and HE over ``last`` LS; ``bad`` and ``problematic`` give channels by (LS, readout box)."""

    def make(
        last: int = 10,
        bad: Counts | None = None,
        problematic: Counts | None = None,
        unassessed: tuple[int, ...] = (),
        without: tuple[int, ...] = (),
        findings: tuple[Finding, ...] = (),
        run: int = RUN,
    ) -> RunRecord:
        lumisections = np.array([ls for ls in range(1, last + 1) if ls not in without], dtype=np.int32)
        parts = []
        for name, boxes in BOXES.items():
            own = [
                {(ls, box): n for (ls, box), n in (counts or {}).items() if boxes.start <= box < boxes.stop}
                for counts in (bad, problematic)
            ]
            of_part = tuple(finding for finding in findings if finding.subdetector == name)
            parts.append(make_part(name, lumisections, *own, unassessed, of_part))
        return record_of_parts(lumisections, *parts, run=run)

    return make


@pytest.fixture(scope="session")
def dead_box(make_record: MakeRecord) -> RunRecord:
    """HEP07 is dead from LS 4 to 6; LS 8 has too few events, LS 9 is not in the file."""
    dead = Finding("HE", Level.RBX, "HEP07", Kind.DEAD, ((4, 6),), 3, 1.0, tuple(range(188)), 0, 9000.0, 0.0, 0.0, 42.9)
    return make_record(12, {(ls, HEP07): 188 for ls in (4, 5, 6)}, unassessed=(8,), without=(9,), findings=(dead,))


@pytest.fixture(scope="session")
def policy() -> Policy:
    return load_policy("standard")


@dataclass(frozen=True)
class Simulated:
    """Files of simulated runs, the truths beside them, and the runs by number."""

    folder: Path
    runs: tuple[int, ...]

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))

    @property
    def truths(self) -> list[Path]:
        return sorted(self.folder.glob("*_truth.json"))


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """Three short runs of the detector that the shipped bundles know: a dead box each in two, no fault in the third."""
    folder = tmp_path_factory.mktemp("campaign")
    detector = simulate_detector(2022)
    runs = (371001, 371002, 371003)
    faults = {
        371001: [("dead", "HEP07", 4, 8, 0.0), ("hot", "HB +4/33/2", 2, 11, 4.0)],
        371002: [("dead", "HBM03", 6, 12, 0.0), ("degraded", "HEM11-RM3", 1, 5, 0.3)],
        371003: [],
    }
    for run in runs:
        made = [make_fault(detector, *fault, seed=run) for fault in faults[run]]
        one = simulate_run(detector, simulate_conditions(12, run, start=0.1), made, run, run)
        write_dials(one, folder)
        write_truth(one, folder / f"run{run}_truth.json")
    return Simulated(folder, runs)


@pytest.fixture(scope="session")
def make_outer() -> Callable[..., PartRecord]:
    """A part of HF, 1728 channels to a side, or of HO, five boxes of 432; ``bad`` gives channels by (LS, box)."""

    def make(name: str, last: int, bad: Counts | None = None, unassessed: tuple[int, ...] = ()) -> PartRecord:
        boxes = ("HFM", "HFP") if name == "HF" else ("HO001", "HO002", "HO003", "HO1M02", "HO2P02")
        lumisections = np.arange(1, last + 1, dtype=np.int32)
        whole = make_part(name, lumisections, bad or {}, {}, unassessed)
        judged = np.full((last, len(boxes)), {"HF": 1728, "HO": 432}[name], dtype=np.int32)
        judged[~whole.assessed] = 0
        counts = {what: getattr(whole, what)[:, : len(boxes)] for what in ("bad", "problematic", "box_states")}
        return replace(whole, boxes=boxes, judged=judged, **counts)

    return make


@pytest.fixture(scope="session")
def make_strips() -> Callable[..., PartRecord]:
    """A part judged by strips, four to a box; ``bad`` gives strips by (LS, readout box)."""

    def make(last: int, bad: Counts, unassessed: tuple[int, ...] = ()) -> PartRecord:
        return make_part("strips", np.arange(1, last + 1), bad, {}, unassessed, granularity="strips")

    return make


@pytest.fixture(scope="session")
def judged(simulated: Simulated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a campaign over the simulated runs, by the command line in this process; not to be changed."""
    folder = tmp_path_factory.mktemp("judged") / "campaign"
    assert main(["certify", str(simulated.folder), "-o", str(folder)]) == 0
    return folder


@pytest.fixture
def campaign(judged: Path, tmp_path: Path) -> Path:
    """A copy of that folder to work in."""
    return Path(shutil.copytree(judged, tmp_path / "campaign"))
