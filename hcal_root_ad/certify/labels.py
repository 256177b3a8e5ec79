"""Flags that people set, from the Run Registry's JSON or a golden JSON, and how far a certification agrees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from hcal_root_ad.certify.certification import HCAL, RunCertification, Status
from hcal_root_ad.certify.conditions import range_from, run_number, selection_of
from hcal_root_ad.certify.policy import SUBDETECTORS
from hcal_root_ad.errors import InputError
from hcal_root_ad.lumi_ranges import Range, union
from hcal_root_ad.schema import nearest
from hcal_root_ad.tables import read_json, shown

REGISTRY_COLUMNS = {HCAL: "hcal-hcal", **{name: f"hcal-{name.lower()}" for name in SUBDETECTORS}}
"""What is certified, and its column in the Run Registry, ``{workspace}-{column}``.

``hcal-hcal`` is what the golden JSON asks for, ``hcal-hb`` … ``hcal-ho`` are the workspace's own.
"""
NO_LABEL, NOT_GOOD = "no label", "not good"
FLAGS = ("GOOD", "BAD", "STANDBY", "EXCLUDED", "NOTSET", "EMPTY", "NO VALUE FOUND")
"""What the Run Registry calls lumisections."""


@dataclass(frozen=True)
class Labels:
    """What people called the lumisections of runs.

    ``ranges``: by run, in order and without overlap, with their flags. ``golden``: of a golden JSON, which
    lists good ones alone: what it leaves out from its first to its last run is ``not good``.
    """

    ranges: Mapping[int, Sequence[tuple[Range, str]]]
    golden: bool = False

    def covers(self, run: int) -> bool:
        """Whether there are flags of a run."""
        return run in self.ranges or (self.golden and min(self.ranges) <= run <= max(self.ranges))

    def of(self, run: int, lumisections: Sequence[int]) -> list[str]:
        """The flag of each lumisection of a run, or ``no label``."""
        other = NOT_GOOD if self.golden and self.covers(run) else NO_LABEL
        ranges = self.ranges.get(run, ())
        places = np.searchsorted([first for (first, _), _ in ranges], lumisections, side="right") - 1
        return [
            ranges[place][1] if place >= 0 and ls <= ranges[place][0][1] else other
            for ls, place in zip(lumisections, places.tolist(), strict=True)
        ]


class NoFlagsError(InputError):
    """A file of flags has none of the column that is asked for."""


def read_labels(path: Path, column: str = REGISTRY_COLUMNS[HCAL]) -> Labels:
    """Flags of one column.

    Taken are ranges by run (``{"run": [{"start", "end", "hcal-hcal": {"status": …}}, …]}``), ranges by run and column,
    one list of ranges that name their ``run_number``, and a golden JSON.

    Raises:
        InputError: the file is missing, no JSON, of another form, or contradicts itself.
        NoFlagsError: it has no flag of that column.
    """
    table = read_json(path, "file of flags")
    if isinstance(table, dict) and table and all(_is_golden(ranges) for ranges in table.values()):
        good = str(Status.GOOD)
        selection = selection_of(table, path)
        return Labels({run: [(ends, good) for ends in ranges] for run, ranges in selection.items()}, golden=True)
    ranges: dict[int, dict[str, list[Range]]] = {}
    try:
        for key, entry in _entries(table, column):
            if entry.get(column) is not None:
                run = run_number(key, path)
                ranges.setdefault(run, {}).setdefault(_status(entry[column], run, path), []).append(
                    range_from(entry["start"], entry["end"], run, path)
                )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is not of the Run Registry's form: ranges with start, end and {column} by run were expected."
        ) from error
    if not ranges:
        raise NoFlagsError(f"{path} holds no flag {column}; export the workspace hcal.")
    return Labels({run: _in_order(by_flag, run, path) for run, by_flag in ranges.items()})


def _is_golden(ranges: object) -> bool:
    return isinstance(ranges, list) and all(isinstance(ends, list) for ends in ranges)


def _entries(table: Any, column: str) -> Iterator[tuple[object, Mapping[str, Any]]]:
    """Run and entry of every range, whatever the form."""
    if isinstance(table, list):
        yield from ((entry["run_number"], entry) for entry in table)
        return
    for run, entries in table.items():
        if isinstance(entries, dict):
            entries = [{**entry, column: entry} for entry in entries.get(column, [])]
        yield from ((run, entry) for entry in entries)


def _status(flag: Any, run: int, path: Path) -> str:
    status = flag["status"] if isinstance(flag, Mapping) else flag
    if status not in FLAGS:
        (like,) = nearest(str(status), FLAGS)
        raise InputError(f"{path} calls lumisections of run {run} {shown(status)}; the nearest known flag is {like}.")
    return str(status)


def _in_order(by_flag: Mapping[str, list[Range]], run: int, path: Path) -> list[tuple[Range, str]]:
    """Ranges of a run with their flags; raises InputError where one lumisection has two."""
    ordered = sorted((ends, flag) for flag, ranges in by_flag.items() for ends in union(ranges))
    for ((_, end), flag), ((begin, _), other) in pairwise(ordered):
        if begin <= end:
            raise InputError(f"{path} calls LS {begin} of run {run} both {flag} and {other}; export it anew.")
    return ordered


@dataclass
class Agreement:
    """How many lumisections have which status of HCAL from certification, and which flag from people."""

    labels: Labels
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, run: RunCertification) -> None:
        """Count the lumisections of a run."""
        flags = self.labels.of(run.run, run.lumisections.tolist())
        self.counts.update((str(own.status), flag) for own, flag in zip(run.flags[HCAL], flags, strict=True))

    def as_table(self) -> dict[str, Any]:
        """Counts by status and flag, and the share of LS in which both say GOOD, or neither does.

        The share is of those LS that people called GOOD, BAD or not good and that were certified GOOD or BAD.
        """
        both = {
            (ours, theirs): n
            for (ours, theirs), n in self.counts.items()
            if ours in (Status.GOOD, Status.BAD) and theirs in (Status.GOOD, Status.BAD, NOT_GOOD)
        }
        agreed = sum(n for (ours, theirs), n in both.items() if (ours == Status.GOOD) == (theirs == Status.GOOD))
        total = sum(both.values())
        rows = [
            {"status": status, "label": label, "lumisections": n} for (status, label), n in sorted(self.counts.items())
        ]
        return {"counts": rows, "compared": total, "agreed": agreed, "share": agreed / total if total else None}


_NAMED = 5
"""Runs that a sentence names."""


@dataclass(frozen=True)
class MissingRuns:
    """A file of conditions or flags lacks runs that are certified: ``all_missing`` if it has none of them."""

    sentence: str
    all_missing: bool


def missing_runs(path: Path, covers: Callable[[int], bool], runs: Sequence[int]) -> MissingRuns | None:
    """Which of the runs a file lacks; None where it has all."""
    missing = [run for run in runs if not covers(run)]
    if not missing:
        return None
    if len(missing) == len(runs):
        return MissingRuns(
            f"{path.name} holds none of the runs that were judged ({_few(runs)}); give the export of these runs.", True
        )
    return MissingRuns(f"{path.name} holds nothing of {_few(missing)}.", False)


def _few(runs: Sequence[int]) -> str:
    more = f" and {len(runs) - _NAMED} more" if len(runs) > _NAMED else ""
    return f"run{'s' * (len(runs) != 1)} {', '.join(map(str, runs[:_NAMED]))}{more}"
