"""Names of files that are no plain text, and records that cannot be read, cost nothing but themselves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hcal_root_ad.cli.main import main
from hcal_root_ad.conditions import read_selection
from hcal_root_ad.publish.saved_verdict import load_record
from tests.certify.conftest import Simulated

NAMES = ["tab\there{}", "two\nlines{}", "back\\slash{}", "bytes\udcff{}", "\x1b[31mred{}", "=1+1{}"]


def certify(*words: object) -> int:
    return main(["certify", *map(str, words)])


def test_files_of_odd_names(simulated: Simulated, tmp_path: Path) -> None:
    """Each run's file has such a name, and one more that is no DQM file at all."""
    (tmp_path / "in").mkdir()
    for name, file in zip(NAMES, simulated.files, strict=False):
        shutil.copy(file, tmp_path / "in" / name.format(file.suffix))
    for name in NAMES:
        (tmp_path / "in" / name.format(".broken.root")).write_bytes(b"nothing")
    out = tmp_path / "out"
    for again in (1, 2):
        assert certify(tmp_path / "in", "-o", out) == 1, again
        assert set(read_selection(out / "certification.json")) <= set(simulated.runs)
        failed = json.loads((out / "certification.provenance.json").read_text())["failed"]
        assert len(failed) == len(NAMES)
    for run in simulated.runs:
        assert load_record(out / "records" / f"R{run}.verdict.npz").sources[0].name.isprintable()
    assert certify("-o", out) == 0
    assert main(["provenance", str(out / "certification.json")]) == 0


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


DAMAGE: dict[str, Callable[[Path], None]] = {
    "cut": cut,
    "other": lambda path: path.write_text("no record"),
    "gone": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_record_that_cannot_be_read_is_a_failure_of_its_run(
    simulated: Simulated, campaign: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    DAMAGE[damage](campaign / "records" / "R371001.verdict.npz")
    assert certify("-o", campaign) == (0 if damage == "gone" else 1)
    assert {371002, 371003} <= set(read_selection(campaign / "certification.json")) == {371002, 371003}
    if damage != "gone":
        assert "R371001.verdict.npz" in capsys.readouterr().err
    assert certify(*simulated.files, "-o", campaign) == 0  # its files are there: it is judged again
    assert 371001 in read_selection(campaign / "certification.json")


@pytest.mark.parametrize("name", ["R371001.item.json", "files.json", "R371001.flags.parquet"])
def test_what_else_is_kept_and_damaged(simulated: Simulated, campaign: Path, name: str) -> None:
    for text in ("{", "[1]", '{"runs": 3}'):
        (campaign / "records" / name).write_text(text)
        assert certify("-o", campaign) in (0, 1)
        assert certify(*simulated.files[1:], "-o", campaign) in (0, 1)
        assert {371002, 371003} <= set(read_selection(campaign / "certification.json"))


def test_damaged_conditions_cost_their_run_alone(campaign: Path, tmp_path: Path) -> None:
    dcs = tmp_path / "dcs.json"
    dcs.write_text('{"371001": [[1, 12]], "371002": [[1, 12]], "371003": [[1, 12]]}')
    assert certify("-o", campaign, "--dcs", dcs) == 0
    (campaign / "records" / "R371001.conditions.json").write_text('{"oms": 3}')
    assert certify("-o", campaign) == 1
    assert set(read_selection(campaign / "certification.json")) == {371002, 371003}
