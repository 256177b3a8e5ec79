"""Which lumisections can be learned from, and where memory must stop."""

from dataclasses import replace

import numpy as np

from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.counts import MINIMUM_EVENTS, subdetector_counts


def with_events(maps: LumiMaps, row: int, events: int) -> LumiMaps:
    changed = maps.events.copy()
    changed[row] = events
    return replace(maps, events=changed)


def test_lumisections_without_maps_or_events_are_left_out(clean_maps: list[LumiMaps]) -> None:
    maps = with_events(clean_maps[0], 4, MINIMUM_EVENTS - 1)
    present = maps.present.copy()
    present[7] = False
    series = subdetector_counts(replace(maps, present=present), "HE")
    assert not {4, 7} & set(series.position.tolist())
    assert np.array_equal(series.lumisections, maps.lumisections[series.position])


def test_memory_stops_where_a_lumisection_is_missing(clean_maps: list[LumiMaps]) -> None:
    series = subdetector_counts(clean_maps[0], "HE").rows(np.array([0, 1, 2, 5, 6, 9]))
    assert series.lumisections.tolist() == [1, 2, 3, 6, 7, 10]
    assert [(s.start, s.stop) for s in series.stretches()] == [(0, 3), (3, 5), (5, 6)]


def test_more_digis_than_events_are_cut(clean_maps: list[LumiMaps]) -> None:
    counts = clean_maps[0].counts.copy()
    counts[0, clean_maps[0].channels.rows_of("HE")[-1]] = 10**6
    series = subdetector_counts(replace(clean_maps[0], counts=counts), "HE")
    assert series.counts[0, -1] == clean_maps[0].events[series.position[0]]
