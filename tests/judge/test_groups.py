"""A dead readout box is one line: which flags join, and which do not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad.detector import ChannelTable, channel_table
from hcal_root_ad.evidence import log_likelihood_ratios
from hcal_root_ad.judge.channels import channel_names, readout_levels
from hcal_root_ad.judge.flags import Evidence, Span
from hcal_root_ad.judge.groups import Level, Unit, by_weight, grouped, single_groups
from hcal_root_ad.judge.verdict import Group, Interval, Kind
from hcal_root_ad.stats.binomial import log_rate

P, EVENTS, ROWS = 0.3, 1000, 8
HB, HE = channel_table().select("HB"), channel_table().select("HE")
LUMISECTIONS = np.arange(1, ROWS + 1, dtype=np.int32)
TWELVE = (
    Level(np.zeros(12, dtype=np.intp), ("all",)),
    Level(np.repeat(np.arange(3), 4), ("a", "b", "c")),
)
"""Twelve cells in three units of four: 0–3, 4–7, 8–11."""


def evidence_of(observed: np.ndarray, p: np.ndarray | float = P) -> Evidence:
    """Evidence of counts (LS, cells) in lumisections of 1000 events; p may differ by cell."""
    every = np.broadcast_to(np.asarray(p, dtype=float), observed.shape[1:])

    def ratios(cells: np.ndarray) -> np.ndarray:
        counts = observed[:, cells].T
        eta = np.broadcast_to(log_rate(every[cells])[:, None], counts.shape)
        return log_likelihood_ratios(counts, np.array(float(EVENTS)), eta, np.zeros(counts.shape))

    expected = np.broadcast_to(EVENTS * every, observed.shape)
    return Evidence(ratios, observed, expected, np.full(len(observed), float(EVENTS)), np.arange(len(observed)))


def healthy(cells: int) -> np.ndarray:
    return np.full((ROWS, cells), 300)


def flag(counts: np.ndarray, cells: np.ndarray | list[int], first: int, last: int, value: int = 0) -> list[Span]:
    """Set counts, and give the spans that say so."""
    counts[first : last + 1, cells] = value
    return [Span(int(cell), first, last, loss=value < 300) for cell in cells]


def judged(
    spans: list[Span], counts: np.ndarray, levels: tuple[Level, ...] = TWELVE, live: np.ndarray | None = None
) -> tuple[tuple[Interval, ...], list[Group]]:
    live = np.ones(counts.shape[1], dtype=bool) if live is None else live
    intervals, groups = grouped(spans, evidence_of(counts), levels, live, LUMISECTIONS)
    return intervals, [group for _, group in groups]


def lines(groups: list[Group]) -> list[tuple[str, int, int, int]]:
    return [(group.unit, group.first, group.last, group.channels) for group in groups]


def in_box(channels: ChannelTable, rbx: int, plus: bool) -> np.ndarray:
    return (channels.rbx == rbx) & ((channels.ieta > 0) == plus)


@pytest.mark.parametrize(
    ("channels", "where", "unit", "size"),
    [
        (HE, in_box(HE, 7, plus=True), "HEP07", 188),
        (HB, in_box(HB, 18, plus=False), "HBM18", 252),
        (HB, in_box(HB, 3, plus=True) & (HB.rm == 1), "HBP03-RM1", 63),
        (HE, in_box(HE, 1, plus=False) & (HE.rm == 4), "HEM01-RM4", 48),
        (HB, in_box(HB, 3, plus=True) & (HB.rm == 1) & (HB.card == 2), "HBP03-RM1-card2", 16),
        (HE, HE.ieta < 0, "HEM", 3384),
        (HB, HB.ieta > 0, "HBP", 4536),
        (HB, HB.ieta != 0, "HB", 9072),
    ],
)
def test_a_whole_unit_is_one_line(channels: ChannelTable, where: np.ndarray, unit: str, size: int) -> None:
    counts = healthy(len(channels))
    cells = np.flatnonzero(where)
    intervals, groups = judged(flag(counts, cells, 2, 5), counts, readout_levels(channels))
    assert lines(groups) == [(unit, 3, 6, size)]
    assert {interval.group for interval in intervals} == {unit}
    assert sorted(interval.channel for interval in intervals) == cells.tolist()
    assert (groups[0].kind, groups[0].observed, groups[0].expected) == (Kind.DEAD, 0, size * 4 * 300.0)
    assert groups[0].score == pytest.approx(sum(interval.score for interval in intervals))


def test_an_outer_module_of_he_is_a_comb_over_two_iphi() -> None:
    # One iphi up to |ieta| 20, then every second |ieta| of another: RM 2 and 3 odd ones, RM 1 and 4 even ones.
    module = np.flatnonzero(in_box(HE, 7, plus=True) & (HE.rm == 2))
    outer = module[(np.abs(HE.ieta[module]) >= 21) & (HE.ieta[module] != 29)]
    assert set(HE.ieta[outer].tolist()) == {21, 23, 25, 27}
    counts = healthy(len(HE))
    _, groups = judged(flag(counts, module, 0, 7), counts, readout_levels(HE))
    assert lines(groups) == [("HEP07-RM2", 1, 8, len(module))]


def test_two_modules_of_a_box_are_two_lines() -> None:
    counts = healthy(len(HB))
    spans = [
        span
        for module in (1, 2)
        for span in flag(counts, np.flatnonzero(in_box(HB, 3, plus=True) & (HB.rm == module)), 0, 3)
    ]
    _, groups = judged(spans, counts, readout_levels(HB))
    assert lines(groups) == [("HBP03-RM1", 1, 4, 63), ("HBP03-RM2", 1, 4, 63)]


def test_modules_of_unknown_number_make_no_line_of_their_own() -> None:
    old = channel_table("2017").select("HE")
    box = np.flatnonzero(in_box(old, 3, plus=False))
    assert not old.rm[box].any()
    counts = healthy(len(old))
    _, groups = judged(flag(counts, box, 0, 3), counts, readout_levels(old))
    assert lines(groups) == [("HEM03", 1, 4, len(box))]
    _, groups = judged(flag(counts, box[: len(box) // 2], 0, 3), counts, readout_levels(old))
    assert lines(groups) == []


def test_a_larger_unit_explains_its_parts() -> None:
    counts = healthy(12)
    _, groups = judged(flag(counts, list(range(12)), 1, 4), counts)
    assert lines(groups) == [("all", 2, 5, 12)]


def test_a_part_is_reported_again_where_the_larger_unit_is_not_at_fault() -> None:
    counts = healthy(12)
    spans = flag(counts, list(range(4, 12)), 2, 3) + flag(counts, [0, 1, 2, 3], 2, 3)
    spans += flag(counts, [0, 1, 2, 3], 6, 7)
    _, groups = judged(spans, counts)
    assert lines(groups) == [("all", 3, 4, 12), ("a", 7, 8, 4)]


def test_six_tenths_of_the_live_cells_make_a_unit() -> None:
    five = (Level(np.zeros(5, dtype=np.intp), ("five",)),)
    for flagged, expected in ((2, []), (3, [("five", 1, 8, 3)])):
        counts = healthy(5)
        _, groups = judged(flag(counts, list(range(flagged)), 0, 7), counts, five)
        assert lines(groups) == expected


def test_cells_that_are_not_live_neither_count_nor_join() -> None:
    counts = healthy(12)
    live = np.ones(12, dtype=bool)
    counts[:, 0], live[0] = 0, False
    four = (Level(np.repeat([0, 1, 1], 4), ("a", "rest"), smallest=3),)
    intervals, groups = judged(flag(counts, [1, 2], 0, 7), counts, four, live)
    assert lines(groups) == [("a", 1, 8, 2)]
    assert {interval.channel for interval in intervals} == {1, 2}


def test_fewer_than_four_live_cells_are_no_unit() -> None:
    counts = healthy(12)
    live = np.arange(12) != 0
    intervals, groups = judged(flag(counts, [1, 2, 3], 0, 7), counts, live=live)
    assert groups == []
    assert [interval.group for interval in intervals] == ["", "", ""]


def test_a_weak_cell_of_a_dead_unit_needs_less_evidence_of_its_own() -> None:
    counts = healthy(12)
    spans = flag(counts, [0, 1, 2, 3], 1, 4)[:3]
    intervals, groups = judged(spans, counts)
    assert lines(groups) == [("a", 2, 5, 4)]
    assert [(i.channel, i.first, i.last, i.observed) for i in intervals] == [(c, 2, 5, 0) for c in range(4)]


def test_a_healthy_cell_of_a_dead_unit_is_not_called_dead() -> None:
    counts = healthy(12)
    intervals, groups = judged(flag(counts, [0, 1, 2], 1, 4), counts)
    assert lines(groups) == [("a", 2, 5, 3)]
    assert {interval.channel for interval in intervals} == {0, 1, 2}


def test_a_cell_found_late_begins_with_its_unit() -> None:
    counts = healthy(12)
    spans = flag(counts, [0, 1, 2, 3], 1, 6)
    spans[3] = Span(3, 4, 6, loss=True)
    intervals, groups = judged(spans, counts)
    assert lines(groups) == [("a", 2, 7, 4)]
    assert {(interval.first, interval.last) for interval in intervals} == {(2, 7)}


def test_a_cell_that_died_before_its_unit_keeps_its_own_beginning() -> None:
    counts = healthy(12)
    spans = flag(counts, [0], 2, 7) + flag(counts, [1, 2, 3], 4, 7)
    intervals, groups = judged(spans, counts)
    assert lines(groups) == [("a", 5, 8, 4)]
    assert [(i.channel, i.first, i.group) for i in intervals] == [(0, 3, "a"), (1, 5, "a"), (2, 5, "a"), (3, 5, "a")]


def test_a_fault_of_a_cell_at_another_time_is_a_line_of_its_own() -> None:
    counts = healthy(12)
    spans = flag(counts, [0], 0, 1) + flag(counts, [0, 1, 2, 3], 5, 7)
    intervals, groups = judged(spans, counts)
    assert lines(groups) == [("a", 6, 8, 4)]
    alone = [interval for interval in intervals if not interval.group]
    assert [(i.channel, i.first, i.last) for i in alone] == [(0, 1, 2)]
    assert [(g.unit, g.first, g.last) for g in single_groups(intervals, [f"cell {n}" for n in range(12)])] == [
        ("cell 0", 1, 2)
    ]


def test_a_weak_cell_joins_its_unit_without_what_it_did_before() -> None:
    counts = healthy(12)
    spans = flag(counts, [0], 0, 1) + flag(counts, [0, 1, 2, 3], 5, 7)[1:]
    intervals, _ = judged(spans, counts)
    assert [(i.first, i.last, i.group) for i in intervals if i.channel == 0] == [(1, 2, ""), (6, 8, "a")]


def test_a_unit_dead_all_along_stays_one_line_when_a_larger_one_fails_for_a_while() -> None:
    counts = healthy(12)
    spans = flag(counts, [0, 1, 2, 3], 0, 7) + flag(counts, list(range(4, 12)), 3, 4)
    intervals, groups = judged(spans, counts)
    assert lines(groups) == [("all", 4, 5, 8), ("a", 1, 8, 4)]
    assert {interval.group for interval in intervals} == {"all", "a"}


def test_a_cell_dead_all_along_is_not_swallowed_by_a_short_fault_of_its_unit() -> None:
    counts = healthy(12)
    spans = flag(counts, [0], 0, 7) + flag(counts, [1, 2, 3], 5, 6)
    intervals, _ = judged(spans, counts)
    assert intervals[0].group == ""
    assert (intervals[0].channel, intervals[0].first, intervals[0].last) == (0, 1, 8)


def test_losses_and_gains_do_not_join() -> None:
    counts = healthy(12)
    spans = flag(counts, [0, 1], 0, 7) + flag(counts, [2, 3], 0, 7, value=600)
    _, groups = judged(spans, counts)
    assert groups == []


def test_a_hot_unit_is_one_line_beside_a_dead_one() -> None:
    counts = healthy(12)
    spans = flag(counts, [0, 1, 2, 3], 0, 7) + flag(counts, [4, 5, 6, 7], 0, 7, value=600)
    _, groups = judged(spans, counts)
    assert [(group.unit, group.kind) for group in groups] == [("a", Kind.DEAD), ("b", Kind.HOT)]


def test_the_kind_of_a_group_is_that_of_most_members() -> None:
    counts = healthy(12)
    spans = flag(counts, [0, 1, 2], 0, 7, value=150) + flag(counts, [3], 0, 7)
    _, groups = judged(spans, counts)
    assert [(group.unit, group.kind, group.channels) for group in groups] == [("a", Kind.DEGRADED, 4)]


def test_a_channel_is_named_by_ieta_iphi_and_depth() -> None:
    row = np.flatnonzero((HE.ieta == 20) & (HE.iphi == 5) & (HE.depth == 3))
    other = np.flatnonzero((HB.ieta == -1) & (HB.iphi == 72) & (HB.depth == 1))
    assert list(channel_names(HE.take(row))) == ["HE +20/5/3"]
    assert list(channel_names(HB.take(other))) == ["HB -1/72/1"]


def test_people_see_the_most_channels_first_then_the_strongest() -> None:
    def line(unit: str, channels: int, score: float) -> Group:
        return Group(unit, Kind.DEAD, 1, 2, channels, 0, 1.0, score)

    shown = by_weight([line("weak", 1, 5.0), line("strong", 1, 50.0), line("box", 188, 9.0)])
    assert [group.unit for group in shown] == ["box", "strong", "weak"]


cell_faults = st.dictionaries(
    st.integers(0, 11),
    st.tuples(st.integers(0, ROWS - 1), st.integers(0, ROWS - 1), st.sampled_from([0, 150, 600])),
    max_size=12,
)


@given(cell_faults)
def test_grouping_loses_no_flag_and_tells_each_once(faults: dict[int, tuple[int, int, int]]) -> None:
    counts = healthy(12)
    spans = [
        span
        for cell, (one, other, value) in faults.items()
        for span in flag(counts, [cell], min(one, other), max(one, other), value)
    ]
    intervals, groups = judged(spans, counts)
    covered = {(i.channel, ls) for i in intervals for ls in range(i.first, i.last + 1)}
    assert {(span.cell, row + 1) for span in spans for row in range(span.first, span.last + 1)} <= covered
    # No two intervals of a cell overlap, unless one is a loss and the other a gain.
    told = [(i.channel, i.kind in (Kind.DEAD, Kind.DEGRADED), ls) for i in intervals
            for ls in range(i.first, i.last + 1)]  # fmt: skip
    assert len(told) == len(set(told))
    # Each interval is in one line: its group's or its own.
    singles = single_groups(intervals, [f"cell {n}" for n in range(12)])
    assert len(singles) == sum(not i.group for i in intervals)
    assert {i.group for i in intervals if i.group} <= {group.unit for group in groups}
    assert sum(g.observed for g in [*groups, *singles]) == sum(i.observed for i in intervals)


def together(counts: np.ndarray, loss: bool) -> list[tuple[str, int, int, int]]:
    """Lines where the sum of unit b shows a fault in LS 3 to 6, and of its cells the first does."""
    unit = Unit(1, 1, 2, 5, loss)
    spans = [Span(4, 2, 5, loss)]
    every = np.ones(12, dtype=bool)
    return lines([g for _, g in grouped(spans, evidence_of(counts), TWELVE, every, LUMISECTIONS, [unit])[1]])


@pytest.mark.parametrize(("value", "loss"), [(240, True), (375, False)])
def test_a_unit_that_shows_it_only_together_is_a_line(value: int, loss: bool) -> None:
    counts = healthy(12)
    counts[2:6, 4:8] = value
    assert together(counts, loss) == [("b", 3, 6, 4)]
    assert together(counts, not loss) == []


def test_a_unit_of_which_too_few_cells_agree_is_none() -> None:
    counts = healthy(12)
    counts[2:6, 4] = 0
    assert together(counts, loss=True) == []


def test_a_cell_with_a_part_of_the_fault_gets_the_rest_if_the_rest_agrees() -> None:
    """Unit a is dead in LS 1 to 8; of its fourth cell only LS 1 to 4 were flagged."""
    for rest, last in ((0, 8), (140, 8), (165, 4), (300, 4)):
        counts = healthy(12)
        spans = flag(counts, [0, 1, 2], 0, 7)
        counts[:4, 3], counts[4:, 3] = 0, rest
        intervals, _ = judged([*spans, Span(3, 0, 3, loss=True)], counts)
        assert [(one.first, one.last) for one in intervals if one.channel == 3] == [(1, last)]


def test_half_of_an_interval_has_to_be_the_units() -> None:
    """Cell 3 is flagged in LS 1 to 8, its unit in LS 6 to 8 (three of eight) or 5 to 8 (four)."""
    for first, group in ((5, ""), (4, "a")):
        counts = healthy(12)
        spans = flag(counts, [0, 1, 2], first, 7) + flag(counts, [3], 0, 7)
        intervals, _ = judged(spans, counts)
        assert [one.group for one in intervals if one.channel == 3] == [group]


def test_six_cells_of_ten_are_enough() -> None:
    counts = healthy(10)
    counts[2:6, :6] = 240
    one = (Level(np.zeros(10, dtype=np.intp), ("ten",)),)
    every = np.ones(10, dtype=bool)
    unit, spans = Unit(0, 0, 2, 5, loss=True), [Span(0, 2, 5, loss=True)]
    _, groups = grouped(spans, evidence_of(counts), one, every, LUMISECTIONS, [unit])
    assert lines([group for _, group in groups]) == [("ten", 3, 6, 6)]
    counts[2:6, 5] = 300
    assert grouped(spans, evidence_of(counts), one, every, LUMISECTIONS, [unit])[1] == ()
