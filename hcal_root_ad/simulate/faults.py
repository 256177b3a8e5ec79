"""Faults to inject: what fails, how, and in which lumisections; drawn, or read from a list of the user's own.

The list is TOML (or JSON with the same keys)::

    [[fault]]
    kind = "degraded"       # dead, degraded, hot, noisy, flickering, ageing
    unit = "HEP07-RM2"      # or HE +20/5/3, HBM03-RM1-card2, HEP07, HE |ieta| 26, HEP; see unit_names.py
    first = 10              # lumisections, both in
    last = 20
    strength = 0.4          # the factor; see STRENGTHS for noisy, flickering, ageing
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.errors import InputError, UsageError
from hcal_root_ad.schema import structure
from hcal_root_ad.simulate.fill import FillConditions
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector
from hcal_root_ad.tables import read_json, read_toml
from hcal_root_ad.unit_names import UNIT_FORMS, rows_of_unit, scale_of_unit, unit_names


class FaultKind(StrEnum):
    """How a unit fails."""

    DEAD = "dead"
    """No digis."""
    DEGRADED = "degraded"
    """A constant factor below 1."""
    HOT = "hot"
    """A constant factor above 1."""
    NOISY = "noisy"
    """Digis without collisions, in bursts that differ from LS to LS."""
    FLICKERING = "flickering"
    """On and off from LS to LS."""
    AGEING = "ageing"
    """A factor that falls linearly from 1 over the interval."""


STRENGTHS: dict[FaultKind, tuple[float, float]] = {
    FaultKind.DEAD: (0.0, 0.0),
    FaultKind.DEGRADED: (0.2, 0.8),
    FaultKind.HOT: (1.5, 4.0),
    FaultKind.NOISY: (0.05, 0.4),
    FaultKind.FLICKERING: (0.3, 0.7),
    FaultKind.AGEING: (0.3, 0.8),
}
"""Range from which strengths are drawn: the factor on the digi probability (ageing: at the end; noisy:
the mean probability added; flickering: the share of LS that are on)."""


@dataclass(frozen=True, eq=False)
class InjectedFault:
    """One fault of one readout unit from LS ``first`` to LS ``last``, both in.

    The digi probability p of the channels in ``rows`` (the unit's, but for those that never fill)
    becomes ``min(1, factor · p + added)`` with one ``factor`` and one ``added`` per LS of the interval.
    ``strength`` is as in :data:`STRENGTHS`.
    """

    kind: FaultKind
    unit: str
    rows: NDArray[np.intp]
    first: int
    last: int
    strength: float
    factor: NDArray[np.float64]
    added: NDArray[np.float64]

    @property
    def scale(self) -> str:
        """``channel``, ``card``, ``RM``, ``RBX`` or ``sector``."""
        return scale_of_unit(self.unit)

    @property
    def constant(self) -> bool:
        """Whether the fault is the same in all its lumisections."""
        return bool(np.ptp(self.factor) == 0 and np.ptp(self.added) == 0)


def make_fault(
    detector: SimulatedDetector, kind: FaultKind | str, unit: str, first: int, last: int, strength: float, seed: int = 0
) -> InjectedFault:
    """A fault of a unit named as in :data:`~hcal_root_ad.unit_names.UNIT_FORMS`.

    Raises:
        UsageError: an unknown kind or unit, a unit that is masked throughout, an empty interval, or a
            strength that the kind cannot have.
    """
    try:
        kind = FaultKind(kind)
    except ValueError:
        raise UsageError(f"No kind of fault is called {kind!r}; known are {', '.join(FaultKind)}.") from None
    if not 1 <= first <= last:
        raise UsageError(f"The fault of {unit} lasts from LS {first} to LS {last}, which is no interval.")
    rows = rows_of_unit(detector.channels, unit)
    if not len(rows):
        raise UsageError(f"No channel belongs to {unit!r}; units are written {UNIT_FORMS}.")
    rows = rows[detector.live[rows]]
    if not len(rows):
        raise UsageError(f"All channels of {unit} are masked in this detector, so no fault can show in it.")
    n = last - first + 1
    draw = np.random.default_rng(np.random.SeedSequence([seed, 0xFA, first, last]))
    factor, added = _course(kind, strength, n, draw)
    return InjectedFault(kind, unit, rows, first, last, strength, factor, added)


def _course(
    kind: FaultKind, strength: float, n: int, draw: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factor and added probability for each of the ``n`` lumisections."""
    low, high = {FaultKind.HOT: (1.0, np.inf), FaultKind.DEAD: (0.0, 0.0)}.get(kind, (0.0, 1.0))
    if not low <= strength <= high:
        raise UsageError(f"The strength of a {kind} fault lies between {low:g} and {high:g}, not at {strength:g}.")
    unchanged, none = np.ones(n), np.zeros(n)
    courses: dict[FaultKind, Callable[[], tuple[NDArray[np.float64], NDArray[np.float64]]]] = {
        FaultKind.NOISY: lambda: (unchanged, np.minimum(draw.exponential(strength, n), 1.0)),
        FaultKind.FLICKERING: lambda: ((draw.random(n) < strength).astype(np.float64), none),
        FaultKind.AGEING: lambda: (np.linspace(1.0, strength, n + 1)[1:], none),
    }
    return courses[kind]() if kind in courses else (unchanged * strength, none)


def apply_faults(
    rates: NDArray[np.float32], lumisections: NDArray[np.int32], faults: tuple[InjectedFault, ...]
) -> NDArray[np.float32]:
    """Digi probabilities with faults: a changed copy of ``rates`` (LS, channels); faults multiply."""
    faulty = rates.copy()
    for fault in faults:
        inside = np.flatnonzero((lumisections >= fault.first) & (lumisections <= fault.last))
        course = lumisections[inside] - fault.first
        cells = np.ix_(inside, fault.rows)
        changed = fault.factor[course, None] * faulty[cells] + fault.added[course, None]
        faulty[cells] = np.minimum(changed, 1.0)
    return faulty


def mixed_faults(detector: SimulatedDetector, conditions: FillConditions, seed: int) -> tuple[InjectedFault, ...]:
    """Faults of every kind and scale on disjoint channels of HB and HE: some 25 channels, and a few larger units.

    Every kind hits single channels and one larger unit; a box, a module and a card are dead at some time.
    """
    draw = np.random.default_rng(np.random.SeedSequence([seed, 0xFA17]))
    large = {"sector": FaultKind.DEGRADED, "RBX": FaultKind.DEAD, "RM": FaultKind.DEAD, "card": FaultKind.DEAD}
    units = [*large.items(), ("RBX", FaultKind.AGEING), ("RM", FaultKind.NOISY), ("RM", FaultKind.FLICKERING),
              ("card", FaultKind.HOT)] + [("channel", kind) for kind in FaultKind for _ in range(4)]  # fmt: skip
    faults: list[InjectedFault] = []
    free = detector.live.copy()
    inner = detector.channels.select("HB", "HE")
    names = {scale: unit_names(inner, scale) for scale in ("channel", *large)}
    last_ls = int(conditions.lumisections[-1])
    for scale, kind in units:
        unit = _free_unit(detector, names[scale], free, draw)
        if unit is None:
            continue
        first, last = _interval(last_ls, draw)
        strength = float(draw.uniform(*STRENGTHS[kind]))
        fault = make_fault(detector, kind, unit, first, last, round(strength, 3), seed=int(draw.integers(2**31)))
        free[fault.rows] = False
        faults.append(fault)
    return tuple(faults)


def _free_unit(
    detector: SimulatedDetector, names: list[str], free: NDArray[np.bool_], draw: np.random.Generator
) -> str | None:
    """One of the units that shares no channel with earlier faults; None where the era has none."""
    candidates: list[str] = [names[number] for number in draw.integers(len(names), size=200)] if names else []
    for unit in candidates:
        rows = rows_of_unit(detector.channels, unit)
        # Masked and uninstrumented channels may lie in a larger unit, but not be the whole of it.
        if free[rows].any() and (free[rows] | ~detector.live[rows]).all():
            return unit
    return None


def _interval(last_ls: int, draw: np.random.Generator) -> tuple[int, int]:
    """One LS or many, up to the rest of the run."""
    length = min(int(np.ceil(np.exp(draw.uniform(0.0, np.log(last_ls + 1.0))))), last_ls)
    first = int(draw.integers(1, last_ls - length + 2))
    return first, first + length - 1


@dataclass(frozen=True)
class _Written:
    """A fault as it stands in its file; only a dead one needs no strength."""

    kind: str
    unit: str
    first: int
    last: int
    strength: float | None = None


_KEYS = ", ".join(field.name for field in fields(_Written))


def read_faults(path: Path, detector: SimulatedDetector, seed: int = 0) -> tuple[InjectedFault, ...]:
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
