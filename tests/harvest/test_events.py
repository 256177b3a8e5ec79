"""The number of events: order of the sources, the HF plateau, and estimates from binomial statistics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hcal_root_ad.harvest.events import events_of, hf_plateau
from hcal_root_ad.harvest.gathering import LumisectionCounts
from hcal_root_ad.lumi_maps import EventSource

RUN = 370_000
Made = Callable[..., NDArray[np.float64]]


@pytest.fixture(scope="module")
def section(depth_maps: Made) -> Callable[..., LumisectionCounts]:
    def make(ls: int, events: int, hf: bool = True) -> LumisectionCounts:
        made = LumisectionCounts(RUN, ls)
        for depth, values in enumerate(depth_maps(events, seed=ls, hf=hf), start=1):
            made.add_map(depth, values, "x")
        return made

    return make


@given(st.integers(1, 5000), st.integers(0, 900), st.integers(0, 2**31))
@settings(max_examples=50)
def test_plateau_survives_dead_and_odd_channels(events: int, odd: int, seed: int) -> None:
    counts = np.full(3456, events)
    counts[:200] = 0
    counts[200 : 200 + odd] = np.random.default_rng(seed).integers(0, 10 * events, odd)
    assert hf_plateau(counts) == events


def test_no_plateau_without_agreement() -> None:
    assert hf_plateau(np.zeros(3456, dtype=np.int32)) is None
    assert hf_plateau(np.r_[np.full(40, 100), np.zeros(3400)].astype(np.int32)) is None
    assert hf_plateau(np.random.default_rng(1).binomial(1500, 0.4, 3456)) is None


def test_order_of_sources(section: Callable[..., LumisectionCounts]) -> None:
    made = section(5, 100)
    empty = LumisectionCounts(RUN, 6)
    for own, versus, other, expected in [
        (99, {5: 100}, 101, (99, EventSource.COUNTER)),
        (None, {5: 101}, 99, (101, EventSource.COUNTER)),
        (None, {}, 99, (99, EventSource.OTHER_SUBSYSTEM)),
        (None, {}, None, (100, EventSource.HF_PLATEAU)),
        (50, {5: 101}, 99, (101, EventSource.COUNTER)),  # HF is with the next best
        (200, {5: 50}, 300, (100, EventSource.HF_PLATEAU)),
    ]:
        made.own_events = made.own_growth = own
        made.other_events = made.other_growth = other
        events, sources, _, _ = events_of([made, empty], versus, True)
        assert (events[0], sources[0]) == expected
        assert (events[1], sources[1]) == (0, EventSource.NONE)


def test_a_counter_that_hf_contradicts_loses(section: Callable[..., LumisectionCounts]) -> None:
    made = section(5, 1000)
    made.own_events = made.own_growth = 1011
    events, sources, contradicted, notes = events_of([made], {}, True)
    assert (list(events), list(sources), list(contradicted)) == ([1000], [EventSource.HF_PLATEAU], [False])
    assert notes == [
        "LS 5: the event counter and the HF channels differ by more than 1% (LS 5: 1011 against 1000); "
        "HF, which is read out in every event, was used."
    ]
    made.own_events = made.own_growth = 1010
    events, sources, _, notes = events_of([made], {}, True)
    assert (list(events), list(sources), notes) == ([1010], [EventSource.COUNTER], [])


def test_fluctuations_tell_the_events(section: Callable[..., LumisectionCounts]) -> None:
    true = np.array([1500, 1400, 900, 950, 30, 1000])
    made = [section(ls, int(n), hf=False) for ls, n in enumerate(true, start=1)]
    events, sources, _, notes = events_of(made, {}, True)
    assert set(sources) == {EventSource.ESTIMATE}
    np.testing.assert_allclose(events, true, rtol=0.04)
    assert "LS 1–6" in notes[0]
    assert "binomial" in notes[0]


def test_one_lumisection_alone_gets_its_lower_bound(section: Callable[..., LumisectionCounts]) -> None:
    made = section(1, 1000, hf=False)
    events, sources, _, notes = events_of([made], {}, True)
    assert made.counts is not None
    assert events[0] == made.counts.max()
    assert sources[0] == EventSource.ESTIMATE
    assert "lower bound" in notes[0]


def test_neighbours_tell_the_events_of_one_that_lacks_them(section: Callable[..., LumisectionCounts]) -> None:
    made = [section(1, 1000, hf=False), section(2, 700, hf=False), section(3, 1200, hf=False)]
    events, sources, _, _ = events_of(made, {1: 1000, 3: 1200}, True)
    assert list(sources) == [EventSource.COUNTER, EventSource.ESTIMATE, EventSource.COUNTER]
    assert events[1] == pytest.approx(700, rel=0.01)


def test_a_counter_that_only_some_lumisections_have_is_told(section: Callable[..., LumisectionCounts]) -> None:
    made = [section(ls, 100) for ls in (1, 2, 3, 4)]
    made[0].own_events = made[2].own_events = 100
    made[3].other_events = 100
    (note,) = events_of(made, {}, True).notes
    assert note == "LS 2, 4: without the event counter that other LS have; another one, or HF, tells the events."
    assert events_of(made, {2: 100, 4: 100}, True).notes == []
    assert (
        events_of([made[1], LumisectionCounts(RUN, 5)], {5: 100}, True).notes == []
    )  # a counter of an LS without maps
