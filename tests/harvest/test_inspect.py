"""What ``inspect`` says of a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hcal_root_ad.errors import InputError, NoHcalError
from hcal_root_ad.harvest.read import event_sources, inspect_file
from hcal_root_ad.lumi_maps import EventSource

RUN = 370_000
Made = Callable[..., Any]


def test_a_harvested_file(tmp_path: Path, write_harvested: Made, depth_maps: Made) -> None:
    folders = {f"Hcal/By Lumi Section {ls}-{ls}": depth_maps(100, seed=ls) for ls in (2, 3)}
    path = write_harvested(tmp_path / "DQM_V0001_R000370000__a__b__c.root", folders)
    seen = inspect_file(path)
    (run,) = seen.runs
    assert run.run == RUN
    assert list(run.lumisections) == [2, 3]
    assert list(run.events) == [100, 100]
    assert event_sources(run) == (EventSource.HF_PLATEAU,)
    assert seen.definitions == ("dqm_file-occupancy",)
    assert seen.granularity == "channels per LS"
    assert seen.elements[0].name == "Hcal/DigiTask/Occupancy/depth/depth1"
    assert seen.elements[0].lumisections == 2
    text = str(seen)
    assert "lumisections  2 (LS 2–3), 2 with depth maps" in text
    assert "events        200 (from: hf plateau)" in text
    assert "digis in      HB, HE, HF\n" in text


def test_one_file_at_a_time(tmp_path: Path) -> None:
    for name in ("a.root", "b.root"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"stands for 2 files; name one of them, for example .*a\.root"):
        inspect_file(tmp_path)


def test_the_samples(samples: Path) -> None:
    nano = inspect_file(samples / "nanodqmio_run370101.root")
    assert nano.definitions == ("dqmio-occupancy", "dqmio-occupancycut")
    assert {e.name: e for e in nano.elements}["Hcal/DigiTask/OccupancyCut/depth/depth7"].lumisections == 47
    online = inspect_file(samples / "DQM_V0001_Hcal_R000370101.root")
    assert online.granularity == "strips per LS and channels per run"
    assert online.runs[0].found == ("HB", "HE", "HF")
    assert "TProfile" in str(online)


def test_a_file_without_hcal(tmp_path: Path, write_harvested: Made, depth_maps: Made) -> None:
    path = write_harvested(tmp_path / "x.root", {"Ecal/Run summary": depth_maps(1)})
    with pytest.raises(NoHcalError, match="nearest monitor elements"):
        inspect_file(path)
