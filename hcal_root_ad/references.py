"""The catalogue of reference runs: which run is the reference for which era, trigger and detector state.

Each folder ``reference_runs`` on the search path may hold a ``catalogue.toml`` with one table per reference run.
Paths in it are absolute, or relative to the folder. Entries are added to the user's own folder, and every entry is
verified.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import tomli_w
from safetensors import SafetensorError

from hcal_root_ad import content
from hcal_root_ad.content import check_keys, nearest, structure
from hcal_root_ad.detector import Era
from hcal_root_ad.errors import CatalogueError, InputError, OutputError, UsageError
from hcal_root_ad.files import staging_folder
from hcal_root_ad.harvest.harvester import load_definitions
from hcal_root_ad.harvest.inputs import InputFile, RemoteFile, input_file, source_of
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.tables import read_toml, shown

if TYPE_CHECKING:
    from hcal_root_ad.model.rates import Progress, Rates

CATALOGUE = "catalogue.toml"
_OFFLINE = re.compile(r"DQM_V\d+_R\d+__(?P<primary>.+?)__.+")


@dataclass(frozen=True)
class ReferenceEntry:
    """One reference run of a catalogue.

    Attributes:
        name: name of its table. folder: where the catalogue lies.
        runs: run numbers. era: detector configuration. quantity: what its maps count, for example ``Occupancy``.
        files: the run's DQM files; may be gone where the rates are kept.
        trigger: primary dataset; "" fits every trigger.
        state: detector state in words, and the runs in which it lasts: from ``first_run`` to ``last_run`` (0: open).
        rates: file of the rates per channel; "" where the run is no reference (it has faults, for example).
        lumisections, events: how much it holds. data: ``real`` or ``simulated``. what, made_by: for people.
        faults, truth: of simulated runs, what is wrong with them.
        sha256: digests of the files by path.
    """

    name: str
    folder: Path
    runs: tuple[int, ...]
    era: Era
    quantity: str
    files: tuple[str, ...]
    trigger: str = ""
    state: str = ""
    first_run: int = 0
    last_run: int = 0
    rates: str = ""
    lumisections: int = 0
    events: int = 0
    data: str = ""
    what: str = ""
    made_by: str = ""
    faults: str = ""
    truth: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)

    def path(self, written: str) -> Path | RemoteFile:
        """What a path or address of the entry stands for."""
        file = input_file(written)
        return file if isinstance(file, RemoteFile) else self.folder / file

    @property
    def inputs(self) -> tuple[Path | RemoteFile, ...]:
        """The run's DQM files."""
        return tuple(self.path(written) for written in self.files)

    def holds(self, run: int) -> bool:
        """Whether the detector state lasts in a run."""
        return self.first_run <= run and (not self.last_run or run <= self.last_run)

    def __str__(self) -> str:
        runs = f"run{'s' if len(self.runs) > 1 else ''} {', '.join(map(str, self.runs))}"
        more = [text for text in (self.trigger, self.state, self.data) if text]
        return f"{self.name} ({', '.join([runs, *more])})"


KEYS = tuple(f.name for f in fields(ReferenceEntry) if f.name not in ("name", "folder"))


@dataclass(frozen=True, eq=False)
class NamedReference:
    """A reference run of the catalogue with its rates, per sub-detector."""

    entry: ReferenceEntry
    rates: Mapping[str, Rates]

    @property
    def name(self) -> str:
        return self.entry.name


FindReference = Callable[[LumiMaps], NamedReference | None]
"""Finds a reference for a run, as :func:`fitting_reference` does."""


def read_catalogue(folder: Path) -> dict[str, ReferenceEntry]:
    """Entries of one folder's catalogue by name; raises CatalogueError for what is no TOML, or a wrong key."""
    path = folder / CATALOGUE
    if not path.exists():
        return {}
    tables = read_toml(path, "catalogue", CatalogueError)
    return {name: _entry(path, name, table) for name, table in tables.items()}


def _entry(path: Path, name: str, table: object) -> ReferenceEntry:
    origin = f"The catalogue {path}"
    if not isinstance(table, dict):
        raise CatalogueError(f"{origin} has {name!r} outside of a table; each run has a table [name].")
    check_keys(table, KEYS, origin, CatalogueError, name)
    entry = structure({"name": name, "folder": "", **table}, ReferenceEntry, origin, CatalogueError, name)
    if not entry.runs or min(entry.runs) < 1:
        raise CatalogueError(f"{origin} says {name}.runs = {shown([*entry.runs])}; a list of run numbers was expected.")
    if not entry.files:
        raise CatalogueError(f"{origin} says {name}.files = []; a list of paths was expected.")
    return replace(entry, folder=path.parent)


def entries() -> dict[str, ReferenceEntry]:
    """All entries on the search path by name; one of the user hides a shipped one of the same name."""
    by_name: dict[str, ReferenceEntry] = {}
    for folder in content.search_path("reference_runs"):
        by_name |= {name: entry for name, entry in read_catalogue(folder).items() if name not in by_name}
    return by_name


