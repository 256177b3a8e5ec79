"""What is evaluated as ours is what is published: scores and flags of the judge, with the network and without it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hcal_root_ad.model.model import load_bundle

from hcal_root_ad.evaluate.protocol import Truth
from hcal_root_ad.evaluate.systems.ours import _Evidence
from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.judge.verdict import State, Verdict
from hcal_root_ad.model.counts import SubdetectorCounts, subdetector_counts
from hcal_root_ad.simulate.conditions import simulate_conditions
from hcal_root_ad.simulate.detector import simulate_detector
from hcal_root_ad.simulate.faults import make_fault
from hcal_root_ad.simulate.run import simulate_run

BUNDLE = load_bundle("he-graphstad")
NOTHING = Truth(np.zeros(0), np.zeros(0))


@pytest.fixture(scope="module")
def run() -> tuple[SubdetectorCounts, Verdict]:
    """A run of the detector that the bundle knows; HEP07 is dead in LS 6 to 9."""
    detector = simulate_detector(2022)
    conditions = simulate_conditions(12, seed=3, start=0.1)
    maps = simulate_run(detector, conditions, [make_fault(detector, "dead", "HEP07", 6, 9, 0.0)], seed=3).maps
    (verdict,) = judge_run(maps, [BUNDLE]).verdicts
    series = subdetector_counts(maps, "HE")
    assert len(series) == 12
    return series, verdict


def system(network: bool) -> _Evidence:
    return _Evidence(BUNDLE, BUNDLE.thresholds().channel, network)


def test_the_score_is_the_published_one_in_natural_logarithms(run: tuple[SubdetectorCounts, Verdict]) -> None:
    series, verdict = run
    live = BUNDLE.reference.live
    score = system(network=True).score(series, NOTHING)
    assert (score[:, ~live] == -np.inf).all()
    published = np.abs(verdict.score[:, live]) * np.log(10)
    np.testing.assert_allclose(np.maximum(score[:, live], 0), published, rtol=1e-3, atol=0.02)


@pytest.mark.parametrize("network", [True, False])
def test_flags_are_the_dead_box(run: tuple[SubdetectorCounts, Verdict], network: bool) -> None:
    series, verdict = run
    fitted = system(network)
    dead = BUNDLE.reference.live & (series.channels.rbx == 7) & (series.channels.ieta > 0)
    at_fault = (series.lumisections >= 6) & (series.lumisections <= 9)
    flags = fitted.flags(series)
    assert flags[np.ix_(at_fault, dead)].all()
    assert flags[~at_fault][:, dead].mean() < 0.01
    assert flags[:, ~dead].sum() < 5 * len(series)
    if network:
        np.testing.assert_array_equal(flags, verdict.states >= State.PROBLEMATIC)
    assert fitted.score(series, NOTHING)[np.ix_(at_fault, dead)].min() > fitted.threshold


def test_without_the_network_the_reference_alone_is_judged(run: tuple[SubdetectorCounts, Verdict]) -> None:
    series, _ = run
    muted = replace(BUNDLE, network=type(BUNDLE.network)(series.channels, BUNDLE.network.config).eval())
    plain = system(network=False)
    np.testing.assert_array_equal(plain.score(series, NOTHING), replace(plain, bundle=muted).score(series, NOTHING))
    assert not np.array_equal(system(network=True).score(series, NOTHING), plain.score(series, NOTHING))
