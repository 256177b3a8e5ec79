"""Files are whole or not there, and what is wrong is said in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hcal_root_ad.errors import InputError, OutputError, UsageError
from hcal_root_ad.export import onnx_file
from hcal_root_ad.export.onnx_file import session, write_onnx

pytest.importorskip("onnxruntime", reason="ONNX Runtime runs the models")


class Doubles(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class Drifts(nn.Module):
    """Gives another answer each time, as a model would that does not export faithfully."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


EXAMPLE = {"x": torch.ones(1, 2)}


def test_a_model_is_written_with_its_metadata_and_opens(tmp_path: Path) -> None:
    path = tmp_path / "new" / "doubles.onnx"
    write_onnx(Doubles(), EXAMPLE, ["y"], {"made": "here"}, path)
    opened = session(path)
    assert opened.get_modelmeta().custom_metadata_map == {"made": "here"}
    assert opened.run(["y"], {"x": [[1.0, 3.0]]})[0].tolist() == [[2.0, 6.0]]
    assert list(path.parent.iterdir()) == [path]


def test_threads_are_as_asked(tmp_path: Path) -> None:
    write_onnx(Doubles(), EXAMPLE, ["y"], {}, tmp_path / "doubles.onnx")
    assert session(tmp_path / "doubles.onnx").get_session_options().intra_op_num_threads == 1
    assert session(tmp_path / "doubles.onnx", threads=2).get_session_options().intra_op_num_threads == 2


def test_a_model_that_onnx_runtime_answers_differently_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"an older model")
    with pytest.raises(OutputError, match="differ from torch's by"):
        write_onnx(Drifts(), EXAMPLE, ["y"], {}, path)
    assert path.read_bytes() == b"an older model"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_onnx(Doubles(), EXAMPLE, ["y"], {}, tmp_path / "file" / "model.onnx")


def test_without_the_extra_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(UsageError, match=r"onnxruntime, not installed here.*hcal-root-ad\[onnx\]"):
        write_onnx(Doubles(), EXAMPLE, ["y"], {}, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        session(tmp_path / "missing.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(InputError, match="expected an ONNX model"):
        session(tmp_path / "text.onnx")
