"""A mask: what its file may say, which channels it means, and that a verdict says nothing of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.errors import InputError
from hcal_root_ad.judge.verdict import (
    Finding,
    Interval,
    Kind,
    Level,
    ModelInfo,
    RunVerdict,
    State,
    StripVerdict,
    Verdict,
)
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.mask import Mask, masked, read_mask

CHANNELS = channel_table(Era.RUN3).select("HB", "HE")
RUN = 370101


def write(folder: Path, text: str) -> Path:
    path = folder / "known.toml"
    path.write_text(text)
    return path


def mask_of(folder: Path, text: str) -> Mask:
    return read_mask(write(folder, text))


@pytest.mark.parametrize(
    ("entry", "channels"),
    [
        ('units = ["HEP07-RM2"]', 46),
        ('units = ["HEP07-RM2", "HEP07", "HE -20/5/3"]', 189),
        ('units = ["crate24-slot2"]', 128),
        ('subdetector = "HB"\nieta = [-16, -13]\niphi = [3, 6]\ndepth = [1, 2]', 32),
        ("depth = [7, 7]", 216),
        ('subdetector = "HE"\niphi = [71, 71]\nieta = [29, 29]', 3),
    ],
)
def test_an_entry_means_these_channels(tmp_path: Path, entry: str, channels: int) -> None:
    mask = mask_of(tmp_path, f'[[mask]]\n{entry}\nreason = "known"')
    assert len(mask.rows(CHANNELS, RUN)) == channels
    (sentence,) = mask.sentences(CHANNELS, RUN)
    assert sentence.endswith(f"({channels} channels): known")


def test_entries_add_up_and_hold_for_their_runs_alone(tmp_path: Path) -> None:
    text = (
        '[[mask]]\nunits = ["HEP07"]\nruns = [370000, 370100]\nreason = "a"\n[[mask]]\ndepth = [7, 7]\nreason = "b"\n'
    )
    mask = mask_of(tmp_path, text)
    both = 188 + 216 - int(((CHANNELS.box == 60) & (CHANNELS.depth == 7)).sum())
    assert [len(mask.rows(CHANNELS, run)) for run in (369999, 370000, 370100, 370101)] == [216, both, both, 216]
    assert mask.sentences(CHANNELS, 370101) == ("depth 7 (216 channels): b",)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('units = ["HEP07"]', "should hold [[mask]] tables"),
        ('[[mask]]\nunit = ["HEP07"]\nreason = "x"', "units"),
        ('[[mask]]\nunits = ["HEX07"]\nreason = "x"', "has the unit 'HEX07'; names are like 'HE +20/5/3'"),
        ('[[mask]]\nunits = ["HEP07"]', "reason"),
        ('[[mask]]\nunits = ["HEP07"]\nreason = " "', "should say a reason"),
        ('[[mask]]\nreason = "x"', "should name either units, or cells"),
        ('[[mask]]\nunits = ["HEP07"]\ndepth = [1, 2]\nreason = "x"', "should name either units, or cells"),
        ('[[mask]]\nieta = [3, 1]\nreason = "x"', "should give ieta as [first, last], not [3, 1]"),
        ('[[mask]]\nieta = [3]\nreason = "x"', "should give ieta as [first, last], not [3]"),
        ('[[mask]]\nunits = ["HEP07"]\nruns = [5]\nreason = "x"', "should give runs as [first, last]"),
        ('[[mask]]\nsubdetector = "HX"\nreason = "x"', "has the subdetector 'HX'; known are HB, HE, HO, HF"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        mask_of(tmp_path, text)
    assert sentence in str(caught.value)
    assert "known.toml" in str(caught.value)


def verdict_of(name: str, box: int) -> RunVerdict:
    """Four LS; the box dead throughout in one finding, its first channel hot in another."""
    channels = CHANNELS.select(name)
    rows = np.flatnonzero(channels.box == box)
    lumisections, shape = np.arange(1, 5, dtype=np.int32), (4, len(channels))
    states = np.full(shape, State.GOOD, dtype=np.uint8)
    states[:, rows] = State.BAD
    intervals = tuple(Interval(int(row), Kind.DEAD, 1, 4, 0, 100.0, 50.0, "box") for row in rows)
    intervals += (Interval(int(rows[0]), Kind.HOT, 4, 4, 80, 25.0, 9.0),)

    def finding(level: Level, unit: str, kind: Kind, some: tuple[int, ...], expected: float) -> Finding:
        return Finding(name, level, unit, kind, ((1, 4),), 4, 1.0, some, 0, expected, 0.0, 0.0, 20.0)

    whole = tuple(int(row) for row in rows)
    findings = (
        finding(Level.RBX, "box", Kind.DEAD, whole, 100.0 * len(rows)),
        finding(Level.CHANNEL, "one", Kind.HOT, whole[:1], 25.0),
    )
    part = Verdict(
        name, channels, lumisections, np.full(4, 1000), np.ones(4, dtype=bool), np.zeros(shape, dtype=np.int32),
        np.ones(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32), states, intervals,
        ModelInfo("m", "1", "", 5.0, 1.0), findings=findings,
    )  # fmt: skip
    maps = LumiMaps(
        RUN, CHANNELS, lumisections, np.full(4, 1000), np.ones(4, dtype=np.uint8),
        np.zeros((4, len(CHANNELS)), dtype=np.int32), np.ones(4, dtype=bool), "nanodqmio",
    )  # fmt: skip
    return RunVerdict(maps, (part,))


def test_a_masked_box_is_gray_and_in_nothing(tmp_path: Path) -> None:
    before = verdict_of("HE", 60)
    after = masked(before, mask_of(tmp_path, '[[mask]]\nunits = ["HEP07"]\nreason = "no high voltage"'))
    (part,) = after.verdicts
    assert (part.states[:, part.channels.box == 60] == State.NOT_CONNECTED).all()
    assert (part.states[:, part.channels.box != 60] == State.GOOD).all()
    assert part.intervals == part.findings == ()
    assert after.masked == ("HEP07 (188 channels): no high voltage",)
    assert (before.verdicts[0].states == State.BAD).any(), "the verdict itself is untouched"


def test_a_finding_keeps_the_channels_that_are_left_with_their_digis(tmp_path: Path) -> None:
    after = masked(verdict_of("HE", 60), mask_of(tmp_path, '[[mask]]\nunits = ["HEP07-RM2"]\nreason = "known"'))
    box = next(finding for finding in after.verdicts[0].findings if finding.level is Level.RBX)
    assert (box.channels, box.expected) == (188 - 46, 100.0 * (188 - 46))


def test_a_mask_of_other_runs_or_sub_detectors_changes_nothing(tmp_path: Path) -> None:
    verdict = verdict_of("HB", 3)
    for text in ('units = ["HEP07"]\nruns = [1, 2]', 'units = ["HEP07"]'):
        after = masked(verdict, mask_of(tmp_path, f'[[mask]]\n{text}\nreason = "known"'))
        assert after.verdicts == verdict.verdicts


def test_a_strip_is_masked_where_all_of_its_channels_are(tmp_path: Path) -> None:
    shape = (4, 288)
    states, zeros = np.full(shape, State.BAD, dtype=np.uint8), np.zeros(shape)
    intervals = tuple(Interval(column, Kind.DEAD, 1, 4, 0, 10.0, 9.0) for column in (216 + 22, 216 + 23))
    strips = StripVerdict(
        np.arange(1, 5, dtype=np.int32), np.full(4, 1000), np.ones(4, dtype=bool), zeros.astype(np.int64),
        zeros.astype(np.float32), zeros.astype(np.float32), states, intervals, ModelInfo("m", "1", "", 5.0, 1.0),
    )  # fmt: skip
    text = '[[mask]]\nsubdetector = "HE"\nieta = [16, 29]\niphi = [23, 23]\nreason = "known"'
    text += '\n[[mask]]\nsubdetector = "HE"\nieta = [16, 20]\niphi = [24, 24]\ndepth = [1, 5]\nreason = "half of it"'
    run = replace(verdict_of("HE", 60), verdicts=(), strips=strips)
    after = masked(run, mask_of(tmp_path, text)).strips
    assert after is not None
    assert np.unique(np.flatnonzero((after.states == State.NOT_CONNECTED).all(axis=0))).tolist() == [216 + 22]
    assert [interval.channel for interval in after.intervals] == [216 + 23]
