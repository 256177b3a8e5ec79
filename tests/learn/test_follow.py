"""Following a channel's own drift: it finds the shift, in time, within bounds, and never learns a fault away."""

import numpy as np
import pytest

from hcal_root_ad.learn.follow import LAG, LEAST_ERROR, REACH, Follower, errors_again
from hcal_root_ad.stats.binomial import probability

ERROR = np.full(200, 0.02)
LEVEL = np.full(200, -0.7)


def after(lumisections: int, shift: float, factor: float = 1.0, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Shift and error after some LS of channels that are off by ``shift`` and at fault by ``factor``."""
    draw, follower = np.random.default_rng(seed), Follower(len(LEVEL))
    counts = draw.binomial(1500, factor * probability(LEVEL + shift), (lumisections + 1, len(LEVEL)))
    found = follower.follow(*inputs(counts))
    return found[0][-1], found[1][-1]


def inputs(counts: np.ndarray) -> tuple[np.ndarray, ...]:
    """Counts, events, log rate and prior error, as a follower takes them."""
    events = np.full((len(counts), 1), 1500.0, dtype=np.float32)
    level, error = (np.broadcast_to(row, counts.shape).astype(np.float32) for row in (LEVEL, ERROR))
    return counts.astype(np.float32), events, level, error


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


@pytest.mark.parametrize("pieces", [[1] * 20, [7, 13], [3, 6, 11]])
def test_nothing_depends_on_how_the_lumisections_come(pieces: list[int]) -> None:
    counts = np.random.default_rng(4).binomial(1500, 1.02 * probability(LEVEL), (20, len(LEVEL)))
    whole = Follower(len(LEVEL)).follow(*inputs(counts))
    follower, edges = Follower(len(LEVEL)), np.cumsum(pieces)[:-1]
    parts = [follower.follow(*inputs(part)) for part in np.split(counts, edges)]
    for number in (0, 1):
        assert np.array_equal(np.concatenate([part[number] for part in parts]), whole[number])


def test_errors_come_again_from_what_was_said() -> None:
    # Some counts are a fault's: they must have no say the second time either.
    counts = np.random.default_rng(5).binomial(1500, probability(LEVEL), (90, len(LEVEL)))
    counts[20:40, 7] = 0
    counts, events, level, error = inputs(counts)
    shift, left = Follower(len(LEVEL)).follow(counts, events, level, error)
    few = np.array([0, 7, 19])
    again = errors_again(counts[:, few], events, (level + shift)[:, few], error[:, few])
    assert again == pytest.approx(left[:, few], rel=1e-5)
