"""The main job from end to end: DQM files in, with models of their detector; ROOT files, flags and pictures out."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from hcal_root_ad.cli.main import main
from hcal_root_ad.detector import box_name
from hcal_root_ad.publish.saved_verdict import load_record

pytest.importorskip("ROOT", reason="genuine ROOT writes the simulated files")
pytestmark = pytest.mark.usefixtures("own_models")

BOXES = [box_name(box) for box in range(72)]
FAULTS = """
[[fault]]
kind = "dead"
unit = "HEP07"
first = 6
last = 8
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of the detector that the models know; HEP07 is dead in LS 6 to 8."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "faults.toml").write_text(FAULTS)
    options = "--format dqm_file --lumisections 12 --runs 2 --detector-seed 99 --seed 4"
    words = ["simulate", "-o", str(folder), *options.split(), "--faults", str(folder / "faults.toml")]
    assert main(words) == 0
    return sorted(folder.glob("*.root"))


def test_judge_publish_flag_and_draw(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, flags, plots, records = (tmp_path / name for name in ("out", "tables/flags.csv", "plots", "records"))
    words = ["run", *map(str, runs), "-o", str(out), "--flags", str(flags), "--plots", str(plots)]
    assert main([*words, "--save-verdict", str(records)]) == 0
    said = capsys.readouterr().out
    assert len(re.findall(r"HEP07\s.*dead\s.*6–8", said)) == 2

    files = sorted(out.iterdir())
    assert [f"ROOT file: {path}" in said for path in files] == [True, True]
    assert main(["check", *map(str, files)]) == 0

    numbers = [path.name[11:20].lstrip("0") for path in runs]
    with flags.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["group"] == "HEP07"]
    for run in numbers:
        box = [row for row in rows if (row["run"], row["kind"]) == (run, "dead")]
        assert len(box) > 150
        columns = ("rbx", "ls_first", "ls_last", "observed")
        assert {tuple(row[name] for name in columns) for row in box} == {("HEP07", "6", "8", "0")}

    for run in numbers:
        _, he, *_ = load_record(records / f"R{run}.verdict.npz").parts
        assert he.box_states[:, BOXES.index("HEP07")].tolist() == [3] * 5 + [5] * 3 + [3] * 4
        assert "HEP07" in [finding.unit for finding in he.findings]

    pictures = sorted(plots.glob("*/*.png"))
    assert {path.parent.name for path in pictures} == {f"R{run}" for run in numbers}
    assert len(pictures) == len(list(plots.rglob("*.png")))


def test_a_report_judges_as_run_does(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(runs[0]), "-o", str(tmp_path / "out"), "--save-verdict", str(tmp_path)]) == 0
    (record,) = tmp_path.glob("*.verdict.npz")
    for path, page in ((record, "recorded.html"), (runs[0], "judged.html")):
        assert main(["report", str(path), "-o", str(tmp_path / page)]) == 0
    assert (tmp_path / "recorded.html").read_bytes() == (tmp_path / "judged.html").read_bytes()
    assert main(["report", str(runs[0].parent), "-o", str(tmp_path / "both.html")]) == 2
    assert "but a report is of one" in capsys.readouterr().err


def test_attach_adds_to_a_copy(runs: list[Path], tmp_path: Path) -> None:
    before = runs[0].read_bytes()
    assert main(["run", str(runs[0]), "-o", str(tmp_path), "--attach"]) == 0
    copy = tmp_path / runs[0].name
    assert main(["check", str(copy)]) == 0
    assert copy.stat().st_size > len(before)
    assert runs[0].read_bytes() == before


def test_attach_never_replaces_its_input(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    before = runs[0].read_bytes()
    assert main(["run", str(runs[0]), "-o", str(runs[0].parent), "--attach"]) == 2
    assert "would be replaced" in capsys.readouterr().err
    assert runs[0].read_bytes() == before
