"""How each verb is run again: which of its options and materials count, and what cannot be made again, and why.

An option is taken only if it is listed here, so that no file makes a verb write elsewhere or read what it names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hcal_root_ad.errors import InputError
from hcal_root_ad.provenance import INPUTS, Option, Provenance


@dataclass(frozen=True)
class Recipe:
    """``verb`` with its ``options`` that count, its materials by option (``named``) and by place (``first``)."""

    verb: str
    options: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    first: str = INPUTS


RECIPES = {
    "run": Recipe("run", ("false_alarms", "without_reference", "online", "attach", "as_hcalmltask"), ("model", "mask")),
    "watch": Recipe("run", ("false_alarms", "without_reference", "online"), ("model", "mask")),
    "harvest": Recipe("harvest", ("definition",)),
    "certify": Recipe("certify", ("false_alarms", "without_reference"), ("model", "oms", "dcs", "labels", "mask")),
    "compare": Recipe("compare", ("definition",), ("reference",)),
    "simulate": Recipe(
        "simulate", ("container", "lumisections", "runs", "detector_seed", "seed", "faults"), ("faults",)
    ),
    "export": Recipe("export", ("cmssw", "false_alarms"), first="model"),
}
_TRAINED = (
    "training gives other last digits on another processor or number of threads; make a model anew from the same "
    "runs, and judge the same run with both"
)
_TIMED = "its tables hold measured times and the date; run it again in a new folder, and compare the numbers"
_ADDED = "a reference of that name is there; add its runs under another name, and hold both against a run with compare"
REFUSED = {
    "reference add": _ADDED,
    "train": _TRAINED,
    "transfer": _TRAINED,
    "calibrate": _TRAINED,
    "evaluate": _TIMED,
    "study": _TIMED,
}
"""Verbs whose outputs are never the same twice, and why."""
_FAULTS = ("none", "mixed")


def recipe_for(provenance: Provenance, name: str) -> Recipe:
    """The recipe of an output.

    Raises:
        InputError: there is none, or the provenance asks for an option that does not count.
    """
    verb = provenance.verb
    if verb in REFUSED:
        raise InputError(f"{name} was made by {verb}, which is not reproduced: {REFUSED[verb]}.")
    if verb not in RECIPES:
        raise InputError(f"{name} was made by {verb!r}, which cannot be run again; known are {', '.join(RECIPES)}.")
    recipe = RECIPES[verb]
    unknown = sorted(set(provenance.options) - set(recipe.options))
    if unknown or provenance.options.get("faults", "none") not in _FAULTS:
        raise InputError(f"{name} asks for an option that {verb} does not take here: {', '.join(unknown) or 'faults'}.")
    return recipe


def words_of(recipe: Recipe, options: Mapping[str, Option], found: Sequence[tuple[str, str]]) -> list[str]:
    """The command line but for its outputs; ``found``: role and path or name of each material."""
    first = [path for role, path in found if role == recipe.first]
    chosen = [f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}") for name, value in options.items()]
    named = [f"--{role}={path}" for role, path in found if role in recipe.named]
    return [recipe.verb, *first, *chosen, *named]
