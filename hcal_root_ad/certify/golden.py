"""The JSON of certification, ``{"run": [[first, last], …]}``: written golden-style, read as a selection (DCS)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hcal_root_ad.errors import InputError
from hcal_root_ad.lumi_ranges import Range

Selection = Mapping[int, Sequence[Range]]
"""Ranges of lumisections by run."""


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
    return selection_of(read_json(path), path)


def read_json(path: Path) -> Any:
    """What a JSON file holds; raises InputError where it is missing or none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"There is no file {path}; check the path.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}.") from error


def selection_of(table: object, path: Path) -> Selection:
    """The selection in parsed JSON; ``path`` is named where it is of another form (InputError)."""
    if not isinstance(table, dict) or not table:
        raise InputError(f'{path} is no selection of lumisections; {{"run": [[first, last], …]}} was expected.')
    return {_run(key, path): _ranges(key, ranges, path) for key, ranges in table.items()}


def _run(key: str, path: Path) -> int:
    if not key.isdigit():
        raise InputError(f"{path} has the key {key!r} where a run number was expected.")
    return int(key)


def _ranges(run: str, ranges: object, path: Path) -> list[Range]:
    if not isinstance(ranges, list) or not all(_is_range(part) for part in ranges):
        raise InputError(f"{path} does not list run {run} as ranges [[first, last], …] of lumisections.")
    return [(first, last) for first, last in ranges]


def _is_range(part: object) -> bool:
    whole = isinstance(part, list) and len(part) == 2 and all(type(end) is int for end in part)
    return whole and 0 < part[0] <= part[1]  # type: ignore[index]
