"""What systems are measured on: runs to learn from, other runs to be tested on, and words that say what they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from studies.evaluate.authors_test import BoxWindows, box_windows
from studies.evaluate.protocol import Effort, Training
from studies.evaluate.suite import COURSES, FairSuite, Suite, TestRun, test_runs_of, training_of

SIMULATED = (
    "Detector seed {detector_seed}, seed {seed}; {learning_runs} + {calibration_runs} clean runs of {run_length} LS "
    "to learn from and to calibrate on, {test_runs} other runs of {test_length} LS with faults to test. All simulated."
)


@dataclass(frozen=True, eq=False)
class Fold:
    """Clean runs of one sub-detector, and other runs with faults.

    ``training``: what deep systems learn from, or the others. ``tests``: the runs with faults. ``boxes``: the
    authors' own test, if the suite has it. All make their runs when first called, and keep them.
    """

    training: Callable[[bool], Training]
    tests: Callable[[], Sequence[TestRun]]
    boxes: Callable[[], Sequence[BoxWindows]] | None = None


@dataclass(frozen=True, eq=False)
class Material:
    """An evaluation's runs.

    ``kinds``, ``scales``: of faults, in the order of the table. ``settings``: all that results depend on,
    as JSON takes it. ``head``: what the runs are, for the table. ``folds``: of a sub-detector. ``seeds``: trainings
    of each deep system. ``told_rates``: the true rates of clean runs are known.
    """

    name: str
    subdetectors: tuple[str, ...]
    kinds: tuple[str, ...]
    scales: tuple[str, ...]
    effort: Effort
    settings: dict[str, Any]
    head: str
    folds: Callable[[str], Sequence[Fold]]
    seeds: int = 1
    told_rates: bool = False


def simulated(suite: Suite) -> Material:
    """The simulated runs of a suite: one fold."""

    def folds(subdetector: str) -> Sequence[Fold]:
        training = cache(lambda: training_of(suite, subdetector))
        tests = cache(lambda: list(test_runs_of(suite, subdetector)))
        boxes = cache(lambda: list(box_windows(suite, subdetector))) if isinstance(suite, FairSuite) else None
        return [Fold(lambda _deep: training(), tests, boxes)]

    return Material(
        name=suite.name,
        subdetectors=suite.subdetectors,
        kinds=kinds_of(suite.factors),
        scales=suite.scales,
        effort=suite.effort,
        settings=asdict(suite),
        head=SIMULATED.format(**asdict(suite)),
        folds=folds,
        seeds=suite.seeds if isinstance(suite, FairSuite) else 1,
        told_rates=True,
    )


def kinds_of(factors: Sequence[float]) -> tuple[str, ...]:
    """Kinds of faults by name."""
    return (*(f"R={factor:g}" for factor in factors), *COURSES)
