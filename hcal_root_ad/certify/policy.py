"""The written policy: what makes a lumisection bad, as a TOML file in ``policies/`` or of the user's own."""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from hcal_root_ad import content
from hcal_root_ad.errors import PolicyError

SUBDETECTORS = ("HB", "HE", "HF", "HO")
DEFAULT = "standard"
_DIGITS = 12


class Untrusted(StrEnum):
    """What a policy makes of a verdict that is not trusted."""

    NOT_ASSESSED = "not assessed"
    """It decides nothing: its lumisections are NOTSET."""
    JUDGE = "judge"
    """The rules hold for it as for any other."""


@dataclass(frozen=True)
class Rules:
    """What a sub-detector may have in a lumisection and still be good.

    Attributes:
        bad_channels: largest share of the judged channels that may be bad.
        problematic_channels: largest share that may be problematic or bad.
        lost_box: share of bad channels from which a readout box counts as lost.
        lost_boxes: largest number of lost boxes.
        consecutive: a rule must be broken in so many assessed LS in a row to make them bad.
    """

    bad_channels: float
    problematic_channels: float
    lost_box: float
    lost_boxes: int
    consecutive: int


@dataclass(frozen=True)
class Policy:
    """A policy: its rules by sub-detector, and how HCAL's status follows from theirs.

    ``needed``: sub-detectors that must be good for HCAL to be good. ``counted``: sub-detectors that count where they
    were judged: HCAL is bad where they are, but one that is absent holds nothing up. ``untrusted``: what becomes of a
    verdict that is not trusted.
    """

    name: str
    version: str
    description: str
    needed: tuple[str, ...]
    rules: Mapping[str, Rules]
    counted: tuple[str, ...] = ()
    untrusted: Untrusted = Untrusted.NOT_ASSESSED

    @property
    def decisive(self) -> tuple[str, ...]:
        """Sub-detectors that decide about HCAL."""
        return tuple(name for name in SUBDETECTORS if name in (*self.needed, *self.counted))

    @property
    def digest(self) -> str:
        """First digits of the SHA-256 of what the policy says; comments and layout do not count."""
        text = json.dumps(self.as_table(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]

    @property
    def label(self) -> str:
        """Name, version and digest, as outputs echo them."""
        return f"{self.name} {self.version} ({self.digest})"

    def as_table(self) -> dict[str, Any]:
        """The policy as a table from which :func:`policy_of` makes it again."""
        rules = {name: asdict(one) for name, one in self.rules.items()}
        words = {"version": self.version, "description": self.description, "untrusted": str(self.untrusted)}
        return {"name": self.name, **words, "needed": list(self.needed), "counted": list(self.counted), "rules": rules}


def load_policy(name: str | Path = DEFAULT) -> Policy:
    """A policy by file, or by name from the search path.

    Raises:
        PolicyError: there is none, it is no TOML, or a key is unknown, missing, or out of range.

    >>> load_policy("standard").rules["HE"].lost_boxes
    0
    """
    path = Path(name) if Path(name).is_file() else content.find("policies", f"{name}.toml")
    if path is None:
        known = ", ".join(entry.removesuffix(".toml") for entry in content.names("policies", "*.toml")) or "none"
        raise PolicyError(f"No policy {str(name)!r}: expected a TOML file, or one of {known}.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PolicyError(f"The policy {path} cannot be read: {error}.") from error
    return policy_of({"name": path.stem} | table, str(path))


_NEEDED_KEYS = {"name", "version", "description", "needed", "rules"}
_KEYS = _NEEDED_KEYS | {"counted", "untrusted"}
_RULES = {field.name for field in fields(Rules)}
_WHOLE_FROM = {"lost_boxes": 0, "consecutive": 1}


def policy_of(table: Mapping[str, Any], origin: str) -> Policy:
    """A policy from a table as a TOML file gives it; ``origin`` is named where it is wrong.

    Raises:
        PolicyError: a key is unknown, missing, or out of range.
    """
    _check_keys(origin, "", table, _KEYS, required=_NEEDED_KEYS)
    for key in ("name", "version", "description"):
        if not isinstance(table[key], str):
            raise PolicyError(f"The policy {origin} says {key} = {table[key]!r}; a text was expected.")
    needed, counted = (_subdetectors(origin, key, table.get(key, [])) for key in ("needed", "counted"))
    untrusted = table.get("untrusted", Untrusted.NOT_ASSESSED)
    if untrusted not in list(Untrusted):
        choices = " or ".join(f'"{choice}"' for choice in Untrusted)
        raise PolicyError(f"The policy {origin} says untrusted = {untrusted!r}; {choices} was expected.")
    return Policy(
        name=str(table["name"]),
        version=str(table["version"]),
        description=str(table["description"]),
        needed=needed,
        rules=_rules(origin, table["rules"]),
        counted=tuple(name for name in counted if name not in needed),
        untrusted=Untrusted(untrusted),
    )


def _subdetectors(origin: str, key: str, names: object) -> tuple[str, ...]:
    """A list of sub-detectors, in their order; ``needed`` must name one."""
    empty = key == "needed" and not names
    if empty or not isinstance(names, list) or not set(map(str, names)) <= set(SUBDETECTORS):
        raise PolicyError(f"The policy {origin} says {key} = {names!r}; a list of {', '.join(SUBDETECTORS)} is due.")
    return tuple(name for name in SUBDETECTORS if name in names)


def _rules(origin: str, table: object) -> dict[str, Rules]:
    """Rules of each sub-detector: those for all, overruled key by key."""
    if not isinstance(table, Mapping):
        raise PolicyError(f"The policy {origin} says rules = {table!r}; a table [rules] was expected.")
    common = {key: value for key, value in table.items() if key not in SUBDETECTORS}
    _check_keys(origin, "rules.", common, _RULES | set(SUBDETECTORS))
    rules = {}
    for name in SUBDETECTORS:
        own = table.get(name, {})
        if not isinstance(own, Mapping):
            raise PolicyError(f"The policy {origin} says rules.{name} = {own!r}; a table [rules.{name}] was expected.")
        _check_keys(origin, f"rules.{name}.", own, _RULES)
        both = {**common, **own}
        _check_keys(origin, f"rules.{name}.", both, _RULES, required=_RULES)
        rules[name] = Rules(**{key: _number(origin, f"rules.{name}.{key}", key, both[key]) for key in _RULES})
    return rules


def _check_keys(
    origin: str, place: str, table: Mapping[str, Any], known: Collection[str], required: Collection[str] = ()
) -> None:
    for key in table:
        if key not in known:
            (nearest,) = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.0)
            raise PolicyError(
                f"The policy {origin} has the unknown key {place}{key}; the nearest known one is {place}{nearest}."
            )
    missing = sorted(set(required) - set(table))
    if missing:
        raise PolicyError(f"The policy {origin} lacks the key {place}{missing[0]}.")


def _number(origin: str, place: str, key: str, value: object) -> Any:
    """The value of a rule, in range."""
    if key in _WHOLE_FROM:
        if isinstance(value, int) and not isinstance(value, bool) and value >= _WHOLE_FROM[key]:
            return value
        wanted = f"a whole number from {_WHOLE_FROM[key]} on"
    else:
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
            return float(value)
        wanted = "a share between 0 and 1"
    raise PolicyError(f"The policy {origin} says {place} = {value!r}; {wanted} was expected.")
