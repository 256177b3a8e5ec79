"""Provenance is found in every kind of output, and there is a sentence where it is not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hcal_root_ad.errors import InputError
from hcal_root_ad.provenance import Material, Provenance, write_beside
from hcal_root_ad.report.page import render
from hcal_root_ad.reproduce.origins import origins

MADE = Provenance("run", (Material("inputs", "a <b> & 'c'.root", "00ff", 3),), {"false_alarms": 0.5})


def npz(path: Path) -> None:
    np.savez(path, counts=np.arange(3), provenance=np.str_(MADE.text()))


def parquet(path: Path) -> None:
    table = pa.table({"x": [1, 2]})
    pq.write_table(table.replace_schema_metadata({"provenance": MADE.text()}), path)


def page(path: Path) -> None:
    path.write_text(render("base.html.j2", provenance=MADE.text()))


def numbers(path: Path) -> None:
    path.write_text(json.dumps({"provenance": MADE.as_table(), "x": 1}))


def onnx(path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [value]))
    helper.set_model_props(model, {"provenance": MADE.text()})
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("maps.npz", npz),
        ("flags.parquet", parquet),
        ("run.html", page),
        ("comparison.json", numbers),
        ("he.onnx", onnx),
    ],
)
def test_it_is_read_from_inside(tmp_path: Path, name: str, write) -> None:
    write(tmp_path / name)
    (origin,) = origins(tmp_path / name)
    assert origin.provenance == MADE
    assert origin.beside is None
    assert not origin.changed


def test_it_is_read_from_beside(tmp_path: Path) -> None:
    path = tmp_path / "flags.csv"
    path.write_text("run\n1\n")
    write_beside(MADE, tmp_path, "flags", [path])
    (origin,) = origins(path)
    assert (origin.provenance, origin.changed) == (MADE, False)
    assert [one.provenance for one in origins(tmp_path)] == [MADE]
    path.write_text("run\n2\n")
    assert origins(path)[0].changed


@pytest.mark.parametrize("name", ["missing.root", "plain.csv", "old.npz", "other.json", "list.json", "."])
def test_where_there_is_none_there_is_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "plain.csv").write_text("a\n")
    np.savez(tmp_path / "old.npz", counts=np.arange(3))
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(InputError) as caught:
        origins(tmp_path / name)
    assert str(tmp_path) in str(caught.value)
    assert str(caught.value).endswith((".", "file."))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.npz", b"PK\x03\x04broken"),
        ("cut.parquet", b"PAR1broken"),
        ("cut.json", b'{"provenance": {"verb": '),
        ("other.json", b'{"provenance": {"verb": "run"}}'),
        ("cut.root", b"root\x00\x00"),
        ("cut.html", b'<meta name="provenance" content="{">'),
    ],
)
def test_damage_is_a_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        origins(tmp_path / name)


def test_a_pickle_in_an_npz_is_not_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.write_text, (tmp_path / "boom", "executed"))

    np.savez(tmp_path / "bad.npz", provenance=np.array(Bomb(), dtype=object))
    with pytest.raises(InputError, match="cannot be read"):
        origins(tmp_path / "bad.npz")
    assert not (tmp_path / "boom").exists()
