"""What an output was made of and with, so that anybody can look it up, and make it again.

Files are known by name, size and digest, never by place: outputs are published, and a path is nobody's business. An
output that cannot carry its provenance inside has it in a sidecar, ``NAME.provenance.json``, with a digest of each
output.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcal_root_ad import content
from hcal_root_ad.errors import InputError
from hcal_root_ad.files import plain_name, write_text
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import HEAD, REFERENCE, WEIGHTS, Model

if TYPE_CHECKING:
    from hcal_root_ad.judge.run_verdict import RunVerdict
    from hcal_root_ad.references import ReferenceEntry

PACKAGES = ("hcal-root-ad", "numpy", "torch", "uproot")
"""Whose versions are named, beside that of Python."""
INPUTS = "inputs"
"""Role of the DQM files."""
_PLAIN_NAME = re.compile(r"[^/\\\x00-\x1f]+")

Option = bool | int | float | str


@cache
def versions_here() -> Mapping[str, str]:
    """Versions of this program and of what its numbers come from."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


@dataclass(frozen=True)
class Material:
    """What an output was made of: ``role`` is the option that names it (``inputs``, ``model``, ``policy``, …).

    ``sha256`` is empty where a file was read through the network; that of a model is over its files.
    """

    role: str
    name: str
    sha256: str
    size: int = 0


@dataclass(frozen=True)
class Provenance:
    """The verb that made an output, with its options, from which materials, and by which versions.

    ``trust``: by sub-detector, what the verdict in the output rests on; empty where there is no verdict.
    """

    verb: str
    materials: tuple[Material, ...] = ()
    options: Mapping[str, Option] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=versions_here)
    trust: Mapping[str, str] = field(default_factory=dict)

    def of(self, role: str) -> tuple[Material, ...]:
        """The materials of a role."""
        return tuple(material for material in self.materials if material.role == role)

    def as_table(self) -> dict[str, Any]:
        """What :func:`provenance_of_table` reads."""
        return asdict(self)

    def text(self) -> str:
        """One line of ASCII JSON without angle brackets or runs of blanks: HTML and the DQM GUIs keep it as it is."""
        plain = json.dumps(self.as_table(), sort_keys=True)
        return plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("  ", "\\u0020\\u0020")


def provenance_of_table(table: Any) -> Provenance:
    """The inverse of :meth:`Provenance.as_table`.

    Raises:
        ValueError: it is of another form, or names a file by its place.
    """
    try:
        materials = tuple(Material(**row) for row in table["materials"])
        trust = dict(table.get("trust", {}))
        provenance = Provenance(table["verb"], materials, dict(table["options"]), dict(table["versions"]), trust)
    except (KeyError, TypeError) as error:
        raise ValueError(f"no provenance: {error}") from error
    words = [provenance.verb, *provenance.versions.values(), *trust.values()]
    words += [word for material in materials for word in (material.role, material.sha256)]
    if not all(isinstance(word, str) for word in words) or not all(map(_sound, materials)):
        raise ValueError("no provenance: a name or digest is of another form")
    if not all(isinstance(value, Option) for value in provenance.options.values()):
        raise ValueError("no provenance: an option is of another form")
    return provenance


def provenance_of_text(text: str) -> Provenance:
    """The inverse of :meth:`Provenance.text`; raises ValueError as :func:`provenance_of_table` does."""
    return provenance_of_table(json.loads(text))


def _sound(material: Material) -> bool:
    """Whether the name is a bare one, which leads out of no folder, and the size a number."""
    plain = isinstance(material.name, str) and _PLAIN_NAME.fullmatch(material.name) and material.name not in (".", "..")
    return bool(plain) and isinstance(material.size, int)


