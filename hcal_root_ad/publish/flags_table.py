"""Every flagged channel interval as a row of a CSV file, for scripts; people see the findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hcal_root_ad.detector import N_IPHI, box_name
from hcal_root_ad.files import whole_file
from hcal_root_ad.judge.aggregate import boxes_of
from hcal_root_ad.judge.verdict import Interval, RunVerdict, StripVerdict, Verdict
from hcal_root_ad.tables import write_rows

COLUMNS = (
    "run", "subdetector", "ieta", "iphi", "depth", "rbx", "rm", "kind",
    "ls_first", "ls_last", "observed", "expected", "score", "group", "trust",
)  # fmt: skip
Row = tuple[int | float | str, ...]


def write_flags(verdict: RunVerdict | Sequence[RunVerdict], path: Path) -> None:
    """Write the intervals of one run or several, one row per channel and interval.

    Strips (files without maps per lumisection) have no ieta, depth and RM. Raises OutputError if the
    file cannot be written; a file of that name is replaced only by a whole one.
    """
    runs = [verdict] if isinstance(verdict, RunVerdict) else verdict
    path = Path(path)
    with whole_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, [COLUMNS])
        for run in runs:
            write_rows(file, flag_rows(run))


def flag_rows(run: RunVerdict) -> Iterator[Row]:
    """The intervals of a run, in the order of :data:`COLUMNS`; "" where there is none."""
    for verdict in run.verdicts:
        for interval in _in_order(verdict):
            yield (run.maps.run, *_channel(verdict, interval.channel), *_numbers(interval), str(verdict.trust))
    if run.strips:
        for interval in _in_order(run.strips):
            yield (run.maps.run, *_strip(run.strips, interval.channel), *_numbers(interval), str(run.strips.trust))


def _in_order(verdict: Verdict | StripVerdict) -> list[Interval]:
    return sorted(verdict.intervals, key=lambda interval: (interval.first, interval.channel))


def _channel(verdict: Verdict, row: int) -> Row:
    table = verdict.channels
    place = (int(table.ieta[row]), int(table.iphi[row]), int(table.depth[row]))
    box = table.box_name(row) if table.rbx[row] else ""
    return (verdict.subdetector, *place, box, int(table.rm[row]) or "")


def _strip(strips: StripVerdict, column: int) -> Row:
    box = box_name(int(boxes_of(strips)[column]))
    return (box[:2], "", column % N_IPHI + 1, "", box, "")


def _numbers(interval: Interval) -> Row:
    expected, score = round(float(interval.expected), 2), round(float(interval.score), 2)
    return (str(interval.kind), interval.first, interval.last, interval.observed, expected, score, interval.group)
