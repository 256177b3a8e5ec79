"""Files that are about other runs than those that are certified."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hcal_root_ad.certify.strangers import Stranger, stranger
from hcal_root_ad.cli.main import main

OMS = "run_number,lumisection_number,beams_stable\n{run},1,1\n"
REGISTRY = '[{{"run_number": {run}, "start": 1, "end": 9, "hcal-hcal": "GOOD"}}]'
FORMS = {
    "--oms": ("oms.csv", OMS),
    "--dcs": ("dcs.json", '{{"{run}": [[1, 9]]}}'),
    "--labels": ("golden.json", '{{"{run}": [[1, 9]]}}'),
}


def test_by_hand(tmp_path: Path) -> None:
    path, runs = tmp_path / "x.csv", (1, 2, 3, 4, 5, 6, 7)
    assert stranger(path, runs.__contains__, runs) is None
    assert stranger(path, runs.__contains__, ()) is None
    assert stranger(path, (2,).__contains__, (1, 2)) == Stranger("x.csv holds nothing of run 1.", False)
    found = stranger(path, (9,).__contains__, runs)
    assert found == Stranger(
        "x.csv holds none of the runs that were judged (runs 1, 2, 3, 4, 5 and 2 more); give the export of these runs.",
        True,
    )


@pytest.mark.parametrize("option", [*FORMS, "registry"])
def test_an_export_of_other_runs_says_so_and_ends_with_1(
    campaign: Path, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, text = FORMS.get(option, ("registry.json", REGISTRY))
    (tmp_path / name).write_text(text.format(run=99))
    option = "--labels" if option == "registry" else option
    assert main(["certify", "-o", str(campaign), option, str(tmp_path / name)]) == 1
    sentence = f"{name} holds none of the runs that were judged (runs 371001, 371002"
    assert sentence in capsys.readouterr().err
    notes = json.loads((campaign / "certification.provenance.json").read_text())["notes"]
    assert any(sentence in note for note in notes)


@pytest.mark.parametrize("option", FORMS)
def test_an_export_that_lacks_a_run_says_so(
    campaign: Path, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, text = FORMS[option]
    (tmp_path / name).write_text(text.format(run=371001))
    assert main(["certify", "-o", str(campaign), option, str(tmp_path / name)]) == 0
    assert f"{name} holds nothing of run" in capsys.readouterr().err
