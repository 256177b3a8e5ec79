"""Showers: single channels stay binomial, sums scatter more, as in the ten real lumisections."""

from __future__ import annotations

import numpy as np
import pytest

from hcal_root_ad.simulate.simulated_detector import SimulatedDetector, module_index
from hcal_root_ad.simulate.simulated_run import shower_counts

EVENTS = 1500


@pytest.fixture(scope="module")
def detector(detector: SimulatedDetector) -> SimulatedDetector:
    """HB and HE, where showers count."""
    return detector.select("HB", "HE")


@pytest.fixture(scope="module")
def residuals(detector: SimulatedDetector) -> tuple[np.ndarray, np.ndarray]:
    """(LS, channels) counts less their mean, and (channels,) binomial variance, of 120 equal LS."""
    p = np.where(detector.live, -np.expm1(-detector.response), 0.0)
    rates = np.repeat(p[None].astype(np.float32), 120, axis=0)
    events = np.full(120, EVENTS, dtype=np.int64)
    counts = shower_counts(detector.channels, events, rates, np.random.default_rng(1))
    assert (counts <= EVENTS).all()
    assert not counts[:, ~detector.live].any()
    return counts - EVENTS * p, EVENTS * p * (1 - p)


def ratio(residuals: tuple[np.ndarray, np.ndarray], unit: np.ndarray) -> float:
    """Mean variance of the sums over units, over the binomial one."""
    rest, variance = residuals
    sums = np.stack([np.bincount(unit, row) for row in rest])
    wanted = np.bincount(unit, variance)
    filled = wanted > 0
    return float((sums[:, filled].var(axis=0) / wanted[filled]).mean())


def test_the_ratios_are_those_of_real_lumisections(
    detector: SimulatedDetector, residuals: tuple[np.ndarray, np.ndarray]
) -> None:
    channels = detector.channels
    assert ratio(residuals, np.arange(len(channels))) == pytest.approx(1.0, abs=0.02)
    assert ratio(residuals, module_index(channels)) == pytest.approx(1.23, abs=0.06)
    assert ratio(residuals, channels.ring) == pytest.approx(1.20, abs=0.08)
    assert ratio(residuals, channels.box.astype(np.intp)) == pytest.approx(1.75, abs=0.15)


def test_neighbours_share(detector: SimulatedDetector, residuals: tuple[np.ndarray, np.ndarray]) -> None:
    channels, (rest, variance) = detector.channels, residuals
    ring = np.flatnonzero((channels.subdetector == 1) & (channels.depth == 1) & (channels.ieta > 0) & detector.live)
    z = rest[:, ring] / np.sqrt(variance[ring])
    ieta, iphi = channels.ieta[ring], channels.iphi[ring]
    next_iphi = [(a, b) for a in range(len(ring)) for b in np.flatnonzero((ieta == ieta[a]) & (iphi == iphi[a] + 1))]
    next_ieta = [(a, b) for a in range(len(ring)) for b in np.flatnonzero((iphi == iphi[a]) & (ieta == ieta[a] + 1))]
    for pairs, wanted in ((next_iphi, 0.04), (next_ieta, 0.01)):
        first, second = np.array(pairs).T
        assert (z[:, first] * z[:, second]).mean() == pytest.approx(wanted, abs=0.01)
