"""The written policy: what makes a lumisection bad, as a TOML file in ``policies/`` or of the user's own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from hcal_root_ad import content
from hcal_root_ad.content import check_keys, structure
from hcal_root_ad.errors import PolicyError
from hcal_root_ad.tables import read_toml, shown

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
        lost_rbx_share: share of bad channels from which an RBX counts as lost.
        lost_rbx: largest number of lost RBX.
        consecutive: a rule must be broken in so many assessed LS in a row to make them bad.
        any_lost_rbx: any lost RBX makes an LS bad, be it one LS alone, whatever ``lost_rbx`` and ``consecutive`` say.
    """

    bad_channels: float
    problematic_channels: float
    lost_rbx_share: float
    lost_rbx: int
    consecutive: int
    any_lost_rbx: bool = False

    @property
    def most_lost(self) -> int:
        """Largest number of lost RBX of a good LS."""
        return 0 if self.any_lost_rbx else self.lost_rbx


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

    @cached_property
    def digest(self) -> str:
        """First digits of the SHA-256 of what the policy says; comments and layout do not count."""
        text = json.dumps(self.as_table(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]

    @property
    def label(self) -> str:
        """Name, version and digest, as outputs echo them."""
        return f"{self.name} {self.version} ({self.digest})"

    def as_table(self) -> dict[str, Any]:
        """The policy as a table from which :func:`policy_of` makes it again; ``any_lost_rbx`` only where it is said."""
        said = any(rules.any_lost_rbx for rules in self.rules.values())
        keys = [key for key in _RULES if said or key != "any_lost_rbx"]
        return {
            "name": self.name, "version": self.version, "description": self.description,
            "untrusted": str(self.untrusted), "needed": list(self.needed), "counted": list(self.counted),
            "rules": {name: {key: getattr(rules, key) for key in keys} for name, rules in self.rules.items()},
        }  # fmt: skip


def load_policy(name: str | Path = DEFAULT) -> Policy:
    """A policy by file, or by name from the search path.

    Raises:
        PolicyError: there is none, it is no TOML, or a key is unknown, missing, or out of range.

    >>> load_policy("standard").rules["HE"].lost_rbx
    0
    """
    path = Path(name) if Path(name).is_file() else content.find("policies", f"{name}.toml")
    if path is None:
        names = ", ".join(entry.removesuffix(".toml") for entry in content.names("policies", "*.toml")) or "none"
        raise PolicyError(f"No policy {str(name)!r}: expected a TOML file, or one of {names}.")
    return policy_of({"name": path.stem} | read_toml(path, "policy", PolicyError), str(path))


_RULES = tuple(field.name for field in fields(Rules))
_BETWEEN = {"lost_rbx": (0, 72), "consecutive": (1, 100)}
"""Smallest and largest of the rules that are whole numbers; the others are shares. 100 LS are 39 minutes."""


def policy_of(table: Mapping[str, Any], origin: str) -> Policy:
    """A policy from a table as a TOML file gives it; ``origin`` is named where it is wrong.

    Raises:
        PolicyError: a key is unknown, missing, or out of range.
    """
    origin = f"The policy {origin}"
    rules = table.get("rules")
    whole = {**table, "rules": _rules(origin, rules)} if isinstance(rules, Mapping) else table
    policy = structure(whole, Policy, origin, PolicyError)
    for key in ("name", "version"):
        if not getattr(policy, key).isprintable():
            raise PolicyError(f"{origin} says {key} = {shown(getattr(policy, key))}; outputs name it in one line.")
    for name, own in policy.rules.items():
        _check_range(own, origin, f"rules.{name}")
    needed, counted = (_subdetectors(origin, key, getattr(policy, key)) for key in ("needed", "counted"))
    return replace(policy, needed=needed, counted=tuple(name for name in counted if name not in needed))


def _subdetectors(origin: str, key: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """A list of sub-detectors, in their order; ``needed`` must name one."""
    if (key == "needed" and not names) or not set(names) <= set(SUBDETECTORS):
        raise PolicyError(f"{origin} says {key} = {shown([*names])}; a list of {', '.join(SUBDETECTORS)} is due.")
    return tuple(name for name in SUBDETECTORS if name in names)


def _rules(origin: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """Rules of each sub-detector: those for all, overruled key by key."""
    check_keys(table, (*_RULES, *SUBDETECTORS), origin, PolicyError, "rules")
    common = {key: value for key, value in table.items() if key not in SUBDETECTORS}
    rules = {}
    for name in SUBDETECTORS:
        own, place = table.get(name, {}), f"rules.{name}"
        if not isinstance(own, Mapping):
            raise PolicyError(f"{origin} says {place} = {shown(own)}; a table [{place}] was expected.")
        rules[name] = {**common, **own}
    return rules


def _check_range(rules: Rules, origin: str, place: str) -> None:
    for key, value in asdict(rules).items():
        lowest, highest = _BETWEEN.get(key, (0, 1))
        expected = f"{'a whole number' if key in _BETWEEN else 'a share'} between {lowest} and {highest}"
        if not lowest <= value <= highest:
            raise PolicyError(f"{origin} says {place}.{key} = {value}; {expected} was expected.")
