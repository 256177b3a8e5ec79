"""``export`` on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from hcal_root_ad.cli.main import main
from hcal_root_ad.export import onnx_file

pytest.importorskip("onnxruntime", reason="ONNX Runtime checks what is written")


def test_a_model_becomes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "he.onnx"
    assert main(["export", "he-graphstad", "-o", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: model he-graphstad for HE, one lumisection per call\n"
    assert list(path.parent.iterdir()) == [path]


def test_for_cmssw_the_configuration_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "hb.onnx"
    assert main(["export", "hb-graphstad-from-he", "--cmssw", "-o", str(path)]) == 0
    shown = capsys.readouterr().out
    compile(shown, "configuration", "exec")
    assert '"DQM/HcalTasks/data/hcal_root_ad/hb.onnx"' in shown
    assert "onnx_model_path_HB" in shown
    names = [node.name for node in onnx_file.session(path).get_inputs()]
    assert names[:3] == ["input_data", "input_data_exo", "anomaly_std_th"]


def test_an_unknown_model_and_a_folder_as_output_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "no-such-model", "-o", str(tmp_path / "x.onnx")]) == 2
    assert main(["export", "he-graphstad", "-o", str(tmp_path)]) == 2
    assert main(["export", "he-graphstad", "-o", str(tmp_path / "x")]) == 2
    refusals = capsys.readouterr().err.splitlines()
    assert "no model 'no-such-model'" in refusals[0]
    assert "is a folder" in refusals[1]
    assert "expected the name of a file that ends in .onnx" in refusals[2]
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "find_spec", lambda _: None)
    assert main(["export", "he-graphstad", "-o", str(tmp_path / "x.onnx")]) == 2
    assert "pip install 'hcal-root-ad[onnx]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
