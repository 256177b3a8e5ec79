"""Only options that count are taken from a file; verbs that never give the same twice are refused."""

from __future__ import annotations

import argparse
from importlib import import_module

import pytest

from hcal_root_ad.errors import InputError
from hcal_root_ad.provenance import Provenance
from hcal_root_ad.reproduce.rerun import RECIPES, REFUSED, recipe_for, words_of


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_is_of_options_that_its_verb_has(name: str) -> None:
    recipe = RECIPES[name]
    module, parser = import_module(f"hcal_root_ad.cli.{recipe.verb}"), argparse.ArgumentParser()
    module.add_arguments(parser)
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
