"""Which lumisections can be learned from, and where memory must stop."""

from dataclasses import replace

import numpy as np

from hcal_root_ad.model.counts import MINIMUM_EVENTS, series_of
from hcal_root_ad.lumi_maps import LumiMaps


def with_events(maps: LumiMaps, row: int, events: int) -> LumiMaps:
    changed = maps.events.copy()
    changed[row] = events
    return replace(maps, events=changed)


def test_lumisections_without_maps_or_events_are_left_out(clean_runs: list[LumiMaps]) -> None:
    maps = with_events(clean_runs[0], 4, MINIMUM_EVENTS - 1)
    present = maps.present.copy()
    present[7] = False
    series = series_of(replace(maps, present=present), "HE")
    assert not {4, 7} & set(series.position.tolist())
    assert np.array_equal(series.lumisections, maps.lumisections[series.position])


def test_memory_stops_where_a_lumisection_is_missing(clean_runs: list[LumiMaps]) -> None:
    series = series_of(clean_runs[0], "HE").part(np.array([0, 1, 2, 5, 6, 9]))
    expected = np.split(np.arange(6), np.flatnonzero(np.diff(series.lumisections) != 1) + 1)
    assert [list(range(s.start, s.stop)) for s in series.stretches()] == [part.tolist() for part in expected]


def test_more_digis_than_events_are_cut(clean_runs: list[LumiMaps]) -> None:
    counts = clean_runs[0].counts.copy()
    counts[0, clean_runs[0].channels.rows_of("HE")[-1]] = 10**6
    series = series_of(replace(clean_runs[0], counts=counts), "HE")
    assert series.counts[0, -1] == clean_runs[0].events[series.position[0]]
