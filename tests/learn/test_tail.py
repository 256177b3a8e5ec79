"""Thresholds for a wished rate of false alarms, and what is asked for beyond them where few digis come."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad.errors import UsageError
from hcal_root_ad.learn.tail import FARTHEST, LOWEST, UNIT_SHARE, Slant, Tail, Tails, Thresholds

TAIL = Tail(onset=8.0, rate=0.5, slope=0.5)


def test_threshold_by_hand() -> None:
    # 0.5 peaks per LS above 8 are 50 per 100 LS; one per 100 LS is ln 50 / 0.5 higher.
    assert TAIL.threshold(1.0) == pytest.approx(8 + np.log(50) / 0.5)
    assert TAIL.threshold(0.1) - TAIL.threshold(1.0) == pytest.approx(np.log(10) / 0.5)


def test_a_tail_tells_how_many_peaks_are_above_a_height() -> None:
    assert TAIL.above(8.0) == 0.5
    assert TAIL.above(8.0 + np.log(3) / 0.5) == pytest.approx(0.5 / 3)
    assert TAIL.above(TAIL.threshold(5.0)) == pytest.approx(0.05)


def test_twice_the_digis_lower_what_is_asked_by_ln_2_times_the_fall() -> None:
    slant = Slant(typical=np.log(300.0), fall=2.0)
    assert slant.extra(np.log([150.0, 300.0, 600.0])) == pytest.approx([2 * np.log(2), 0, -2 * np.log(2)])


def test_far_exposures_count_as_the_farthest() -> None:
    assert Slant(5.0, 1.0).extra(np.array([-20.0, 20.0])).tolist() == [FARTHEST, -FARTHEST]


@given(st.floats(LOWEST, 30), st.floats(-10, 10), st.floats(-20, 20))
def test_nothing_is_flagged_below_the_lowest_evidence(channel: float, fall: float, exposure: float) -> None:
    thresholds = Thresholds(channel, 5.0, Slant(0.0, fall))
    assert channel + thresholds.extra(np.array([exposure]))[0] >= LOWEST - 1e-9


def test_units_get_their_share_of_the_false_alarms() -> None:
    found = Tails(TAIL, TAIL, Slant(4.0, 1.0)).thresholds(1.0)
    assert found.channel == pytest.approx(TAIL.threshold(1 - UNIT_SHARE))
    assert found.unit == pytest.approx(TAIL.threshold(UNIT_SHARE))
    assert found.slant == Slant(4.0, 1.0)


def test_more_false_alarms_than_the_tail_knows_are_refused() -> None:
    # 50 exp(0.5 (8 − 3)) = 609 per 100 LS, of which units get a tenth.
    with pytest.raises(UsageError, match="at most 677 can"):
        Tails(TAIL, TAIL).thresholds(700)
