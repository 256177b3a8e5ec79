"""Finding again what an output was made of: by name, and by digest before it is believed."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hcal_root_ad import content
from hcal_root_ad.errors import CatalogueError, HcalRootAdError, InputError
from hcal_root_ad.files import plain_name
from hcal_root_ad.provenance import Material, sha256_of


@dataclass(frozen=True)
class Places:
    """Where to look: ``known`` paths by digest, then ``near`` folders themselves, then all below ``folders``."""

    near: tuple[Path, ...]
    folders: tuple[Path, ...] = ()
    known: Mapping[str, Path] = field(default_factory=dict)

    def find(self, one: Material) -> str:
        """Path of a file or model, or name of a reference run, whose digest is that of the material.

        Raises:
            InputError: it was not found, or only another one of that name.
        """
        if not one.sha256:
            raise InputError(f"{one.name} has no digest (it was read through the network): it cannot be made sure of.")
        finders = {"model": self._model, "reference": _reference}
        return finders.get(one.role, self._file)(one)

    def _file(self, one: Material) -> str:
        others = []
        for path in self._candidates(one):
            if sha256_of(path) == one.sha256:
                return str(path.absolute())
            others.append(path)
        if others:
            raise InputError(f"{others[0]} is not the file that was used: its SHA-256 is not {one.sha256}.")
        raise InputError(_missing(one))

    def _candidates(self, one: Material) -> Iterator[Path]:
        own = [self.known[one.sha256]] if one.sha256 in self.known else []
        pattern = "*" if "%" in one.name else glob.escape(one.name)  # a name with odd characters is spelled otherwise
        near = [found for folder in self.near for found in folder.glob(pattern) if plain_name(found.name) == one.name]
        below = (*self.folders, *content.search_path("reference_runs"))
        for path in (
            *own,
            *near,
            *(
                found
                for folder in below
                for found in sorted(folder.rglob(pattern))
                if plain_name(found.name) == one.name
            ),
        ):
            if path.is_file():
                yield path

    def _model(self, one: Material) -> str:
        from hcal_root_ad.model.model import HEAD, load_model

        shipped = (found for name in content.names("models") if (found := content.find("models", name)))
        given = (head.parent for folder in (*self.near, *self.folders) for head in _below(folder, HEAD))
        for folder in (*given, *shipped):
            try:
                if load_model(folder).digest == one.sha256:
                    return str(folder.absolute())
            except HcalRootAdError:
                continue
        raise InputError(_missing(one))


def _below(folder: Path, name: str) -> Sequence[Path]:
    return sorted(folder.rglob(name)) if folder.is_dir() else []


def _reference(one: Material) -> str:
    from hcal_root_ad.references.catalogue import entry_of

    try:
        entry = entry_of(one.name)
    except CatalogueError as error:
        raise InputError(f"The reference run that was used is not in the catalogue any more: {error}") from error
    if entry.sha256.get(entry.rates, "") != one.sha256:
        raise InputError(f"The reference run {one.name} of the catalogue is not the one that was used: other rates.")
    return one.name


def _missing(one: Material) -> str:
    what = "model" if one.role == "model" else "file"
    size = f", {one.size} bytes" if one.size else ""
    return f"The {what} {one.name} (SHA-256 {one.sha256[:16]}…{size}) was not found; name its folder with --inputs."
