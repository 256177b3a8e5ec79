"""Thresholds: the significance from which on a stretch is a finding, for an asked rate of false findings.

In units of standard deviations under the empirical null. A scan of N series over T lumisections is worth ``TRIALS``·N·T
independent looks, so chosen that the healthy worlds of the stress suite together stay below the asked rate, which is
shared out among the levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

from hcal_root_ad.errors import UsageError

TRIALS = 2.0
SHARES = {"channel": 0.5, "module": 0.15, "box": 0.1, "half": 0.05, "ring": 0.15, "subdetector": 0.05}
"""Which part of the false findings each level may cause."""
MOST = 50.0
"""False findings per 100 LS that may be asked for at most: beyond, the tail says nothing."""


@dataclass(frozen=True)
class Thresholds:
    """Significance from which on a stretch counts, level by level."""

    channel: float
    module: float
    box: float
    half: float
    ring: float
    subdetector: float


def check_asked(false_findings: float) -> None:
    """Raises UsageError if so many false findings per 100 LS cannot be asked for."""
    if not 0 < false_findings <= MOST:
        raise UsageError(
            f"{false_findings:g} false findings per 100 lumisections were asked for; "
            f"choose a number above 0 and up to {MOST:g}."
        )


def thresholds(false_findings: float, series: dict[str, int]) -> Thresholds:
    """Thresholds for so many false findings per 100 LS of one sub-detector with so many series per level.

    Raises:
        UsageError: if more are asked for than can be.
    """
    check_asked(false_findings)
    return Thresholds(**{
        level: -NormalDist().inv_cdf(min(0.25, false_findings * share / (2 * 100 * TRIALS * max(series[level], 1))))
        for level, share in SHARES.items()
    })  # fmt: skip
