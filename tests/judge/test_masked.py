"""Masked channels are not judged, and have no say in what is expected of the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.judge.verdict import State
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model

MakeMaps = Callable[..., LumiMaps]


def dead(maps: LumiMaps, rows: NDArray[np.intp]) -> LumiMaps:
    counts = maps.counts.copy()
    counts[:, rows] = 0
    return replace(maps, counts=counts)


def box(maps: LumiMaps, number: int) -> NDArray[np.intp]:
    return np.flatnonzero(maps.channels.box == number)


def test_a_masked_box_is_gray_and_in_no_finding(make_maps: MakeMaps, both: list[Model]) -> None:
    maps = make_maps(12)
    rows = box(maps, 60)
    broken = dead(maps, rows)
    assert [finding.unit for finding in judge_run(broken, both).findings] == ["HEP07"]
    verdict = judge_run(broken, both, find_masked=lambda _: rows)
    assert verdict.findings == ()
    (he,) = (part for part in verdict.verdicts if part.subdetector == "HE")
    gray = (he.states == State.NOT_CONNECTED).all(axis=0)
    assert np.array_equal(np.flatnonzero(gray), np.flatnonzero(he.channels.box == 60))
    assert (he.states[:, ~gray] == State.GOOD).all()
    assert (he.expected[:, gray] == 0).all()


def test_a_module_of_a_dead_box_is_left_out_of_its_finding(make_maps: MakeMaps, both: list[Model]) -> None:
    maps = make_maps(12)
    rows = box(maps, 60)
    masked = rows[maps.channels.rm[rows] == 2]
    (finding,) = judge_run(dead(maps, rows), both, find_masked=lambda _: masked).findings
    assert (finding.unit, finding.channels) == ("HEP07", len(rows) - len(masked))


def test_masked_channels_do_not_tell_the_pileup(make_maps: MakeMaps, both: list[Model]) -> None:
    """Most of HB at half of its digis is a loss of HB, or of the beams: masked it is nothing."""
    maps = make_maps(12)
    rows = np.flatnonzero((maps.channels.subdetector == 1) & (maps.channels.rbx < 16))
    counts = maps.counts.copy()
    counts[:, rows] //= 2
    verdict = judge_run(replace(maps, counts=counts), both, find_masked=lambda _: rows)
    assert verdict.findings == ()
    assert verdict.common is not None
    assert verdict.common.log_pileup == pytest.approx(np.zeros(12), abs=0.01)


def test_a_sub_detector_that_is_masked_as_a_whole_is_not_judged(make_maps: MakeMaps, both: list[Model]) -> None:
    maps = make_maps(12)
    rows = maps.channels.rows_of("HB")
    verdict = judge_run(dead(maps, rows), both, find_masked=lambda _: rows)
    assert [part.subdetector for part in verdict.verdicts] == ["HE"]
    assert (verdict.findings, verdict.unjudged) == ((), ())


def test_a_sub_detector_without_a_model_is_said_to_be_unjudged(make_maps: MakeMaps, both: list[Model]) -> None:
    verdict = judge_run(make_maps(12), both[:1])
    assert verdict.unjudged == ("HE",)
    assert "no model for HE: its channels were not judged" in verdict.every_note


def test_channels_that_the_model_holds_for_masked_are_named_when_they_count(
    make_maps: MakeMaps, both: list[Model]
) -> None:
    live = both[0].reference.live.copy()
    live[[5, 6]] = False
    asleep = replace(both[0], reference=replace(both[0].reference, live=live))
    notes = judge_run(make_maps(12), [asleep, both[1]]).every_note
    (note,) = (note for note in notes if "holds for masked" in note)
    assert note.startswith("2 channels of HB that its model holds for masked have digis, and are not judged (HB ")
