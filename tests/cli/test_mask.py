"""``run --mask`` from end to end: what is masked is in no finding, gray, and named in what is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import uproot

from hcal_root_ad.cli.main import main

MASK = '[[mask]]\nunits = ["HEP07"]\nruns = [403000, 403000]\nreason = "known since May"\n'


def test_a_masked_box_is_in_no_finding_and_named_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "known.toml").write_text(MASK)
    words = ["run", "demonstration", "-o", str(tmp_path), "--mask", str(tmp_path / "known.toml")]
    assert main([*words, "--json", str(tmp_path / "verdict.json")]) == 0
    said = capsys.readouterr()
    assert "masked: HEP07 (188 channels): known since May" in said.err
    assert "HEP07" not in said.out
    assert "HBM12-RM2" in said.out
    assert "HEP07 (188 channels): known since May" in (tmp_path / "verdict.json").read_text()
    (path,) = tmp_path.glob("*.root")
    with uproot.open(path) as file:
        client = file["DQMData/Run 403000/Hcal/Run summary/HcalADClient"]
        assert client["StateSummary/RBXRun"].values()[3].tolist()[6] == 1
        assert any("HEP07 (188 channels)" in key for key in client["Provenance"].keys())  # noqa: SIM118
    assert main(["provenance", str(path), "--json"]) == 0
    materials = json.loads(capsys.readouterr().out)["materials"]
    assert [one["name"] for one in materials if one["role"] == "mask"] == ["known.toml"]
    assert main(["reproduce", str(path), "--inputs", str(tmp_path)]) == 0


def test_a_mistake_in_the_mask_is_one_sentence_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "known.toml").write_text('[[mask]]\nunits = ["HEX07"]\nreason = "?"\n')
    assert main(["run", "demonstration", "-o", str(tmp_path / "out"), "--mask", str(tmp_path / "known.toml")]) == 2
    assert "entry 1 has the unit 'HEX07'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
