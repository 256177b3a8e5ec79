"""``JudgedRun``: what any judge says of a run, in the words that the stress suite measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.certify.policy import Policy
from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.lumi_maps import LumiMaps
from studies.stress.worlds import WorldRuns


class Certified(StrEnum):
    """What is certified of a lumisection."""

    GOOD = "GOOD"
    BAD = "BAD"
    NOTSET = "NOTSET"


@dataclass(frozen=True)
class Line:
    """One finding, as a person reads it.

    ``ranges``: first and last LS of each stretch. ``rows``: the unit's flagged channels, as columns of the maps.
    ``size``: its digis over the expected ones, None if the judge does not say.
    """

    unit: str
    kind: str
    ranges: tuple[tuple[int, int], ...]
    rows: tuple[int, ...]
    size: float | None = None


@dataclass(frozen=True, eq=False)
class JudgedRun:
    """A judge's answer on a run.

    Attributes:
        lines: the findings. flagged: (LS, channels) which pairs are not good.
        trust: what the answer rests on, in words. trusted: whether it may be built on.
        certification: what is certified of each LS, HCAL as a whole.
        subdetectors: how many were judged, each with its own share of false alarms.
    """

    lines: tuple[Line, ...]
    flagged: NDArray[np.bool_]
    trust: str
    trusted: bool
    certification: tuple[Certified, ...]
    subdetectors: int = 2
    notes: tuple[str, ...] = ()


Judge = Callable[[Sequence[LumiMaps], LumiMaps, float], JudgedRun]
"""(clean runs, run to judge, false findings asked for per 100 LS and sub-detector) to an answer."""
JudgeOf = Callable[[WorldRuns], Judge]
"""Makes a judge for a world; only the oracle looks at what it is given."""


def refused(maps: LumiMaps, reason: str) -> JudgedRun:
    """The answer of a judge that does not judge this run."""
    nothing = np.zeros(maps.counts.shape, dtype=np.bool_)
    return JudgedRun((), nothing, "refused", False, (Certified.NOTSET,) * len(maps), notes=(reason,))


def certified(
    channels: ChannelTable,
    bad: NDArray[np.bool_],
    problematic: NDArray[np.bool_],
    live: NDArray[np.bool_],
    policy: Policy,
) -> tuple[Certified, ...]:
    """What a policy says of each LS, by (LS, channels) which are bad, and which are bad or problematic."""
    broken = np.zeros(len(bad), dtype=np.bool_)
    for name in (*policy.needed, *policy.counted):
        rules = policy.rules[name]
        rows = channels.rows_of(name)
        rows = rows[live[rows]]
        if not len(rows):
            continue
        box = np.unique(channels.box[rows], return_inverse=True)[1]
        size = np.bincount(box)
        lost = np.stack([np.bincount(box, row, len(size)) >= rules.lost_rbx_share * size for row in bad[:, rows]])
        broken |= bad[:, rows].mean(axis=1) > rules.bad_channels
        broken |= problematic[:, rows].mean(axis=1) > rules.problematic_channels
        broken |= lost.sum(axis=1) > rules.most_lost
    return tuple(Certified.BAD if hit else Certified.GOOD for hit in broken)
