"""What is promised of the whole: a detector never seen, one clean run of it, and what is then found in a faulty one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import State
from hcal_root_ad.model.model import load_model
from hcal_root_ad.model.transfer import transfer
from hcal_root_ad.simulate.scenario import InjectedFault, make_fault, simulate_conditions
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.simulated_run import SimulatedRun, simulate_run

FEWEST_EVENTS = 200
"""Lumisections with fewer events are not counted."""


def faults_of(detector: SimulatedDetector) -> list[InjectedFault]:
    table = detector.channels.take(detector.live)
    live = table.take(table.rows_of("HB", "HE"))
    draw = np.random.default_rng(6)
    rows = draw.choice(len(live), 12, replace=False)
    singles = [
        (kind, f"{live.names[row]} {live.ieta[row]:+d}/{live.iphi[row]}/{live.depth[row]}", strength)
        for row, (kind, strength) in zip(rows, [("dead", 0.0), ("hot", 4.0)] * 6, strict=True)
    ]
    units = [("dead", "HEP04", 0.0), ("dead", "HBM15", 0.0), ("dead", "HEM11-RM3", 0.0), ("dead", "HBP09-RM1", 0.0)]
    return [
        make_fault(detector, kind, unit, 10 + 3 * number, 40 + 3 * number, strength)
        for number, (kind, unit, strength) in enumerate([*units, *singles])
    ]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[SimulatedRun, RunVerdict]:
    detector = simulate_detector(4242)
    clean = simulate_run(detector, simulate_conditions(100, seed=1), seed=1, run=370_001).maps
    faulty = simulate_run(detector, simulate_conditions(100, seed=2), faults_of(detector), seed=2, run=370_002)
    folder = tmp_path_factory.mktemp("models")
    shipped = ("he-graphstad", "hb-graphstad-from-he")
    models = [transfer(load_model(name), [clean], folder / name) for name in shipped]
    return faulty, judge_run(faulty.maps, models)


def pairs(faulty: SimulatedRun, verdict: RunVerdict, kind: str, scale: str) -> Iterator[bool]:
    """Whether each (channel, LS) pair of the faults of a kind and scale was flagged."""
    states = np.zeros(faulty.maps.counts.shape, dtype=np.uint8)
    for one in verdict.verdicts:
        states[:, faulty.maps.channels.rows_of(one.subdetector)] = one.states
    enough = faulty.maps.events >= FEWEST_EVENTS
    for fault in (f for f in faulty.faults if f.kind == kind and f.scale == scale):
        rows = enough & (faulty.maps.lumisections >= fault.first) & (faulty.maps.lumisections <= fault.last)
        yield from (states[np.ix_(rows, fault.rows)] >= State.PROBLEMATIC).ravel()


@pytest.mark.parametrize(("kind", "scale"), [("dead", "channel"), ("hot", "channel"), ("dead", "RM"), ("dead", "RBX")])
def test_at_least_95_percent_is_flagged(judged: tuple[SimulatedRun, RunVerdict], kind: str, scale: str) -> None:
    flagged = list(pairs(*judged, kind, scale))
    assert len(flagged) > 50
    assert np.mean(flagged) >= 0.95


def test_at_most_five_false_intervals_in_100_lumisections(judged: tuple[SimulatedRun, RunVerdict]) -> None:
    faulty, verdict = judged
    at_fault = {int(row) for fault in faulty.faults for row in fault.rows}
    false = [
        interval
        for one in verdict.verdicts
        for interval in one.intervals
        if int(faulty.maps.channels.rows_of(one.subdetector)[interval.channel]) not in at_fault
    ]
    assert len(false) <= 5


def test_dead_units_are_one_line_each(judged: tuple[SimulatedRun, RunVerdict]) -> None:
    findings = {finding.unit: finding for finding in judged[1].findings}
    for number, unit in enumerate(("HEP04", "HBM15", "HEM11-RM3", "HBP09-RM1")):
        finding = findings[unit]
        assert (finding.kind, finding.first, finding.last) == ("dead", 10 + 3 * number, 40 + 3 * number)
