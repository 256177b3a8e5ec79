"""Forecasts compared with what comes: the truth of a ramp by hand, the table, and the command's refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.errors import UsageError
from hcal_root_ad.judge.forecast import Forecast
from hcal_root_ad.simulate.scenario import FaultKind, make_fault
from hcal_root_ad.simulate.simulated_detector import simulate_detector
from studies import forecasts
from studies.forecasts import (
    CHANNELS,
    LENGTH,
    MODULE,
    MODULES,
    SINGLE,
    Found,
    InVain,
    Ramp,
    _ramp,
    ramps_of,
    run_forecasts,
    table,
)

DETECTOR = simulate_detector(5)


def test_half_of_the_digis_is_lost_where_the_line_says() -> None:
    row = int(np.flatnonzero(DETECTOR.live)[0])
    place = DETECTOR.channels.take(np.array([row]))
    unit = f"{place.names[0]} {int(place.ieta[0]):+d}/{int(place.iphi[0])}/{int(place.depth[0])}"
    # 100 LS take 20 %: 0.2 % each, so half is lost after 250, in LS 61 − 1 + 250.
    fault = make_fault(DETECTOR, FaultKind.AGEING, unit, 61, 160, 0.8)
    ramp = _ramp("HB", fault, Forecast(unit, 1, 61, 0.8, 0.2, 280, 310, 350))
    assert ramp.crossing == pytest.approx(310)
    assert fault.factor[-1] == pytest.approx(0.8)
    assert (ramp.what, ramp.announced, ramp.held) == (SINGLE, True, True)
    assert not _ramp("HB", fault, None).announced


def test_ramps_last_until_the_end_and_share_no_channel() -> None:
    faults = ramps_of(DETECTOR, 3)
    rows = np.concatenate([fault.rows for fault in faults])
    assert len(rows) == len(set(rows.tolist()))
    assert DETECTOR.live[rows].all()
    assert {fault.last for fault in faults} == {LENGTH}
    assert [fault.scale for fault in faults].count("RM") == MODULES
    assert CHANNELS - 5 <= len(faults) - MODULES <= CHANNELS


def test_the_table_counts_what_was_announced_and_what_held() -> None:
    ramps = (Ramp("HE", SINGLE, 0.2, 300, 290, 310), Ramp("HE", SINGLE, 0.2, 300, 100, 200), Ramp("HE", MODULE, 0.1, 9))
    without = (InVain("clean", 0, 3840), InVain("steps", 3, 3840))
    lines = table(Found(ramps, 3, 600, without), "x").splitlines()
    assert "| HE | single channel | 15% to 30% | 2 | 2 (100%) | 1 (50.0%) | 60 |" in lines
    assert "| both | all | | 3 | 2 (67%) | 1 (50.0%) | 60 |" in lines
    assert any(line.startswith("3 channels without a ramp were announced (0.5 per 100 LS") for line in lines)
    assert "| clean runs | 3,840 | 0 | 0 |" in lines
    assert "| runs in which 30 channels and 5 modules lose digis at once | 3,840 | 3 | 0.78 |" in lines


def test_a_folder_with_a_result_and_an_unknown_grid_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no grid"):
        run_forecasts("huge", tmp_path)
    (tmp_path / "table.md").write_text("")
    with pytest.raises(UsageError, match="not empty"):
        run_forecasts("quick", tmp_path)


def test_the_command_holds_forecasts_against_what_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the detector that the model knows, so that it has not to be adapted, in one short run with steep ramps."""
    monkeypatch.setattr(forecasts, "FIRST_DETECTOR", 2022)
    monkeypatch.setattr(forecasts, "LENGTH", 50)
    monkeypatch.setattr(forecasts, "ONSET", (5, 10))
    monkeypatch.setattr(forecasts, "LEFT", (0.6, 0.7))
    monkeypatch.setattr(forecasts, "SOURCES", ("he-graphstad",))
    monkeypatch.setattr(forecasts, "adapted", lambda model, _: model)
    steps: list[tuple[int, int]] = []
    table_file, numbers = run_forecasts("quick", tmp_path / "study", progress=lambda *step: steps.append(step))
    assert steps == [(0, 1)]
    found = json.loads(numbers.read_text())
    assert 35 < found["lumisections"] <= 50
    ramps = [Ramp(**one) for one in found["ramps"]]
    assert {ramp.subdetector for ramp in ramps} == {"HE"}
    announced = [ramp for ramp in ramps if ramp.announced]
    assert len(announced) > 0.8 * len(ramps)
    assert sum(ramp.held for ramp in announced) > 0.7 * len(announced)
    assert found["in_vain"] <= 2
    assert f"| both | all | | {len(ramps)} |" in table_file.read_text()
    assert [one["world"] for one in found["without_ramps"]] == ["clean", "steps", "trigger mix"]
    assert sum(one["forecasts"] for one in found["without_ramps"]) <= 1
