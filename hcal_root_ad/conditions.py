"""Conditions of a run by lumisection (LS): OMS exports, ``brilcalc lumi --byls``, and selections such as DCS-only JSON.

An LS without stable beams, with CMS inactive or with HBHE off is on standby: it is not judged, and nobody's fault.
Flags as in the golden JSON's logic: both beams present and stable, CMS active, every part of HBHE ready.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.content import nearest
from hcal_root_ad.errors import InputError
from hcal_root_ad.lumi_maps import LumiMaps, Range, ranges_of, union, within
from hcal_root_ad.state.run_facts import COLLISIONS, COSMICS, IONS, UNKNOWN, RunFacts
from hcal_root_ad.tables import Row, flag, open_rows, read_json, real, shown, whole

NO_STABLE_BEAMS, CMS_NOT_ACTIVE, HBHE_OFF = "no stable beams", "CMS not active", "HBHE off"
NOT_SELECTED = "not in the selection"
_BEAMS = ("beams_stable", "beam1_stable", "beam2_stable", "beam1_present", "beam2_present")
HBHE_FLAGS = ("hbhea_ready", "hbheb_ready", "hbhec_ready")
CAUSE_OF_FLAG = {
    **dict.fromkeys(_BEAMS, NO_STABLE_BEAMS), "cms_active": CMS_NOT_ACTIVE, **dict.fromkeys(HBHE_FLAGS, HBHE_OFF),
}  # fmt: skip
"""OMS flag to the cause of standby where it is not set; the first that applies is given."""
QUANTITIES = {
    "pileup": "pileup",
    "delivered": "delivered_lumi_per_lumisection",
    "recorded": "recorded_lumi_per_lumisection",
}
"""Quantity to its column in OMS."""
MENU, FIELD, FILL_TYPE, TIME = "hlt_key", "b_field", "fill_type_runtime", "start_time"
"""Columns of a run that a detector state makes use of: trigger menu, field of the magnet in T, what collided, when."""
BRIL_TIMES = ("%m/%d/%y", "%m/%d/%y %H:%M:%S")
"""A day and a time as brilcalc writes them, in UTC."""
EVENTS_OF_FILL = {"PROTONS": COLLISIONS, "COSMICS": COSMICS, "IONS": IONS}
PER_FEMTOBARN = {"/mb": 1e12, "/ub": 1e9, "/nb": 1e6, "/pb": 1e3, "/fb": 1.0, "/ab": 1e-3}
"""Unit of a luminosity as brilcalc writes it, in inverse femtobarn; OMS exports are in inverse picobarn."""
RUN, LUMISECTION = "run_number", "lumisection_number"
SECONDS_PER_DAY = 86400.0
LARGEST = 2**31 - 1
"""Largest number of a run or lumisection; selections write an open end as 9999 or more."""

Floats = NDArray[np.float64]
Selection = Mapping[int, Sequence[Range]]
"""Ranges of lumisections by run."""
LumiState = tuple[str, float, float, float]
"""Of an LS: the cause of standby or "", pileup, delivered and recorded luminosity (NaN: unknown)."""
Cell = TypeVar("Cell")


@dataclass(frozen=True, eq=False)
class OmsRun:
    """What OMS says of a run.

    ``lumisections``: (LS,) int32, ascending. ``causes``: (LS,) why an LS is on standby, or "". ``pileup``,
    ``delivered`` and ``recorded``: (LS,), luminosity in the export's unit, NaN where unknown.
    ``menu``, ``field`` (T) and ``events`` (``collisions``, ``cosmics``, ``ions``): of the run, None where the export
    does not say, or says two things. ``before``: luminosity delivered in its earlier runs, in inverse femtobarn.
    ``day``: when the run began, in days since 1970 (UTC).
    """

    lumisections: NDArray[np.int32]
    causes: tuple[str, ...]
    pileup: Floats
    delivered: Floats
    recorded: Floats
    _: KW_ONLY
    menu: str | None = None
    field: float | None = None
    events: str | None = None
    before: float | None = None
    day: float | None = None


_OF_RUN = ("menu", "field", "events", "before", "day")


@dataclass(frozen=True, eq=False)
class RunConditions:
    """Conditions of one run; ``oms`` is None without an OMS export, ``selected`` None without a selection."""

    oms: OmsRun | None = None
    selected: tuple[Range, ...] | None = None

    @property
    def exist(self) -> bool:
        return self.oms is not None or self.selected is not None

    @property
    def pileup(self) -> dict[int, float]:
        """Mean interactions per crossing by LS, as far as OMS says."""
        if self.oms is None:
            return {}
        pairs = zip(self.oms.lumisections.tolist(), self.oms.pileup.tolist(), strict=True)
        return {ls: pileup for ls, pileup in pairs if pileup > 0}

    def standby(self, lumisections: NDArray[np.int32]) -> list[str]:
        """Why each LS is on standby, or ""."""
        by_lumisection = self._causes()
        causes = [by_lumisection.get(ls, "") for ls in lumisections.tolist()]
        if self.selected is None:
            return causes
        selected = within(lumisections, self.selected)
        return [cause or ("" if inside else NOT_SELECTED) for cause, inside in zip(causes, selected, strict=True)]

    def unknown(self, lumisections: NDArray[np.int32]) -> NDArray[np.bool_]:
        """(LS,) whether there is an OMS export and it lacks the LS."""
        if self.oms is None:
            return np.zeros(len(lumisections), dtype=np.bool_)
        return ~np.isin(lumisections, self.oms.lumisections)

    def quantity(self, name: str, lumisections: NDArray[np.int32]) -> Floats:
        """(LS,) one of :data:`QUANTITIES`, NaN where it is unknown."""
        values = np.full(len(lumisections), np.nan)
        if self.oms is not None and len(self.oms.lumisections):
            rows = np.searchsorted(self.oms.lumisections, lumisections).clip(max=len(self.oms.lumisections) - 1)
            listed = self.oms.lumisections[rows] == lumisections
            values[listed] = getattr(self.oms, name)[rows[listed]]
        return values

    @property
    def judging(self) -> dict[str, Any]:
        """What of the conditions changes the verdict: which LS are left out, and the pileup of the others."""
        standby = self.oms and ranges_of(ls for ls, cause in self._causes().items() if cause)
        return {"standby": standby, "selected": self.selected, "pileup": self.pileup}

    def without_standby(self, maps: LumiMaps) -> LumiMaps:
        """Lumisections on standby are not judged; nor do they move what is expected of the others."""
        fit = np.array([not cause for cause in self.standby(maps.lumisections)], dtype=np.bool_)
        return replace(maps, present=maps.present & fit)

    def for_state(self, luminosity: float | None) -> RunFacts:
        """What a detector state makes use of; ``luminosity``: :attr:`OmsRun.before` of the run from which it counts."""
        if self.oms is None:
            return UNKNOWN
        since = None if luminosity is None or self.oms.before is None else self.oms.before - luminosity
        return RunFacts(self.oms.menu, self.oms.field, self.oms.events, since, day=self.oms.day)

    def _causes(self) -> dict[int, str]:
        return dict(zip(self.oms.lumisections.tolist(), self.oms.causes, strict=True)) if self.oms else {}

    def as_table(self) -> dict[str, Any]:
        """All as a table for JSON."""
        oms = self.oms and {
            "lumisections": self.oms.lumisections.tolist(),
            "causes": list(self.oms.causes),
            **{name: [None if np.isnan(x) else x for x in getattr(self.oms, name).tolist()] for name in QUANTITIES},
            **{name: getattr(self.oms, name) for name in _OF_RUN},
        }
        return {"oms": oms, "selected": self.selected}


def conditions_of_table(table: Mapping[str, Any]) -> RunConditions:
    """The inverse of :meth:`RunConditions.as_table`."""
    oms, selected = table["oms"], table["selected"]
    return RunConditions(
        oms=None if oms is None else OmsRun(
            np.array(oms["lumisections"], dtype=np.int32),
            tuple(oms["causes"]),
            *(np.array(oms[name], dtype=np.float64) for name in QUANTITIES),
            **{name: oms[name] for name in _OF_RUN},
        ),
        selected=None if selected is None else tuple((first, last) for first, last in selected),
    )  # fmt: skip


_NOT_IN_EXPORT = OmsRun(np.zeros(0, dtype=np.int32), (), *(np.zeros(0) for _ in QUANTITIES))


@dataclass(frozen=True, eq=False)
class Conditions:
    """Conditions of a campaign: OMS runs and a selection, each None without such a file."""

    oms: Mapping[int, OmsRun] | None = None
    selection: Selection | None = None
    notes: Sequence[str] = ()

    @property
    def runs(self) -> frozenset[int]:
        """The runs of the OMS export."""
        return frozenset(self.oms or ())

    def of(self, run: int) -> RunConditions:
        """Conditions of a run; one that an export lacks is known for no LS, one that a selection lacks not selected."""
        return RunConditions(
            oms=None if self.oms is None else self.oms.get(run, _NOT_IN_EXPORT),
            selected=None if self.selection is None else tuple(self.selection.get(run, ())),
        )

    def before(self, run: int) -> float | None:
        """Luminosity delivered before a run, in inverse femtobarn; None where the export does not hold the run."""
        return self.oms[run].before if self.oms and run in self.oms else None

    def for_state(self, run: int, start: int) -> RunFacts:
        """What a detector state that began with ``start`` makes use of in a run."""
        return self.of(run).for_state(self.before(start))


def read_conditions(oms: Path | None, selection: Path | None) -> Conditions | None:
    """Conditions from an OMS export and a selection, None without either.

    Raises:
        InputError: a file is missing, unreadable, of another form, or contradicts itself.
    """
    if oms is None and selection is None:
        return None
    runs, notes = read_oms(oms) if oms else (None, ())
    return Conditions(runs, read_selection(selection) if selection else None, notes)


# Selections: {"run": [[first, last], …]}, the form of golden and DCS-only JSON files.


def golden_text(selection: Selection) -> str:
    """The JSON text, one run per line by number; runs without a range are left out."""
    runs = (run for run in sorted(selection) if selection[run])
    return "{" + ",\n ".join(f'"{run}": {json.dumps([list(ends) for ends in selection[run]])}' for run in runs) + "}\n"


def read_selection(path: Path) -> Selection:
    """Ranges by run from a JSON file.

    Raises:
        InputError: it is missing, no JSON, or of another form.
    """
    return selection_of(read_json(path, "selection"), path)


def selection_of(table: object, path: Path) -> Selection:
    """The selection in parsed JSON; ``path`` is named where it is of another form (InputError)."""
    if not isinstance(table, dict) or not table:
        raise InputError(f'{path} is no selection of lumisections; {{"run": [[first, last], …]}} was expected.')
    return {run: union(_ranges(run, table[str(run)], path)) for run in (run_number(key, path) for key in table)}


_RUN = re.compile("[1-9][0-9]{0,9}")


def run_number(key: object, path: Path) -> int:
    """A run number out of a file, as a text or a number; raises InputError for anything else."""
    number = int(key) if isinstance(key, str) and _RUN.fullmatch(key) else key
    return _listed_number(number, path, "a run number")


def range_from(first: object, last: object, run: int, path: Path) -> Range:
    """A range of lumisections out of a file; raises InputError where its ends are none."""
    begin, end = (_listed_number(value, path, f"a lumisection of run {run}") for value in (first, last))
    if begin > end:
        raise InputError(f"{path} has the range [{begin}, {end}] of run {run}, which ends before it begins.")
    return begin, end


def _listed_number(value: object, path: Path, expected: str) -> int:
    number = 0 if isinstance(value, str) else _whole_or_zero(value)
    if not 0 < number <= LARGEST:
        raise InputError(f"{path} says {shown(value)} where {expected} was expected.")
    return number


def _whole_or_zero(value: object) -> int:
    try:
        return whole(value)
    except ValueError:
        return 0


def _ranges(run: int, ranges: object, path: Path) -> list[Range]:
    if not isinstance(ranges, list) or not all(isinstance(ends, list) and len(ends) == 2 for ends in ranges):
        raise InputError(f"{path} does not list run {run} as ranges [[first, last], …] of lumisections.")
    return [range_from(first, last, run, path) for first, last in ranges]


# Exports: OMS as CSV, JSON or parquet, and brilcalc. Its run:fill and ls (of the LHC clock and of CMS, which is 0 where
# CMS took nothing) are two numbers each; its beamstatus says stable beams; delivered(…), recorded(…) carry their unit.

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
    number = _whole_or_zero(row[name])
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
    return OmsRun(np.array(lumisections, dtype=np.int32), causes, *map(np.array, numbers))
