"""A mask: what its file may say, which channels it means, and that a verdict says nothing of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.errors import InputError
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import Interval, Kind, ModelInfo, State, StripVerdict
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


def run_of(strips: StripVerdict | None = None) -> RunVerdict:
    maps = LumiMaps(
        RUN, CHANNELS, np.arange(1, 5, dtype=np.int32), np.full(4, 1000), np.ones(4, dtype=np.uint8),
        np.zeros((4, len(CHANNELS)), dtype=np.int32), np.ones(4, dtype=bool), "nanodqmio",
    )  # fmt: skip
    return RunVerdict(maps, (), strips=strips)


def test_what_is_masked_is_said_for_the_runs_that_it_holds_for(tmp_path: Path) -> None:
    text = '[[mask]]\nunits = ["HEP07"]\nreason = "no high voltage"'
    assert masked(run_of(), mask_of(tmp_path, text)).masked == ("HEP07 (188 channels): no high voltage",)
    assert masked(run_of(), mask_of(tmp_path, f"{text}\nruns = [1, 2]")).masked == ()


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
    run = run_of(strips)
    after = masked(run, mask_of(tmp_path, text)).strips
    assert after is not None
    assert np.unique(np.flatnonzero((after.states == State.NOT_CONNECTED).all(axis=0))).tolist() == [216 + 22]
    assert [interval.channel for interval in after.intervals] == [216 + 23]
