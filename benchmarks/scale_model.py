"""A model of what `certify` costs: seconds of a run, an LS, a process and a task, and what follows."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

SEED = 77
ERA_RUNS, ERA_LUMISECTIONS = 1_500, 500_000
CHANNELS, HL_LHC_CHANNELS = 18_000, 6_000_000
FILE_SYSTEM = 1e9
"""Bytes per second that all workers together read from a shared file system: what one server of EOS gives."""


@dataclass(frozen=True)
class Cost:
    """Seconds of one processor.

    Attributes:
        start: a process until it can judge: imports, models, and what its first run takes longer.
        look: a first look at a file.
        run: judging a run without lumisections, and writing its files.
        lumisection: each lumisection of a run.
        output: certifying a judged run and adding it to the outputs, in the one process that hands out the work.
        output_lumisection: each lumisection of it.
        handover: a task through the Dask scheduler.
    """

    start: float
    look: float
    run: float
    lumisection: float
    output: float
    output_lumisection: float
    handover: float = 0.0

    def judging(self, lumisections: int) -> float:
        return self.run + self.lumisection * lumisections

    def serial(self, runs: Sequence[int]) -> float:
        """What one process does alone: outputs, and handing out the tasks."""
        return len(runs) * (self.output + 2 * self.handover) + sum(runs) * self.output_lumisection

    def processor_seconds(self, runs: Sequence[int], workers: int) -> float:
        """All processors together; with one worker there is no other process to start."""
        processes = 1 if workers == 1 else workers + 1
        work = sum(self.look + self.judging(length) for length in runs)
        return processes * self.start + work + self.serial(runs)

    def seconds(self, runs: Sequence[int], workers: int) -> float:
        """From the command to its end, with a processor for each worker: the runs of these lengths, longest first."""
        starts = self.start * (1 if workers == 1 else 2)
        look = self.look * -(-len(runs) // workers)
        judging = makespan(sorted((self.judging(length) for length in runs), reverse=True), workers)
        handing_out = 2 * len(runs) * self.handover
        return starts + look + max(judging, handing_out) + self.serial(runs) - handing_out


def makespan(tasks: Iterable[float], workers: int) -> float:
    """Seconds until the last task ends, each given to the worker that is free first.

    >>> makespan([3, 2, 2], 2)
    4
    """
    free: list[float] = [0] * workers
    for task in tasks:
        heapq.heapreplace(free, free[0] + task)
    return max(free)


def extrapolated(cost: Cost, per_lumisection: float) -> Iterator[tuple[int, float, float, str]]:
    """Workers, seconds of an era on them, share of their time in which they work, and what limits it."""
    runs = era()
    work = sum(map(cost.judging, runs))
    for workers in (1, 2, 50, 500, 5_000):
        longest, serial = cost.judging(max(runs)), cost.serial(runs)
        limits = {
            "the work itself": work / workers,
            "the longest run": longest,
            "the file system": per_lumisection * ERA_LUMISECTIONS / FILE_SYSTEM,
            "the one process that writes the outputs": serial,
        }
        seconds = max(cost.seconds(runs, workers), limits["the file system"])
        yield workers, seconds, work / workers / seconds, max(limits, key=lambda limit: limits[limit])


def era() -> list[int]:
    """Lengths of the runs of an era: log-normal, as in data taking, in all so many lumisections."""
    lengths = np.random.default_rng(SEED).lognormal(0, 1.0, ERA_RUNS)
    edges = np.round(np.cumsum(lengths) / lengths.sum() * ERA_LUMISECTIONS).astype(int).tolist()
    return [max(1, stop - start) for start, stop in pairwise([0, *edges])]
