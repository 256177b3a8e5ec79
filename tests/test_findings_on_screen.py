"""A run with thirty-two faults of all kinds, judged and printed: one line each, on one screen of 80 columns."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.pipeline import Judging, load_models
from hcal_root_ad.publish.verdict_tables import run_summary
from hcal_root_ad.simulate.scenario import FillConditions, make_fault
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector
from hcal_root_ad.simulate.simulated_run import simulate_run

FAULTS = (
    ("flickering", "HEM16-RM3", 10, 38, 0.5), ("flickering", "HBP11-RM2", 5, 30, 0.5),
    ("dead", "HBP05-RM1-card2", 17, 30, 0.0), ("dead", "HBM07-RM3-card1", 6, 25, 0.0),
    ("degraded", "HBP17-RM4-card3", 10, 35, 0.6), ("degraded", "HE |ieta| 26", 12, 26, 0.7),
    ("degraded", "HB |ieta| 9 depth 2", 20, 36, 0.7), ("dead", "HEP07", 9, 15, 0.0),
    ("dead", "HBM12-RM2", 12, 26, 0.0), ("dead", "HEM03-RM2", 20, 30, 0.0), ("degraded", "HBP16", 4, 8, 0.6),
    ("degraded", "HEM09", 27, 39, 0.8), ("dead", "crate24-slot5", 33, 38, 0.0), ("dead", "HO1P02", 10, 20, 0.0),
    ("hot", "HE -25/33/4", 5, 22, 3.0), ("dead", "HB +3/21/2", 3, 30, 0.0), ("hot", "HB -9/54/4", 24, 30, 2.5),
    ("degraded", "HE +23/5/3", 15, 40, 0.5), ("degraded", "HB +12/67/1", 6, 40, 0.6),
    ("dead", "HB -2/11/3", 1, 40, 0.0), ("hot", "HE +27/7/2", 2, 20, 2.5),
    ("dead", "HE -17/60/2", 25, 40, 0.0), ("degraded", "HB +15/30/2", 10, 40, 0.6),
    ("dead", "HE +20/44/1", 30, 40, 0.0), ("hot", "HB +7/25/3", 20, 35, 1.8), ("dead", "HB +11/40/1", 2, 39, 0.0),
    ("dead", "HE +18/20/2", 8, 33, 0.0), ("hot", "HB -5/70/2", 11, 31, 2.0), ("degraded", "HE -20/30/4", 5, 35, 0.5),
    ("dead", "HB -13/64/3", 14, 34, 0.0), ("hot", "HE -22/51/5", 9, 29, 2.5), ("dead", "HE +24/61/6", 16, 36, 0.0),
)  # fmt: skip


@pytest.fixture(scope="module")
def judged(detector: SimulatedDetector, steady: Callable[..., FillConditions], model_path: Path) -> RunVerdict:
    faults = [make_fault(detector, *fault, seed=number) for number, fault in enumerate(FAULTS)]
    run = simulate_run(detector, steady(40), faults, seed=3)
    names = ("hb-graphstad-from-he", "he-graphstad", "ho", "hf")
    return Judging(load_models([model_path / "models" / name for name in names])).judge(run.maps)


def test_thirty_two_faults_fit_on_a_screen(judged: RunVerdict) -> None:
    console = Console(file=StringIO(), width=80)
    for part in run_summary(judged):
        console.print(part, soft_wrap=isinstance(part, str), markup=False, highlight=False)
    lines = console.file.getvalue().splitlines()
    conditions = next((n for n, line in enumerate(lines) if line == "Conditions:"), len(lines))
    assert conditions <= 36
    assert all(len(line) <= 80 for line in lines[:conditions])


def test_a_flickering_module_is_one_line_with_its_share(judged: RunVerdict) -> None:
    for unit in ("HEM16-RM3", "HBP11-RM2"):
        (finding,) = (one for one in judged.findings if one.unit == unit)
        assert 0.3 < finding.duty < 0.8
        assert len(finding.ranges) > 2


def test_a_steady_unit_is_one_line_with_one_stretch(judged: RunVerdict) -> None:
    for unit, ranges in {
        "HEP07": ((9, 15),),
        "HBM12-RM2": ((12, 26),),
        "HBP05-RM1-card2": ((17, 30),),
        "HO1P02": ((10, 20),),
    }.items():
        (finding,) = (one for one in judged.findings if one.unit == unit)
        assert (finding.ranges, finding.duty) == (ranges, 1)
