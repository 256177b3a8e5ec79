"""Make an output again from the same inputs and compare: which options count, where the inputs are, what differs.

An option is taken only if it is listed here, so that no file makes a verb write elsewhere or read what it names.
"""

from __future__ import annotations

import glob
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from hcal_root_ad import content
from hcal_root_ad.errors import CatalogueError, HcalRootAdError, InputError
from hcal_root_ad.files import plain_name
from hcal_root_ad.provenance import INPUTS, Material, Option, Provenance, sha256_of, versions_here
from hcal_root_ad.reproduce.read_back import Origin, differences, parts_of


@dataclass(frozen=True)
class Places:
    """Where to look: ``known`` paths by digest, then ``near`` folders themselves, then all below ``folders``."""

    near: tuple[Path, ...]
    folders: tuple[Path, ...] = ()
    known: Mapping[str, Path] = field(default_factory=dict)

    def find(self, material: Material) -> str:
        """Path of a file or model, or name of a reference run, whose digest is that of the material.

        Raises:
            InputError: it was not found, or only another one of that name.
        """
        if not material.sha256:
            raise InputError(
                f"{material.name} has no digest (it was read through the network): it cannot be made sure of."
            )
        finders = {"model": self._model, "reference": _reference, "state": self._state}
        return finders.get(material.role, self._file)(material)

    def _file(self, material: Material) -> str:
        others = []
        for path in self._candidates(material):
            if sha256_of(path) == material.sha256:
                return str(path.absolute())
            others.append(path)
        if others:
            raise InputError(f"{others[0]} is not the file that was used: its SHA-256 is not {material.sha256}.")
        raise InputError(_missing(material))

    def _candidates(self, material: Material) -> Iterator[Path]:
        if (own := self.known.get(material.sha256)) and own.is_file():
            yield own
        # A name with odd characters is spelled otherwise.
        pattern = "*" if "%" in material.name else glob.escape(material.name)
        near = (path for folder in self.near for path in folder.glob(pattern))
        folders = (*self.folders, *content.search_path("reference_runs"))
        below = (path for folder in folders for path in sorted(folder.rglob(pattern)))
        yield from (path for path in (*near, *below) if plain_name(path.name) == material.name and path.is_file())

    def _model(self, material: Material) -> str:
        from hcal_root_ad.model.model import HEAD, load_model

        shipped = (folder for name in content.names("models") if (folder := content.find("models", name)))
        given = (head.parent for folder in (*self.near, *self.folders) for head in _below(folder, HEAD))
        for folder in (*given, *shipped):
            try:
                if load_model(folder).digest == material.sha256:
                    return str(folder.absolute())
            except HcalRootAdError:
                continue
        raise InputError(_missing(material))

    def _state(self, material: Material) -> str:
        """The folder of a detector state that has the version; as before, it judges by what stood before the run."""
        from hcal_root_ad.state.history import FIRST, StateStore

        for folder in (first.parent for place in (*self.near, *self.folders) for first in _below(place, FIRST)):
            try:
                history = StateStore(folder).history()
            except HcalRootAdError:
                continue
            numbers = [update.number for update in history.updates if update.version == material.sha256]
            if history.whole & set(numbers):
                return str(folder.absolute())
            if numbers:
                raise InputError(
                    f"{folder}: version {numbers[0]} of the state, which judged, is not kept whole any more."
                )
        raise InputError(_missing(material))


def _below(folder: Path, name: str) -> Sequence[Path]:
    return sorted(folder.rglob(name)) if folder.is_dir() else []


def _reference(material: Material) -> str:
    from hcal_root_ad.references import entry_of

    try:
        entry = entry_of(material.name)
    except CatalogueError as error:
        raise InputError(f"The reference run that was used is not in the catalogue any more: {error}") from error
    if entry.sha256.get(entry.rates, "") != material.sha256:
        raise InputError(
            f"The reference run {material.name} of the catalogue is not the one that was used: other rates."
        )
    return material.name


def _missing(material: Material) -> str:
    what = {"model": "model", "state": "detector state"}.get(material.role, "file")
    size = f", {material.size} bytes" if material.size else ""
    digest = f"SHA-256 {material.sha256[:16]}…"
    return f"The {what} {material.name} ({digest}{size}) was not found; name its folder with --inputs."


@dataclass(frozen=True)
class Recipe:
    """``verb`` with its ``options`` that count, its materials by option (``named``) and by place (``first``)."""

    verb: str
    options: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    first: str = INPUTS


_JUDGED_BY = ("model", "mask", "state")
RECIPES = {
    "run": Recipe(
        "run", ("definition", "false_alarms", "without_reference", "online", "attach", "as_hcalmltask"), _JUDGED_BY
    ),
    "watch": Recipe("run", ("definition", "false_alarms", "without_reference", "online"), _JUDGED_BY),
    "harvest": Recipe("harvest", ("definition",)),
    "certify": Recipe(
        "certify", ("definition", "false_alarms", "without_reference"), ("oms", "dcs", "labels", *_JUDGED_BY)
    ),
    "compare": Recipe("compare", ("definition",), ("reference", "mask")),
    "simulate": Recipe("simulate", ("format", "lumisections", "runs", "detector_seed", "seed", "faults"), ("faults",)),
    "export": Recipe("export", ("cmssw", "false_alarms"), first="model"),
}
_TRAINED = (
    "training gives other last digits on another processor or number of threads; make a model again from the same "
    "runs, and judge the same run with both"
)
_TIMED = "its tables hold measured times and the date; run it again in a new folder, and compare the numbers"
_ADDED = "a reference of that name is there; add its runs under another name, and hold both against a run with compare"
REFUSED = {
    "reference add": _ADDED, **dict.fromkeys(("train", "transfer", "calibrate"), _TRAINED),
    **dict.fromkeys(("evaluate", "study"), _TIMED),
}  # fmt: skip
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


def words_of(recipe: Recipe, options: Mapping[str, Option], materials: Sequence[tuple[str, str]]) -> list[str]:
    """The command line but for its outputs; ``materials``: role and path or name of each material."""
    first = [path for role, path in materials if role == recipe.first]
    chosen = [f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}") for name, value in options.items()]
    named = dict.fromkeys(f"--{role}={path}" for role, path in materials if role in recipe.named)
    return [recipe.verb, *first, *chosen, *named]


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
    """What an output was made with and is not what is used now."""
    current = versions_here()
    made = origin.provenance.versions
    return tuple(f"{name} {made[name]}, here {current.get(name)}" for name in made if made[name] != current.get(name))


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
    materials = [(material.role, places.find(material)) for material in provenance.materials if material.role in roles]
    words = [*words_of(recipe, provenance.options, materials), *_outputs(recipe, origin, target)]
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
        return {row["digest"]: Path(row["path"]) for row in table}


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
    outputs = list(target.rglob(f"*{path.suffix}"))
    made = [output for output in outputs if output.name == path.name] or outputs
    return made[0] if len(made) == 1 else None
