"""Materials are found by name and believed by digest; only options that count are taken from a file."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from hcal_root_ad.cli import options
from hcal_root_ad.errors import InputError
from hcal_root_ad.model.model import load_model
from hcal_root_ad.provenance import Material, Provenance, file_material, reference_material
from hcal_root_ad.references import entry_of
from hcal_root_ad.reproduce.rerun import RECIPES, REFUSED, Places, recipe_for, words_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "below" / "a[1].root"
    path.parent.mkdir(parents=True)
    path.write_text("abc")
    return path


def test_near_below_and_known(file: Path, tmp_path: Path) -> None:
    one = file_material("inputs", file)
    assert Places((file.parent,)).find(one) == str(file)
    assert Places((), (tmp_path,)).find(one) == str(file)
    assert Places((), (), {one.sha256: file}).find(one) == str(file)
    with pytest.raises(InputError, match=r"a\[1\].root .* was not found; name its folder with --inputs"):
        Places((tmp_path,)).find(one)


def test_another_file_of_the_name_is_refused(file: Path, tmp_path: Path) -> None:
    one = file_material("inputs", file)
    file.write_text("abd")
    with pytest.raises(InputError, match="is not the file that was used"):
        Places((file.parent,)).find(one)
    (tmp_path / file.name).write_text("abc")
    assert Places((file.parent,), (tmp_path,)).find(one) == str(tmp_path / file.name)


def test_what_was_read_by_network_cannot_be_made_sure_of() -> None:
    with pytest.raises(InputError, match="no digest"):
        Places(()).find(Material("inputs", "far.root", ""))


def test_models_are_found_whatever_their_name(tmp_path: Path) -> None:
    shipped = load_model("he-graphstad")
    mine = shipped.save(tmp_path / "somewhere" / "mine")
    assert mine.digest == shipped.digest
    one = Material("model", "he-graphstad", shipped.digest)
    assert load_model(Places((), (tmp_path,)).find(one)).name == "mine"
    assert Path(Places(()).find(one)).name == "he-graphstad"
    with pytest.raises(InputError, match="model he-graphstad"):
        Places((), (tmp_path,)).find(replace(one, sha256="00"))


def test_references_are_those_of_the_catalogue() -> None:
    one = reference_material(entry_of("clean"))
    assert Places(()).find(one) == "clean"
    with pytest.raises(InputError, match="other rates"):
        Places(()).find(replace(one, sha256="00"))
    with pytest.raises(InputError, match="not in the catalogue"):
        Places(()).find(replace(one, name="no-such-reference"))


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_is_of_options_that_its_verb_has(name: str) -> None:
    recipe = RECIPES[name]
    parser = argparse.ArgumentParser()
    getattr(options, f"add_{recipe.verb}")(parser)
    known = {action.dest for action in parser._actions}
    assert {*recipe.options, *recipe.named} <= known


def test_words_cannot_be_taken_for_other_options() -> None:
    options = {"false_alarms": "--output=/etc", "online": True}
    words = words_of(RECIPES["run"], options, [("inputs", "/a.root"), ("model", "/b"), ("definition", "d")])
    assert words == ["run", "/a.root", "--false-alarms=--output=/etc", "--online", "--model=/b"]


@pytest.mark.parametrize("option", ["output", "plots", "flags", "save_verdict", "model", "policy"])
def test_a_file_names_no_place_to_write(option: str) -> None:
    with pytest.raises(InputError, match=option):
        recipe_for(Provenance("run", (), {option: "/etc"}), "x.root")


def test_faults_are_none_or_mixed_or_a_material() -> None:
    assert recipe_for(Provenance("simulate", (), {"faults": "mixed"}), "x") is RECIPES["simulate"]
    with pytest.raises(InputError, match="faults"):
        recipe_for(Provenance("simulate", (), {"faults": "/etc/passwd"}), "x")


@pytest.mark.parametrize("verb", [*REFUSED, "rm"])
def test_what_is_not_reproduced_is_said(verb: str) -> None:
    with pytest.raises(InputError, match=verb):
        recipe_for(Provenance(verb), "x")