def sha256_of(path: Path) -> str:
    """Digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_material(role: str, path: Path) -> Material:
    """A file here."""
    return Material(role, plain_name(path.name), sha256_of(path), path.stat().st_size)


def model_material(model: Model) -> Material:
    """A model by name and digest."""
    return Material("model", model.name, model.digest)


def reference_material(entry: ReferenceEntry) -> Material:
    """A reference run by name, with the digest of its rates."""
    return Material("reference", entry.name, entry.sha256.get(entry.rates, ""))


def provenance_of_maps(
    verb: str,
    runs: Iterable[LumiMaps],
    others: Iterable[Material] = (),
    options: Mapping[str, Option | None] | None = None,
    trust: Mapping[str, str] | None = None,
) -> Provenance:
    """Where something comes from that was made of runs and of ``others``: files and definitions of the runs, each once.

    A definition has the digest of the file that is found under its name now.
    """
    runs = list(runs)
    sources = dict.fromkeys(source for maps in runs for source in maps.sources)
    names = dict.fromkeys(maps.definition for maps in runs)
    files = {name: content.find("harvesters", f"{name}.toml") for name in names if name}
    inputs = (Material(INPUTS, source.name, source.sha256, source.size) for source in sources)
    definitions = (Material("definition", name, sha256_of(file) if file else "") for name, file in files.items())
    return Provenance(verb, (*inputs, *definitions, *others), chosen(options or {}), trust=trust or {})


def provenance_of_run(run: RunVerdict) -> Provenance:
    """Where a verdict comes from, as far as it knows itself: by whom it was judged, not with what options."""
    models = dict.fromkeys((each.judge.name, each.judge.digest) for each in run.verdicts if each.judge.digest)
    return provenance_of_maps("run", [run.maps], [Material("model", *model) for model in models], trust=trust_in([run]))


def trust_in(runs: Iterable[RunVerdict]) -> dict[str, str]:
    """By sub-detector (and ``strips``), the least that a verdict on any of the runs rests on."""
    from hcal_root_ad.judge.verdict import Trust

    trusts: dict[str, list[Trust]] = {}
    for run in runs:
        for verdict in run.verdicts:
            trusts.setdefault(verdict.subdetector, []).append(verdict.trust)
        if run.strips:
            trusts.setdefault("strips", []).append(run.strips.trust)
    return {name: str(max(levels, key=list(Trust).index)) for name, levels in trusts.items()}


def chosen(options: Mapping[str, Option | None]) -> dict[str, Option]:
    """Options that were given: neither None nor switched off."""
    return {name: value for name, value in options.items() if value is not None and value is not False}


SUFFIX = ".provenance.json"


@dataclass(frozen=True)
class Beside:
    """Such a file: the provenance, and the digests of the outputs by their path from its folder."""

    path: Path
    provenance: Provenance
    outputs: Mapping[str, str]

    def changed(self, output: Path) -> bool:
        """Whether an output is no longer what was written."""
        return self.outputs.get(relative(output, self.path.parent)) != sha256_of(output)


def relative(output: Path, folder: Path) -> str:
    """Path of an output from a folder that it lies in; a link stands where it is, not where it leads."""
    return (output.parent.resolve() / output.name).relative_to(folder.resolve()).as_posix()


def beside_table(provenance: Provenance, folder: Path, outputs: Iterable[Path]) -> dict[str, Any]:
    """What such a file in ``folder`` says of outputs below it."""
    digests = {relative(path, folder): sha256_of(path) for path in outputs}
    return {"provenance": provenance.as_table(), "outputs": digests}


def write_beside(provenance: Provenance, folder: Path, name: str, outputs: Iterable[Path]) -> Path:
    """Write ``NAME.provenance.json`` into the folder of the outputs, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    path = folder / f"{name}{SUFFIX}"
    write_text(path, json.dumps(beside_table(provenance, folder, outputs), indent=1))
    return path


def read_beside(path: Path) -> Beside | None:
    """Read such a file; None where it holds no provenance of this form.

    Raises:
        InputError: it cannot be read.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(table, dict) or "provenance" not in table:
            return None
        return Beside(path, provenance_of_table(table["provenance"]), dict(table.get("outputs", {})))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: expected what an output was made of, found it damaged ({error}).") from error


def beside(output: Path) -> Beside | None:
    """What lies beside an output, in its folder or the one above, and names it; None where nothing does."""
    parent = output.absolute().parent
    for folder in (parent, parent.parent):
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            if (sidecar := read_beside(path)) and relative(output, folder) in sidecar.outputs:
                return sidecar
    return None


def write_model_provenance(
    verb: str, folder: Path, runs: Sequence[LumiMaps], sources: Sequence[Model], options: Mapping[str, Option | None]
) -> None:
    """``runs``: clean runs that it learned from. ``sources``: models that it began with."""
    materials = [Material("model", source.name, source.digest) for source in sources]
    files = [folder / name for name in (HEAD, REFERENCE, WEIGHTS)]
    made = provenance_of_maps(verb, runs, materials, options)
    write_beside(made, folder, "model", [file for file in files if file.exists()])
