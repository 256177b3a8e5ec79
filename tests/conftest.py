"""A small simulated detector with models of its own, and a small judged run, for all tests that need them.

The models are learned once, from one clean run. The judged run has 12 lumisections, one dead box, one hot and one
masked channel, and one lumisection that was not assessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hcal_root_ad.content import SEARCH_VARIABLE
from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import Finding, Interval, Kind, Level, ModelInfo, State, StripVerdict, Verdict
from hcal_root_ad.lumi_maps import LumiMaps, Source
from hcal_root_ad.model.model import Model
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.reference_fit import CleanLumisections, fit_reference
from hcal_root_ad.simulate.scenario import FillConditions
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run

SEED = 99
"""Of the detector that the models know."""
Steady = Callable[..., FillConditions]
NAMES = {"HB": "hb-graphstad-from-he", "HE": "he-graphstad", "HO": "ho", "HF": "hf"}
"""Models by sub-detector, named as the shipped ones, whose place they take."""


SLOW = (
    "benchmarks", "docs", "export", "fuzz", "studies", "test_long_runs.py", "test_packaging.py", "test_pipeline.py",
    "test_promises.py", "test_security.py", "certify/test_campaign.py", "certify/test_executors.py",
    "cli/test_compare.py", "cli/test_export.py", "cli/test_harvest.py", "cli/test_learning.py",
    "cli/test_main_job.py", "cli/test_mask.py", "cli/test_reproduce.py", "cli/test_run.py", "cli/test_verbs.py",
    "cli/test_watch.py", "harvest/test_remote.py", "judge/test_explained_away.py", "model/test_checkpoint.py",
    "model/test_training.py", "model/test_transfer.py", "publish/test_attach.py", "publish/test_gui_look.py",
    "publish/test_outer.py", "publish/test_real_run.py", "publish/test_reproducible.py", "report/test_browser.py",
    "reproduce", "simulate/test_formats.py", "simulate/test_round_trip.py", "state", "watch/test_memory.py",
    "watch/test_service.py",
)  # fmt: skip
"""Folders and files of tests that train, simulate long runs, or run commands from end to end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what is in :data:`SLOW`: the inner loop is ``pytest -m "not slow"``."""
    folder = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(folder) and item.path.relative_to(folder).as_posix().startswith(SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def detector() -> SimulatedDetector:
    """The detector that the models know."""
    return simulate_detector(SEED)


@pytest.fixture(scope="session")
def clean_run(detector: SimulatedDetector) -> LumiMaps:
    """Sixty clean lumisections of it, as the pileup falls from 55 to 35."""
    size, nothing = 60, np.zeros(60, dtype=bool)
    conditions = FillConditions(
        np.arange(1, size + 1, dtype=np.int32), np.full(size, 1500, dtype=np.int64), np.linspace(55, 35, size),
        np.zeros(size, dtype=int), nothing, nothing,
    )  # fmt: skip
    return simulate_run(detector, conditions, seed=1, run=370100).maps


@pytest.fixture(scope="session")
def models(clean_run: LumiMaps, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Model]:
    """Models by sub-detector, saved in a folder ``models``."""
    folder = tmp_path_factory.mktemp("search-path") / "models"
    together = clean_run.channels.rows_of("HB", "HE", "HO")
    clean = CleanLumisections(
        clean_run.channels.take(together), clean_run.counts[:, together], clean_run.events,
        np.zeros(len(clean_run), dtype=np.intp),
    )  # fmt: skip
    reference = fit_reference(clean, name=str(clean_run.run))
    references = {name: reference.select(name) for name in ("HB", "HE", "HO")} | {"HF": _hf_reference(clean_run)}
    return {name: Model(NAMES[name], name, own).save(folder / NAMES[name]) for name, own in references.items()}


def _hf_reference(clean: LumiMaps) -> Reference:
    """HF is not zero suppressed: who is alive is all there is to know."""
    channels = clean.channels.select("HF")
    nothing = np.zeros(len(channels))
    live = clean.counts[:, clean.channels.rows_of("HF")].any(axis=0)
    return Reference(channels, nothing, nothing, nothing, nothing, live, (0.0, 0.0), clean=str(clean.run))


@pytest.fixture(scope="session")
def model_path(models: Mapping[str, Model], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder to name in ``HCAL_ROOT_AD_PATH`` for these models to be found first."""
    del models  # they are saved by now
    return next(path for path in tmp_path_factory.getbasetemp().glob("search-path*") if (path / "models").is_dir())


