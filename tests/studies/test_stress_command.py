"""The command: what is measured, what is not measured again, and the table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hcal_root_ad.errors import NoHcalError
from studies.__main__ import main as run_study
from studies.stress import command, points, table
from studies.stress.command import main
from studies.stress.failures import Unit
from studies.stress.worlds import CLEAN, Setting, World

SHORT = replace(CLEAN, lumisections=12)
WORLDS = {
    "calm": World("calm", "nothing unusual", Setting(12), SHORT),
    "box": World("box", "a dead box, |ieta| 16 to 29", Setting(12, failures=(Unit("HEP07", 0.0),)), SHORT),
}


@pytest.fixture(autouse=True)
def _two_worlds(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (command, table):
        monkeypatch.setattr(module, "WORLDS", WORLDS)


def rows_of(folder: Path) -> dict[tuple[str, str, int], dict[str, object]]:
    rows = json.loads((folder / points.TABLE).read_text())["rows"]
    return {(row["judge"], row["world"], row["seed"]): row for row in rows}


def test_a_table_of_two_judges_and_two_worlds(tmp_path: Path) -> None:
    options = ["-o", str(tmp_path), "--seeds", "1"]
    assert main([*options, "--judge", "template"]) == 0
    assert main([*options, "--judge", "oracle", "--worlds", "box", "--label", "the truth"]) == 0
    rows = rows_of(tmp_path)
    assert set(rows) == {("template", "calm", 0), ("template", "box", 0), ("the truth", "box", 0)}
    assert rows["the truth", "box", 0]["faulty"]["certification"]["bad_bad"] == 12
    assert set(rows["template", "calm", 0]["healthy"]) == {"0.05", "0.5", "5"}
    page = (tmp_path / table.PAGE).read_text()
    assert "| world | what happens | the truth | template |" in page
    assert "| box | a dead box, \\|ieta\\| 16 to 29 | 1 of 1; 1.000; 1 (0); ×0.000 for ×0.000 |" in page
    for name in WORLDS:
        assert page.count(f"| {name} |") == 3 if name == "calm" else 2


def test_what_is_there_is_kept_without_the_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["-o", str(tmp_path), "--judge", "oracle", "--worlds", "box"]
    assert main([*options, "--seeds", "1"]) == 0
    before = rows_of(tmp_path)
    for path in (tmp_path / points.POINTS).glob("*/*.json"):
        path.unlink()
    measured = []

    def noted(point: points.Point, *_: object) -> dict[str, object]:
        measured.append(point.seed)
        return {**before["oracle", "box", 0], "seed": point.seed}

    monkeypatch.setattr(command, "measure_point", noted)
    assert main([*options, "--seeds", "2"]) == 0
    assert measured == [1]
    assert rows_of(tmp_path)["oracle", "box", 0] == before["oracle", "box", 0]


def test_a_judge_that_refuses_is_measured_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_: object) -> None:
        raise NoHcalError("too few events")

    monkeypatch.setattr(command, "JUDGES", {"current": lambda _: refusing})
    assert main(["-o", str(tmp_path), "--seeds", "1", "--worlds", "box"]) == 0
    faulty = rows_of(tmp_path)["current", "box", 0]["faulty"]
    assert (faulty["trust"], faulty["notes"]) == ("refused", ["too few events"])


def test_an_unknown_world_ends_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-o", str(tmp_path), "--worlds", "nowhere"]) == 2
    assert capsys.readouterr().err == "stress: no world is called nowhere; there are calm, box.\n"
    assert not list(tmp_path.iterdir())


def test_damaged_numbers_end_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / points.TABLE).write_text("{")
    assert main(["-o", str(tmp_path), "--judge", "oracle"]) == 2
    assert "table.json cannot be read as numbers of the stress suite" in capsys.readouterr().err


def test_studies_are_called_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_study(["stress", "-o", str(tmp_path), "--worlds", "nowhere"]) == 2
    assert run_study([]) == 2
    assert run_study(["--help"]) == 0
    names = "alarms, classifiers, drop-in, era, evaluate, false-alarms, few, forecasts, network, stress"
    assert f"Studies: {names}" in capsys.readouterr().out
