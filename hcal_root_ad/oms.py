"""What OMS (CSV, JSON or parquet) and ``brilcalc lumi --byls`` say of runs, read from their exports.

In brilcalc's, run:fill and ls (of the LHC clock and of CMS, which is 0 where CMS took nothing) are two numbers each;
beamstatus says stable beams; delivered(…) and recorded(…) carry their unit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

import numpy as np

from hcal_root_ad.conditions import COLLISIONS, COSMICS, IONS, QUANTITIES, Conditions, OmsRun, positive, read_selection
from hcal_root_ad.content import nearest
from hcal_root_ad.errors import InputError
from hcal_root_ad.tables import Row, flag, open_rows, real, shown

NO_STABLE_BEAMS, CMS_NOT_ACTIVE, HBHE_OFF = "no stable beams", "CMS not active", "HBHE off"
_BEAMS = ("beams_stable", "beam1_stable", "beam2_stable", "beam1_present", "beam2_present")
HBHE_FLAGS = ("hbhea_ready", "hbheb_ready", "hbhec_ready")
CAUSE_OF_FLAG = {
    **dict.fromkeys(_BEAMS, NO_STABLE_BEAMS), "cms_active": CMS_NOT_ACTIVE, **dict.fromkeys(HBHE_FLAGS, HBHE_OFF),
}  # fmt: skip
"""OMS flag to the cause of standby where it is not set; the first that applies is given."""
MENU, FIELD, FILL_TYPE, TIME = "hlt_key", "b_field", "fill_type_runtime", "start_time"
"""Columns of a run that a detector state makes use of: trigger menu, field of the magnet in T, what collided, when."""
BRIL_TIMES = ("%m/%d/%y", "%m/%d/%y %H:%M:%S")
"""A day and a time as brilcalc writes them, in UTC."""
EVENTS_OF_FILL = {"PROTONS": COLLISIONS, "COSMICS": COSMICS, "IONS": IONS}
PER_FEMTOBARN = {"/mb": 1e12, "/ub": 1e9, "/nb": 1e6, "/pb": 1e3, "/fb": 1.0, "/ab": 1e-3}
"""Unit of a luminosity as brilcalc writes it, in inverse femtobarn; OMS exports are in inverse picobarn."""
RUN, LUMISECTION = "run_number", "lumisection_number"
SECONDS_PER_DAY = 86400.0
LumiState = tuple[str, float, float, float]
"""Of an LS: the cause of standby or "", pileup, delivered and recorded luminosity (NaN: unknown)."""
Cell = TypeVar("Cell")


def read_conditions(oms: Path | None, selection: Path | None) -> Conditions | None:
    """Conditions from an OMS export and a selection, None without either.

    Raises:
        InputError: a file is missing, unreadable, of another form, or contradicts itself.
    """
    if oms is None and selection is None:
        return None
    runs, notes = read_oms(oms) if oms else (None, ())
    return Conditions(runs, read_selection(selection) if selection else None, notes)


_OMS = (RUN, LUMISECTION, *CAUSE_OF_FLAG, *QUANTITIES.values(), MENU, FIELD, FILL_TYPE, TIME)
_BRIL = ("run:fill", "ls", "beamstatus")
_PAIR = re.compile(r"([0-9]{1,10}):([0-9]{1,10})")


def read_oms(path: Path) -> tuple[dict[int, OmsRun], tuple[str, ...]]:
    """Runs of an export, and sentences on the flags that it lacks.

    Raises:
        InputError: it is missing or unreadable, lacks a column without which nothing can be said, or
            contradicts itself.
    """
    runs: dict[int, dict[int, LumiState]] = {}
    of_run: dict[int, set[tuple[str | None, float | None, str | None]]] = {}
    begun: dict[int, float] = {}
    with open_rows(path, "OMS export", (*_OMS, *_BRIL)) as table:
        columns = _oms_columns(path, table.columns)
        flags = [name for name in CAUSE_OF_FLAG if name in columns]
        unit = next((name.partition("(")[2].rstrip(")") for name in table.columns if "delivered(" in name), "/pb")
        for number, row in enumerate(table.rows, start=1):
            try:
                oms = {name: read(row) for name, read in columns.items()}
                run, lumisection, lumi = _number(oms, RUN), _number(oms, LUMISECTION), _state(oms, flags)
                of_run.setdefault(run, set()).add(_of_run(oms))
                if (day := _cell(oms, TIME, _day, "a time")) is not None:
                    begun[run] = min(day, begun.get(run, day))
            except ValueError as error:
                raise InputError(f"Row {number} of {path} says {error}.") from None
            if runs.setdefault(run, {}).setdefault(lumisection, lumi) != lumi:
                raise InputError(f"{path} says two different things of run {run}, LS {lumisection}; export it again.")
    if not runs:
        raise InputError(f"{path} holds no lumisection.")
    lacking = [name for name in (*HBHE_FLAGS, "cms_active") if name not in flags]
    plural = "s" * (len(lacking) != 1)
    notes = (f"{path.name} has no column{plural} {', '.join(lacking)}: not looked at.",) if lacking else ()
    out, before = {}, 0.0
    for run in sorted(runs):
        menus, fields, events = (set(column) for column in zip(*of_run[run], strict=True))
        out[run] = replace(
            _oms_run(runs[run]), menu=_only(menus), field=_only(fields), events=_only(events),
            before=before if unit in PER_FEMTOBARN and QUANTITIES["delivered"] in columns else None, day=begun.get(run),
        )  # fmt: skip
        before += float(np.nansum(out[run].delivered)) / PER_FEMTOBARN.get(unit, 1.0)
    return out, notes


def _of_run(row: Row) -> tuple[str | None, float | None, str | None]:
    """Menu, field and kind of events that a row says of its run."""
    field = _cell(row, FIELD, real, "a field in T")
    fill = str(row.get(FILL_TYPE) or "").strip().upper()
    events = EVENTS_OF_FILL.get(fill, fill.lower()) or None
    return str(row.get(MENU) or "").strip() or None, None if np.isnan(field) else round(field, 1), events


def _day(value: object) -> float | None:
    """Days since 1970 of a time as OMS or brilcalc writes it (UTC, or seconds since 1970); None without one."""
    text = str(value or "").strip()
    if not text:
        return None
    if text.replace(".", "", 1).isdigit():
        return float(text) / SECONDS_PER_DAY
    time = datetime.strptime(text, BRIL_TIMES[" " in text]) if "/" in text else datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() / SECONDS_PER_DAY


def _only(values: set[Cell]) -> Cell | None:
    """The one value; None where there are several."""
    return next(iter(values)) if len(values) == 1 else None


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
    quantities = {"avgpu": QUANTITIES["pileup"], "time": TIME}
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
    number = positive(row[name])
    if not number:
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
    return OmsRun(np.array(lumisections, dtype=np.int32), causes, *map(np.array, numbers))
