"""What was taken, kept beside the output so that a restart neither loses nor repeats a lumisection.

``DIR/.watch/R000370101/`` holds a numpy file for each input file of the run: its counts, events and stamp. Nothing
that a judge made is kept: a run is judged again from its counts, whoever judges it then. An empty file ``over``
says that the run has ended.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from hcal_root_ad.harvest.definition import load_definitions
from hcal_root_ad.watch.folder import Stamp
from hcal_root_ad.watch.taken import Arrays, Taken, from_arrays, head_of, to_arrays

PLACE = ".watch"
_OVER, _PARTIAL = "over", ".partial"
Value = TypeVar("Value")


class Ledger:
    """The files below ``output/.watch``; ``say`` gets a sentence on each that cannot be used, which is then removed."""

    def __init__(self, output: Path, folder: Path, say: Callable[[str], None]) -> None:
        self._place, self._folder, self._say = output / PLACE, folder, say
        self._definitions = {repr(definition): definition for definition in load_definitions()}
        for partial in self._place.glob(f"R*/*{_PARTIAL}"):
            partial.unlink()

    def runs(self) -> list[int]:
        """Runs of which something is kept."""
        return sorted(int(place.name[1:]) for place in self._place.glob("R*") if place.name[1:].isdigit())

    def stamps(self, run: int) -> dict[Path, Stamp]:
        """Every file that was taken of a run."""
        return {self._folder / head["path"]: Stamp(*head["stamp"]) for head in self._each(run, head_of)}

    def load(self, run: int) -> list[Taken]:
        """All that was taken of a run."""
        return list(self._each(run, lambda arrays: from_arrays(arrays, self._folder, self._definitions)))

    def save(self, taken: Taken) -> None:
        """Keep what was taken; whole, or not at all. Raises OSError."""
        path = self._path(taken)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + _PARTIAL)
        try:
            with partial.open("wb") as file:
                np.savez_compressed(file, **to_arrays(taken, self._folder))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def is_over(self, run: int) -> bool:
        """Whether a run had ended."""
        return (self._of(run) / _OVER).exists()

    def end(self, run: int) -> None:
        """Say that a run has ended. Raises OSError."""
        (self._of(run) / _OVER).touch()

    def reopen(self, run: int) -> None:
        """Say that a run goes on after all. Raises OSError."""
        (self._of(run) / _OVER).unlink(missing_ok=True)

    def forget(self, run: int) -> None:
        """Remove all that is kept of a run."""
        shutil.rmtree(self._of(run), ignore_errors=True)

    def _of(self, run: int) -> Path:
        return self._place / f"R{run:09d}"

    def _path(self, taken: Taken) -> Path:
        relative = os.fsencode(taken.path.relative_to(self._folder))
        return self._of(taken.run) / f"{hashlib.sha256(relative).hexdigest()[:24]}.npz"

    def _each(self, run: int, make: Callable[[Arrays], Value]) -> Iterator[Value]:
        for path in sorted(self._of(run).glob("*.npz")):
            try:
                with np.load(path, allow_pickle=False) as arrays:
                    yield make(arrays)
            except Exception as error:  # a damaged archive can break zipfile, numpy and json in any way
                self._say(f"{path}: saved state that cannot be used ({error}); its input is read again if it is there.")
                path.unlink()
