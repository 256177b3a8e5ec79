"""What is evaluated as ours is what is published: scores and flags of the judge."""

from __future__ import annotations

import numpy as np
import pytest

from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.judge.verdict import State, Verdict
from hcal_root_ad.model.counts import SubdetectorCounts, subdetector_counts
from hcal_root_ad.simulate.scenario import make_fault, simulate_conditions
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run
from studies.evaluate.protocol import Training, Truth
from studies.evaluate.systems.ours import SYSTEMS, maps_of

NOTHING = Truth(np.zeros(0), np.zeros(0))


@pytest.fixture(scope="module")
def detector() -> SimulatedDetector:
    return simulate_detector(2022)


@pytest.fixture(scope="module")
def fitted(detector: SimulatedDetector):
    clean = [
        subdetector_counts(simulate_run(detector, simulate_conditions(20, seed), seed=seed).maps, "HE")
        for seed in (5, 6)
    ]
    (system,) = SYSTEMS
    return system.fit(Training("HE", clean[0].channels, clean[:1], clean[1:], seed=1))


@pytest.fixture(scope="module")
def series(detector: SimulatedDetector) -> SubdetectorCounts:
    """HEP07 is dead in LS 6 to 9."""
    conditions = simulate_conditions(12, seed=3, start=0.1)
    maps = simulate_run(detector, conditions, [make_fault(detector, "dead", "HEP07", 6, 9, 0.0)], seed=3).maps
    return subdetector_counts(maps, "HE")


@pytest.fixture(scope="module")
def verdict(fitted, series: SubdetectorCounts) -> Verdict:
    (verdict,) = judge_run(maps_of(series), [fitted.model]).verdicts
    return verdict


def test_the_score_is_the_published_one(fitted, series: SubdetectorCounts, verdict: Verdict) -> None:
    live = fitted.model.reference.live
    score = fitted.score(series, NOTHING)
    assert (score[:, ~live] == -np.inf).all()
    np.testing.assert_array_equal(score[:, live], np.abs(verdict.score[:, live]))


def test_flags_are_the_dead_box(fitted, series: SubdetectorCounts, verdict: Verdict) -> None:
    dead = fitted.model.reference.live & (series.channels.rbx == 7) & (series.channels.ieta > 0)
    at_fault = (series.lumisections >= 6) & (series.lumisections <= 9)
    _, flags = fitted.looked_at(series)
    assert flags[np.ix_(at_fault, dead)].all()
    assert flags[~at_fault][:, dead].mean() < 0.01
    assert flags[:, ~dead].sum() < 5 * len(series)
    np.testing.assert_array_equal(flags, verdict.states >= State.PROBLEMATIC)
    assert fitted.score(series, NOTHING)[np.ix_(at_fault, dead)].min() > fitted.threshold
