"""The log of a watch over a fill: what is told of faults, and how little of ordinary conditions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.errors import UsageError
from hcal_root_ad.lumi_maps import LumiMaps
from studies.alarms import Told, page, run_alarms, told_of


@pytest.mark.usefixtures("own_models")
def test_a_clean_run_is_silent_and_a_dead_box_is_told_once_and_cleared_once(clean_run: LumiMaps) -> None:
    few = clean_run.loc[1:16]
    assert told_of(few) == []
    counts = few.counts.copy()
    box = np.flatnonzero((few.channels.box == 60) & (few.channels.ieta > 0))
    counts[5:8, box] = 0
    from dataclasses import replace

    told = told_of(replace(few, counts=counts))
    assert [(one.lumisection, one.severity) for one in told] == [(6, "box"), (13, "box")]
    assert "ALARM raised: HEP07 dead" in told[0].sentence
    assert "cleared" in told[1].sentence


def test_the_page_counts_by_severity_and_has_the_logs() -> None:
    text = page({"quiet": [], "faults": [Told(7, "box", "run 1: ALARM raised: HEP07 dead")]}, "Head.")
    assert "| quiet | 0 | 0 | 0 | 0 | 0 |" in text
    assert "| faults | 1 | 0 | 0 | 1 | 0 |" in text
    assert "LS    7  run 1: ALARM raised: HEP07 dead" in text


def test_an_unknown_grid_and_a_used_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are quick, part, presets"):
        run_alarms("all", tmp_path)
    with pytest.raises(UsageError, match="leave --resume out"):
        run_alarms("quick", tmp_path, resume=True)
