import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hcal_root_ad.detector import Era, box_name, channel_table
from hcal_root_ad.judge.aggregate import (
    boxes_of,
    depth_maps,
    kind_counts,
    modules_of,
    on_axis,
    reconstruction_error,
    run_pull,
    sum_by_box,
    unit_states,
    variance,
    worst_state,
)
from hcal_root_ad.judge.verdict import Kind, State

BAD, PROBLEMATIC, GOOD = State.BAD, State.PROBLEMATIC, State.GOOD
NA, OFF = State.NOT_ASSESSED, State.NOT_CONNECTED


def test_rows_move_to_their_lumisection_and_the_others_are_missing():
    spread = on_axis(np.array([10, 20, 30]), np.array([2, 3, 5], dtype=np.int32), 6, missing=-1)
    assert spread.tolist() == [-1, 10, 20, -1, 30, -1]


def test_depth_maps_put_channels_on_the_dqm_axes():
    table = channel_table(Era.RUN3).select("HE")
    row = int(np.flatnonzero((table.ieta == 29) & (table.iphi == 1) & (table.depth == 3))[0])
    maps = depth_maps(table, np.eye(1, len(table), row)[0])
    assert np.argwhere(maps).tolist() == [[2, 70, 0]]


def test_maps_of_hb_and_he_never_share_a_cell():
    table = channel_table(Era.RUN3)
    maps = sum(depth_maps(table.select(name), np.ones(len(table.select(name)))) for name in ("HB", "HE"))
    assert maps.max() == 1
    assert maps.sum() == 9072 + 6768


@pytest.mark.parametrize(
    ("column", "worst"),
    [
        ([GOOD, NA, BAD], BAD),
        ([GOOD, NA, PROBLEMATIC], PROBLEMATIC),
        ([OFF, NA], OFF),
        ([NA, NA], NA),
        ([OFF, GOOD], GOOD),
        ([OFF, OFF], OFF),
    ],
)
def test_worst_state_is_the_highest_but_masked_stays_masked(column, worst):
    assert worst_state(np.array([column], dtype=np.uint8).T) == [worst]


@pytest.mark.parametrize(
    ("states", "unit"),
    [
        ([GOOD] * 8, GOOD),
        ([GOOD] * 7 + [BAD], PROBLEMATIC),
        ([GOOD] * 6 + [BAD] * 2, BAD),
        ([OFF] * 4 + [GOOD] * 3 + [BAD], BAD),
        ([GOOD] * 2 + [PROBLEMATIC] * 6, PROBLEMATIC),
        ([NA] * 8, NA),
        ([OFF] * 3 + [NA] * 5, NA),
        ([OFF] * 8, OFF),
    ],
)
def test_a_box_is_bad_from_a_quarter_of_bad_channels_on(states, unit):
    boxes = np.zeros(8, dtype=np.intp)
    assert unit_states(np.array([states], dtype=np.uint8), boxes)[0, 0] == unit
    assert not unit_states(np.array([states], dtype=np.uint8), boxes)[0, 1:].any()


@pytest.mark.parametrize("name", ["HB", "HE"])
@pytest.mark.parametrize("rm", [1, 2, 3, 4])
def test_a_module_is_lost_by_itself(name, rm):
    """RM2 and RM3 of HE have 46 of their box's 188 channels, under a quarter."""
    channels = channel_table(Era.RUN3).select(name)
    box = int(channels.box[0]) + 6
    module = np.flatnonzero((channels.box == box) & (channels.rm == rm))
    states = np.full((2, len(channels)), GOOD, dtype=np.uint8)
    states[0, module], states[1, module[: len(module) // 3]] = BAD, BAD
    boxes = channels.box.astype(np.intp)
    assert unit_states(states, boxes, modules_of(channels))[:, box].tolist() == [BAD, PROBLEMATIC]


def test_a_handful_of_channels_is_no_module():
    channels = channel_table(Era.RUN3).select("HB")
    module = np.flatnonzero((channels.box == 6) & (channels.rm == 2))
    states = np.full((1, len(channels)), GOOD, dtype=np.uint8)
    states[0, module], states[0, module[:2]] = OFF, BAD
    assert unit_states(states, channels.box.astype(np.intp), modules_of(channels))[0, 6] == PROBLEMATIC


def test_a_run_without_lumisections_has_no_states():
    assert unit_states(np.zeros((0, 8), dtype=np.uint8), np.zeros(8, dtype=np.intp)).shape == (0, 72)


@given(arrays(np.int64, (4, 30), elements=st.integers(0, 100)), arrays(np.intp, 30, elements=st.integers(0, 71)))
def test_sums_by_box_lose_nothing(values, boxes):
    assert sum_by_box(values, boxes).sum(axis=1).tolist() == values.sum(axis=1).tolist()


def test_strips_lie_in_the_boxes_of_their_channels(small_run):
    boxes = boxes_of(small_run.strips())
    assert box_name(boxes[3 * 72 + 23 - 1]) == box_name(boxes[3 * 72 + 26 - 1]) == "HEP07"
    assert box_name(boxes[0]) == box_name(boxes[72 - 1]) == "HBM01"
    assert np.bincount(boxes).tolist() == [4] * 72


def test_kinds_are_counted_per_lumisection_and_box(small_run):
    verdict = small_run.verdict("HE")
    counts = kind_counts(verdict)
    row = {int(ls): index for index, ls in enumerate(verdict.lumisections)}
    dead = counts[Kind.DEAD]
    assert dead[row[4]].sum() == 0
    assert dead[row[5], 60] == dead[row[12], 60] == dead[row[12]].sum() == 188
    assert dead[row[13]].sum() == 0
    assert not any(counts[kind].any() for kind in Kind if kind != Kind.DEAD)


def test_pull_of_the_run_is_of_the_sums_over_judged_lumisections(small_run):
    verdict = small_run.verdict("HE")
    row = int(np.flatnonzero((verdict.channels.rbx == 7) & (verdict.channels.ieta == 25))[0])
    use = verdict.assessed
    seen, wanted = verdict.observed[use, row].sum(), verdict.expected[use, row].astype(float)
    sigma = np.sqrt((wanted * (1 - wanted / verdict.events[use])).sum())
    assert run_pull(verdict)[row] == pytest.approx((seen - wanted.sum()) / sigma)
    masked = int(np.flatnonzero((verdict.states == OFF).all(axis=0))[0])
    assert run_pull(verdict)[masked] == 0


def test_variance_is_binomial():
    assert variance(np.array([50.0, 100.0, 0.0]), 100).tolist() == [25.0, 0.25, 0.25]


def test_reconstruction_error_is_one_for_pure_statistics(small_run):
    verdict = small_run.verdict("HB")
    errors = reconstruction_error(verdict)
    assert errors[2] == 0  # not assessed
    assert np.delete(errors, 2) == pytest.approx(1, abs=0.06)
