"""What was received of a run, kept beside the output so that a restart neither loses nor repeats a lumisection.

``DIR/.watch/R000370101/`` holds a numpy file for each input file of the run: its counts, events and stamp. Nothing
that a judge made is kept: a run is judged again from its counts, whoever judges it then. An empty file ``over``
says that the run has ended. One watch per output folder: two would publish over each other.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from hcal_root_ad.errors import UsageError
from hcal_root_ad.files import clear_left, folder_lock
from hcal_root_ad.harvest.gathering import LumisectionCounts, table_of_run
from hcal_root_ad.harvest.harvester import Definition, FileContent, RunTotal, choose_definitions
from hcal_root_ad.lumi_maps import Source
from hcal_root_ad.machine import ScratchStore

FORMAT = 3
Arrays = Mapping[str, Any]
"""Arrays by name, as a numpy file holds them."""


class Stamp(NamedTuple):
    """Size and time of change (ns) of a file: another stamp is another content."""

    size: int
    modified: int


class Arrival(NamedTuple):
    """A file's lumisections of a run (0: it names none), and when the file was seen (s).

    ``growing``: a snapshot, which holds all lumisections before as well.
    """

    first: int
    last: int
    seen: float
    growing: bool = False


@dataclass(frozen=True, eq=False)
class Received:
    """What a whole file holds of one run; ``seen``: when it was found whole (s)."""

    run: int
    stamp: Stamp
    seen: float
    content: FileContent
    source: Source

    @property
    def path(self) -> Path:
        assert isinstance(self.content.path, Path)
        return self.content.path

    def on(self, store: ScratchStore) -> Received:
        """The same with its counts in a store, where those of a long run take no memory."""

        def kept(section: LumisectionCounts) -> LumisectionCounts:
            return section if section.counts is None else replace(section, counts=store.keep(section.counts))

        sections = tuple(map(kept, self.content.sections))
        totals = tuple(replace(total, section=kept(total.section)) for total in self.content.totals)
        return replace(self, content=replace(self.content, sections=sections, totals=totals))

    @property
    def arrival(self) -> Arrival:
        content = self.content
        if content.totals:
            last = content.totals[0].lumisection or 0
            return Arrival(last, last, self.seen, _grows(content.totals[0], content.definition))
        firsts, lasts = zip(*((section.first, section.lumisection) for section in content.sections), strict=True)
        return Arrival(min(firsts), max(lasts), self.seen)


def _grows(total: RunTotal, definition: Definition) -> bool:
    return total.naming == "snapshot" if definition.cumulative is None else definition.cumulative


def received_by_run(content: FileContent, source: Source, stamp: Stamp, seen: float) -> Iterator[Received]:
    """What a file holds of each of its runs."""
    runs = {s.run for s in (*content.sections, *(total.section for total in content.totals))}
    for run in sorted(runs):
        own = replace(
            content,
            sections=tuple(section for section in content.sections if section.run == run),
            totals=tuple(total for total in content.totals if total.section.run == run),
            events_versus_ls={run: dict(content.events_versus_ls.get(run, {}))},
        )
        yield Received(run, stamp, seen, own, source)


def to_arrays(received: Received, folder: Path) -> Arrays:
    """All of it as arrays; the path from the watched folder on."""
    content, source = received.content, received.source
    sections = [*content.sections, *(total.section for total in content.totals)]
    versus_ls = content.events_versus_ls.get(received.run, {})
    head = {
        "format": FORMAT, "run": received.run, "path": str(received.path.relative_to(folder)), "stamp": received.stamp,
        "seen": received.seen, "source": [source.name, source.size, source.sha256],
        "definition": repr(content.definition), "notes": content.notes,
        "totals": [[total.lumisection, total.naming, total.process] for total in content.totals],
        "sections": [[s.lumisection, s.first, s.own_events, s.other_events, s.stray, s.own_growth, s.other_growth,
                      s.doubts, s.counts is not None] for s in sections],
    }  # fmt: skip
    channels = len(table_of_run(received.run))
    return {
        "head": np.array(json.dumps(head)),
        "seen": np.array([s.seen for s in sections]),
        "counts": np.array([s.counts for s in sections if s.counts is not None], np.int32).reshape(-1, channels),
        "versus_ls": np.array(list(versus_ls.items()), dtype=np.int64).reshape(-1, 2),
    }


def head_of(arrays: Arrays) -> dict[str, Any]:
    """What the arrays say of the file. Raises ValueError or KeyError where they are of another making."""
    head: dict[str, Any] = json.loads(str(arrays["head"]))
    if head["format"] != FORMAT:
        raise ValueError(f"format {head['format']}, not {FORMAT}")
    return head


def from_arrays(arrays: Arrays, folder: Path, definitions: Mapping[str, Definition]) -> Received:
    """What :func:`to_arrays` was given; ``definitions`` by what they say (``repr``).

    Raises ValueError, KeyError or TypeError where the arrays are of another making, or their definition is no more.
    """
    head = head_of(arrays)
    definition = definitions.get(head["definition"])
    if definition is None:
        raise ValueError("made with a harvester definition that is no more, or not the one that is asked for")
    run, path = int(head["run"]), folder / head["path"]
    counts = iter(arrays["counts"])
    sections = [
        LumisectionCounts(
            run, lumisection, first, next(counts) if has_maps else None, seen, own, other, stray, own_growth,
            other_growth, doubts=tuple(doubts),
        )
        for (lumisection, first, own, other, stray, own_growth, other_growth, doubts, has_maps), seen
        in zip(head["sections"], arrays["seen"], strict=True)
    ]  # fmt: skip
    totals = [
        RunTotal(section, path, lumisection, naming, process)
        for section, (lumisection, naming, process) in zip(sections, head["totals"], strict=False)
    ]
    content = FileContent(
        path, definition, () if totals else tuple(sections), tuple(totals),
        {run: {int(ls): int(events) for ls, events in arrays["versus_ls"]}}, tuple(head["notes"]),
    )  # fmt: skip
    return Received(run, Stamp(*head["stamp"]), head["seen"], content, Source(*head["source"]))


PLACE = ".watch"
_OVER, _PARTIAL = "over", ".partial"
Value = TypeVar("Value")


class ReceivedFiles:
    """The files below ``output/.watch``; ``say`` gets a sentence on each that cannot be used, which is then removed.

    ``definition``: what was read by another one cannot be used.
    """

    def __init__(self, output: Path, folder: Path, say: Callable[[str], None], definition: str | None = None) -> None:
        self._place, self._folder, self._say = output / PLACE, folder, say
        self._definitions = {repr(definition): definition for definition in choose_definitions(definition)}
        for partial in self._place.glob(f"R*/*{_PARTIAL}"):
            partial.unlink()

    def runs(self) -> list[int]:
        """Runs of which something is kept."""
        return sorted(int(place.name[1:]) for place in self._place.glob("R*") if place.name[1:].isdigit())

    def stamps(self, run: int) -> dict[Path, Stamp]:
        """Every file that was received of a run."""
        return {self._folder / head["path"]: Stamp(*head["stamp"]) for head in self._each(run, head_of)}

    def load(self, run: int) -> list[Received]:
        """All that was received of a run."""
        return list(self._each(run, lambda arrays: from_arrays(arrays, self._folder, self._definitions)))

    def save(self, received: Received) -> None:
        """Keep what was received; whole, or not at all. Raises OSError."""
        path = self._path(received)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + _PARTIAL)
        try:
            with partial.open("wb") as file:
                np.savez_compressed(file, **to_arrays(received, self._folder))
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

    def _path(self, received: Received) -> Path:
        relative = os.fsencode(received.path.relative_to(self._folder))
        return self._of(received.run) / f"{hashlib.sha256(relative).hexdigest()[:24]}.npz"

    def _each(self, run: int, make: Callable[[Arrays], Value]) -> Iterator[Value]:
        for path in sorted(self._of(run).glob("*.npz")):
            try:
                with np.load(path, allow_pickle=False) as arrays:
                    yield make(arrays)
            except Exception as error:  # a damaged archive can break zipfile, numpy and json in any way
                self._say(f"{path}: saved state that cannot be used ({error}); its input is read again if it is there.")
                path.unlink()


@contextmanager
def sole_watch(output: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Be the only watch of an output folder, and clear what a killed one was writing.

    ``say`` is told where the file system has no locks, so that nothing keeps two apart.

    Raises:
        UsageError: another one is at work. OSError: the folder cannot be written.
    """
    (output / PLACE).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(folder_lock(output / PLACE / "lock", "watch", say))
        except BlockingIOError:
            raise UsageError(
                f"{output}: another watch writes there; stop it, or choose another place with -o."
            ) from None
        clear_left(output)
        yield
