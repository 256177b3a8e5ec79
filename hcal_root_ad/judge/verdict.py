"""``Verdict``: what the judgement says of one run, and all that publishing needs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.judge.forecast import Forecast
from hcal_root_ad.lumi_maps import LumiMaps


class State(IntEnum):
    """States of CMSSW's hcaldqm (``DQM/HcalCommon/interface/Flag.h``)."""

    NOT_CONNECTED = 1
    """Not connected, not instrumented, or masked."""
    NOT_ASSESSED = 2
    """Too few events, or no data."""
    GOOD = 3
    PROBLEMATIC = 4
    """Degraded or warm."""
    BAD = 5
    """Dead, hot or noisy."""


class Kind(StrEnum):
    """Kinds of fault."""

    DEAD = "dead"
    DEGRADED = "degraded"
    WARM = "warm"
    HOT = "hot"
    NOISY = "noisy"

    @property
    def state(self) -> State:
        return State.PROBLEMATIC if self in (Kind.DEGRADED, Kind.WARM) else State.BAD


@dataclass(frozen=True)
class Interval:
    """Consecutive lumisections in which one channel (or strip) is flagged.

    ``channel`` is the row in the verdict's table (for strips: half × 72 + iphi − 1). ``observed``
    and ``expected`` are digis summed over the interval's assessed LS. ``score`` is the log10
    likelihood ratio of fault against health. ``group`` is the name of the group it belongs to, or "".
    """

    channel: int
    kind: Kind
    first: int
    last: int
    observed: int
    expected: float
    score: float
    group: str = ""


@dataclass(frozen=True)
class Group:
    """Intervals that share a readout unit and lumisections: one line for people.

    ``unit`` is ``HEP07`` (RBX), ``HEP07-RM2`` (RM), or a channel such as ``HE +20/5/3``;
    ``channels`` counts the flagged channels in it.
    """

    unit: str
    kind: Kind
    first: int
    last: int
    channels: int
    observed: int
    expected: float
    score: float


@dataclass(frozen=True)
class Judge:
    """What judged: bundle name, version, digest, thresholds and the wished false-alarm rate.

    ``threshold`` is in units of the score (log10 likelihood ratio); ``false_alarms`` counts false
    intervals per 100 LS and sub-detector.
    """

    bundle: str
    version: str
    digest: str
    threshold: float
    false_alarms: float


@dataclass(frozen=True, eq=False)
class Verdict:
    """Judgement of one sub-detector of one run, channel by channel.

    Attributes:
        subdetector: ``HB`` or ``HE``.
        channels: the sub-detector's channels (columns).
        lumisections, events: (LS,) of the run.
        assessed: (LS,) whether the LS could be judged.
        observed: (LS, channels) int32 digis as they are in the maps (a view), also where nothing was judged.
        expected: (LS, channels) float32, reconstruction; 0 where the LS was not assessed.
        score: (LS, channels) float32 signed log10 likelihood ratio accumulated up to the LS;
            positive for an excess, negative for a loss.
        states: (LS, channels) uint8, values of :class:`State`.
        intervals, groups: the flags, as rows and as lines for people.
        judge: what judged.
        forecasts: channels that age, and when they will be bad.
        granularity: ``"lumisection"``, or ``"run"`` where only run totals were there (then one row).
        notes: sentences for the user.
    """

    subdetector: str
    channels: ChannelTable
    lumisections: NDArray[np.int32]
    events: NDArray[np.int64]
    assessed: NDArray[np.bool_]
    observed: NDArray[np.int32]
    expected: NDArray[np.float32]
    score: NDArray[np.float32]
    states: NDArray[np.uint8]
    intervals: tuple[Interval, ...]
    groups: tuple[Group, ...]
    judge: Judge
    forecasts: tuple[Forecast, ...] = ()
    granularity: str = "lumisection"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class StripVerdict:
    """Judgement of iphi strips of HBM, HBP, HEM, HEP per lumisection.

    ``observed``, ``expected``, ``score``, ``states``: (LS, 288), column half × 72 + iphi − 1.
    """

    lumisections: NDArray[np.int32]
    events: NDArray[np.int64]
    assessed: NDArray[np.bool_]
    observed: NDArray[np.int64]
    expected: NDArray[np.float32]
    score: NDArray[np.float32]
    states: NDArray[np.uint8]
    intervals: tuple[Interval, ...]
    groups: tuple[Group, ...]
    judge: Judge
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class RunVerdict:
    """All that was judged of one run."""

    maps: LumiMaps
    verdicts: tuple[Verdict, ...]
    strips: StripVerdict | None = None
    notes: tuple[str, ...] = ()

    @property
    def every_note(self) -> tuple[str, ...]:
        """Notes of the harvest, the run and each judgement, each once."""
        strips = self.strips.notes if self.strips else ()
        judged = (note for verdict in self.verdicts for note in verdict.notes)
        return tuple(dict.fromkeys((*self.maps.notes, *self.notes, *judged, *strips)))
