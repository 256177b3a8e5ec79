"""Keeping the catalogue of reference runs: entries are added to the user's own folder, and every entry is verified."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomli_w

from hcal_root_ad import content
from hcal_root_ad.errors import CatalogueError, InputError, OutputError, UsageError
from hcal_root_ad.files import staging_folder
from hcal_root_ad.harvest.inputs import InputFile, RemoteFile, source_of
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.references.catalogue import (
    CATALOGUE,
    Entry,
    loaded,
    primary_dataset,
    quantity_of,
    read_catalogue,
)
from hcal_root_ad.references.rates import Progress, Rates, fit_rates, save_rates

RATES = "rates.safetensors"
_NAME = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.+]*")


@dataclass(frozen=True)
class Description:
    """What the user says of a reference: see :class:`~hcal_root_ad.references.catalogue.Entry`.

    ``trigger`` None takes it from the names of the files.
    """

    trigger: str | None = None
    state: str = ""
    first_run: int = 0
    last_run: int = 0
    what: str = ""


def own_catalogue(name: str) -> Path:
    """The user's folder for a new entry of that name.

    Raises:
        UsageError: the user has named no folder, the name is no name, or is taken there.
    """
    folder = content.own_folder("reference_runs")
    if folder is None:
        raise UsageError(
            f"{content.SEARCH_VARIABLE} names no folder of yours to keep references in; "
            f"set it first, for example: export {content.SEARCH_VARIABLE}=$HOME/hcal."
        )
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a reference; use letters, digits and - _ . + only.")
    if name in read_catalogue(folder) or (folder / name).exists():
        raise UsageError(f"{folder} has a reference {name!r} already; choose another name, or remove the old one.")
    return folder


def add_reference(
    name: str,
    runs: Sequence[LumiMaps],
    files: Sequence[InputFile],
    description: Description,
    progress: Progress | None = None,
) -> Entry:
    """Make a reference of clean runs and enter it into the user's own catalogue: rates first, then the entry.

    The files stay where they are; the entry names them with their digests.

    Raises:
        UsageError: as :func:`own_catalogue`. InputError: the runs make no reference. OutputError: it cannot be written.
    """
    folder = own_catalogue(name)
    _common_quantity(runs)
    rates = fit_rates(runs, progress)
    try:
        with staging_folder(folder) as partial:
            save_rates(rates, partial / RATES)
            digests = {_written(file, folder): source_of(file).sha256 for file in files}
            rates_digest = {f"{name}/{RATES}": source_of(partial / RATES).sha256}
            table = _table(runs, rates, files, description) | {
                "files": list(digests),
                "rates": f"{name}/{RATES}",
                # Files elsewhere were not fetched whole and have no digest.
                "sha256": rates_digest | {path: digest for path, digest in digests.items() if digest},
            }
            (partial / CATALOGUE).write_text(_appended(folder, name, table), encoding="utf-8")
            (folder / name).mkdir()
            (partial / RATES).rename(folder / name / RATES)
            (partial / CATALOGUE).replace(folder / CATALOGUE)
    except OSError as error:
        shutil.rmtree(folder / name, ignore_errors=True)
        raise OutputError(f"{folder}: cannot be written ({error.strerror}); choose another folder.") from error
    return read_catalogue(folder)[name]


def _table(
    runs: Sequence[LumiMaps], rates: Mapping[str, Rates], files: Sequence[InputFile], description: Description
) -> dict[str, Any]:
    """What is known of the runs, as the catalogue says it."""
    trigger = primary_dataset([file.name for file in files]) if description.trigger is None else description.trigger
    return {
        "runs": [maps.run for maps in runs],
        "era": runs[0].channels.era.value,
        "quantity": _common_quantity(runs),
        "trigger": trigger,
        "state": description.state,
        "first_run": description.first_run,
        "last_run": description.last_run,
        "lumisections": sum(int(maps.present.sum()) for maps in runs),
        "events": int(max(one.events for one in rates.values())),
        "what": description.what,
        "made_by": f"hcal-root-ad {version('hcal-root-ad')}, reference add",
    }


def _common_quantity(runs: Sequence[LumiMaps]) -> str:
    quantities = sorted({quantity_of(maps.definition) for maps in runs})
    if len(quantities) > 1 or not quantities[0]:
        found = ", ".join(sorted({maps.definition for maps in runs}))
        raise InputError(f"the clean runs were read by the definitions {found}; a reference is of one known quantity")
    return quantities[0]


def _written(file: InputFile, folder: Path) -> str:
    """How a catalogue names a file: relative to its folder where it lies inside."""
    if isinstance(file, RemoteFile):
        return file.url
    path, home = file.resolve(), folder.resolve()
    return str(path.relative_to(home) if path.is_relative_to(home) else path)


def _appended(folder: Path, name: str, table: dict[str, Any]) -> str:
    """The catalogue with one more table behind what it says already, comments included."""
    path = folder / CATALOGUE
    before = path.read_text(encoding="utf-8").rstrip() + "\n\n" if path.exists() else _HEAD
    return before + tomli_w.dumps({name: {key: value for key, value in table.items() if value not in ("", 0)}})


_HEAD = "# Reference runs, by name; `hcal-root-ad reference add` appends, `hcal-root-ad reference verify` checks.\n\n"


def complaints(entry: Entry) -> Iterator[str]:
    """What is wrong with an entry, one sentence each: rates, files and digests."""
    if entry.rates:
        try:
            loaded(entry)
        except CatalogueError as error:
            yield str(error)
    for written in dict.fromkeys((*entry.files, *filter(None, (entry.faults, entry.truth)))):
        yield from _file_complaints(entry, written)
    for written in entry.sha256:
        if written not in (*entry.files, entry.rates):
            yield f"The entry {entry.name} has a digest of {written}, which is none of its files."


def _file_complaints(entry: Entry, written: str) -> Iterator[str]:
    path = entry.path(written)
    if isinstance(path, RemoteFile):
        return
    if not path.is_file():
        yield f"The file {path} of {entry.name} is not there; its rates are still good, but no model can adapt to it."
    elif written in entry.sha256 and source_of(path).sha256 != entry.sha256[written]:
        yield f"The file {path} of {entry.name} is not the one that was added: its digest is another."
