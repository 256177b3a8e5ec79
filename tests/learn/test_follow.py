"""Following a channel's own drift: it finds the shift, in time, within bounds, and never learns a fault away."""

import numpy as np
import pytest

from hcal_root_ad.learn.follow import LAG, LEAST_ERROR, REACH, Follower
from hcal_root_ad.occupancy import probability

ERROR = np.full(200, 0.02)
LEVEL = np.full(200, -0.7)


def after(lumisections: int, shift: float, factor: float = 1.0, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Shift and error after some LS of channels that are off by ``shift`` and at fault by ``factor``."""
    draw, follower = np.random.default_rng(seed), Follower(len(LEVEL))
    for _ in range(lumisections):
        estimate, _ = follower.estimate(ERROR)
        counts = draw.binomial(1500, factor * probability(LEVEL + shift))
        follower.add(counts, np.array(1500.0), LEVEL, estimate)
    return follower.estimate(ERROR)


def test_at_first_it_knows_what_the_calibration_knows() -> None:
    shift, error = after(LAG, 0.03)
    assert not shift.any()
    assert np.allclose(error, ERROR)


def test_it_finds_a_shift_and_says_how_well() -> None:
    shift, error = after(60, 0.02)
    # Some 36 LS in memory know a rate to 0.7 %, the prior to 2 %: the estimate is 0.9 of the shift.
    assert shift.mean() == pytest.approx(0.018, abs=0.001)
    assert np.std(shift) == pytest.approx(error[0], rel=0.3)
    assert 0.004 < error[0] < 0.008


def test_a_shift_stays_within_its_reach() -> None:
    assert np.abs(after(80, -0.10)[0]).max() <= REACH * 0.02 + 1e-12


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.6])
def test_a_fault_is_not_learned(factor: float) -> None:
    assert np.abs(after(60, 0.0, factor)[0]).max() < 0.01


def test_something_always_remains_unknown() -> None:
    assert after(400, 0.0)[1].min() >= LEAST_ERROR
