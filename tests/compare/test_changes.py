"""What changed, as lines for people: each fault once, at its largest unit, and nothing where nothing changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hcal_root_ad.compare.shifts import BOX_LEVEL, HALF_LEVEL, Against, ChangeKind, changed, hold_against, unit_shifts
from hcal_root_ad.detector import channel_table
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.counts import subdetector_counts
from hcal_root_ad.references import NamedReference

MakeMaps = Callable[..., LumiMaps]
MakeReference = Callable[..., NamedReference]

CHANNELS = channel_table().select("HB", "HE")
HE = CHANNELS.rows_of("HE")
TABLE = CHANNELS.take(HE)
HEP07 = (TABLE.ieta > 0) & (TABLE.rbx == 7)
WEAKER = round(1000 * (1 - 0.7**0.8))
"""Digis in 1000 events at 0.8 of the rate."""


def against(maps: LumiMaps, reference: NamedReference, live: np.ndarray | None = None) -> Against:
    rates, series = reference.rates["HE"], subdetector_counts(maps, "HE")
    if live is not None:
        rates = replace(rates, reference=replace(rates.reference, live=live))
    return hold_against(rates, series, np.zeros(len(series)))


def lines(found: Against) -> list[tuple[str, ChangeKind, int]]:
    return [(line.unit, line.change, line.channels) for line in changed(found)]


def test_nothing_changed(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    assert lines(against(make_maps(), make_reference())) == []


def test_chance_and_drift_change_nothing(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    maps, draw = make_maps(), np.random.default_rng(5)
    drift = np.exp(draw.normal(0, 0.03, len(HE)))
    maps.counts[:, HE] = draw.binomial(1000, 1 - 0.7**drift, (12, len(HE)))
    assert lines(against(maps, make_reference())) == []


def test_a_dead_box_is_one_line(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    maps = make_maps()
    maps.counts[:, HE[HEP07]] = 0
    (line,) = changed(against(maps, make_reference()))
    assert (line.subdetector, line.unit, line.change, line.channels) == ("HE", "HEP07", ChangeKind.EMPTY, 188)
    assert (line.observed, line.expected, line.ratio) == (0, pytest.approx(188 * 3600), 0.0)
    assert line.significance < -30


def test_a_dead_half_and_a_dead_subdetector_are_one_line_each(
    make_maps: MakeMaps, make_reference: MakeReference
) -> None:
    maps = make_maps()
    maps.counts[:, HE[TABLE.ieta > 0]] = 0
    assert lines(against(maps, make_reference())) == [("HEP", ChangeKind.EMPTY, len(HE) // 2)]
    maps.counts[:, HE] = 0
    assert lines(against(maps, make_reference())) == [("HE", ChangeKind.EMPTY, len(HE))]


def test_a_dead_module_in_a_weak_box_is_told_beside_it(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    maps, module = make_maps(), HEP07 & (TABLE.rm == 2)
    maps.counts[:, HE[HEP07]] = WEAKER
    maps.counts[:, HE[module]] = 0
    size = int(module.sum())
    found = changed(against(maps, make_reference()))
    assert [(line.unit, line.change, line.channels) for line in found] == [
        ("HEP07-RM2", ChangeKind.EMPTY, size),
        ("HEP07", ChangeKind.LOWER, 188 - size),
    ]
    assert found[1].ratio == pytest.approx(0.8, abs=0.005)
    # 3 % of which the channels of a box know nothing in common, at 36 boxes that do not scatter: the least, 0.5 %.
    assert found[1].ratio_error == pytest.approx(0.8 * np.hypot(0.005, 0.0344 / np.sqrt(188 - size)), rel=0.02)


def test_what_a_unit_explains_is_not_said_of_its_parts_and_what_goes_beyond_is(
    make_maps: MakeMaps, make_reference: MakeReference
) -> None:
    maps, module = make_maps(), HEP07 & (TABLE.rm == 2)
    maps.counts[:, HE[HEP07]] = WEAKER
    maps.counts[:, HE[module]] = round(1000 * (1 - 0.7**0.4))
    (hot, *_) = np.flatnonzero(HEP07 & (TABLE.rm == 3))
    maps.counts[:, HE[hot]] = 510
    found = changed(against(maps, make_reference()))
    assert [(line.unit, line.change) for line in found] == [
        ("HEP07", ChangeKind.LOWER),
        ("HEP07-RM2", ChangeKind.LOWER),
        (f"HE {TABLE.ieta[hot]:+d}/{TABLE.iphi[hot]}/{TABLE.depth[hot]}", ChangeKind.HIGHER),
    ]
    assert found[1].ratio == pytest.approx(0.4, abs=0.005)


def test_digis_lost_alike_are_one_line_though_rates_are_not(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    # 70 % of the digis are 0.58 of the rate at p = 0.8, and 0.66 at p = 0.3.
    maps, reference = make_maps(), make_reference()
    full = TABLE.depth == 1
    reference.rates["HE"].reference.level[full] = np.log(-np.log(0.2))
    maps.counts[:, HE[full]] = 800
    maps.counts[:, HE[HEP07]] = np.rint(0.7 * maps.counts[:, HE[HEP07]])
    assert lines(against(maps, reference)) == [("HEP07", ChangeKind.LOWER, 188)]


def test_single_channels_of_every_kind(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    maps, live = make_maps(), np.ones(len(HE), dtype=bool)
    live[[400, 500]] = False
    maps.counts[:, HE[400]] = 0
    maps.counts[:, HE[100]], maps.counts[:, HE[200]], maps.counts[:, HE[300]] = 0, WEAKER, 510
    found = {line.unit: line for line in changed(against(maps, make_reference(), live))}
    names = {row: f"HE {TABLE.ieta[row]:+d}/{TABLE.iphi[row]}/{TABLE.depth[row]}" for row in (100, 200, 300, 400, 500)}
    assert {unit: line.change for unit, line in found.items()} == {
        names[100]: ChangeKind.EMPTY, names[200]: ChangeKind.LOWER,
        names[300]: ChangeKind.HIGHER, names[500]: ChangeKind.FILLED,
    }  # fmt: skip
    assert found[names[300]].ratio == pytest.approx(2.0, abs=0.01)
    assert found[names[300]].ratio_error == pytest.approx(2 * 0.0344, rel=0.01)
    assert (found[names[500]].expected, found[names[500]].ratio) == (0, None)


def test_a_few_digis_of_a_channel_that_was_silent_are_no_change(
    make_maps: MakeMaps, make_reference: MakeReference
) -> None:
    maps, live = make_maps(), np.arange(len(HE)) != 500
    maps.counts[:, HE[500]] = 0
    maps.counts[0, HE[500]] = 3
    assert lines(against(maps, make_reference(), live)) == []


def test_a_box_that_was_off_and_is_on(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    # The uninstrumented |ieta| 18 depth 1 would never fill.
    maps, filled = make_maps(), HEP07 & TABLE.instrumented
    maps.counts[:, HE[HEP07 & ~TABLE.instrumented]] = 0
    assert lines(against(maps, make_reference(), ~HEP07)) == [("HEP07", ChangeKind.FILLED, int(filled.sum()))]


def test_mean_shifts_and_their_errors(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    maps = make_maps()
    maps.counts[:, HE[HEP07]] = WEAKER
    found = against(maps, make_reference())
    boxes = {one.unit: one for one in unit_shifts(found, BOX_LEVEL)}
    assert len(boxes) == 36
    assert boxes["HEP07"].shift == pytest.approx(np.log(0.8), abs=0.005)
    assert boxes["HEM07"].shift == pytest.approx(0, abs=1e-3)
    assert boxes["HEM07"].error == pytest.approx(np.hypot(0.005, 0.0344 / np.sqrt(188)), rel=0.01)
    halves = {one.unit: one for one in unit_shifts(found, HALF_LEVEL)}
    assert [(one.unit, one.channels) for one in halves.values()] == [("HEM", 3384), ("HEP", 3384)]
    # One box in 18, but channels far from the half's median count as 2.5 errors of 0.0344.
    assert halves["HEP"].shift == pytest.approx(-2.5 * 0.0344 / 18, rel=0.05)


def test_a_unit_without_filled_channels_has_no_shift(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    maps = make_maps()
    maps.counts[:, HE[HEP07]] = 0
    assert "HEP07" not in [one.unit for one in unit_shifts(against(maps, make_reference()), BOX_LEVEL)]
    maps.counts[:, HE] = 0
    assert unit_shifts(against(maps, make_reference()), HALF_LEVEL) == []
