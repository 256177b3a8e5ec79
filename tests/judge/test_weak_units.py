"""Weak units, noise and crowds: the right unit is named, once, with its size. All counts are exact, without chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from hcal_root_ad.judge.findings import kind_of
from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.judge.verdict import Finding, Kind, Level
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model

MakeMaps = Callable[..., LumiMaps]
Rows = NDArray[np.intp]
LENGTH, P = 40, 0.3


def modules(maps: LumiMaps, box: str, *numbers: int) -> Rows:
    names = np.array([maps.channels.box_name(row) for row in range(len(maps.channels))])
    return np.flatnonzero((names == box) & np.isin(maps.channels.rm, numbers))


def scaled(maps: LumiMaps, rows: Rows, factor: float, first: int = 1, last: int = LENGTH) -> LumiMaps:
    counts, lumisections = maps.counts.copy(), slice(first - 1, last)
    counts[lumisections, rows] = np.rint(counts[lumisections, rows] * factor)
    return replace(maps, counts=counts)


def said(findings: tuple[Finding, ...]) -> list[tuple[str, tuple[tuple[int, int], ...]]]:
    return sorted((finding.unit, finding.ranges) for finding in findings)


@pytest.mark.parametrize("numbers", [(1,), (2,), (1, 2), (2, 4), (3, 4)])
def test_weak_modules_are_named_and_not_their_box_or_its_sound_ones(
    make_maps: MakeMaps, both: list[Model], numbers: tuple[int, ...]
) -> None:
    maps = make_maps(LENGTH)
    verdict = judge_run(scaled(maps, modules(maps, "HBP13", *numbers), 0.95, 21), both)
    assert said(verdict.findings) == [(f"HBP13-RM{number}", ((21, LENGTH),)) for number in numbers]
    assert [finding.size for finding in verdict.findings] == pytest.approx([0.95] * len(numbers), abs=0.005)


@pytest.mark.parametrize("factor", [0.6, 0.8, 0.9])
@pytest.mark.parametrize(("first", "last"), [(1, LENGTH), (11, 30), (14, 37), (21, LENGTH), (26, 31)])
def test_two_modules_lost_for_any_part_of_a_run_leave_the_others_sound(
    make_maps: MakeMaps, both: list[Model], factor: float, first: int, last: int
) -> None:
    """Half a run is the worst: what is typical of it lies between sound and lost."""
    maps = make_maps(LENGTH)
    verdict = judge_run(scaled(maps, modules(maps, "HBP02", 1, 3), factor, first, last), both)
    assert said(verdict.findings) == [(f"HBP02-RM{number}", ((first, last),)) for number in (1, 3)]
    assert [finding.size for finding in verdict.findings] == pytest.approx([factor] * 2, abs=0.01)


def test_modules_that_were_better_than_the_others_and_are_not_are_told_by_their_change(
    make_maps: MakeMaps, both: list[Model]
) -> None:
    """Two modules lose 5 % that they had gained before: the other two did not move."""
    maps = make_maps(LENGTH)
    rows = modules(maps, "HEM04", 1, 3)
    verdict = judge_run(scaled(maps, rows, 1.06, 1, 12), both)
    assert said(verdict.findings) == [(f"HEM04-RM{number}", ((1, 12),)) for number in (1, 3)]
    assert all(finding.size == pytest.approx(1.06, abs=0.01) for finding in verdict.findings)


def test_two_modules_that_were_weak_all_run_long_may_be_the_other_two(make_maps: MakeMaps, both: list[Model]) -> None:
    """One pair 5 % below the other: which one is sound is told by the level of the box, or not at all."""
    maps = make_maps(LENGTH)
    box = modules(maps, "HBP13", 1, 2, 3, 4)
    low = scaled(scaled(maps, box, 0.99), modules(maps, "HBP13", 1, 2), 0.95)
    clear = judge_run(low, both)
    assert said(clear.findings) == [(f"HBP13-RM{number}", ((1, LENGTH),)) for number in (1, 2)]
    assert clear.every_note == ()
    unclear = judge_run(scaled(scaled(maps, box, 1.03), modules(maps, "HBP13", 1, 2), 0.95), both)
    assert said(unclear.findings) == said(clear.findings)
    assert unclear.every_note == (
        "HBP13-RM1 and HBP13-RM2 are off HBP13-RM3 and HBP13-RM4; their box's level does not tell which",
    )


def test_a_box_that_is_weak_as_a_whole_is_one_line(make_maps: MakeMaps, both: list[Model]) -> None:
    maps = make_maps(LENGTH)
    verdict = judge_run(scaled(maps, modules(maps, "HEP05", 1, 2, 3, 4), 0.95, 21), both)
    assert said(verdict.findings) == [("HEP05", ((21, LENGTH),))]
    assert verdict.findings[0].size == pytest.approx(0.95, abs=0.005)


def test_a_gain_that_health_allows_is_no_fault_when_the_pileup_falls(make_maps: MakeMaps, both: list[Model]) -> None:
    """A box 3 % off in rate is 1 % off in digis where nine events of ten have one, and 3 % where hardly one has."""
    maps = make_maps(LENGTH)
    rate = -np.log1p(-P) * np.exp(np.linspace(1.8, -1.5, LENGTH))[:, None]
    factor = np.ones(len(maps.channels))
    factor[modules(maps, "HEM08", 1, 2, 3, 4)] = 1.03
    counts = np.rint(1000 * -np.expm1(-rate * factor)).astype(np.int32)
    verdict = judge_run(replace(maps, counts=counts), both)
    assert verdict.findings == ()
    assert verdict.common is not None
    assert verdict.common.box[:, 43] == pytest.approx(np.full(LENGTH, np.log(1.03)), abs=0.01)


def test_noise_of_two_lumisections_is_one_line_with_all_of_its_channels(make_maps: MakeMaps, both: list[Model]) -> None:
    """Noise adds 0.15 digis per event to what a channel has: 1.5 times as many to the one, half as much to another."""
    maps = make_maps(LENGTH)
    rows = modules(maps, "HEP06", 1, 2, 3, 4)
    counts = maps.counts.copy()
    counts[15:17, rows] += np.where(np.arange(len(rows)) % 3, 150, 45).astype(np.int32)
    verdict = judge_run(replace(maps, counts=counts), both)
    assert said(verdict.findings) == [("HEP06", ((16, 17),))]
    assert verdict.findings[0].channels == len(rows)


def test_half_of_all_boxes_at_one_factor_are_one_line_and_fewer_are_named(
    make_maps: MakeMaps, both: list[Model]
) -> None:
    maps = make_maps(LENGTH)
    boxes = [f"HE{side}{number:02d}" for number in range(1, 10) for side in "MP"]
    for count, expected in ((18, ["18 of 36 RBXs of HE"]), (10, sorted(boxes[:10]))):
        broken = maps
        for box in boxes[:count]:
            broken = scaled(broken, modules(maps, box, 1, 2, 3, 4), 0.6, 11, 30)
        findings = judge_run(broken, both).findings
        assert [unit for unit, _ in said(findings)] == expected
        assert {finding.ranges for finding in findings} == {((11, 30),)}
        assert all(finding.size == pytest.approx(0.6, abs=0.01) for finding in findings)


@pytest.mark.parametrize("kept", [0.85, 0.6])
def test_the_size_of_a_weak_ring_is_that_of_its_digis(make_maps: MakeMaps, both: list[Model], kept: float) -> None:
    maps = make_maps(LENGTH)
    ring = np.flatnonzero((maps.channels.subdetector == 2) & (np.abs(maps.channels.ieta) == 26))
    (finding,) = judge_run(scaled(maps, ring, kept, 21), both).findings
    assert (finding.level, finding.unit, finding.channels) == (Level.RING, "HE |ieta| 26", len(ring))
    assert finding.size == pytest.approx(kept, abs=0.01)


def test_an_excess_that_drifts_is_warm_and_one_that_jumps_is_noisy() -> None:
    """20,000 digis scatter by 0.7 %: a drift over 4 % is no noise, a rate that is there in every second LS only is."""
    expected = np.full(100, 20_000.0)
    assert kind_of(expected * np.linspace(1.03, 1.07, 100), expected, 1.05, 1) is Kind.WARM
    assert kind_of(expected * np.tile([1.0, 1.1], 50), expected, 1.05, 1) is Kind.NOISY
    assert kind_of(np.full(100, 40_000.0), expected, 2.0, 1) is Kind.HOT
