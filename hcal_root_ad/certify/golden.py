"""The JSON of certification, ``{"run": [[first, last], …]}``: written golden-style, read as a selection (DCS)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from hcal_root_ad.errors import InputError
from hcal_root_ad.lumi_ranges import Range, union
from hcal_root_ad.tables import read_json, shown, whole

Selection = Mapping[int, Sequence[Range]]
"""Ranges of lumisections by run."""
LARGEST = 2**31 - 1
"""Largest number of a run or lumisection; files of selections write an open end as 9999 or more."""
_RUN = re.compile("[1-9][0-9]{0,9}")


def golden_text(selection: Selection) -> str:
    """The JSON text, one run per line by number; runs without a range are left out."""
    runs = [f'"{run}": {json.dumps([list(part) for part in selection[run]])}' for run in sorted(selection)
            if selection[run]]  # fmt: skip
    return "{" + ",\n ".join(runs) + "}\n"


def read_selection(path: Path) -> Selection:
    """Read such a file.

    Raises:
        InputError: it is missing, no JSON, or of another form.
    """
    return selection_of(read_json(path, "selection"), path)


def selection_of(table: object, path: Path) -> Selection:
    """The selection in parsed JSON; ``path`` is named where it is of another form (InputError)."""
    if not isinstance(table, dict) or not table:
        raise InputError(f'{path} is no selection of lumisections; {{"run": [[first, last], …]}} was expected.')
    return {run: union(_ranges(run, table[str(run)], path)) for run in (run_number(key, path) for key in table)}


def run_number(key: object, path: Path) -> int:
    """A run number out of a file, as a text or a number; raises InputError for anything else."""
    number = int(key) if isinstance(key, str) and _RUN.fullmatch(key) else key
    return _number(number, path, "a run number")


def ends(first: object, last: object, run: int, path: Path) -> Range:
    """A range of lumisections out of a file; raises InputError where its ends are none."""
    begin, end = (_number(value, path, f"a lumisection of run {run}") for value in (first, last))
    if begin > end:
        raise InputError(f"{path} has the range [{begin}, {end}] of run {run}, which ends before it begins.")
    return begin, end


def _number(value: object, path: Path, what: str) -> int:
    try:
        number = 0 if isinstance(value, str) else whole(value)
    except ValueError:
        number = 0
    if not 0 < number <= LARGEST:
        raise InputError(f"{path} says {shown(value)} where {what} was expected.")
    return number


def _ranges(run: int, ranges: object, path: Path) -> list[Range]:
    if not isinstance(ranges, list) or not all(isinstance(part, list) and len(part) == 2 for part in ranges):
        raise InputError(f"{path} does not list run {run} as ranges [[first, last], …] of lumisections.")
    return [ends(first, last, run, path) for first, last in ranges]
