from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hcal_root_ad.judge.verdict import State
from hcal_root_ad.report.page import COLUMNS, worst_of
from hcal_root_ad.report.run_page import (
    MARKS,
    FindingHistory,
    Outline,
    events_figure,
    ratio_maps,
    small_figure,
    timeline_figure,
)
from hcal_root_ad.style import state_maps


def test_a_column_shows_a_fault_before_a_gap_and_a_gap_before_good() -> None:
    states = np.array([[3, 3, 2, 0, 1], [5, 2, 2, 0, 1], [4, 3, 3, 0, 1]], dtype=np.uint8)
    assert worst_of(states, 2).tolist() == [[5, 2, 2, 0, 1], [4, 3, 3, 0, 1]]
    assert worst_of(states, 1).tolist() == states.tolist()


@given(arrays(np.uint8, st.tuples(st.integers(1, 30), st.just(2)), elements=st.integers(0, 5)), st.integers(1, 9))
def test_no_fault_is_lost_between_columns(states: np.ndarray, size: int) -> None:
    columns = worst_of(states, size)
    for box in range(2):
        assert columns[:, box].max() >= State.PROBLEMATIC or states[:, box].max() < State.PROBLEMATIC
        for row, state in enumerate(states[:, box]):
            assert state < State.PROBLEMATIC or columns[row // size, box] >= state


def test_timeline_puts_boxes_and_outlines_in_their_rows() -> None:
    states = np.full((40, 72), State.GOOD, dtype=np.uint8)
    states[9:12, 60] = State.BAD
    figure = timeline_figure(370101, np.full(40, 1000), states, [Outline(1, 60, 10, 12)])
    panels = [axis for axis in figure.axes if axis.get_yticklabels()[:1] and axis.collections]
    labels = [axis.get_yticklabels()[0].get_text() for axis in panels]
    assert labels == ["HBM01", "HBP01", "HEM01", "HEP01"]
    hep = panels[3]
    mesh = hep.collections[0].get_array().reshape(18, 40)
    assert np.argwhere(mesh == State.BAD).tolist() == [[6, 9], [6, 10], [6, 11]]
    (outline,) = hep.patches
    assert outline.get_bbox().bounds == (9.5, 6.5, 3, 1)
    assert hep.get_xlim() == (0.5, 40.5)


def test_a_long_timeline_has_few_columns_on_the_same_axis() -> None:
    states = np.full((2500, 72), State.GOOD, dtype=np.uint8)
    states[2499, 0] = State.BAD
    figure = timeline_figure(370101, np.full(2500, 1000), states, [])
    mesh = figure.axes[2].collections[0]
    assert mesh.get_array().size == 18 * 834 <= 18 * COLUMNS
    assert mesh.get_array().reshape(18, -1)[0, -1] == State.BAD
    assert mesh.get_coordinates()[0, -1, 0] == 2500.5


def test_flagged_channels_are_marked_on_their_cell() -> None:
    states = np.zeros((7, 84, 72), dtype=np.uint8)
    states[:, 13:71, :] = State.GOOD
    states[3, 4 + 41, 33 - 1] = State.BAD  # ieta +4, iphi 33
    states[0, -29 + 42, 0] = State.PROBLEMATIC  # ieta −29, iphi 1
    figure = state_maps(370101, states, 3, MARKS)
    depth1, depth4 = figure.axes[1], figure.axes[4]
    assert [len(marks.get_offsets()) for marks in depth4.collections[1:]] == [0, 1]
    assert depth4.collections[2].get_offsets()[0].tolist() == [32.5, 33]
    assert depth1.collections[1].get_offsets()[0].tolist() == [0.5, 1]
    ticks = dict(zip(depth4.get_xticks(), (t.get_text() for t in depth4.get_xticklabels()), strict=True))
    assert ticks[0.5] == "-29"
    assert ticks[33.5] == "5"


def test_ratio_is_empty_where_nothing_is_expected() -> None:
    expected = np.zeros((7, 84, 72))
    expected[0, 20, :] = 10
    figure = ratio_maps(370101, expected / 2, expected)
    shown = figure.axes[1].collections[0].get_array().reshape(72, 58)
    assert shown[:, 20 - 13].tolist() == [0.5] * 72
    assert np.ma.masked_invalid(shown).count() == 72


@pytest.mark.parametrize("events", [np.zeros(1), np.array([5.0, 0.0, 7.0])])
def test_events(events: np.ndarray) -> None:
    figure = events_figure(370101, events, events > 0)
    assert figure.axes[1].get_xlim() == (0.5, len(events) + 0.5)


def test_small_picture_spans_its_lumisections() -> None:
    x = np.arange(30.0, 50.0)
    figure = small_figure(FindingHistory(x, x / 10, x / 20, x / 100, [(40, 42)]))
    (axis,) = figure.axes
    assert axis.get_xlim() == (29.5, 49.5)
    assert axis.collections[0].get_paths()[0].get_extents().intervalx.tolist() == [39.5, 42.5]
    assert axis.get_ylim()[1] > 4.9
