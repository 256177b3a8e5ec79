"""What changes healthy rates: size, place and time of each change, by numbers that one can do by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad.detector import Subdetector
from hcal_root_ad.simulate.scenario import FillConditions
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector
from hcal_root_ad.simulate.simulated_run import RateChange
from studies.stress.changes import (
    Ageing,
    JetTriggers,
    Masked,
    Offsets,
    PhiWave,
    Restless,
    SmoothField,
    TriggerMix,
    ZeroSuppression,
    shifted,
)

Steady = Callable[..., FillConditions]
P = 0.3


@pytest.fixture(scope="module")
def detector(detector: SimulatedDetector) -> SimulatedDetector:
    """HB and HE, whose rates changes move."""
    return detector.select("HB", "HE")


def log_rate(p: np.ndarray) -> np.ndarray:
    return np.log(-np.log1p(-p.astype(float)))


def shift_of(change: RateChange, detector: SimulatedDetector, conditions: FillConditions) -> np.ndarray:
    """(LS, channels) shift of the log rate that a change makes of p = 0.3 everywhere."""
    rates = np.full((len(conditions), len(detector.channels)), P, dtype=np.float32)
    changed = change.apply(rates, detector, conditions, np.random.default_rng(3))
    assert (rates == np.float32(P)).all(), "what was given is changed"
    return log_rate(changed) - log_rate(np.array(P))


@given(st.floats(0.01, 0.99), st.floats(-1.0, 1.0))
def test_a_shift_of_the_log_rate_is_what_it_says(p: float, shift: float) -> None:
    rates = np.array([[p]], dtype=np.float32)
    after = shifted(rates, np.array([shift]))
    # In p, for single precision cannot tell log rates near p = 1.
    assert after[0, 0] == pytest.approx(1 - (1 - p) ** np.exp(shift), abs=1e-6)


def test_half_of_the_digi_probability_doubled_in_rate() -> None:
    # λ = ln 2 gives p = 1/2; twice the rate gives 1 − 1/4.
    assert shifted(np.array([[0.5]], dtype=np.float32), np.log(np.array([2.0])))[0, 0] == pytest.approx(0.75)


def test_a_trigger_mix_moves_whole_rings_from_the_middle_on(detector: SimulatedDetector, steady: Steady) -> None:
    shift = shift_of(TriggerMix(), detector, steady(10))
    assert np.abs(shift[:5]).max() < 1e-5
    ring = detector.channels.ring
    assert all(np.ptp(shift[5, ring == number]) < 1e-4 for number in range(0, ring.max(), 20))
    assert 0.015 < np.std(shift[5]) < 0.035


def test_jet_triggers_give_between_8_and_30_percent_more(detector: SimulatedDetector, steady: Steady) -> None:
    shift = shift_of(JetTriggers(ring=0.0, at=0.0), detector, steady(1))[0]
    ieta = np.abs(detector.channels.ieta)
    assert np.exp(shift[ieta == 1]) == pytest.approx(1.30, abs=1e-3)
    assert np.exp(shift[ieta == 29]) == pytest.approx(1.08, abs=1e-3)


def test_thresholds_move_one_sub_detector(detector: SimulatedDetector, steady: Steady) -> None:
    shift = shift_of(ZeroSuppression(), detector, steady(2))[1]
    hb = detector.channels.subdetector == Subdetector.HB
    assert shift[hb].mean() == pytest.approx(-0.08, abs=0.002)
    assert shift[hb].std() == pytest.approx(0.03, abs=0.002)
    assert np.abs(shift[~hb]).max() < 1e-5


def test_a_phi_wave_grows_and_sums_to_nothing(detector: SimulatedDetector, steady: Steady) -> None:
    shift = shift_of(PhiWave(turn=0.0), detector, steady(3))
    ring = (detector.channels.ieta == 5) & (detector.channels.depth == 1)
    assert np.abs(shift[0]).max() < 1e-5
    assert shift[2, ring].mean() == pytest.approx(0.0, abs=1e-4)
    assert shift[2, ring].std() == pytest.approx(0.03 / np.sqrt(2), abs=1e-3)


def test_a_smooth_field_has_its_spread_and_near_neighbours(detector: SimulatedDetector, steady: Steady) -> None:
    shift = shift_of(SmoothField(), detector, steady(2))[1]
    assert shift.std() == pytest.approx(0.02, abs=1e-3)
    ring = np.flatnonzero((detector.channels.ieta == 5) & (detector.channels.depth == 1))
    assert np.abs(np.diff(shift[ring])).max() < 0.01


@pytest.mark.parametrize(("scale", "units"), [("RBX", 72), ("RM", 288), ("card", 1152), ("channel", 15840)])
def test_offsets_are_one_per_unit(detector: SimulatedDetector, steady: Steady, scale: str, units: int) -> None:
    shift = shift_of(Offsets(scale, 0.03), detector, steady(1))[0]
    assert len(np.unique(np.round(shift, 6))) == pytest.approx(units, rel=0.12)
    assert shift.std() == pytest.approx(0.03, rel=0.25)


def test_restless_boxes_jump_or_wander(detector: SimulatedDetector, steady: Steady) -> None:
    jumping, wandering = (shift_of(Restless("RBX", 0.01, memory), detector, steady(40)) for memory in (0.0, 50.0))
    for shift in (jumping, wandering):
        assert shift.std() == pytest.approx(0.01, rel=0.25)
    # White noise: neighbours differ by √2 of the spread. A walk of memory 50: by √(2·(1 − e^(−1/50))) = 0.2.
    assert np.diff(jumping, axis=0).std() == pytest.approx(0.01 * np.sqrt(2), rel=0.1)
    assert np.diff(wandering, axis=0).std() == pytest.approx(0.002, rel=0.1)


def test_ageing_takes_digis_of_outer_he(detector: SimulatedDetector, steady: Steady) -> None:
    rates = np.full((1, len(detector.channels)), P, dtype=np.float32)
    aged = Ageing(0.2).apply(rates, detector, steady(1), np.random.default_rng(1))[0] / P
    ieta, he = np.abs(detector.channels.ieta), detector.channels.subdetector == Subdetector.HE
    assert aged[he & (ieta == 29)] == pytest.approx(0.8)
    assert aged[he & (ieta == 18)] == pytest.approx(1.0)
    assert aged[~he] == pytest.approx(1.0)


def test_masked_channels_never_fill(detector: SimulatedDetector, steady: Steady) -> None:
    mask = Masked(20, 1)
    rates = np.full((2, len(detector.channels)), P, dtype=np.float32)
    changed = mask.apply(rates, detector, steady(2), np.random.default_rng(1))
    assert set(np.flatnonzero(changed[0] == 0)) == set(mask.rows(detector))
    assert len(mask.rows(detector)) == 20
    assert detector.live[mask.rows(detector)].all()
