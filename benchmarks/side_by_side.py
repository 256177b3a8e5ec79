"""Two things measured in turns, A B A B …, so that what else the machine does meets both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks import worker


@dataclass(frozen=True)
class Task:
    """A function ``MODULE:FUNCTION`` of this package, its arguments, and the processors it may use."""

    function: str
    arguments: tuple[str, ...] = ()
    cores: int = 2


@dataclass(frozen=True)
class Sample:
    """One measurement."""

    seconds: float
    answer: Any
    peak_mb: float


class DifferentAnswers(Exception):
    """Two ways to do the same that did not give the same; their times tell nothing."""


class Stopwatch:
    """Measures tasks, each in a process of its own; not ``isolated``, which is quicker, all in this one, never warm."""

    def __init__(self, isolated: bool = True) -> None:
        self._isolated = isolated

    def alternate(
        self, ours: Task, other: Task, pairs: int, warm: bool = True, same: bool = True
    ) -> list[tuple[Sample, Sample]]:
        """Pairs of measurements; with ``warm`` both have done it once before, with ``same`` they answer the same.

        Raises:
            DifferentAnswers: both give an answer, and not the same.
        """
        with ExitStack() as stack:
            a, b = (stack.enter_context(self._process(task)) for task in (ours, other))
            if warm and self._isolated:
                a.measure(), b.measure()
            found = [(a.measure(), b.measure()) for _ in range(pairs)]
        for one, two in found:
            if same and None not in (one.answer, two.answer) and one.answer != two.answer:
                raise DifferentAnswers(f"{ours} gives {one.answer}, {other} gives {two.answer}")
        return found

    def once(self, task: Task) -> Sample:
        """One measurement in a fresh process that has done nothing before."""
        with self._process(task) as process:
            return process.measure()

    def often(self, task: Task, times: int) -> list[Sample]:
        """Measurements in one process, after one that does not count."""
        with self._process(task) as process:
            if self._isolated:
                process.measure()
            return [process.measure() for _ in range(times)]

    @contextmanager
    def _process(self, task: Task) -> Iterator[_Process | _Here]:
        if not self._isolated:
            yield _Here(task)
            return
        process = _Process(task)
        try:
            yield process
        finally:
            process.end()


class _Process:
    """A worker."""

    def __init__(self, task: Task) -> None:
        words = [sys.executable, "-m", "benchmarks.worker", str(task.cores), task.function, *task.arguments]
        environment = os.environ | {"OMP_NUM_THREADS": str(task.cores)}
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def measure(self) -> Sample:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(map(str, self._process.args))} ended before it answered")  # type: ignore[arg-type]
        return Sample(**json.loads(line))

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class _Here:
    """The same in this process."""

    def __init__(self, task: Task) -> None:
        self._action = worker.prepared(task.function, task.arguments)

    def measure(self) -> Sample:
        return Sample(**worker.measured(self._action))


def ratios(pairs: Sequence[tuple[Sample, Sample]]) -> tuple[float, ...]:
    """How many times as long the second of each pair took as the first."""
    return tuple(other.seconds / ours.seconds for ours, other in pairs)
