"""Outputs read back: provenance is in every kind of them, and they are the same if their values are."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from hcal_root_ad.errors import InputError
from hcal_root_ad.provenance import Material, Provenance, write_beside
from hcal_root_ad.publish.root_file import add_objects
from hcal_root_ad.report.page import render
from hcal_root_ad.reproduce.read_back import differences, origins, parts_of

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


def compared(one: Path, other: Path) -> list[str]:
    return list(differences(parts_of(one), parts_of(other)))


def root(path: Path, contents: list[float], version: str = "1", tree: int = 3) -> Path:
    with uproot.recreate(path) as file:
        file["Folder/h"] = (np.array(contents), np.arange(len(contents) + 1.0))
        texts = [f"<program>s={version}</program>", "<note>s=x</note>"]
        add_objects(file, [("Folder", text, text) for text in texts])
        file.mktree("Tree", {"run": np.int64}).extend({"run": np.arange(tree)})
    return path


def test_root_files_object_by_object(tmp_path: Path) -> None:
    one = root(tmp_path / "a.root", [1, 2, 3])
    assert len(parts_of(one)) >= 4
    assert compared(one, root(tmp_path / "b.root", [1, 2, 3], version="2")) == []
    assert compared(one, root(tmp_path / "c.root", [1, 2.5, 3]))[0] == "Folder/h: 1 of 5 values differ, by up to 0.5"
    assert any("Tree/run" in sentence for sentence in compared(one, root(tmp_path / "d.root", [1, 2, 3], tree=4)))


def test_arrays_value_by_value(tmp_path: Path) -> None:
    def write(name: str, program: str, last: float, more: dict[str, object] | None = None) -> Path:
        words = json.dumps({"program": program, "notes": ["a"]} | (more or {}))
        np.savez(tmp_path / name, words=np.array(words), x=np.array([1.0, last]), provenance=np.array(program))
        return tmp_path / name

    one = write("a.npz", "1", 2.0)
    assert compared(one, write("b.npz", "2", 2.0)) == []
    assert compared(one, write("c.npz", "1", 2.25)) == ["x: 1 of 2 values differ, by up to 0.25"]
    assert compared(one, write("d.npz", "1", 2.0, {"more": 1})) == ["words/more: was not there before"]


def test_the_sign_of_zero_and_nan_are_values(tmp_path: Path) -> None:
    for name, value in (("a", 0.0), ("b", -0.0), ("c", np.nan), ("d", np.nan)):
        np.savez(tmp_path / f"{name}.npz", x=np.array([value]))
    assert compared(tmp_path / "a.npz", tmp_path / "b.npz") != []
    assert compared(tmp_path / "c.npz", tmp_path / "d.npz") == []


def test_json_csv_parquet_and_bytes(tmp_path: Path) -> None:
    for name, value in (("a", 1), ("b", 2)):
        table = {"program": name, "provenance": name, "runs": [{"run": value}]}
        (tmp_path / f"{name}.json").write_text(json.dumps(table))
        with (tmp_path / f"{name}.csv").open("w") as file:
            csv.writer(file).writerows([["run"], [value]])
        pq.write_table(pa.table({"run": [value], "same": [0]}), tmp_path / f"{name}.parquet")
        (tmp_path / f"{name}.png").write_bytes(bytes([value]))
    said = {end: compared(tmp_path / f"a{end}", tmp_path / f"b{end}") for end in (".json", ".csv", ".parquet", ".png")}
    assert said[".json"] == ["runs/0/run: was 1, is 2"]
    assert said[".csv"] == ["line 2: was '1', is '2'"]
    assert said[".parquet"] == ["run: was [1], is [2]"]
    assert said[".png"] == ["content: other bytes"]
    assert all(compared(tmp_path / f"a{end}", tmp_path / f"a{end}") == [] for end in said)


def test_what_is_missing_is_said_on_either_side() -> None:
    assert list(differences({"x": 1}, {"y": 1})) == ["x: is not made any more", "y: was not there before"]


@pytest.mark.parametrize("name", ["x.root", "x.npz", "x.json", "x.parquet"])
def test_damaged_parts_are_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"rootPARKPK\x03\x04{")
    with pytest.raises(InputError, match=name):
        parts_of(tmp_path / name)
