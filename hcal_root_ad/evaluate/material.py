"""What systems are measured on: runs to learn from, other runs to be tested on, and words that say what they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.evaluate.protocol import Effort, Training
from hcal_root_ad.evaluate.suite import COURSES, Suite, TestRun, learned_lumisections, test_runs_of, training_of

SIMULATED = (
    "Detector seed {detector_seed}, seed {seed}; {learning_runs} + {calibration_runs} clean runs of {run_length} LS "
    "to learn from and to calibrate on, {test_runs} other runs of {test_length} LS with faults to test. All simulated. "
    "In brackets: 68 % intervals, runs drawn with replacement."
)


@dataclass(frozen=True, eq=False)
class Fold:
    """Clean runs of one sub-detector, and other runs with faults; both are made when first asked for.

    ``lumisections``: numbers of those of each run that is learned from, known without making the run.
    """

    train: Callable[[], Training]
    test: Callable[[], Sequence[TestRun]]
    lumisections: Sequence[NDArray[np.int32]]

    @cached_property
    def training(self) -> Training:
        return self.train()

    @cached_property
    def tests(self) -> Sequence[TestRun]:
        return self.test()


@dataclass(frozen=True, eq=False)
class Material:
    """An evaluation's runs.

    ``kinds``, ``scales``: of faults, in the order of the table. ``settings``: all that results depend on,
    as JSON takes it. ``head``: what the runs are, for the table. ``folds``: of a sub-detector.
    """

    name: str
    subdetectors: tuple[str, ...]
    kinds: tuple[str, ...]
    scales: tuple[str, ...]
    effort: Effort
    settings: dict[str, Any]
    head: str
    folds: Callable[[str], Sequence[Fold]]


def simulated(suite: Suite) -> Material:
    """The simulated runs of a suite: one fold."""

    def folds(subdetector: str) -> Sequence[Fold]:
        return (
            Fold(
                lambda: training_of(suite, subdetector),
                lambda: list(test_runs_of(suite, subdetector)),
                learned_lumisections(suite),
            ),
        )

    return Material(
        name=suite.name,
        subdetectors=suite.subdetectors,
        kinds=kinds_of(suite.factors),
        scales=suite.scales,
        effort=suite.effort,
        settings=asdict(suite),
        head=SIMULATED.format(**asdict(suite)),
        folds=folds,
    )


def kinds_of(factors: Sequence[float]) -> tuple[str, ...]:
    """Kinds of faults by name."""
    return (*(f"R={factor:g}" for factor in factors), *COURSES)
