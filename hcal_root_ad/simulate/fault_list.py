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

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from hcal_root_ad.errors import InputError, UsageError
from hcal_root_ad.schema import structure
from hcal_root_ad.simulate.detector import SimulatedDetector
from hcal_root_ad.simulate.faults import Fault, make_fault
from hcal_root_ad.tables import read_json, read_toml


@dataclass(frozen=True)
class _Written:
    """A fault as it stands in its file; only a dead one needs no strength."""

    kind: str
    unit: str
    first: int
    last: int
    strength: float | None = None


_KEYS = ", ".join(field.name for field in fields(_Written))


def read_faults(path: Path, detector: SimulatedDetector, seed: int = 0) -> tuple[Fault, ...]:
    """Faults of a file for a detector; ``seed`` draws the course of noisy and flickering ones.

    Raises:
        InputError: the file is missing, no TOML or JSON, or an entry lacks a key or has a wrong value.
    """
    table = (read_json if path.suffix == ".json" else read_toml)(path, "list of faults")
    origin = f"The list of faults {path}"
    entries = table.get("fault") if isinstance(table, dict) else None
    if not isinstance(entries, list) or not entries or len(table) > 1:
        raise InputError(f"{origin} holds no faults, or more than that: expected entries [[fault]] with {_KEYS}.")
    faults = []
    for number, written in enumerate(structure(entries, list[_Written], origin, place="fault"), start=1):
        if written.strength is None and written.kind != "dead":
            raise InputError(f"{origin} lacks the key fault[{number}].strength.")
        try:
            values = asdict(written) | {"strength": written.strength or 0.0}
            faults.append(make_fault(detector, **values, seed=seed + number))
        except UsageError as error:
            raise InputError(f"Fault {number} of {path} is not possible: {error}") from None
    return tuple(faults)