def catalogue_digest() -> str:
    """SHA-256 over what a choice of references depends on: those that have rates, and whom they fit."""
    fits = ("name", "runs", "era", "quantity", "trigger", "first_run", "last_run")
    text = [
        [str(getattr(entry, field)) for field in fits] + [entry.sha256.get(entry.rates, "")]
        for entry in entries().values() if entry.rates
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(sorted(text)).encode()).hexdigest()


def entry_of(name: str) -> ReferenceEntry:
    """The entry of that name.

    Raises:
        CatalogueError: there is none; the message names the nearest.
    """
    catalogue = entries()
    if name in catalogue:
        return catalogue[name]
    like = nearest(name, catalogue)
    hint = f"the nearest known one is {like[0]!r}" if like else "no catalogue has any"
    raise CatalogueError(f"There is no reference run {name!r}; {hint} (`hcal-root-ad reference list` shows all).")


def load_reference(name: str) -> NamedReference:
    """The reference of that name; raises CatalogueError if it is unknown, has no rates, or its rates are damaged."""
    return loaded(entry_of(name))


def loaded(entry: ReferenceEntry) -> NamedReference:
    """An entry with its rates; raises CatalogueError as :func:`load_reference` does."""
    if not entry.rates:
        raise CatalogueError(
            f"{entry.name} is a run of the catalogue, but no reference: no rates were made of it; make some of a clean "
            "run with `hcal-root-ad reference add`."
        )
    path, again = entry.folder / entry.rates, "make them again with `hcal-root-ad reference add`"
    words = f"The rates {path} of the reference {entry.name}"
    try:
        if source_of(path).sha256 != entry.sha256.get(entry.rates):
            raise CatalogueError(f"{words} do not match the digest in {CATALOGUE}; {again}.")
        from hcal_root_ad.model.rates import load_rates  # rates need what fits models, which reading does not

        return NamedReference(entry, load_rates(path, entry.era))
    except FileNotFoundError as error:
        raise CatalogueError(f"{words} are not there; {again}.") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise CatalogueError(f"{words} are damaged ({error}); {again}.") from error


def quantity_of(definition: str) -> str:
    """What the maps of a harvester definition count, for example ``Occupancy``; "" where the definition is unknown."""
    return next((source.quantity for source in load_definitions() if source.name == definition), "")


def trigger_of(maps: LumiMaps) -> str:
    """Primary dataset of a run, from the names of its files."""
    return primary_dataset([source.name for source in maps.sources])


def primary_dataset(names: Sequence[str]) -> str:
    """The one primary dataset that all file names tell (``DQM_V0001_R…__ZeroBias__…``), or ""."""
    matches = [_OFFLINE.fullmatch(name) for name in names]
    triggers = {match["primary"] if match else "" for match in matches}
    return triggers.pop() if len(triggers) == 1 else ""


def fitting_entries(
    era: Era, quantity: str, trigger: str | None = None, run: int | None = None
) -> tuple[ReferenceEntry, ...]:
    """References for a run, the best first.

    Era and quantity must be the same, the run within the detector state, and the trigger the reference's (unless
    that fits every trigger, or None is given: then any is right). Of several, the user's come before the shipped
    ones, those of the same trigger before those of every trigger, and then the one nearest in run number.
    """
    place = {folder: number for number, folder in enumerate(content.search_path("reference_runs"))}

    def order(entry: ReferenceEntry) -> tuple[int, bool, int]:
        away = min(abs(run - own) for own in entry.runs) if run is not None else -max(entry.runs)
        return place[entry.folder], trigger is not None and entry.trigger != trigger, away

    def fits(entry: ReferenceEntry) -> bool:
        same = trigger is None or entry.trigger in ("", trigger)
        return same and (entry.era, entry.quantity) == (era, quantity) and (run is None or entry.holds(run))

    return tuple(sorted((entry for entry in entries().values() if entry.rates and fits(entry)), key=order))


def fitting_reference(maps: LumiMaps) -> NamedReference | None:
    """The best reference for a run, None where none fits.

    Raises:
        CatalogueError: a catalogue is wrong, or the reference that fits is damaged.
    """
    fitting = fitting_entries(maps.channels.era, quantity_of(maps.definition), trigger_of(maps), maps.run)
    return loaded(fitting[0]) if fitting else None


def none_fits(maps: LumiMaps) -> str:
    """Words on a run that no reference fits."""
    trigger = trigger_of(maps)
    asked = f"{maps.channels.era.value}, {quantity_of(maps.definition) or maps.definition}"
    return (
        f"no reference of the catalogue fits run {maps.run} ({asked}, trigger {trigger or 'not named by its file'}); "
        "make one of a clean run with `hcal-root-ad reference add`"
    )


RATES = "rates.safetensors"
_NAME = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.+]*")


