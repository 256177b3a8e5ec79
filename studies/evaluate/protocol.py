"""What a system is, what it may see, and what it is asked.

A system learns from clean runs, and scores the counts of other runs of the same sub-detector: one number
per lumisection and channel, larger for more anomalous, using that lumisection and earlier ones only.
Data are split by run; nothing of a test run is seen before it is scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    """How long the deep rivals train: as long as published, but at most ``most`` times their quick training.

    The quick one takes a minute or two on one core.
    """

    most: float = 1.0


@dataclass(frozen=True, eq=False)
class Training:
    """What systems learn from: clean series of one sub-detector, split by run.

    ``learn``: for weights, rates and normalisation. ``calibrate``: for errors and thresholds.
    """

    subdetector: str
    channels: ChannelTable
    learn: Sequence[SubdetectorCounts]
    calibrate: Sequence[SubdetectorCounts]
    seed: int
    effort: Effort = Effort()


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

    def flags(self, series: SubdetectorCounts) -> NDArray[np.bool_]:
        """(LS, channels) what it flags, as it would be shipped."""


@dataclass(frozen=True)
class System:
    """A system by name.

    ``fit`` learns; ``origin`` says in a few words where the idea comes from, for the table;
    ``deep`` marks systems that train a network; ``settings`` holds whatever else a result depends on.
    ``trained`` gives the share of the published training, from the effort and the LS of each run learned from;
    None where nothing is published. ``only``: sub-detectors that it is measured on; all of them if empty.
    """

    name: str
    origin: str
    fit: Callable[[Training], Fitted]
    deep: bool = False
    settings: str = ""
    trained: Callable[[Effort, Sequence[NDArray[np.int32]]], float] | None = None
    only: tuple[str, ...] = ()


def clean_threshold(scores: Sequence[Floats], false_alarm_share: float) -> float:
    """The score that a share of clean (LS, channel) pairs exceeds; for systems without a rule of their own."""
    return float(np.quantile(np.concatenate([one.ravel() for one in scores]), 1 - false_alarm_share))


FALSE_ALARM_SHARE = 1e-5
"""Pairs flagged per clean pair by systems without a rule of their own: some 10 per 100 LS of HE or HB."""
