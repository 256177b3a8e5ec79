"""What was asked against what was observed: the numbers by hand, and the command's refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hcal_root_ad.errors import UsageError
from studies import false_alarms
from studies.false_alarms import SIZES, WORLDS, Observed, run_false_alarms, runs_of, table


def test_the_rate_and_its_interval_by_hand() -> None:
    one = Observed("HE", "high pileup", 0.5, 5, 1000)
    assert one.per_100 == 0.5
    # Garwood's 68 % interval of 5 is 2.84 to 8.38.
    assert one.interval == pytest.approx((0.284, 0.838), abs=0.003)
    assert Observed("HE", "high pileup", 0.5, 0, 1000).interval == pytest.approx((0, 0.183), abs=0.001)


def test_every_world_is_measured_with_at_least_one_run() -> None:
    assert all(runs_of(SIZES["quick"], world) == 1 for world in WORLDS)
    assert runs_of(SIZES["presets"], "high pileup") == 25
    assert runs_of(SIZES["presets"], "beam gaps every 25 LS") == 5


def test_the_table_has_a_line_for_each_and_the_ratio() -> None:
    lines = table([Observed("HE", "low pileup", 0.5, 10, 1000), Observed("HB", "low pileup", 5.0, 50, 1000)], "x")
    rows = [line for line in lines.splitlines() if line.startswith("| H")]
    assert [row.split(" | ")[4] for row in rows] == ["1.00", "2.00"]


def test_a_folder_with_a_result_and_an_unknown_grid_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no grid"):
        run_false_alarms("huge", tmp_path, resume=False)
    (tmp_path / "table.md").write_text("")
    with pytest.raises(UsageError, match="choose another"):
        run_false_alarms("quick", tmp_path, resume=False)


def test_the_command_counts_alarms_on_clean_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the detector that the models know, so that none has to be adapted, in short runs of two worlds."""
    monkeypatch.setattr(false_alarms, "FIRST_DETECTOR", 2022)
    monkeypatch.setattr(false_alarms, "RUN_LENGTH", 12)
    monkeypatch.setattr(false_alarms, "adapted", lambda model, _: model)
    monkeypatch.setattr(false_alarms, "WORLDS", {name: WORLDS[name] for name in ("high pileup", "low pileup")})
    steps: list[tuple[int, int]] = []
    table_file, numbers = run_false_alarms("quick", tmp_path / "study", progress=lambda *step: steps.append(step))
    assert steps == [(done, 4) for done in (1, 2, 3, 4)]
    found = [Observed(**one) for one in json.loads(numbers.read_text())]
    asked = [(one.subdetector, one.world, one.asked) for one in found]
    assert len(asked) == len(set(asked)) == 2 * 2 * len(false_alarms.ASKED)
    assert all(8 <= one.lumisections <= 12 for one in found)
    for name in ("HE", "HB"):
        for world in ("high pileup", "low pileup"):
            alarms = [one.alarms for one in found if (one.subdetector, one.world) == (name, world)]
            assert alarms == sorted(alarms)  # whoever asks for more gets no fewer
            assert alarms[0] <= 2
    assert table_file.read_text().count("\n| H") == len(found)
