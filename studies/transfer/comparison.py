"""Results side by side: which training from scratch a point is compared with, and when it got as good."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from studies.transfer.measurement import Result
from studies.transfer.settings import SCRATCH

PLAIN = {
    "blocks": SCRATCH, "preserved": False, "annealing": "cosine",
    "fraction": 1.0, "whole_reference": False, "contamination": 0.0,
}  # fmt: skip
"""Training from scratch on all lumisections, clean: what every point is compared with."""


@dataclass(frozen=True)
class Row:
    """A result, and the training from scratch of the same direction, size and seed (None if not in the grid)."""

    result: Result
    scratch: Result | None

    def __getitem__(self, setting: str) -> Any:
        return self.result.settings[setting]

    @property
    def excess(self) -> float:
        """Reconstruction error: deviance per count beyond binomial chance."""
        return self.result.deviance - 1

    @property
    def gain(self) -> float:
        """Deviance per count that the network takes off its own reference's."""
        return self.result.reference_deviance - self.result.deviance

    @property
    def ratio(self) -> float | None:
        """Error over that of training from scratch on everything."""
        return self.excess / (self.scratch.deviance - 1) if self.scratch else None

    @property
    def saving(self) -> float:
        """Share of the parameters that need no training."""
        return 1 - self.result.trainable / self.result.parameters

    @property
    def reached(self) -> tuple[int, float] | None:
        """Epochs and CPU seconds until as good as training from scratch at its end; None if never."""
        if not self.scratch:
            return None
        good = (step for step in self.result.curve if step[2] <= self.scratch.deviance)
        first = next(good, None)
        return first and first[:2]


def rows_of(results: Iterable[Result]) -> list[Row]:
    """Every result with what it is compared with."""
    results = list(results)
    plain = {_setting(r): r for r in results if all(r.settings[key] == value for key, value in PLAIN.items())}
    return [Row(result, plain.get(_setting(result))) for result in results]


def chosen(rows: Iterable[Row], **settings: object) -> list[Row]:
    """Rows with the given settings; all that is not said is as in :data:`PLAIN`, but for the blocks."""
    wanted = {key: value for key, value in PLAIN.items() if key != "blocks"} | settings
    return [row for row in rows if all(value is any or row[key] == value for key, value in wanted.items())]


def contamination_cost(rows: Sequence[Row], row: Row) -> float | None:
    """What its faults in the training add to a point's error; None without the same point clean."""
    clean = [
        other for other in rows
        if other["contamination"] == 0 and {**other.result.settings, "contamination": row["contamination"]}
        == row.result.settings
    ]  # fmt: skip
    return row.excess - clean[0].excess if clean else None


def _setting(result: Result) -> str:
    return json.dumps([result.settings[key] for key in ("direction", "size", "seed")])
