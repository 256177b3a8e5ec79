"""Harvester definitions: which monitor elements of which kind of file hold the counts and the events.

A definition is a TOML file in ``harvesters/``; a new source of maps per lumisection is one new file
there. In the path patterns, ``{subsystem}`` stands for one of ``subsystems``, ``{depth}`` for the
depth, ``{half}`` for HBM, HBP, HEM, HEP, and ``{subdetector}`` for HB, HE, HO, HF.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, get_type_hints

from hcal_root_ad import content
from hcal_root_ad.detector import Era
from hcal_root_ad.errors import DefinitionError


class ContainerKind(StrEnum):
    """Kinds of file that maps come in; each has its own module in :mod:`hcal_root_ad.harvest`."""

    DQMIO = "dqmio"
    DQM_FILE = "dqm_file"
    HCALANALYZER = "hcalanalyzer"
    DIALS = "dials"


@dataclass(frozen=True)
class Definition:
    """One source of HCAL maps.

    Attributes:
        name: name of the file, without ``.toml``.
        container: kind of file.
        quantity: what the maps count, for example ``Occupancy``; ``--definition`` takes it as well.
        description: one line for people.
        maps: path pattern of the map of a depth.
        subsystems: names that the subsystem folder may have, best first.
        eras: eras that have these maps.
        rank: where several definitions fit a file, the lowest rank is taken.
        hf_holds_events: whether HF channels count every event (not so where a charge cut is made).
        cumulative: whether files of one run with LS numbers are snapshots that grow; if absent, their names say so.
        own_events: elements with HCAL's own event count, of the LS (or run) that they stand in.
        events_versus_ls: elements with HCAL's own event count against the LS; the entries of a profile's bins.
        other_events: elements with another subsystem's count.
        event_tree: tree with one row per event.
        strips: path pattern of LS × iphi maps of a half sub-detector.
        mean_digis: path pattern of a sub-detector's profile of digis per event against the LS.
    """

    name: str
    container: ContainerKind
    quantity: str
    description: str
    maps: str
    subsystems: tuple[str, ...] = ("Hcal",)
    eras: tuple[Era, ...] = tuple(Era)
    rank: int = 10
    hf_holds_events: bool = False
    cumulative: bool | None = None
    own_events: tuple[str, ...] = ()
    events_versus_ls: tuple[str, ...] = ()
    other_events: tuple[str, ...] = ()
    event_tree: str = ""
    strips: str = ""
    mean_digis: str = ""

    def map_element(self, subsystem: str, depth: int) -> str:
        """Path of the map of a depth."""
        return self.maps.format(subsystem=subsystem, depth=depth)

    def expand(self, patterns: tuple[str, ...], subsystem: str) -> tuple[str, ...]:
        """Paths of event counters; a pattern with ``{subdetector}`` stands for HB, HE, HF and HO."""
        names = ("HB", "HE", "HF", "HO")
        return tuple(dict.fromkeys(p.format(subsystem=subsystem, subdetector=name) for p in patterns for name in names))


KEYS = tuple(f.name for f in fields(Definition) if f.name != "name")
_REQUIRED = tuple(f.name for f in fields(Definition) if f.default is MISSING and f.name != "name")
_FIELDS_OF_PATTERN = {
    "maps": {"subsystem", "depth"},
    "strips": {"subsystem", "half"},
    "mean_digis": {"subsystem", "subdetector"},
    "own_events": {"subsystem", "subdetector"},
    "events_versus_ls": {"subsystem", "subdetector"},
    "other_events": {"subsystem"},
}


def read_definition(path: Path) -> Definition:
    """Read and check one definition file.

    Raises:
        DefinitionError: not TOML, a key that is unknown, missing or of a wrong type.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            raise FileNotFoundError("it is no file")
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DefinitionError(f"The definition {path} cannot be read: {error}.") from error
    _check_keys(path, table)
    values: dict[str, Any] = {key: _value(path, key, value) for key, value in table.items()}
    return Definition(name=path.stem, **values)


def _check_keys(path: Path, table: Mapping[str, Any]) -> None:
    for key in table:
        if key not in KEYS:
            nearest = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.0)[0]
            raise DefinitionError(
                f"The definition {path} has the unknown key {key!r}; the nearest known one is {nearest!r}."
            )
    missing = [key for key in _REQUIRED if key not in table]
    if missing:
        raise DefinitionError(f"The definition {path} lacks the key {missing[0]!r}.")


_TYPES = get_type_hints(Definition)


def _value(path: Path, key: str, value: object) -> object:
    """The value of a key in the type of its field."""
    kind = _TYPES[key]
    texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    try:
        if key == "container":
            return ContainerKind(str(value))
        if key == "eras" and isinstance(value, list):
            return tuple(Era(item) for item in value)
    except ValueError as error:
        choices = ", ".join(ContainerKind if key == "container" else Era)
        raise DefinitionError(f"The definition {path} says {key} = {value!r}; known are {choices}.") from error
    if kind == tuple[str, ...] and isinstance(value, list) and texts:
        return tuple(_pattern(path, key, item) for item in value)
    if kind is str and isinstance(value, str):
        return _pattern(path, key, value)
    if (kind is int and type(value) is int) or (kind in (bool, bool | None) and isinstance(value, bool)):
        return value
    raise DefinitionError(f"The definition {path} says {key} = {value!r}, which is not of the type that it needs.")


def _pattern(path: Path, key: str, text: str) -> str:
    """The text, once its placeholders are known to be ones that the key has."""
    if key in _FIELDS_OF_PATTERN:
        try:
            text.format(**dict.fromkeys(_FIELDS_OF_PATTERN[key], "x"))
        except (KeyError, IndexError, ValueError) as error:
            allowed = ", ".join(f"{{{name}}}" for name in sorted(_FIELDS_OF_PATTERN[key]))
            raise DefinitionError(f"The definition {path} has {key} = {text!r}; it may hold {allowed} only.") from error
    return text


def load_definitions() -> tuple[Definition, ...]:
    """All definitions, by rank and name; a definition of the user hides a shipped one of the same name."""
    paths = (content.find("harvesters", name) for name in content.names("harvesters", "*.toml"))
    definitions = (read_definition(path) for path in paths if path is not None)
    return tuple(sorted(definitions, key=lambda definition: (definition.rank, definition.name)))


def choose_definitions(request: str | None) -> tuple[Definition, ...]:
    """The definitions that a request allows: all, or those of that name or quantity.

    Raises:
        DefinitionError: there is none; the message names the nearest.
    """
    definitions = load_definitions()
    if request is None:
        return definitions
    chosen = tuple(d for d in definitions if request in (d.name, d.quantity))
    if not chosen:
        known = sorted({d.name for d in definitions} | {d.quantity for d in definitions})
        nearest = difflib.get_close_matches(request, known, n=1, cutoff=0.0)
        hint = f"the nearest known one is {nearest[0]!r}" if nearest else "no definitions were found at all"
        raise DefinitionError(f"There is no harvester definition {request!r}; {hint}.")
    return chosen
