"""What a system is, what it may see, and what it is asked.

A system learns from clean runs, and scores the counts of other runs of the same sub-detector: one number
per lumisection and channel, larger for more anomalous, using that lumisection and earlier ones only.
Data are split by run; nothing of a test run is seen before it is scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.model.counts import SubdetectorCounts
from hcal_root_ad.stats.binomial import Floats

WINDOW = 5
"""Lumisections over which evidence may be gathered: the papers' window, and the oracle's."""


@dataclass(frozen=True)
class Effort:
    """How long deep rivals train at most, in multiples of their recipes' steps; held-out runs may end it earlier."""

    most: float = 1.0


@dataclass(frozen=True, eq=False)
class Training:
    """What systems learn from: clean series of one sub-detector, split by run.

    ``learn``: for weights, rates and normalisation. ``calibrate``: for errors and thresholds. ``rates``: (LS, channels)
    true digi probabilities of the runs to calibrate on, for what is told them; empty where nobody knows them.
    ``weights``: folder of trained weights, where trainings are gone on with; None keeps none.
    """

    subdetector: str
    channels: ChannelTable
    learn: Sequence[SubdetectorCounts]
    calibrate: Sequence[SubdetectorCounts]
    seed: int
    effort: Effort = Effort()
    rates: Sequence[Floats] = ()
    weights: Path | None = None


@dataclass(frozen=True, eq=False)
class Truth:
    """What only the oracle may see: (LS, channels) digi probabilities, healthy and with the faults."""

    healthy: NDArray[np.float32]
    faulty: NDArray[np.float32]


class Fitted(Protocol):
    """A system that has learned."""

    @property
    def threshold(self) -> float:
        """Score above which it flags, as it would be shipped."""

    def score(self, series: SubdetectorCounts, truth: Truth) -> Floats:
        """(LS, channels) scores of a run's lumisections, in order. ``truth`` is for the oracle alone."""


@runtime_checkable
class Judging(Protocol):
    """A fitted system whose flags are more than a score above a threshold."""

    def looked_at(self, series: SubdetectorCounts) -> tuple[Floats, NDArray[np.bool_]]:
        """(LS, channels) scores, and what it flags, as it would be shipped."""


@dataclass(frozen=True)
class System:
    """A system by name.

    ``fit`` learns; ``origin`` says in a few words where the idea comes from, for the table;
    ``deep`` marks systems that train a network; ``settings`` holds whatever else a result depends on.
    ``changed``: where a published system is not the public code. ``only``: sub-detectors that it is measured on; all
    of them if empty. ``told_rates``: it is no system but a bound, and is told the true rates, also of the runs to
    calibrate on.
    """

    name: str
    origin: str
    fit: Callable[[Training], Fitted]
    deep: bool = False
    settings: str = ""
    changed: str = ""
    only: tuple[str, ...] = ()
    told_rates: bool = False


@runtime_checkable
class Trained(Protocol):
    """A fitted system that says how its training went."""

    @property
    def training(self) -> dict[str, float]:
        """Numbers by name, see :class:`studies.evaluate.systems.training.Course`."""


@runtime_checkable
class Selective(Protocol):
    """A fitted system that can score some lumisections without the others."""

    def score_rows(self, series: SubdetectorCounts, rows: NDArray[np.intp]) -> Floats:
        """(rows, channels) scores of these lumisections, each with those before it in view."""


def clean_threshold(scores: Sequence[Floats], false_alarm_share: float) -> float:
    """The score that a share of clean (LS, channel) pairs exceeds; for systems without a rule of their own."""
    return float(np.quantile(np.concatenate([one.ravel() for one in scores]), 1 - false_alarm_share))


FALSE_ALARM_SHARE = 1e-5
"""Pairs flagged per clean pair by systems without a rule of their own: some 10 per 100 LS of HE or HB."""
