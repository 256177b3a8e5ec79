"""Runs in which nothing can be judged, through the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.cli.main import main
from hcal_root_ad.simulate.formats import write_format
from hcal_root_ad.simulate.scenario import FillShape, simulate_conditions
from hcal_root_ad.simulate.simulated_detector import simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run


def judged(tmp_path: Path, capsys: pytest.CaptureFixture[str], *, masked: bool, events: float) -> str:
    """The sentence that judging such a run ends with."""
    detector = simulate_detector(2022)
    if masked:
        detector = replace(detector, masked=np.ones_like(detector.masked))
    conditions = simulate_conditions(3, 1, shape=FillShape(events=(events, events)))
    if not events:
        conditions = replace(conditions, events=np.zeros_like(conditions.events))
    (path,) = write_format(simulate_run(detector, conditions), tmp_path, "dials")
    assert main(["run", str(path), "-o", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert not (tmp_path / "out").exists()
    return err


@pytest.mark.parametrize(("masked", "events"), [(True, 500.0), (False, 0.0)])
def test_no_events_and_all_channels_masked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], masked: bool, events: float
) -> None:
    sentence = judged(tmp_path, capsys, masked=masked, events=events)
    reason = "LS 1–3: the HCAL maps are empty (no digi at all), not assessed"
    assert sentence == f"hcal-root-ad: run 370000: {reason}; nothing can be judged\n"


def test_too_few_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = judged(tmp_path, capsys, masked=False, events=20.0)
    assert "run 370000: no lumisection has HCAL maps and at least 100 events; nothing can be judged" in sentence
