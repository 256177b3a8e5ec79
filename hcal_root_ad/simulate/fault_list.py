"""A list of faults in a file of the user's own.

TOML (or JSON with the same keys)::

    [[fault]]
    kind = "degraded"       # dead, degraded, hot, noisy, flickering, ageing
    unit = "HEP07-RM2"      # or HE +20/5/3, HBM03-RM1-card2, HEP07, HE |ieta| 26, HEP; see readout_unit.py
    first = 10              # lumisections, both in
    last = 20
    strength = 0.4          # the factor; see simulate/faults.py for noisy, flickering, ageing
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from hcal_root_ad.errors import InputError, UsageError
from hcal_root_ad.simulate.detector import SimulatedDetector
from hcal_root_ad.simulate.faults import Fault, make_fault

_KEYS: dict[str, type | tuple[type, ...]] = {
    "kind": str,
    "unit": str,
    "first": int,
    "last": int,
    "strength": (int, float),
}


def read_faults(path: Path, detector: SimulatedDetector, seed: int = 0) -> tuple[Fault, ...]:
    """Faults of a file for a detector; ``seed`` draws the course of noisy and flickering ones.

    Raises:
        InputError: the file is missing, no TOML or JSON, or an entry lacks a key or has a wrong value.
    """
    faults = []
    for number, entry in enumerate(_entries(path), start=1):
        _check(path, number, entry)
        try:
            faults.append(make_fault(detector, **({"strength": 0.0} | entry), seed=seed + number))
        except UsageError as error:
            raise InputError(f"Fault {number} of {path} is not possible: {error}") from None
    return tuple(faults)


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text()
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError:
        raise InputError(f"There is no list of faults {path}; --faults takes none, mixed, or a file.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a list of faults in TOML or JSON: {error}.") from None
    entries = content.get("fault") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path} holds no faults: expected entries [[fault]] with {', '.join(_KEYS)}.")
    return entries


def _check(path: Path, number: int, entry: Any) -> None:
    """Every key there (only a dead fault needs no strength), of the right kind, and none besides."""
    keys = set(entry) if isinstance(entry, dict) else set()
    needed = set(_KEYS) - ({"strength"} if keys and entry.get("kind") == "dead" else set())
    wrong = sorted((needed - keys) | (keys - set(_KEYS)))
    wrong = wrong or [key for key in sorted(keys) if not isinstance(entry[key], _KEYS[key])]
    if wrong:
        raise InputError(
            f"Fault {number} of {path} has missing, unknown or mistyped {', '.join(wrong)}; "
            f"expected kind and unit (text), first and last (whole numbers) and strength (a number)."
        )