@dataclass(frozen=True)
class Description:
    """What the user says of a reference, see :class:`ReferenceEntry`; the files' names tell the trigger if None."""

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
) -> ReferenceEntry:
    """Make a reference of clean runs and enter it into the user's own catalogue: rates first, then the entry.

    The files stay where they are; the entry names them with their digests.

    Raises:
        UsageError: as :func:`own_catalogue`. InputError: the runs make no reference. OutputError: it cannot be written.
    """
    from hcal_root_ad.model.rates import fit_rates, save_rates

    folder, quantity = own_catalogue(name), _common_quantity(runs)
    rates = fit_rates(runs, progress)
    trigger = primary_dataset([file.name for file in files]) if description.trigger is None else description.trigger
    described = asdict(replace(description, trigger=trigger))
    what = described.pop("what")
    table = {
        "runs": [maps.run for maps in runs],
        "era": runs[0].channels.era.value,
        "quantity": quantity,
        **described,
        "lumisections": sum(int(maps.present.sum()) for maps in runs),
        "events": int(max(subdetector.events for subdetector in rates.values())),
        "what": what,
        "made_by": f"hcal-root-ad {version('hcal-root-ad')}, reference add",
    }
    try:
        with staging_folder(folder) as partial:
            save_rates(rates, partial / RATES)
            digests = {_written(file, folder): source_of(file).sha256 for file in files}
            table |= {"files": list(digests), "rates": f"{name}/{RATES}"}
            digests = {f"{name}/{RATES}": source_of(partial / RATES).sha256} | digests
            # Files elsewhere were not fetched whole and have no digest.
            table["sha256"] = {path: digest for path, digest in digests.items() if digest}
            path = folder / CATALOGUE
            before = path.read_text(encoding="utf-8").rstrip() + "\n\n" if path.exists() else _HEAD  # comments, too
            text = tomli_w.dumps({name: {key: value for key, value in table.items() if value not in ("", 0)}})
            (partial / CATALOGUE).write_text(before + text, encoding="utf-8")
            (folder / name).mkdir()
            (partial / RATES).rename(folder / name / RATES)
            (partial / CATALOGUE).replace(path)
    except OSError as error:
        shutil.rmtree(folder / name, ignore_errors=True)
        raise OutputError(f"{folder}: cannot be written ({error.strerror}); choose another folder.") from error
    return read_catalogue(folder)[name]


def _common_quantity(runs: Sequence[LumiMaps]) -> str:
    quantities = sorted({quantity_of(maps.definition) for maps in runs})
    if len(quantities) > 1 or not quantities[0]:
        definitions = ", ".join(sorted({maps.definition for maps in runs}))
        raise InputError(
            f"the clean runs were read by the definitions {definitions}; a reference is of one known quantity"
        )
    return quantities[0]


def _written(file: InputFile, folder: Path) -> str:
    """How a catalogue names a file: relative to its folder where it lies inside."""
    if isinstance(file, RemoteFile):
        return file.url
    path, home = file.resolve(), folder.resolve()
    return str(path.relative_to(home) if path.is_relative_to(home) else path)


_HEAD = "# Reference runs, by name; `hcal-root-ad reference add` appends, `hcal-root-ad reference verify` checks.\n\n"


def complaints(entry: ReferenceEntry) -> Iterator[str]:
    """What is wrong with an entry, one sentence each: rates, files and digests."""
    name = entry.name
    try:
        if entry.rates:
            loaded(entry)
    except CatalogueError as error:
        yield str(error)
    for written in dict.fromkeys((*entry.files, *filter(None, (entry.faults, entry.truth)))):
        path = entry.path(written)
        if isinstance(path, RemoteFile):
            continue
        if not path.is_file():
            yield f"The file {path} of {name} is not there; its rates are still good, but no model can adapt to it."
        elif written in entry.sha256 and source_of(path).sha256 != entry.sha256[written]:
            yield f"The file {path} of {name} is not the one that was added: its digest is another."
    for written in entry.sha256:
        if written not in (*entry.files, entry.rates):
            yield f"The entry {name} has a digest of {written}, which is none of its files."


def input_paths(name: str) -> tuple[InputFile, ...]:
    """The address, file, folder or glob pattern of that path, else the files of the reference run of that name.

    Raises:
        InputError: neither exists. CatalogueError: a catalogue of reference runs is wrong.
    """
    path = input_file(name)
    if isinstance(path, RemoteFile) or path.exists() or glob.has_magic(name):
        return (path,)
    catalogue = entries()
    if name in catalogue:
        return catalogue[name].inputs
    if reference_run := content.find("reference_runs", name):
        return (reference_run,)
    loose = {name: content.find("reference_runs", name) for name in content.names("reference_runs")}
    data = {name for name, path in loose.items() if path and (path.is_dir() or path.suffix == ".root")}
    names = ", ".join(sorted(data.union(catalogue))) or "none"
    raise InputError(f"{name}: no such file, and no reference run of that name (there are: {names}).")
