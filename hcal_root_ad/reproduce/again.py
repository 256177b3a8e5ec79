"""Making outputs again in a folder of their own, and comparing them with those that are there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from hcal_root_ad.errors import InputError
from hcal_root_ad.provenance import versions_here
from hcal_root_ad.reproduce.finding import Places
from hcal_root_ad.reproduce.reading import Origin
from hcal_root_ad.reproduce.recipes import Recipe, recipe_for, words_of
from hcal_root_ad.reproduce.sameness import differences, parts_of

Run = Callable[[Sequence[str]], int]
"""Runs a command line, and returns its exit code."""
WRONG_USE = 2
_CAMPAIGN = "certification.provenance.json"
_EXTRA = {
    ".csv": "--flags={folder}/{name}", ".json": "--json={folder}/{name}", ".npz": "--save-verdict={folder}",
    ".png": "--plots={folder}",
}  # fmt: skip
"""What `run` is told for outputs of other kinds than ROOT."""


@dataclass(frozen=True)
class Compared:
    """An output that was made again: of how many parts it is, and in a sentence each how it differs."""

    name: str
    parts: int
    differences: tuple[str, ...]


def other_versions(origin: Origin) -> tuple[str, ...]:
    """What an output was made with and is not what is here."""
    here = versions_here()
    made = origin.provenance.versions
    return tuple(f"{name} {made[name]}, here {here.get(name)}" for name in made if made[name] != here.get(name))


def make_again(origin: Origin, folders: Sequence[Path], target: Path, run: Run) -> None:
    """Find the materials, check their digests, and run the verb with outputs in ``target``.

    Raises:
        InputError: the output cannot be made again, or a material is missing or another one.
    """
    output, provenance = origin.output, origin.provenance
    recipe = recipe_for(provenance, str(output))
    if output.suffix == ".html":
        raise InputError(f"{output} is a page; reproduce the verdict or ROOT file that it was drawn from.")
    if output.suffix == ".jsonl":
        raise InputError(f"{output} is a log of alarms, which came one by one; reproduce the ROOT files beside it.")
    if recipe.verb == "certify" and not output.is_dir():
        raise InputError(f"{output} belongs to a campaign of certify; reproduce its folder as a whole.")
    places = Places((output if output.is_dir() else output.parent, Path()), tuple(folders), _known(output))
    roles = {recipe.first, *recipe.named}
    found = [(one.role, places.find(one)) for one in provenance.materials if one.role in roles]
    words = [*words_of(recipe, provenance.options, found), *_outputs(recipe, origin, target)]
    if recipe.verb == "certify":
        words += _campaign(output, target)
    if run(words) >= WRONG_USE:
        raise InputError(f"{output} could not be made again; the reason stands above.")


def _outputs(recipe: Recipe, origin: Origin, target: Path) -> list[str]:
    """Where the outputs go; `run` must be told of those that are no ROOT file."""
    if recipe.verb in ("harvest", "export"):
        return ["-o", str(target / origin.output.name)]
    if recipe.verb != "run":
        return ["-o", str(target)]
    names = origin.beside.outputs if origin.beside else [origin.output.name]
    extra = {Path(name).suffix: Path(name).name for name in names}
    return ["-o", str(target), *(_EXTRA[end].format(folder=target, name=extra[end]) for end in extra if end in _EXTRA)]


def _known(output: Path) -> dict[str, Path]:
    """Paths by digest that a campaign remembers."""
    files = output / "records" / "files.json"
    if not files.is_file():
        return {}
    with _as_it_was_written(files) as table:
        return {one["digest"]: Path(one["path"]) for one in table}


@contextmanager
def _as_it_was_written(path: Path) -> Iterator[Any]:
    """The JSON in a file of a campaign, which must have the form that is read from it."""
    try:
        yield json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}); certify again.") from error


def _campaign(output: Path, target: Path) -> list[str]:
    """The policy as the campaign wrote it down, and the conditions that it keeps of each run."""
    path = target / "policy.toml"
    with _as_it_was_written(output / _CAMPAIGN) as table:
        rules = {key: value for key, value in table["policy"].items() if key not in ("label", "digest")}
        path.write_text(tomli_w.dumps(rules), encoding="utf-8")
    (target / "records").mkdir()
    for kept in sorted((output / "records").glob("*.conditions.json")):
        shutil.copyfile(kept, target / "records" / kept.name)
    return [f"--policy={path}"]


def compared(origin: Origin, target: Path) -> Iterator[Compared]:
    """The outputs of an origin beside those that were made again.

    Raises:
        InputError: one of them cannot be read.
    """
    for name, path in _files(origin):
        again = target / name if (target / name).is_file() else _sole(target, path)
        if again is None:
            yield Compared(name, 1, ("was not made again",))
            continue
        before = parts_of(path)
        yield Compared(name, len(before), tuple(differences(before, parts_of(again))))


def _files(origin: Origin) -> Iterator[tuple[str, Path]]:
    """Names and paths of what is compared: the file, or all outputs of a folder and what a campaign keeps by run."""
    output = origin.output
    if not output.is_dir() or origin.beside is None:
        yield output.name, output
        return
    kept = [*output.glob("records/*.npz"), *output.glob("root/*.root")] if origin.provenance.verb == "certify" else []
    for name in (*origin.beside.outputs, *sorted(path.relative_to(output).as_posix() for path in kept)):
        path = output / name
        if ".." in Path(name).parts or Path(name).is_absolute() or not path.is_file():
            raise InputError(f"{origin.beside.path}: names {name!r} as an output, which is not in the folder.")
        yield name, path


def _sole(target: Path, path: Path) -> Path | None:
    """The one file of a kind that was made, where the earlier one has another name by now."""
    made = [found for found in target.rglob(f"*{path.suffix}") if found.name == path.name] or [
        *target.rglob(f"*{path.suffix}")
    ]
    return made[0] if len(made) == 1 else None
