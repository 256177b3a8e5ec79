"""One damaged file handed to the reader as a user would, and what came of it; many, in a process that may die."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import re
import resource
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.fuzz.cases import Case
from benchmarks.fuzz.originals import kinds, originals
from hcal_root_ad.cli.main import DONE, PROBLEM_FOUND, PROGRAM, WRONG_USE, main
from hcal_root_ad.errors import HcalRootAdError
from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.lumi_maps import CoarseMaps, LumiMaps

SAME, OTHERWISE, TOLD, REFUSED, FIND = "same", "otherwise", "told", "refused", "find"
"""Read with the numbers of the sound file; with others, without a word or with a note; one sentence; anything else."""
ROOM = 3 * 2**30
"""Bytes of address space beyond what the program has: uproot reserves what a damaged length claims, up to 2 GB."""
MOST = 256 * 2**10
"""kB of memory that one file may really fill; the largest original has 0.9 MB."""
PATIENCE = 20.0
"""Seconds for one file; the slowest sound one takes 0.05."""
EVERY = 10
"""So often the verbs are called as well."""


@dataclass(frozen=True)
class Trial:
    """What came of a case, in which words; time (s) and growth of the memory that was ever filled (kB)."""

    case: Case
    result: str
    words: str = ""
    seconds: float = 0.0
    growth: int = 0


@cache
def _truth(kind: str, name: str, folder: Path) -> tuple[LumiMaps, ...]:
    path = folder / name
    path.write_bytes(originals(kind)[name])
    return read_lumi_maps(path)


def warm_up(folder: Path, *only: str) -> None:
    """Read every original (or those of some kinds) once, so that all is imported and known."""
    for kind in only or kinds():
        for name in originals(kind):
            _truth(kind, name, folder)


def attempt(case: Case, folder: Path) -> Trial:
    """Read the damaged file; the folder is for the file, and for what the verbs write."""
    truth = _truth(case.kind, case.original, folder)
    path = folder / case.file_name
    path.write_bytes(case.content())
    before, start = _peak(), time.perf_counter()
    result, words = outcome(path, truth, with_verbs=case.number % EVERY == 0 or case.number < 0)
    seconds, growth = time.perf_counter() - start, _peak() - before
    if growth > MOST:
        result, words = FIND, f"took {growth >> 10} MB: {words}"
    return Trial(case, result, words, seconds, growth)


def outcome(path: Path, truth: tuple[LumiMaps, ...], *, with_verbs: bool) -> tuple[str, str]:
    """What reading a file gives."""
    try:
        result, words = _read(path, truth)
        complaint = _complaint_of_verbs(path) if with_verbs and result != FIND else ""
        return (FIND, complaint) if complaint else (result, words)
    except BaseException as error:  # the very thing that is looked for
        return FIND, f"{type(error).__name__}: {error}"


def _read(path: Path, truth: tuple[LumiMaps, ...]) -> tuple[str, str]:
    try:
        maps = read_lumi_maps(path)
    except HcalRootAdError as error:
        words = str(error).replace(str(path), "FILE")
        refused_well = "FILE" in words or path.name in words or words.startswith("Run ")
        return (REFUSED if refused_well and "MemoryError" not in words else FIND), f"{type(error).__name__}: {words}"
    if same(maps, truth):
        return SAME, ""
    notes = [note for one in maps for note in one.notes if all(note not in true.notes for true in truth)]
    return (TOLD, " ".join(notes)) if notes else (OTHERWISE, " ".join(differences(maps, truth)))


def same(maps: tuple[LumiMaps, ...], truth: tuple[LumiMaps, ...]) -> bool:
    """Whether all numbers agree."""
    return not list(differences(maps, truth))


def differences(maps: tuple[LumiMaps, ...], truth: tuple[LumiMaps, ...]) -> list[str]:
    """Names of what differs, with a number that shows how much."""
    if [one.run for one in maps] != [one.run for one in truth]:
        return [f"runs {[one.run for one in maps]}"]
    found = []
    for one, true in zip(maps, truth, strict=True):
        for name in ("lumisections", "events", "event_source", "counts", "present"):
            a, b = getattr(one, name), getattr(true, name)
            if not np.array_equal(a, b):
                largest = int(a.max(initial=0))
                found.append(f"{name}(largest {largest}, {int((a != b).sum()) if a.shape == b.shape else a.shape})")
        found += [f"coarse {name}" for name in _coarse_differences(one.coarse, true.coarse)]
    return found


def _coarse_differences(a: CoarseMaps | None, b: CoarseMaps | None) -> list[str]:
    if a is None or b is None:
        return [] if a is b else ["presence"]
    names = ("strips", "totals", "mean_digis")
    return [name for name in names if not _equal(getattr(a, name), getattr(b, name))]


def _equal(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b, equal_nan=True))


def _complaint_of_verbs(path: Path) -> str:
    """What is wrong with how ``inspect`` and ``harvest`` end: exit code, sentence, or what is left on the disk."""
    target = path.parent / "out" / "maps.npz"
    for words in (["inspect", str(path)], ["check", str(path)], ["harvest", str(path), "-o", str(target)]):
        said, complained = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))  # refuses what is no text
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
            code = main(words)
        complained.seek(0)
        sentences = [line for line in complained.read().splitlines() if line.startswith(f"{PROGRAM}: ")]
        good = [(DONE, 0), (WRONG_USE, 1)] + [(PROBLEM_FOUND, 0)] * (words[0] == "check")
        if (code, len(sentences)) not in good:
            return f"{words[0]} ends with {code}: {sentences}"
    left = sorted(target.parent.iterdir()) if target.parent.exists() else []
    names = " ".join(file.name for file in left)
    good_names = re.fullmatch(r"maps\.npz|(maps_R\d+\.npz ?){2,}", names)  # one file, or one for each run
    for file in left:
        if good_names:
            np.load(file)["counts"]
        file.unlink()
    return "" if bool(good_names) == (code == DONE) else f"harvest ends with {code} and leaves {names}"


def _peak() -> int:
    """Most memory that this process ever had, in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def memory_folder() -> str | None:
    """Where files are written fastest; None for the system's place."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def limit_memory() -> None:
    """Let the process have :data:`ROOM` more address space than it has."""
    with Path("/proc/self/statm").open() as file:
        now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, resource.getrlimit(resource.RLIMIT_AS)[1]))


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
    with contextlib.suppress(EOFError):
        while True:
            line.send(attempt(line.recv(), folder))
