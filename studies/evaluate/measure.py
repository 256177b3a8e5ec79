"""One system on the test runs of a suite: every number of its row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.stats.binomial import Floats
from studies.evaluate.protocol import WINDOW, Fitted, Judging
from studies.evaluate.suite import BLOCK, Condition, Placed, TestRun
from studies.metrics import delays, detection, false_intervals, ranking

FEWEST_EVENTS = 200
"""Lumisections with fewer events are neither positives nor negatives."""

CLEAN, BESIDE = "clean", "beside"
"""Healthy pairs of lumisections without any fault, and those beside a fault."""
Numbers = dict[str, float]


def measure(fitted: Fitted, tests: Iterable[TestRun]) -> list[dict[str, Any]]:
    """Per test run: numbers per condition, and over all."""
    numbers = []
    for test in tests:
        if isinstance(fitted, Judging):
            scores, flags = fitted.looked_at(test.series)
        else:
            scores = fitted.score(test.series, test.truth)
            flags = scores > fitted.threshold
        numbers.append(_one_run(test, scores, flags))
    return numbers


def _one_run(test: TestRun, scores: Floats, flags: NDArray[np.bool_]) -> dict[str, Any]:
    healthy = healthy_pairs(test)
    negatives = {kind: np.sort(scores[pairs]) for kind, pairs in negative_pairs(test).items()}
    false = int(flags[healthy].sum())
    positives, flagged = 0, 0
    by_condition: dict[str, Numbers] = {}
    for condition in {placed.condition for placed in test.placed}:
        pairs = fault_pairs(test, condition)
        if not pairs.any():
            continue
        numbers = rankings(scores[pairs], negatives)
        numbers |= {"recall": float(flags[pairs].mean()), "pairs": float(pairs.sum())}
        numbers["delay"] = float(
            np.concatenate([_delays(test, one, flags) for one in placed_of(test, condition)]).mean()
        )
        by_condition[condition.name] = numbers
        positives, flagged = positives + int(pairs.sum()), flagged + int(flags[pairs].sum())
    overall = detection(flagged, positives, false)
    wrong = false_intervals(flags & test.live, within_memory(test))
    overall["false_intervals_per_100_LS"] = 100 * wrong / len(test.series)
    overall["false_positive_rate"] = false / max(int(healthy.sum()), 1)
    clean = negative_pairs(test)[CLEAN].any(axis=1)
    mistaken = false_intervals((flags & test.live)[clean], np.zeros((int(clean.sum()), flags.shape[1]), dtype=bool))
    overall["false_intervals_per_100_clean_LS"] = 100 * mistaken / max(int(clean.sum()), 1)
    return {"conditions": by_condition, "overall": overall}


def placed_of(test: TestRun, condition: Condition) -> list[Placed]:
    """Where a condition is in a run."""
    return [placed for placed in test.placed if placed.condition == condition]


def _rows(test: TestRun, first: int, last: int) -> NDArray[np.intp]:
    """Rows of the series whose position in the run lies in first … last."""
    position = test.series.position
    return np.flatnonzero((position >= first) & (position <= last))


def within_memory(test: TestRun) -> NDArray[np.bool_]:
    """(LS, channels) pairs at fault, or so soon after a fault that a window may still hold it."""
    near = np.zeros(test.series.counts.shape, dtype=bool)
    for placed in test.placed:
        near[np.ix_(_rows(test, placed.first, placed.last + BLOCK - WINDOW), placed.rows)] = True
    return near


def healthy_pairs(test: TestRun) -> NDArray[np.bool_]:
    """(LS, channels) live channels with enough events, away from their faults."""
    healthy: NDArray[np.bool_] = ~within_memory(test) & test.live & (test.series.events >= FEWEST_EVENTS)[:, None]
    return healthy


def negative_pairs(test: TestRun) -> dict[str, NDArray[np.bool_]]:
    """(LS, channels) healthy pairs: all of them, those of LS without any fault in the window, and those beside one."""
    healthy, near = healthy_pairs(test), np.zeros((len(test.series), 1), dtype=bool)
    for placed in test.placed:
        near[_rows(test, placed.first, placed.last + WINDOW - 1)] = True
    return {"": healthy, CLEAN: healthy & ~near, BESIDE: healthy & near}


def rankings(positives: Floats, negatives: dict[str, Floats]) -> Numbers:
    """Ranking numbers against each kind of negatives, sorted; ``_kind`` behind the names of all but the first."""
    numbers: Numbers = {}
    for kind, scores in negatives.items():
        suffix = f"_{kind}" if kind else ""
        if len(scores):
            numbers |= {name + suffix: value for name, value in ranking(positives, scores).items()}
    return numbers


def fault_pairs(test: TestRun, condition: Condition) -> NDArray[np.bool_]:
    """(LS, channels) pairs of a condition whose probability really differs from the healthy one."""
    pairs = np.zeros(test.series.counts.shape, dtype=bool)
    for placed in placed_of(test, condition):
        pairs[np.ix_(_rows(test, placed.first, placed.last), placed.rows)] = True
    pairs &= test.truth.faulty != test.truth.healthy
    pairs[test.series.events < FEWEST_EVENTS] = False
    return pairs


def _delays(test: TestRun, placed: Placed, flags: NDArray[np.bool_]) -> Floats:
    rows = _rows(test, placed.first, placed.last)
    return delays(flags[np.ix_(rows, placed.rows)]) if len(rows) else np.zeros(0)
