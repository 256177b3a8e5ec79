"""Trials of given cases in a process of their own, which may die or hang: that is a find as well."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.fuzz.cases import Case
from benchmarks.fuzz.trial import FIND, PATIENCE, Trial, attempt, limit_memory, memory_folder, warm_up

_FORK = multiprocessing.get_context("fork")


class Worker:
    """A forked process with little memory; a new one takes the place of one that was lost."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._start()

    def _start(self) -> None:
        self._line, there = _FORK.Pipe()
        self._process = _FORK.Process(target=_work, args=(there, self._line, self._folder), daemon=True)
        self._process.start()
        there.close()

    def attempt(self, case: Case) -> Trial:
        """One trial; a lost or hanging worker is a find."""
        self._line.send(case)
        try:
            if self._line.poll(PATIENCE):
                trial: Trial = self._line.recv()
                return trial
            words = f"still reading after {PATIENCE:g} s"
        except EOFError:
            self._process.join()
            words = f"the process died ({self._process.exitcode})"
        self.stop()
        self._start()
        return Trial(case, FIND, words)

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self._line.close()


def trials(cases: Iterable[Case]) -> Iterator[Trial]:
    """What comes of each case."""
    with TemporaryDirectory(prefix="fuzz-", dir=memory_folder()) as place:
        warm_up(Path(place))
        worker = Worker(Path(place))
        try:
            yield from map(worker.attempt, cases)
        finally:
            worker.stop()


def _work(line: Connection, other_end: Connection, folder: Path) -> None:
    other_end.close()  # so that the line ends when the campaign does
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_memory()
    with suppress(EOFError):
        while True:
            line.send(attempt(line.recv(), folder))
