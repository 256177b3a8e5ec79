"""Flags that people set, from the Run Registry's JSON or a golden JSON, and how far a certification agrees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hcal_root_ad.certify.certification import HCAL, RunCertification, Status
from hcal_root_ad.certify.golden import read_json, selection_of
from hcal_root_ad.certify.run_registry import COLUMNS
from hcal_root_ad.errors import InputError
from hcal_root_ad.lumi_ranges import Range

NO_LABEL, NOT_GOOD = "no label", "not good"
Labels = Mapping[int, Sequence[tuple[Range, str]]]
"""Ranges and their flags by run; of a golden JSON, what is in no range of a run is ``not good``."""


def read_labels(path: Path, column: str = COLUMNS[HCAL]) -> Labels:
    """Flags of one column.

    Taken are ranges by run (``{"run": [{"start", "end", "hcal-hcal": {"status": …}}, …]}``), ranges by run and column,
    one list of ranges that name their ``run_number``, and a golden JSON.

    Raises:
        InputError: the file is missing, no JSON, of another form, or holds no flag of that column.
    """
    table = read_json(path)
    if _has_golden_form(table):
        return {run: _golden(ranges) for run, ranges in selection_of(table, path).items()}
    try:
        labels: dict[int, list[tuple[Range, str]]] = {}
        for run, part, status in _flags(table, column):
            labels.setdefault(run, []).append((part, status))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is not of the Run Registry's form: ranges with start, end and {column} by run were expected."
        ) from error
    if not labels:
        raise InputError(f"{path} holds no flag {column}; export the workspace hcal.")
    return labels


def _has_golden_form(table: Any) -> bool:
    return isinstance(table, dict) and all(
        isinstance(ranges, list) and all(isinstance(part, list) for part in ranges) for ranges in table.values()
    )


def _golden(ranges: Sequence[Range]) -> list[tuple[Range, str]]:
    """Good in the ranges, not good in the rest of the run."""
    everything = (1, 2**31 - 1)
    return [(everything, NOT_GOOD), *((part, str(Status.GOOD)) for part in ranges)]


def _flags(table: Any, column: str) -> Iterator[tuple[int, Range, str]]:
    if isinstance(table, list):
        for entry in table:
            yield from _flag(int(entry["run_number"]), entry, column)
        return
    for run, entries in table.items():
        if isinstance(entries, dict):
            entries = [{"start": one["start"], "end": one["end"], column: one} for one in entries.get(column, [])]
        for entry in entries:
            yield from _flag(int(run), entry, column)


def _flag(run: int, entry: Mapping[str, Any], column: str) -> Iterator[tuple[int, Range, str]]:
    flag = entry.get(column)
    if flag is not None:
        status = flag["status"] if isinstance(flag, Mapping) else flag
        yield run, (int(entry["start"]), int(entry["end"])), str(status)


def is_golden(labels: Labels) -> bool:
    """Whether flags are those of a golden JSON."""
    return any(flag == NOT_GOOD for ranges in labels.values() for _, flag in ranges)


def flags_of(labels: Labels, run: int, lumisections: Sequence[int]) -> list[str]:
    """The flag of each lumisection of a run, the last one given, or ``no label``."""
    flags = dict.fromkeys(lumisections, NO_LABEL)
    for (first, last), status in labels.get(run, ()):
        flags.update((ls, status) for ls in flags if first <= ls <= last)
    return list(flags.values())


@dataclass
class Agreement:
    """How many lumisections have which status here (of HCAL) and which flag there."""

    labels: Labels
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, run: RunCertification) -> None:
        """Count the lumisections of a run."""
        flags = flags_of(self.labels, run.run, run.lumisections.tolist())
        self.counts.update((str(ruling.status), flag) for ruling, flag in zip(run.rulings[HCAL], flags, strict=True))

    def as_table(self) -> dict[str, Any]:
        """Counts by status here and flag there, and the share of LS in which both say GOOD, or neither does.

        The share is of those LS that people called GOOD, BAD or not good and that were GOOD or BAD here.
        """
        both = {
            (ours, theirs): n
            for (ours, theirs), n in self.counts.items()
            if ours in (Status.GOOD, Status.BAD) and theirs in (Status.GOOD, Status.BAD, NOT_GOOD)
        }
        agreed = sum(n for (ours, theirs), n in both.items() if (ours == Status.GOOD) == (theirs == Status.GOOD))
        total = sum(both.values())
        rows = [{"here": ours, "there": theirs, "lumisections": n} for (ours, theirs), n in sorted(self.counts.items())]
        return {"counts": rows, "compared": total, "agreed": agreed, "share": agreed / total if total else None}
