"""Conditions: seeds, the shape of a fill, and what interrupts it."""

import numpy as np
import pytest

from hcal_root_ad.errors import UsageError
from hcal_root_ad.simulate.scenario import simulate_conditions


def test_the_seed_fixes_the_conditions() -> None:
    first, again, other = simulate_conditions(50, 1), simulate_conditions(50, 1), simulate_conditions(50, 2)
    np.testing.assert_array_equal(first.events, again.events)
    np.testing.assert_array_equal(first.pileup, again.pileup)
    assert (first.events != other.events).all()


def test_a_fill_is_levelled_and_then_decays_ever_slower() -> None:
    conditions = simulate_conditions(2000, 3, start=0.0)
    pileup = conditions.pileup[~conditions.gap]
    assert 40 < pileup[:200].mean() < 63
    assert np.ptp(pileup[:200]) / pileup[0] < 0.015
    late = np.log(pileup[1400] / pileup[1500]), np.log(pileup[1800] / pileup[1900])
    assert 100 / late[0] == pytest.approx(2000, rel=0.5)  # lifetime in LS
    assert late[0] > late[1] > 0


def test_in_a_short_run_the_pileup_changes_by_percents() -> None:
    for seed in range(20):
        conditions = simulate_conditions(100, seed)
        there = conditions.pileup[~conditions.gap]
        assert there.max() / there.min() < 1.12


def test_runs_begin_at_low_and_at_high_pileup() -> None:
    starts = np.array([simulate_conditions(1, seed).pileup[0] for seed in range(100)])
    assert starts.min() < 25
    assert starts.max() > 55


def test_gaps_have_no_collisions_and_few_events_and_short_ones_fewer() -> None:
    conditions = simulate_conditions(4000, 8)
    assert (conditions.pileup[conditions.gap] == 0).all()
    assert (conditions.pileup[~conditions.gap] > 0).all()
    usual = ~conditions.gap & ~conditions.short
    assert conditions.events[conditions.gap].max() < 200
    assert conditions.events[conditions.short].mean() < 0.5 * conditions.events[usual].mean()
    assert 0.01 < conditions.gap.mean() + conditions.short.mean() < 0.12
    assert conditions.events[usual].min() > 500
    assert conditions.events[usual].max() < 3000


def test_prescale_steps_move_the_events_and_stay_in_the_bandwidth() -> None:
    conditions = simulate_conditions(3000, 5)
    columns = np.unique(conditions.prescale_column)
    usual = ~conditions.gap & ~conditions.short
    means = [conditions.events[usual & (conditions.prescale_column == column)].mean() for column in columns[:-1]]
    ratios = np.array(means[1:]) / np.array(means[:-1])
    assert len(columns) > 5
    assert (np.abs(ratios - 1) > 0.2).all()
    assert (np.diff(conditions.prescale_column) >= 0).all()


@pytest.mark.parametrize(("n", "start"), [(0, None), (-3, None), (5, 1.5)])
def test_impossible_runs_are_refused(n: int, start: float | None) -> None:
    with pytest.raises(UsageError, match="run"):
        simulate_conditions(n, 1, start=start)
