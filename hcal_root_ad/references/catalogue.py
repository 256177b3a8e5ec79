"""The catalogue of reference runs: which run is the reference for which era, trigger and detector state.

Each folder ``reference_runs`` on the search path may hold a ``catalogue.toml`` with one table per reference run.
Paths in it are absolute, or relative to the folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from safetensors import SafetensorError

from hcal_root_ad import content
from hcal_root_ad.detector import Era
from hcal_root_ad.errors import CatalogueError
from hcal_root_ad.harvest.definition import load_definitions
from hcal_root_ad.harvest.inputs import RemoteFile, input_file, source_of
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.references.rates import Rates, load_rates
from hcal_root_ad.schema import check_keys, nearest, structure
from hcal_root_ad.tables import read_toml, shown

CATALOGUE = "catalogue.toml"
_OFFLINE = re.compile(r"DQM_V\d+_R\d+__(?P<primary>.+?)__.+")


@dataclass(frozen=True)
class Entry:
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
        found = input_file(written)
        return found if isinstance(found, RemoteFile) else self.folder / found

    @property
    def inputs(self) -> tuple[Path | RemoteFile, ...]:
        """The run's DQM files."""
        return tuple(self.path(written) for written in self.files)

    def holds(self, run: int) -> bool:
        """Whether the detector state lasts in a run."""
        return self.first_run <= run and (not self.last_run or run <= self.last_run)

    def __str__(self) -> str:
        runs = f"run{'s' if len(self.runs) > 1 else ''} {', '.join(map(str, self.runs))}"
        more = [part for part in (self.trigger, self.state, self.data) if part]
        return f"{self.name} ({', '.join([runs, *more])})"


KEYS = tuple(f.name for f in fields(Entry) if f.name not in ("name", "folder"))


@dataclass(frozen=True, eq=False)
class NamedReference:
    """A reference run of the catalogue with its rates, per sub-detector."""

    entry: Entry
    rates: Mapping[str, Rates]

    @property
    def name(self) -> str:
        return self.entry.name


FindReference = Callable[[LumiMaps], NamedReference | None]
"""Finds a reference for a run, as :func:`fitting_reference` does."""


def read_catalogue(folder: Path) -> dict[str, Entry]:
    """Entries of one folder's catalogue by name; none where it has no catalogue.

    Raises:
        CatalogueError: not TOML, or a key that is unknown, missing or of a wrong type.
    """
    path = folder / CATALOGUE
    if not path.exists():
        return {}
    tables = read_toml(path, "catalogue", CatalogueError)
    return {name: _entry(path, name, table) for name, table in tables.items()}


def _entry(path: Path, name: str, table: object) -> Entry:
    origin = f"The catalogue {path}"
    if not isinstance(table, dict):
        raise CatalogueError(f"{origin} has {name!r} outside of a table; each run has a table [name].")
    check_keys(table, KEYS, origin, CatalogueError, name)
    entry = structure({"name": name, "folder": "", **table}, Entry, origin, CatalogueError, name)
    if not entry.runs or min(entry.runs) < 1:
        raise CatalogueError(f"{origin} says {name}.runs = {shown([*entry.runs])}; a list of run numbers was expected.")
    if not entry.files:
        raise CatalogueError(f"{origin} says {name}.files = []; a list of paths was expected.")
    return replace(entry, folder=path.parent)


def entries() -> dict[str, Entry]:
    """All entries on the search path by name; one of the user hides a shipped one of the same name."""
    found: dict[str, Entry] = {}
    for folder in content.search_path("reference_runs"):
        for name, entry in read_catalogue(folder).items():
            found.setdefault(name, entry)
    return found


def catalogue_digest() -> str:
    """SHA-256 over what a choice of references depends on: those that have rates, and whom they fit."""
    fits = ("name", "runs", "era", "quantity", "trigger", "first_run", "last_run")
    text = [
        [str(getattr(one, field)) for field in fits] + [one.sha256.get(one.rates, "")]
        for one in entries().values() if one.rates
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(sorted(text)).encode()).hexdigest()


def entry_of(name: str) -> Entry:
    """The entry of that name.

    Raises:
        CatalogueError: there is none; the message names the nearest.
    """
    known = entries()
    if name in known:
        return known[name]
    like = nearest(name, known)
    hint = f"the nearest known one is {like[0]!r}" if like else "no catalogue has any"
    raise CatalogueError(f"There is no reference run {name!r}; {hint} (`hcal-root-ad reference list` shows all).")


def load_reference(name: str) -> NamedReference:
    """The reference of that name.

    Raises:
        CatalogueError: it is unknown, has no rates, or its rates are damaged.
    """
    return loaded(entry_of(name))


def loaded(entry: Entry) -> NamedReference:
    """An entry with its rates; raises CatalogueError as :func:`load_reference` does."""
    if not entry.rates:
        raise CatalogueError(
            f"{entry.name} is a run of the catalogue, but no reference: no rates were made of it; make some of a clean "
            "run with `hcal-root-ad reference add`."
        )
    path, again = entry.folder / entry.rates, "make them anew with `hcal-root-ad reference add`"
    try:
        if source_of(path).sha256 != entry.sha256.get(entry.rates):
            raise CatalogueError(
                f"The rates {path} of the reference {entry.name} do not match the digest in {CATALOGUE}; {again}."
            )
        return NamedReference(entry, load_rates(path, entry.era))
    except FileNotFoundError as error:
        raise CatalogueError(f"The rates {path} of the reference {entry.name} are not there; {again}.") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise CatalogueError(
            f"The rates {path} of the reference {entry.name} are damaged ({error}); {again}."
        ) from error


def quantity_of(definition: str) -> str:
    """What the maps of a harvester definition count, for example ``Occupancy``; "" where the definition is unknown."""
    return next((known.quantity for known in load_definitions() if known.name == definition), "")


def trigger_of(maps: LumiMaps) -> str:
    """Primary dataset of a run, from the names of its files; "" where they do not (all) say the same."""
    return primary_dataset([source.name for source in maps.sources])


def primary_dataset(names: Sequence[str]) -> str:
    """The one primary dataset that all file names tell (``DQM_V0001_R…__ZeroBias__…``), or ""."""
    matches = [_OFFLINE.fullmatch(name) for name in names]
    found = {match["primary"] if match else "" for match in matches}
    return found.pop() if len(found) == 1 else ""


def fitting_entries(era: Era, quantity: str, trigger: str | None = None, run: int | None = None) -> tuple[Entry, ...]:
    """References for a run, the best first.

    Era and quantity must be the same, the run within the detector state, and the trigger the reference's (unless
    that fits every trigger, or None is given: then any is right). Of several, the user's come before the shipped
    ones, those of the same trigger before those of every trigger, and then the one nearest in run number.
    """
    place = {folder: number for number, folder in enumerate(content.search_path("reference_runs"))}

    def order(entry: Entry) -> tuple[int, bool, int]:
        away = min(abs(run - own) for own in entry.runs) if run is not None else -max(entry.runs)
        return place[entry.folder], trigger is not None and entry.trigger != trigger, away

    def fits(entry: Entry) -> bool:
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
