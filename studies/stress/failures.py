"""Recipes of faults: what fails in a world, before a detector and a seed say which units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import SUBDET_PM
from hcal_root_ad.errors import UsageError
from hcal_root_ad.simulate.scenario import FaultKind, FillConditions, InjectedFault, make_fault
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector
from hcal_root_ad.unit_names import rows_of_unit, unit_names

DIM = 0.1
"""Channels with fewer digi-making hits per event than this are not drawn for faults: they show nothing in time."""


class Failure(Protocol):
    """A recipe of faults."""

    def faults(
        self,
        detector: SimulatedDetector,
        conditions: FillConditions,
        free: NDArray[np.bool_],
        draw: np.random.Generator,
    ) -> tuple[InjectedFault, ...]:
        """The faults; their channels are drawn from the ``free`` ones, and are free no more."""
        ...


def faults_of(
    failures: Sequence[Failure], detector: SimulatedDetector, conditions: FillConditions, draw: np.random.Generator
) -> tuple[InjectedFault, ...]:
    """Faults of several recipes, on disjoint channels."""
    free = detector.live.copy()
    return tuple(fault for failure in failures for fault in failure.faults(detector, conditions, free, draw))


def _kind(strength: float) -> FaultKind:
    """What a constant factor is called."""
    return FaultKind.DEAD if strength == 0 else FaultKind.DEGRADED if strength < 1 else FaultKind.HOT


@dataclass(frozen=True)
class Unit:
    """One named unit with a constant factor on its digi probability, from LS ``first`` to ``last`` (None: the end)."""

    unit: str
    strength: float
    first: int = 1
    last: int | None = None

    def faults(
        self,
        detector: SimulatedDetector,
        conditions: FillConditions,
        free: NDArray[np.bool_],
        draw: np.random.Generator,  # noqa: ARG002
    ) -> tuple[InjectedFault, ...]:
        last = self.last or int(conditions.lumisections[-1])
        fault = make_fault(detector, _kind(self.strength), self.unit, self.first, last, self.strength)
        free[fault.rows] = False
        return (fault,)


@dataclass(frozen=True)
class Drawn:
    """``count`` units of a scale, drawn from ``halves`` in turn, from LS ``first`` to ``last`` (None: the end).

    ``kind`` is by default that of a constant factor. With ``length`` each fault has its own interval within these
    LS, of at least so many LS.
    """

    scale: str
    strength: float
    count: int = 1
    first: int = 1
    last: int | None = None
    halves: tuple[str, ...] = SUBDET_PM
    kind: FaultKind | None = None
    length: int | None = None

    def faults(
        self,
        detector: SimulatedDetector,
        conditions: FillConditions,
        free: NDArray[np.bool_],
        draw: np.random.Generator,
    ) -> tuple[InjectedFault, ...]:
        last = self.last or int(conditions.lumisections[-1])
        names = np.array(unit_names(detector.channels, self.scale))
        drawn = []
        for number in range(self.count):
            unit = _free_unit(detector, names, self.halves[number % len(self.halves)], free, draw)
            interval = _interval(self.first, last, self.length, draw) if self.length else (self.first, last)
            seed = int(draw.integers(2**31))
            fault = make_fault(detector, self.kind or _kind(self.strength), unit, *interval, self.strength, seed)
            free[fault.rows] = False
            drawn.append(fault)
        return tuple(drawn)


@dataclass(frozen=True)
class Scattered:
    """A share of a sub-detector's channels, drawn at random, with one factor: one fault without a unit of its own."""

    subdetector: str
    share: float
    strength: float
    first: int = 1
    last: int | None = None

    def faults(
        self,
        detector: SimulatedDetector,
        conditions: FillConditions,
        free: NDArray[np.bool_],
        draw: np.random.Generator,
    ) -> tuple[InjectedFault, ...]:
        (whole,) = Unit(self.subdetector, self.strength, self.first, self.last).faults(detector, conditions, free, draw)
        rows = np.sort(draw.choice(whole.rows, round(self.share * len(whole.rows)), replace=False))
        return (replace(whole, unit=f"{self.share:.0%} of {self.subdetector}", rows=rows),)


@dataclass(frozen=True)
class Bursts:
    """``count`` readout modules and boxes in turn, each noisy for one or two LS: ``added`` to the digi probability."""

    count: int = 6
    added: float = 0.15

    def faults(
        self,
        detector: SimulatedDetector,
        conditions: FillConditions,
        free: NDArray[np.bool_],
        draw: np.random.Generator,
    ) -> tuple[InjectedFault, ...]:
        bursts = []
        for number in range(self.count):
            first = int(draw.integers(2, len(conditions) - 1))
            scale, half = ("RM", "RBX")[number % 2], (SUBDET_PM[number % len(SUBDET_PM)],)
            recipe = Drawn(scale, self.added, 1, first, first + number % 2, half, FaultKind.NOISY)
            (fault,) = recipe.faults(detector, conditions, free, draw)
            bursts.append(replace(fault, added=np.full(len(fault.added), self.added)))
        return tuple(bursts)


def _free_unit(
    detector: SimulatedDetector, names: NDArray[np.str_], half: str, free: NDArray[np.bool_], draw: np.random.Generator
) -> str:
    """A unit of a half that shares no channel with earlier faults; a channel is bright enough to show a fault."""
    side = {"M": "-", "P": "+"}[half[2]]
    # Chosen first, so that the draw does not depend on what else the detector has.
    here = [name for name in names.tolist() if name.startswith((half, f"{half[:2]} {side}"))]
    for unit in draw.permutation(here):
        rows = rows_of_unit(detector.channels, unit)
        untouched = free[rows].any() and (free[rows] | ~detector.live[rows]).all()
        if untouched and (len(rows) > 1 or detector.response[rows[0]] > DIM):
            return str(unit)
    raise UsageError(f"{half} has no free unit left among the {len(names)} that were asked to fail.")


def _interval(first: int, last: int, length: int, draw: np.random.Generator) -> tuple[int, int]:
    """From ``length`` LS up to all of them, each length as likely on a logarithmic scale."""
    whole = last - first + 1
    chosen = min(round(length * (whole / length) ** draw.random()), whole)
    begin = int(draw.integers(first, last - chosen + 2))
    return begin, begin + chosen - 1


STANDARD: tuple[Failure, ...] = (
    Drawn("RBX", 0.0, 1, length=10),
    Drawn("RM", 0.0, 2, length=10, halves=("HBP", "HEM")),
    Drawn("card", 0.0, 1, length=10, halves=("HEP",)),
    Drawn("channel", 0.0, 6, length=10),
    Drawn("channel", 0.4, 6, length=10),
    Drawn("channel", 0.7, 6, length=10),
    Drawn("channel", 2.0, 6, length=10),
    Drawn("channel", 4.0, 6, length=10),
)
"""34 faults that any judge should find: one box, two modules, a card, thirty channels, each for 10 LS or longer."""
