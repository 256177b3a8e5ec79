"""Exports of lumisections: from OMS as CSV, JSON or parquet, and what ``brilcalc lumi --byls`` writes.

brilcalc's ``run:fill`` and ``ls`` (of the LHC clock and of CMS, which is 0 where CMS took nothing) are two numbers
each; its ``beamstatus`` says stable beams; ``delivered(…)`` and ``recorded(…)`` carry their unit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

import numpy as np

from hcal_root_ad.certify.conditions import CAUSE_OF_FLAG, HBHE_FLAGS, QUANTITIES, OmsRun
from hcal_root_ad.certify.golden import LARGEST
from hcal_root_ad.errors import InputError
from hcal_root_ad.schema import nearest
from hcal_root_ad.tables import Row, flag, open_rows, real, shown, whole

RUN, LUMISECTION = "run_number", "lumisection_number"
_OMS = (RUN, LUMISECTION, *CAUSE_OF_FLAG, *QUANTITIES.values())
_BRIL = ("run:fill", "ls", "beamstatus")
Cell = TypeVar("Cell")
_PAIR = re.compile(r"([0-9]{1,10}):([0-9]{1,10})")

LumiState = tuple[str, float, float, float]
"""Of a lumisection: the cause for standby or "", pileup, delivered and recorded luminosity (NaN: unknown)."""


def read_oms(path: Path) -> tuple[dict[int, OmsRun], tuple[str, ...]]:
    """Runs of an export, and sentences on the flags that it lacks.

    Raises:
        InputError: it is missing or unreadable, lacks a column without which nothing can be said, or
            contradicts itself.
    """
    runs: dict[int, dict[int, LumiState]] = {}
    with open_rows(path, "OMS export", (*_OMS, *_BRIL)) as table:
        columns = _oms_columns(path, table.columns)
        flags = [name for name in CAUSE_OF_FLAG if name in columns]
        for number, row in enumerate(table.rows, start=1):
            try:
                oms = {name: read(row) for name, read in columns.items()}
                run, lumisection, state = _number(oms, RUN), _number(oms, LUMISECTION), _state(oms, flags)
            except ValueError as error:
                raise InputError(f"Row {number} of {path} says {error}.") from None
            if runs.setdefault(run, {}).setdefault(lumisection, state) != state:
                raise InputError(f"{path} says two different things of run {run}, LS {lumisection}; export it anew.")
    if not runs:
        raise InputError(f"{path} holds no lumisection.")
    lacking = [name for name in (*HBHE_FLAGS, "cms_active") if name not in flags]
    notes = (f"{path.name} has no column {', '.join(lacking)}: not looked at.",) if lacking else ()
    return {run: _oms_run(states) for run, states in runs.items()}, notes


def _oms_columns(path: Path, columns: Sequence[str]) -> dict[str, Callable[[Row], object]]:
    """OMS' columns, and how each is taken from a row. Raises InputError where one lacks that is needed."""
    if "run:fill" in columns:
        _check_columns(path, columns, _BRIL)
        return _from_brilcalc(columns)
    if columns:
        each = ("beam1_stable", "beam2_stable")
        both = "beams_stable" in columns or not set(each) & set(columns)
        _check_columns(path, columns, (RUN, LUMISECTION, *(("beams_stable",) if both else each)))
    return {name: itemgetter(name) for name in _OMS if name in columns}


def _from_brilcalc(columns: Sequence[str]) -> dict[str, Callable[[Row], object]]:
    quantities = {"avgpu": QUANTITIES["pileup"]}
    quantities |= {name: QUANTITIES[name.partition("(")[0]] for name in columns if name.partition("(")[0] in QUANTITIES}
    return {
        RUN: lambda row: _pair(row, "run:fill")[0],
        LUMISECTION: lambda row: _pair(row, "ls")[0],
        "beams_stable": lambda row: str(row["beamstatus"]).strip().upper() == "STABLE BEAMS",
        "cms_active": lambda row: int(_pair(row, "ls")[1]) > 0,
        **{column: itemgetter(name) for name, column in quantities.items() if name in columns},
    }


def _check_columns(path: Path, columns: Sequence[str], needed: Iterable[str]) -> None:
    for name in needed:
        if name not in columns:
            like = ", ".join(shown(column).strip("'") for column in nearest(name, columns, n=2))
            raise InputError(f"{path} lacks the column {name} of an OMS export; the nearest that it has: {like}.")


def _pair(row: Row, name: str) -> tuple[str, str]:
    match = _PAIR.fullmatch(str(row[name]).strip())
    if match is None:
        raise ValueError(f"{name} = {shown(row[name])}; two numbers with a colon were expected")
    return match[1], match[2]


def _number(row: Row, name: str) -> int:
    try:
        number = whole(row[name])
    except ValueError:
        number = 0
    if not 0 < number <= LARGEST:
        raise ValueError(f"{name} = {shown(row[name])}; a whole number above 0 was expected")
    return number


def _state(row: Row, flags: Sequence[str]) -> LumiState:
    is_set = {name: _cell(row, name, flag, "1 or 0") for name in flags}
    cause = next((CAUSE_OF_FLAG[name] for name in flags if not is_set[name]), "")
    pileup, delivered, recorded = (_cell(row, name, real, "a number") for name in QUANTITIES.values())
    return cause, pileup, delivered, recorded


def _cell(row: Row, name: str, convert: Callable[[object], Cell], expected: str) -> Cell:
    try:
        return convert(row.get(name))
    except ValueError:
        raise ValueError(f"{name} = {shown(row[name])}; {expected} was expected") from None


def _oms_run(states: Mapping[int, LumiState]) -> OmsRun:
    lumisections = sorted(states)
    causes, *numbers = zip(*(states[lumisection] for lumisection in lumisections), strict=True)
    quantities = {name: np.array(values) for name, values in zip(QUANTITIES, numbers, strict=True)}
    return OmsRun(np.array(lumisections, dtype=np.int32), causes, **quantities)
