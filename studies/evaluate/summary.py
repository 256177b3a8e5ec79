"""One entry per system and sub-detector: what it reaches of the two limits, on average and at worst."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from studies.evaluate import limit, unit_limit
from studies.evaluate.campaign import LIMITS, Row
from studies.evaluate.suite import Condition
from studies.metrics import bootstrap

Interval = tuple[float, float, float]
"""Mean, lower and upper end."""
OVERALL = ("precision", "recall", "f1", "false_intervals_per_100_LS")


@dataclass(frozen=True)
class Share:
    """Partial AUC over a limit's: the mean over conditions, the worst kind's mean, and the worst condition."""

    mean: float
    worst_kind: str
    of_worst_kind: float
    worst: str
    of_worst: float


@dataclass(frozen=True, eq=False)
class Entry:
    """A row, summed up.

    ``partial``: partial AUC per condition; ``shares``: over the whole unit's limit, likewise.
    """

    row: Row
    partial: dict[Condition, Interval]
    shares: dict[Condition, float]
    of_channel: Share
    of_unit: Share
    auc: float
    delay: float
    overall: dict[str, Interval]

    @property
    def name(self) -> str:
        return str(self.row["system"])

    @property
    def is_system(self) -> bool:
        """False for the limits, and for what is told the true rates."""
        return self.name not in LIMITS and not self.name.startswith(limit.NAME)

    def share(self, kind: str | None = None, scale: str | None = None) -> float:
        """Mean share of the whole unit's limit over the conditions of a kind, a scale, or both."""
        return _mean([share for c, share in self.shares.items() if kind in (None, c.kind) and scale in (None, c.scale)])

    def of_kind(self, kind: str) -> float:
        """Partial AUC of a kind, averaged over scales and persistence."""
        return _mean([value[0] for condition, value in self.partial.items() if condition.kind == kind])


def summary(rows: Sequence[Row], subdetector: str) -> list[Entry]:
    """Entries by their share of the whole unit's limit, the limits first."""
    mine = [row for row in rows if row["subdetector"] == subdetector]
    partial = {row["system"]: per_condition(row, "partial_auc") for row in mine}
    entries = []
    for row in mine:
        own = partial[row["system"]]
        shares = _over(own, partial[unit_limit.NAME])
        entries.append(
            Entry(
                row=row,
                partial=own,
                shares=shares,
                of_channel=_summed_up(_over(own, partial[limit.NAME])),
                of_unit=_summed_up(shares),
                auc=_mean([value[0] for value in per_condition(row, "auc").values()]),
                delay=_mean([value[0] for value in per_condition(row, "delay").values()]),
                overall={
                    number: bootstrap([run["overall"].get(number, np.nan) for run in row["runs"]]) for number in OVERALL
                },
            )
        )
    return sorted(entries, key=lambda entry: (entry.name not in LIMITS, -entry.of_unit.mean))


def per_condition(row: Row, number: str) -> dict[Condition, Interval]:
    """Mean over runs, and its interval, of one number; NaN where a row does not have it."""
    names = sorted({name for run in row["runs"] for name in run["conditions"]})
    return {
        Condition(*name.split()): bootstrap(
            [run["conditions"][name].get(number, np.nan) for run in row["runs"] if name in run["conditions"]]
        )
        for name in names
    }


def _over(partial: dict[Condition, Interval], most: dict[Condition, Interval]) -> dict[Condition, float]:
    """Share of a limit, for the conditions whose limit is known and above 0."""
    known = {condition: mean for condition, (mean, *_) in most.items() if mean > 0}
    return {condition: partial[condition][0] / known[condition] for condition in partial if condition in known}


def _summed_up(shares: dict[Condition, float]) -> Share:
    kinds = {
        kind: _mean([share for condition, share in shares.items() if condition.kind == kind])
        for kind in sorted({condition.kind for condition in shares})
    }
    worst_kind, worst = min(kinds, key=lambda kind: kinds[kind]), min(shares, key=lambda condition: shares[condition])
    return Share(_mean(list(shares.values())), worst_kind, kinds[worst_kind], worst.name, shares[worst])


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
