"""What an output says of where it comes from goes out and comes back whole, and names no place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad import content
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.lumi_maps import Source
from hcal_root_ad.provenance import (
    INPUTS,
    Material,
    Provenance,
    beside,
    file_material,
    provenance_of_maps,
    provenance_of_run,
    provenance_of_table,
    provenance_of_text,
    read_beside,
    sha256_of,
    versions_here,
    write_beside,
)
from hcal_root_ad.publish.elements import scalar_text
from hcal_root_ad.publish.publish import made_of, provenance_of_scalars

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""SHA-256 of the text ``abc`` (FIPS 180-2)."""
NAMES = st.text(st.characters(exclude_characters="/\\", exclude_categories=("C",)), min_size=1).filter(
    lambda name: name not in (".", "..")
)
WORDS = st.text(st.characters(exclude_categories=("Cs",)))
PROVENANCES = st.builds(
    Provenance,
    st.text(),
    st.lists(st.builds(Material, st.text(), NAMES, st.text(), st.integers(0))).map(tuple),
    st.dictionaries(WORDS, st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), WORDS)),
    st.dictionaries(WORDS, WORDS),
)


def written(tmp_path: Path, text: str = "abc") -> Path:
    path = tmp_path / "output.csv"
    path.write_text(text)
    return path


@given(PROVENANCES)
def test_it_comes_back_from_its_text(provenance: Provenance) -> None:
    text = provenance.text()
    assert provenance_of_text(text) == provenance
    assert text.isascii()
    assert not set(text) & set("<>\n\t")
    assert "  " not in text


@given(PROVENANCES)
def test_it_comes_back_from_the_scalars_of_a_root_file(provenance: Provenance) -> None:
    sources = [Source("a, b.root", 12, ABC), Source("far.root", 3, "")]
    inputs = tuple(Material(INPUTS, one.name, one.sha256, one.size) for one in sources)
    rest = tuple(one for one in provenance.materials if one.role != INPUTS)
    whole = Provenance(provenance.verb, (*inputs, *rest), provenance.options, provenance.versions)
    texts = [scalar_text(scalar) for scalar in made_of("Hcal/Folder", sources, whole)]
    assert provenance_of_scalars(reversed(texts)) == whole


def test_scalars_without_it_give_none() -> None:
    assert (
        provenance_of_scalars(["<program>s=hcal-root-ad 0.1.0</program>", "<input0001>s=a, 1 bytes</input0001>"])
        is None
    )


def test_thousands_of_inputs_do_not_lengthen_a_key() -> None:
    sources = [Source(f"run_ls{n:04d}.root", n, ABC) for n in range(3000)]
    materials = tuple(Material(INPUTS, one.name, one.sha256, one.size) for one in sources)
    texts = [scalar_text(scalar) for scalar in made_of("Hcal/Folder", sources, Provenance("run", materials))]
    assert max(map(len, texts)) < 1000
    found = provenance_of_scalars(texts)
    assert found is not None
    assert found.of(INPUTS) == materials


@pytest.mark.parametrize("name", ["../up.root", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "a\nb", 5])
def test_a_name_that_is_a_place_is_refused(name: object) -> None:
    table = Provenance("run", (Material(INPUTS, "x", ABC),)).as_table()
    table["materials"][0]["name"] = name
    with pytest.raises(ValueError, match="no provenance"):
        provenance_of_table(table)


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        {},
        {"verb": "run", "materials": 5, "options": {}, "versions": {}},
        {"verb": "run", "materials": [{"role": "inputs"}], "options": {}, "versions": {}},
        {"verb": 5, "materials": [], "options": {}, "versions": {}},
        {"verb": "run", "materials": [], "options": {"false_alarms": [1]}, "versions": {}},
    ],
)
def test_anything_else_is_refused(broken: object) -> None:
    with pytest.raises(ValueError, match=r"no provenance|dictionary update"):
        provenance_of_table(json.loads(json.dumps(broken)))


def test_a_file_is_known_by_name_size_and_digest(tmp_path: Path) -> None:
    assert file_material("oms", written(tmp_path)) == Material("oms", "output.csv", ABC, 3)


def test_a_verdict_tells_who_judged_it_and_from_what(verdict: RunVerdict) -> None:
    found = provenance_of_run(verdict)
    assert [(one.name, one.size, one.sha256) for one in found.of(INPUTS)] == [
        (one.name, one.size, one.sha256) for one in verdict.maps.sources
    ]
    assert {(one.name, one.sha256) for one in found.of("model")} == {
        (one.judge.name, one.judge.digest) for one in verdict.verdicts
    }
    assert {"python", "hcal-root-ad", "numpy", "torch", "uproot"} == set(found.versions) == set(versions_here())


def test_a_shipped_definition_has_the_digest_of_its_file(verdict: RunVerdict) -> None:
    file = content.find("harvesters", "dqmio-occupancy.toml")
    assert file is not None
    maps = replace(verdict.maps, definition="dqmio-occupancy")
    assert provenance_of_maps("harvest", [maps, maps]).of("definition") == (
        Material("definition", "dqmio-occupancy", sha256_of(file)),
    )
    unknown = replace(verdict.maps, definition="gone")
    assert provenance_of_maps("harvest", [unknown]).of("definition") == (Material("definition", "gone", ""),)


def test_what_lies_beside_names_its_outputs_and_knows_if_they_change(tmp_path: Path) -> None:
    path = written(tmp_path)
    provenance = Provenance("run", options={"false_alarms": 2.0})
    file = write_beside(provenance, tmp_path, "flags", [path])
    assert json.loads(file.read_text())["outputs"] == {"output.csv": ABC}
    found = beside(path)
    assert found == read_beside(file)
    assert found is not None
    assert found.provenance == provenance
    assert not found.changed(path)
    written(tmp_path, "abd")
    assert found.changed(path)
    assert beside(tmp_path / "other.csv") is None
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_link_is_known_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here").mkdir()
    target = written(tmp_path / "elsewhere")
    link = tmp_path / "here" / "output.csv"
    link.symlink_to(target)
    assert beside(link) is None
    write_beside(Provenance("run"), tmp_path / "here", "x", [link])
    found = beside(link)
    assert found is not None
    assert found.outputs == {"output.csv": ABC}


def test_it_is_found_from_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "R1").mkdir()
    path = written(tmp_path / "R1")
    write_beside(Provenance("run"), tmp_path, "plots", [path])
    found = beside(path)
    assert found is not None
    assert list(found.outputs) == ["R1/output.csv"]
