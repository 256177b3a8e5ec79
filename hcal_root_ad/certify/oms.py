"""Exports of OMS lumisections, as CSV or JSON, also packed with gzip.

JSON comes as the API gives it (``{"data": [{"attributes": {…}}]}``), as a list of rows, or as columns.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hcal_root_ad.certify.conditions import CAUSE_OF_FLAG, HBHE_FLAGS, QUANTITIES, OmsRun
from hcal_root_ad.errors import InputError

RUN, LUMISECTION = "run_number", "lumisection_number"
_SET = {"1", "1.0", "true"}
_NUMBER_WORDS = {"", "none", "null", "nan"}

Row = Mapping[str, Any]


def read_oms(path: Path) -> tuple[dict[int, OmsRun], tuple[str, ...]]:
    """Runs of an export, and sentences on the flags that it lacks.

    Raises:
        InputError: it is missing or unreadable, lacks a column without which nothing can be said, or
            contradicts itself.
    """
    rows = _rows(path)
    columns = list(rows[0]) if rows else []
    flags = [flag for flag in CAUSE_OF_FLAG if flag in columns]
    for needed, there in ((RUN, RUN in columns), (LUMISECTION, LUMISECTION in columns),
                          ("beams_stable", bool({"beams_stable", "beam1_stable"} & set(flags)))):  # fmt: skip
        if not there:
            nearest = ", ".join(difflib.get_close_matches(needed, columns, n=2, cutoff=0.0)) or "none at all"
            raise InputError(f"{path} lacks the column {needed} of an OMS export; the nearest that it has: {nearest}.")
    by_run: dict[int, dict[int, Row]] = {}
    for number, row in enumerate(rows, start=1):
        run, lumisection = (_whole(path, number, row, key) for key in (RUN, LUMISECTION))
        known = by_run.setdefault(run, {}).setdefault(lumisection, row)
        if _verdict(known, flags) != _verdict(row, flags):
            raise InputError(f"{path} says two different things of run {run}, LS {lumisection}; export it anew.")
    lacking = [flag for flag in (*HBHE_FLAGS, "cms_active") if flag not in flags]
    notes = (f"{path.name} has no column {', '.join(lacking)}: not looked at.",) if lacking else ()
    return {run: _oms_run(path, found, flags) for run, found in by_run.items()}, notes


def _oms_run(path: Path, rows: Mapping[int, Row], flags: Iterable[str]) -> OmsRun:
    lumisections = sorted(rows)
    quantities = {
        name: np.array([_real(path, rows[ls].get(column)) for ls in lumisections])
        for name, column in QUANTITIES.items()
    }
    causes = tuple(_verdict(rows[ls], flags) for ls in lumisections)
    return OmsRun(np.array(lumisections, dtype=np.int32), causes, **quantities)


def _verdict(row: Row, flags: Iterable[str]) -> str:
    """The first cause for standby; a flag without a value is not set."""
    return next((CAUSE_OF_FLAG[flag] for flag in flags if str(row[flag]).strip().lower() not in _SET), "")


def _whole(path: Path, number: int, row: Row, key: str) -> int:
    try:
        value = int(row[key])
    except (TypeError, ValueError):
        value = 0
    if value < 1:
        raise InputError(f"Row {number} of {path} says {key} = {row[key]!r}; a whole number above 0 was expected.")
    return value


def _real(path: Path, value: object) -> float:
    text = str(value).strip().lower()
    try:
        return float("nan") if text in _NUMBER_WORDS else float(text)
    except ValueError:
        raise InputError(f"{path} holds {value!r} where a number was expected.") from None


def _rows(path: Path) -> list[Row]:
    text = _text(path)
    if ".json" not in path.suffixes:
        rows: list[Row] = list(csv.DictReader(io.StringIO(text)))
    else:
        try:
            rows = _json_rows(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{path} is no OMS export in JSON: rows or columns of lumisections were expected."
            ) from error
    if not rows:
        raise InputError(f"{path} holds no lumisection.")
    return rows


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"There is no file {path}; check the path.") from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"The OMS export {path} cannot be read: {error}.") from error


def _json_rows(table: Any) -> list[Row]:
    if isinstance(table, dict) and "data" in table:
        table = table["data"]
    if isinstance(table, dict):  # columns, as lists or by row number, which is pandas' way
        columns = [list(column.values()) if isinstance(column, dict) else column for column in table.values()]
        return [dict(zip(table, values, strict=True)) for values in zip(*columns, strict=True)]
    rows = [row.get("attributes", row) for row in table]
    first = list(rows[0]) if rows else []
    return [{key: row[key] for key in first} for row in rows]
