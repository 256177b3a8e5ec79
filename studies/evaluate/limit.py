"""The oracle's row: for every condition the best ranking that any function of a channel's counts can give."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from hcal_root_ad.stats.binomial import Floats
from studies.evaluate.measure import fault_pairs, negative_pairs, rankings
from studies.evaluate.suite import AGEING, FLICKER_ON, NOISE, Condition, TestRun
from studies.evaluate.systems.oracle import Alternative, ageing, constant, flickering, noisy, oracle_scores

NAME = "oracle"


def alternative_of(condition: Condition) -> Alternative:
    """What the oracle knows of a condition: kind, strength and course, not the place nor the start."""
    if condition.factor is not None:
        return constant(condition.factor, 1) if condition.persistence == "isolated" else constant(condition.factor)
    made: dict[str, Callable[[], Alternative]] = {
        "ageing": lambda: ageing(*AGEING),
        "flickering": lambda: flickering(FLICKER_ON),
        "noisy": lambda: noisy(*NOISE),
    }
    return made[condition.kind]()


def measure_limit(tests: Iterable[TestRun]) -> list[dict[str, Any]]:
    """Per test run the ranking numbers of every condition; it flags nothing, so there are no others."""
    return [{"conditions": _one_run(test), "overall": {}} for test in tests]


def _one_run(test: TestRun) -> dict[str, dict[str, float]]:
    healthy = negative_pairs(test)
    conditions = sorted({placed.condition for placed in test.placed}, key=lambda c: (c.kind, c.persistence))
    numbers: dict[str, dict[str, float]] = {}
    known: tuple[str, str] | None = None
    scores: Floats = np.zeros(0)
    negatives: dict[str, Floats] = {}
    for condition in conditions:
        pairs = fault_pairs(test, condition)
        if not pairs.any():
            continue
        if known != (condition.kind, condition.persistence):
            known = (condition.kind, condition.persistence)
            scores = oracle_scores(test.series, test.truth.healthy, alternative_of(condition))
            negatives = {kind: np.sort(scores[chosen]) for kind, chosen in healthy.items()}
        numbers[condition.name] = rankings(scores[pairs], negatives)
    return numbers
