"""The judgement of single channels: what adds up, what does not, and which state follows.

By hand: 21 of 100 events at p = 0.3 speak for a loss by 21·ln 0.65 + 79·ln(0.805/0.7) = 1.995 per LS, so
that it takes six lumisections to pass a threshold of 10; 30 of 100 speak against it by 3.14.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hcal_root_ad.learn.bundle import Bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from hcal_root_ad.detector import channel_table
from hcal_root_ad.judge.channels import MODULE_LEVEL, judge_channels, readout_levels, states_of
from hcal_root_ad.judge.verdict import Interval, Kind, State, Verdict
from hcal_root_ad.learn.reconstruct import Reconstruction
from hcal_root_ad.learn.series import Series, series_of
from hcal_root_ad.learn.tail import UNIT_SHARE
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.pooling import module_of

P = 0.3
WEAK, FINE = 21, 30
PER_LS = 21 * np.log(0.65) + 79 * np.log(0.805 / 0.7)
ONE = 1 / (1 - UNIT_SHARE)
"""False alarms per 100 LS that leave single channels one."""
THREE = channel_table().select("HE").take(np.array([100, 3000, 6000]))
"""Three channels of different boxes: too few for a unit, so that each stands for itself."""

Judging = Callable[..., Verdict]


@pytest.fixture(scope="module")
def judge(make_bundle: Callable[..., Bundle], make_maps: Callable[..., LumiMaps]) -> Judging:
    """Judge counts of channel 0, one per LS; channels 1 and 2 are healthy unless ``counts`` is (LS, 3)."""
    bundle = make_bundle("HE")
    few = replace(bundle.reference, **{
        name: getattr(bundle.reference, name)[:3] for name in ("level", "level_error", "power", "power_error", "live")
    })  # fmt: skip
    bundle = replace(bundle, channels=THREE, reference=few, model_error=np.zeros(3))

    def judged(
        counts: Sequence[int] | np.ndarray,
        *,
        events: int | list[int] = 100,
        lumisections: list[int] | None = None,
        false_alarms: float = ONE,
        error: float = 0.0,
        skipped: Sequence[int] = (),
        live: tuple[bool, bool, bool] = (True, True, True),
        activity: float = 0.0,
    ) -> Verdict:
        maps = make_maps(lumisections or len(counts), events, channels=THREE)
        values = np.asarray(counts)
        maps.counts[:, : 1 if values.ndim == 1 else 3] = values.reshape(len(values), -1)
        series: Series = series_of(maps, "HE")
        eta = np.full(series.counts.shape, bundle.reference.level)
        found = Reconstruction(np.full(len(series), activity), eta, eta)
        known = replace(bundle, reference=replace(bundle.reference, live=np.array(live)), model_error=np.full(3, error))
        where = np.isin(series.lumisections, skipped)
        return judge_channels(maps, series, found, known, false_alarms, where, ("a note",))

    return judged


def times(verdict: Verdict) -> list[tuple[int, int, int]]:
    return [(interval.channel, interval.first, interval.last) for interval in verdict.intervals]


def test_a_dead_channel_by_hand(judge: Judging) -> None:
    verdict = judge([300, 300, 0, 0, 300], events=1000)
    # Per LS 1000·ln(0.994/0.7) in favour of ×0.02.
    score = 2 * 1000 * np.log(0.994 / 0.7) / np.log(10)
    assert len(verdict.intervals) == 1
    assert verdict.intervals[0] == Interval(0, Kind.DEAD, 3, 4, 0, pytest.approx(600.0), pytest.approx(score, rel=1e-5))
    assert [(g.unit, g.channels, g.observed) for g in verdict.groups] == [(_name(0), 1, 0)]
    assert verdict.states[:, 0].tolist() == [3, 3, 5, 5, 3]
    assert (verdict.states[:, 1:] == State.GOOD).all()


def _name(row: int) -> str:
    return f"HE {THREE.ieta[row]:+d}/{THREE.iphi[row]}/{THREE.depth[row]}"


@pytest.mark.parametrize(
    ("count", "kind", "state"),
    [
        (0, Kind.DEAD, State.BAD),
        (30, Kind.DEAD, State.BAD),
        (31, Kind.DEGRADED, State.PROBLEMATIC),
        (200, Kind.DEGRADED, State.PROBLEMATIC),
        # λ is 0.3567: ×1.5 of it is 414.3 digis.
        (414, Kind.WARM, State.PROBLEMATIC),
        (415, Kind.HOT, State.BAD),
        (1000, Kind.HOT, State.BAD),
    ],
)
def test_kinds_and_their_states(judge: Judging, count: int, kind: Kind, state: State) -> None:
    verdict = judge([count] * 3, events=1000)
    assert [interval.kind for interval in verdict.intervals] == [kind]
    assert (verdict.states[:, 0] == state).all()


def test_a_flickering_gain_is_noisy(judge: Judging) -> None:
    verdict = judge([350, 900, 400, 950, 360], events=1000)
    assert [(interval.kind, interval.first, interval.last) for interval in verdict.intervals] == [(Kind.NOISY, 1, 5)]
    assert (verdict.states[:, 0] == State.BAD).all()


def test_a_channel_has_the_worse_of_two_states() -> None:
    # LS 3 to 5 warm, 4 to 8 dead; row 2 (LS 6) was not assessed, and LS 5 and 7 are not in the run.
    intervals = (Interval(0, Kind.DEAD, 4, 8, 0, 1.0, 9.0), Interval(0, Kind.WARM, 3, 5, 9, 1.0, 9.0))
    assessed, lumisections = np.array([True, True, False, True, True]), np.array([3, 4, 6, 8, 9], dtype=np.int32)
    states = states_of(intervals, assessed, np.array([True, False]), lumisections)
    assert states.T.tolist() == [[4, 5, 2, 5, 3], [1, 1, 1, 1, 1]]


def test_what_was_asked_and_what_judged_is_kept(judge: Judging, make_bundle: Callable[..., Bundle]) -> None:
    verdict = judge([FINE] * 3, false_alarms=0.1 * ONE)
    assert verdict.judge.bundle == make_bundle("HE").name
    assert verdict.judge.digest == "ab12"
    assert verdict.judge.false_alarms == 0.1 * ONE
    # Ten times rarer is ln 10 higher at slope 1, and log10 is what people read.
    assert verdict.judge.threshold == pytest.approx((10 + np.log(10)) / np.log(10))
    assert (verdict.subdetector, verdict.granularity, verdict.notes) == ("HE", "lumisection", ("a note",))
    assert verdict.expected == pytest.approx(30.0)


def test_weak_evidence_adds_up_and_the_flag_reaches_back(judge: Judging) -> None:
    assert times(judge([WEAK] * 5)) == []
    verdict = judge([FINE] * 3 + [WEAK] * 6)
    assert times(verdict) == [(0, 4, 9)]
    assert verdict.intervals[0].kind is Kind.DEGRADED


def test_the_score_is_the_sum_up_to_each_lumisection(judge: Judging) -> None:
    verdict = judge([FINE, WEAK, WEAK, WEAK, FINE])
    sums = np.array([0, 1, 2, 3]) * PER_LS
    assert verdict.score[:4, 0] == pytest.approx(-sums / np.log(10), rel=1e-4)
    # ×0.8 has 21·ln 0.8 + 79·ln(0.76/0.7) = 1.81 per LS, and loses 0.94 in a healthy one: now it leads.
    eight = 3 * (21 * np.log(0.8) + 79 * np.log(0.76 / 0.7)) + 30 * np.log(0.8) + 70 * np.log(0.76 / 0.7)
    assert verdict.score[4, 0] == pytest.approx(-eight / np.log(10), rel=1e-4)


def test_the_score_of_an_excess_is_positive(judge: Judging) -> None:
    verdict = judge(np.array([[60, 0, 30]] * 2))
    assert (verdict.score[:, 0] > 0).all()
    assert (verdict.score[:, 1] < 0).all()
    assert (verdict.score[:, 2] == 0).all()


def test_evidence_carries_in_order(judge: Judging) -> None:
    # The same twelve counts: six weak ones in a row are a fault, scattered among healthy ones they are not.
    assert times(judge([WEAK] * 6 + [FINE] * 6)) == [(0, 1, 6)]
    assert times(judge([WEAK, FINE] * 6)) == []


def test_evidence_carries_over_a_gap_and_the_gap_is_not_assessed(judge: Judging) -> None:
    events = [100] * 3 + [0, 99] + [100] * 3
    verdict = judge([WEAK] * 3 + [0, 0] + [WEAK] * 3, events=events, lumisections=[1, 2, 3, 5, 6, 20, 21, 22])
    assert times(verdict) == [(0, 1, 22)]
    # Digis of lumisections that were not assessed are not the flag's.
    assert (verdict.intervals[0].observed, verdict.intervals[0].expected) == (6 * WEAK, pytest.approx(180.0))
    assert verdict.assessed.tolist() == [True] * 3 + [False] * 2 + [True] * 3
    assert verdict.states[:, 0].tolist() == [4, 4, 4, 2, 2, 4, 4, 4]
    assert not verdict.expected[3:5].any()
    assert not verdict.score[3:5].any()


def test_a_long_fault_is_forgotten_soon_after_its_end(judge: Judging) -> None:
    # 20 dead LS would be worth 3500; capped at 2.5 thresholds, three healthy LS (−9.4 each for ×0.8) undo them.
    # The score looks back five LS.
    verdict = judge([0] * 20 + [300] * 5 + [0] * 3, events=1000)
    assert times(verdict) == [(0, 1, 20), (0, 26, 28)]
    assert verdict.score[23, 0] < 0
    assert verdict.score[24, 0] == 0


def test_skipped_lumisections_are_not_assessed_and_gather_nothing(judge: Judging) -> None:
    verdict = judge([FINE, 0, 0, FINE], skipped=[2, 3])
    assert times(verdict) == []
    assert verdict.states[:, 0].tolist() == [3, 2, 2, 3]
    assert verdict.assessed.tolist() == [True, False, False, True]


def test_nothing_to_assess_is_no_error(judge: Judging) -> None:
    verdict = judge([0, 0], skipped=[1, 2])
    assert (verdict.intervals, verdict.groups) == ((), ())
    assert (verdict.states == State.NOT_ASSESSED).all()


def test_a_channel_that_is_not_live_is_not_connected_whatever_it_counts(judge: Judging) -> None:
    verdict = judge(np.array([[0, 30, 100]] * 4), events=[100, 100, 0, 100], live=(False, True, False))
    assert times(verdict) == []
    assert verdict.states.tolist() == [[1, 3, 1], [1, 3, 1], [1, 2, 1], [1, 3, 1]]
    assert not verdict.score[:, [0, 2]].any()


def test_what_the_model_may_be_wrong_by_is_no_fault(judge: Judging) -> None:
    # 0.27 is 12 % below λ(0.3) = 0.357: four standard errors of 3 %, but only two of 6 %, for any time.
    assert times(judge([270] * 60, events=1000, error=0.06)) == []
    assert times(judge([265] * 60, events=1000, error=0.0)) == [(0, 1, 60)]


def test_a_model_is_less_certain_outside_of_the_activities_it_has_seen(judge: Judging) -> None:
    # Reference 0.5, here 1.5: 3 % more error, a band of 6 %.
    assert (
        judge([250] * 6, events=1000).intervals[0].score
        > judge([250] * 6, events=1000, activity=1.5).intervals[0].score
    )


@given(st.lists(st.lists(st.integers(0, 100), min_size=3, max_size=3), min_size=1, max_size=8), st.data())
@settings(max_examples=40)
def test_more_false_alarms_allowed_are_more_flags(judge: Judging, counts: list[list[int]], data: st.DataObject) -> None:
    rare, often = sorted(data.draw(st.tuples(st.floats(0.01, 50.0), st.floats(0.01, 50.0))))
    few, many = (judge(np.array(counts), false_alarms=rate) for rate in (rare, often))
    assert {i.channel for i in few.intervals} <= {i.channel for i in many.intervals}
    assert few.judge.threshold >= many.judge.threshold


@given(st.lists(st.integers(0, 100), min_size=1, max_size=8), st.floats(0, 0.1), st.floats(0, 0.1))
@settings(max_examples=40)
def test_a_less_certain_model_flags_less(judge: Judging, counts: list[int], one: float, other: float) -> None:
    low, high = sorted((one, other))
    sure, unsure = (judge(counts, error=error) for error in (low, high))
    assert bool(unsure.intervals) <= bool(sure.intervals)


@given(
    st.lists(st.integers(100, 3000), min_size=1, max_size=15), st.lists(st.integers(1, 40), min_size=15, max_size=15)
)
@settings(max_examples=40)
def test_healthy_channels_are_good_whatever_the_events_and_gaps(
    judge: Judging, events: list[int], steps: list[int]
) -> None:
    lumisections = np.cumsum(steps)[: len(events)].tolist()
    healthy = np.rint(np.array(events) * P).astype(int)
    verdict = judge(healthy, events=events, lumisections=lumisections)
    assert verdict.intervals == ()
    assert (verdict.states == State.GOOD).all()


@given(st.lists(st.sampled_from([0, 5, 15, 21, 27, 30, 33, 45, 60, 100]), min_size=1, max_size=12))
@settings(max_examples=60)
def test_states_and_intervals_say_the_same(judge: Judging, counts: list[int]) -> None:
    verdict = judge(counts)
    told = np.full(len(counts), int(State.GOOD))
    for interval in verdict.intervals:
        rows = slice(interval.first - 1, interval.last)
        told[rows] = np.maximum(told[rows], interval.kind.state)
        assert interval.observed == sum(counts[rows])
        assert interval.expected == pytest.approx(30.0 * len(counts[rows]))
        assert interval.score * np.log(10) >= 0
    assert verdict.states[:, 0].tolist() == told.tolist()
    assert len(verdict.groups) == len(verdict.intervals)


def test_a_module_that_loses_an_eighth_is_found_as_a_whole_though_no_channel_shows_it(
    make_bundle: Callable[..., Bundle], make_maps: Callable[..., LumiMaps]
) -> None:
    # 26 of 100 at p = 0.3: 26·ln 0.8 + 74·ln(0.76/0.7) = 0.28 per LS for ×0.8; a threshold of 10 takes 36 LS alone.
    bundle = make_bundle("HE")
    maps = make_maps(20, 100)
    module = module_of(bundle.channels)
    cells = np.flatnonzero(module == module[1000])
    rows = maps.channels.rows_of("HE")
    maps.counts[10:, rows[cells]] = 26
    series = series_of(maps, "HE")
    eta = np.full(series.counts.shape, bundle.reference.level)
    found = Reconstruction(np.zeros(len(series)), eta, eta)
    verdict = judge_channels(maps, series, found, bundle, ONE, np.zeros(len(series), dtype=bool), ())
    (group,) = verdict.groups
    assert (group.first, group.last, group.channels, group.kind) == (11, 20, len(cells), Kind.DEGRADED)
    assert group.unit == readout_levels(bundle.channels)[MODULE_LEVEL].names[module[1000]]
    assert {interval.channel for interval in verdict.intervals} == set(cells)
