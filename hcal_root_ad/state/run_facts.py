"""What is written down of runs and of what a state learned from them: conditions, lessons, findings, updates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

COLLISIONS, COSMICS, IONS = "collisions", "cosmics", "ions"
"""Kinds of events."""


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run from elsewhere; None where nothing is.

    Attributes:
        menu: name of the trigger menu. trigger: kind of events (``collisions``, ``cosmics`` or ``ions``).
        field: of the magnet, in T. luminosity: integrated since the beginning of the year, in inverse femtobarn.
        missed: runs that were taken since the last that taught, beside this one. day: when it began, in days.
    """

    menu: str | None = None
    field: float | None = None
    trigger: str | None = None
    luminosity: float | None = None
    missed: int | None = None
    day: float | None = None


UNKNOWN = RunFacts()
"""Nothing is known of a run but what its counts say."""


@dataclass(frozen=True)
class OpenFinding:
    """A line that reached the end of a run. What it touches is frozen until it is closed.

    Attributes:
        identifier: ``370012-3``: the run that opened it and a number.
        subdetector, level, unit, kind: as in :class:`~hcal_root_ad.judge.verdict.Finding`; kind ``creeping`` where the
            state itself saw it.
        size: shift of log rate (−0.105 is a loss of a tenth), the largest that was measured.
        rows: channels of the sub-detector.
        first_run, last_run: in which it was there. runs: how many.
        below: runs in a row in which it was below half of its size.
        asked: whether a person was asked what it is.
    """

    identifier: str
    subdetector: str
    level: str
    unit: str
    kind: str
    size: float
    rows: tuple[int, ...]
    first_run: int
    last_run: int
    runs: int = 1
    below: int = 0
    asked: bool = False

    @property
    def sign(self) -> int:
        return 1 if self.size > 0 else -1


@dataclass(frozen=True)
class AcceptedChange:
    """A change that a person accepted as health: a unit of which level moved, by how much, at which update."""

    level: str
    size: float
    update: int


@dataclass(frozen=True)
class Lesson:
    """A run that taught the state: how many LS were used, and what the verdict rested on."""

    run: int
    lumisections: int
    trust: str


ALL_MOVED = "it is another than the state knows"


@dataclass(frozen=True)
class UpdateRecord:
    """What an update did, in plain words and numbers.

    Attributes:
        run, trust: of the verdict. conditions: of the run.
        lumisections: LS that taught, by sub-detector; empty where nothing did.
        learned, frozen: how many units were learned, and how many were measured but not, by sub-detector and level.
        opened, closed, asked: findings. crept: those that the state itself opened, and whose levels it rolled back.
        still: open findings that were measured and are there still.
        appeared: channels that were met for the first time, by name.
        settings: variance of a change of settings that was recognised, by sub-detector, level and group.
        widths: standard deviations of walk and noise by sub-detector, level and group.
        refused: why nothing was learned, by sub-detector.
    """

    run: int
    trust: str
    conditions: RunFacts = UNKNOWN
    lumisections: Mapping[str, int] = field(default_factory=dict)
    learned: Mapping[str, int] = field(default_factory=dict)
    frozen: Mapping[str, int] = field(default_factory=dict)
    opened: tuple[OpenFinding, ...] = ()
    closed: tuple[OpenFinding, ...] = ()
    asked: tuple[OpenFinding, ...] = ()
    crept: tuple[OpenFinding, ...] = ()
    still: tuple[OpenFinding, ...] = ()
    appeared: tuple[str, ...] = ()
    settings: Mapping[str, float] = field(default_factory=dict)
    widths: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @property
    def asks_for_a_word(self) -> bool:
        """Whether it would teach if a person said that all channels were changed, and are healthy."""
        return any(why.startswith(ALL_MOVED) for why in self.refused.values())

    @property
    def sentences(self) -> tuple[str, ...]:
        """For people."""
        out = [f"{name}: nothing learned, {why}" for name, why in self.refused.items()]
        out += [f"{name}: learned from {count} LS" for name, count in self.lumisections.items()]
        for key, factor in self.settings.items():
            out.append(f"{key}: the settings changed, every unit may have moved by {100 * np.sqrt(factor):.1f} %")
        for word, findings in (
            ("opened", self.opened), ("creeping, set back to the level of before", self.crept), ("closed", self.closed),
            ("a fault, or an accepted change?", self.asked),
        ):  # fmt: skip
            out += [f"{word}: {f.identifier} {f.unit} ×{np.exp(f.size):.2f}" for f in findings]
        if self.appeared:
            out.append(f"{len(self.appeared)} channels met for the first time")
        return tuple(out)
