"""Trials led by coverage: libFuzzer, by way of Atheris, damages further what reached code never reached before."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path

from benchmarks.fuzz.cases import spelled_case
from benchmarks.fuzz.originals import originals
from benchmarks.fuzz.trial import FIND, Trial

_PULSE = re.compile(r"^#\d+\s+(\w+) +cov: (\d+) .*?corp: (\d+)/", re.MULTILINE)


@dataclass(frozen=True)
class Reach:
    """Edges of the code that sound files reach and that all files reached, and how many cases reached new ones."""

    sound: int
    all: int
    kept: int


def guided_trials(kind: str, files: int, folder: Path) -> Iterator[Trial]:
    """What comes of so many different damaged files; the folder, which is empty, is for the fuzzer's own.

    Raises:
        RuntimeError: the fuzzer ends by itself, as without Atheris.
    """
    for name in ("corpus", "artifacts"):
        (folder / name).mkdir()
    for number in range(len(originals(kind))):
        (folder / "corpus" / str(number)).write_bytes(bytes([number]))
    done = 0
    while done < files:
        before = done
        for trial in _one_process(kind, folder):
            yield trial
            done += 1
            if done == files:
                break
        else:
            if done == before:
                raise RuntimeError((folder / "log").read_text()[-2000:])


def _one_process(kind: str, folder: Path) -> Iterator[Trial]:
    """Trials until the process dies; the last one is then what killed it."""
    here, there = Pipe(duplex=False)
    words = [sys.executable, "-m", "benchmarks.fuzz.under_atheris", kind, str(there.fileno()), str(folder)]
    with (folder / "log").open("ab") as log, here:
        process = subprocess.Popen(words, pass_fds=[there.fileno()], stdout=log, stderr=log)
        there.close()
        try:
            with suppress(EOFError):
                while True:
                    yield here.recv()
            code = process.wait()
        finally:
            process.kill()
            process.wait()
    for artifact in sorted((folder / "artifacts").iterdir()):
        yield Trial(spelled_case(kind, artifact.read_bytes(), -1), FIND, f"the process died ({code}, {artifact.name})")
        artifact.unlink()


def reach(folder: Path) -> Reach:
    """What the log says of the coverage."""
    pulses = _PULSE.findall((folder / "log").read_text(errors="replace"))
    sound = next(int(edges) for name, edges, _ in pulses if name == "INITED")
    return Reach(sound, max(int(edges) for _, edges, _ in pulses), max(int(kept) for _, _, kept in pulses))