@pytest.fixture
def own_models(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verb judges with these models."""
    monkeypatch.setenv(SEARCH_VARIABLE, str(model_path))


RUN = 370101
LUMISECTIONS = np.array([1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13], dtype=np.int32)
"""LS 8 is not in the file."""
NOT_ASSESSED = 2
"""Row (LS 3) with too few events."""
DEAD_FIRST, DEAD_LAST = 5, 12
HOT_FIRST, HOT_LAST = 10, 13
JUDGE = ModelInfo(name="he-graphstad", version="1", digest="ab12", threshold=6.5, false_alarms=1.0)


def _events() -> np.ndarray:
    events = np.full(len(LUMISECTIONS), 1500, dtype=np.int64)
    events[NOT_ASSESSED] = 20
    return events


def make_verdict(name: str) -> Verdict:
    channels = channel_table(Era.RUN3).select(name)
    events, n = _events(), len(channels)
    probability = 0.3 + 0.4 * np.abs(channels.ieta) / 29
    expected = np.outer(events, probability).astype(np.float32)
    observed = np.random.default_rng(7).binomial(events[:, None], probability).astype(np.int32)
    states = np.full((len(events), n), State.GOOD, dtype=np.uint8)
    score = np.zeros((len(events), n), dtype=np.float32)
    states[NOT_ASSESSED] = State.NOT_ASSESSED
    intervals: list[Interval] = []
    findings: list[Finding] = []

    def flag(rows: np.ndarray, kind: Kind, first: int, last: int, factor: float, sign: int, group: str) -> None:
        at = (first <= LUMISECTIONS) & (last >= LUMISECTIONS)
        observed[np.ix_(at, rows)] = np.minimum(observed[np.ix_(at, rows)] * factor, events[at, None])
        states[np.ix_(at, rows)] = kind.state
        score[np.ix_(at, rows)] = sign * 40.0
        for row in rows:
            seen, wanted = int(observed[at, row].sum()), float(expected[at, row].sum())
            intervals.append(Interval(int(row), kind, first, last, seen, wanted, 40.0, group))
        seen, wanted = int(observed[np.ix_(at, rows)].sum()), float(expected[np.ix_(at, rows)].sum())
        level, size, n = (Level.CHANNEL if "/" in group else Level.RBX), seen / wanted, int(at.sum())
        findings.append(Finding(name, level, group, kind, ((first, last),), n, 1.0, tuple(rows.tolist()), seen, wanted,
                                size, size / max(seen, 1) ** 0.5, 13.6 * len(rows) ** 0.5))  # fmt: skip

    if name == "HE":
        box = np.flatnonzero((channels.rbx == 7) & (channels.ieta > 0))
        flag(box, Kind.DEAD, DEAD_FIRST, DEAD_LAST, 0.0, -1, "HEP07")
        masked = int(np.flatnonzero((channels.ieta == -20) & (channels.iphi == 11) & (channels.depth == 3))[0])
        states[:, masked], observed[:, masked] = State.NOT_CONNECTED, 0
    else:
        hot = np.flatnonzero((channels.ieta == 4) & (channels.iphi == 33) & (channels.depth == 2))
        flag(hot, Kind.HOT, HOT_FIRST, HOT_LAST, 2.0, 1, "HB +4/33/2")
    assessed = np.arange(len(events)) != NOT_ASSESSED
    return Verdict(
        subdetector=name,
        channels=channels,
        lumisections=LUMISECTIONS,
        events=events,
        assessed=assessed,
        observed=observed,
        expected=expected,
        score=score,
        states=states,
        intervals=tuple(intervals),
        judge=JUDGE,
        notes=("A note with <brackets> and a µ.",),
        findings=tuple(findings),
    )


def make_maps(source: str = "nanodqmio_run370101.root") -> LumiMaps:
    table = channel_table(Era.RUN3).select("HB", "HE")
    n = len(LUMISECTIONS)
    return LumiMaps(
        run=RUN,
        channels=table,
        lumisections=LUMISECTIONS,
        events=_events(),
        event_source=np.full(n, 3, dtype=np.uint8),
        counts=np.zeros((n, len(table)), dtype=np.int32),
        present=np.ones(n, dtype=bool),
        definition="nanodqmio",
        sources=(Source(source, 1234, "00ff"),),
    )


def make_strips() -> StripVerdict:
    events = _events()
    expected = np.outer(events, np.full(288, 20.0)).astype(np.float32)
    observed = expected.astype(np.int64)
    states = np.full(expected.shape, State.GOOD, dtype=np.uint8)
    score = np.zeros_like(expected)
    states[NOT_ASSESSED] = State.NOT_ASSESSED
    box = 3 * 72 + np.arange(23, 27) - 1  # HEP07: iphi 23 to 26
    at = (LUMISECTIONS >= DEAD_FIRST) & (LUMISECTIONS <= DEAD_LAST)
    observed[np.ix_(at, box)] = 0
    states[np.ix_(at, box)] = State.BAD
    score[np.ix_(at, box)] = -30
    wanted = float(expected[np.ix_(at, box[:1])].sum())
    intervals = tuple(Interval(int(s), Kind.DEAD, DEAD_FIRST, DEAD_LAST, 0, wanted, 30.0, "HEP07") for s in box)
    finding = Finding("HE", Level.RBX, "HEP07", Kind.DEAD, ((DEAD_FIRST, DEAD_LAST),), int(at.sum()), 1.0,
                      tuple(box.tolist()), 0, 4 * wanted, 0.0, 0.0, 23.5)  # fmt: skip
    assessed = np.arange(len(events)) != NOT_ASSESSED
    return StripVerdict(
        LUMISECTIONS, events, assessed, observed, expected, score, states, intervals, JUDGE, ("Strips only.",),
        trust_reason="each strip against its own share", findings=(finding,),
    )  # fmt: skip


@pytest.fixture(scope="session")
def small_run() -> SimpleNamespace:
    """Builders of the parts, for tests that need other combinations."""
    return SimpleNamespace(verdict=make_verdict, maps=make_maps, strips=make_strips)


@pytest.fixture(scope="session")
def verdict() -> RunVerdict:
    return RunVerdict(make_maps(), (make_verdict("HB"), make_verdict("HE")), notes=("A note on the run.",))


@pytest.fixture(scope="session")
def strip_verdict() -> RunVerdict:
    return RunVerdict(make_maps("DQM_V0001_Hcal_R000370101.root"), (), strips=make_strips())


@pytest.fixture(scope="session")
def steady() -> Steady:
    """``n`` lumisections of equal events and pileup."""

    def conditions(n: int, events: int = 1500, pileup: float = 45.0) -> FillConditions:
        no = np.zeros(n, dtype=np.bool_)
        return FillConditions(
            lumisections=np.arange(1, n + 1, dtype=np.int32),
            events=np.full(n, events, dtype=np.int64),
            pileup=np.full(n, pileup),
            prescale_column=np.zeros(n, dtype=np.int64),
            short=no,
            gap=no,
        )

    return conditions


@pytest.fixture(scope="session")
def published(verdict: RunVerdict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the small run, written once for all tests."""
    from hcal_root_ad.publish.publish import publish

    return publish(verdict, tmp_path_factory.mktemp("published"))
