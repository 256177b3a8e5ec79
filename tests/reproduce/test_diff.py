"""Outputs are the same if their values are; versions and options do not count."""

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
from hcal_root_ad.publish.root_file import add_objects
from hcal_root_ad.reproduce.diff import differences, parts_of


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
def test_damage_is_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"rootPARKPK\x03\x04{")
    with pytest.raises(InputError, match=name):
        parts_of(tmp_path / name)
