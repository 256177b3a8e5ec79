"""A loss that comes and goes keeps its sound lumisections; a ramp, a steady loss and a weak one stay whole."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad.judge.findings import Fault, flickering
from hcal_root_ad.judge.verdict import Level

SIZE = 40


def fault(first: int = 0, last: int = SIZE - 1, sign: int = -1) -> Fault:
    inside = np.zeros(SIZE, dtype=bool)
    inside[first : last + 1] = True
    return Fault(Level.RM, "HEM16-RM3", sign, np.array([0, 1]), inside, 50.0)


def left(ratio: np.ndarray, expected: float = 1000.0, **given: int) -> list[int]:
    """Rows that remain of a fault whose two channels have the ratio to what is expected."""
    wanted = np.full((SIZE, 2), expected)
    observed = np.rint(wanted * ratio[:, None]).astype(int)
    return np.flatnonzero(flickering(fault(**given), observed, wanted).inside).tolist()


def test_sound_lumisections_between_dead_ones_are_left_out() -> None:
    ratio = np.where(np.arange(SIZE) % 4 < 2, 0.0, 1.0)
    assert left(ratio) == [row for row in range(SIZE) if row % 4 < 2]
    ratio[5:9] = 1.0  # and a longer pause, in the middle of a stretch from 4 to 33
    assert left(ratio, first=4, last=33) == [4, *(row for row in range(9, 34) if row % 4 < 2)]


def test_a_steady_loss_a_ramp_and_a_weak_one_stay_whole() -> None:
    steady = np.full(SIZE, 0.7)
    ramp = np.linspace(1.0, 0.4, SIZE) + np.where(np.arange(SIZE) % 2, 0.06, -0.06)
    flicker = np.where(np.arange(SIZE) % 4 < 2, 0.9, 1.0)
    for ratio, expected in ((steady, 1000.0), (ramp, 1000.0), (flicker, 100.0)):
        assert left(ratio, expected) == list(range(SIZE))


def test_a_pause_between_clear_losses_is_left_out() -> None:
    ratio = np.zeros(SIZE)
    ratio[10] = ratio[30:32] = 1.0
    assert left(ratio) == [row for row in range(SIZE) if row not in (10, 30, 31)]
    ratio[10] = 0.6  # in between: part of the fault
    assert left(ratio) == [row for row in range(SIZE) if row not in (30, 31)]


@given(st.lists(st.floats(0, 3), min_size=SIZE, max_size=SIZE), st.sampled_from([-1, 1]))
def test_nothing_is_added_and_an_excess_is_left_alone(ratio: list[float], sign: int) -> None:
    rows = left(np.array(ratio), first=3, last=30, sign=sign)
    assert set(rows) <= set(range(3, 31))
    assert rows
    if sign > 0:
        assert rows == list(range(3, 31))
