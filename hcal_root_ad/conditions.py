"""Conditions of a run, by lumisection (LS): what OMS says (:mod:`hcal_root_ad.oms` reads it), and selections such as
DCS-only JSON.

An LS without stable beams, with CMS inactive or with HBHE off is on standby: it is not judged, and nobody's fault.
Flags as in the golden JSON's logic: both beams present and stable, CMS active, every part of HBHE ready.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.errors import InputError
from hcal_root_ad.lumi_maps import LumiMaps, Range, ranges_of, union, within
from hcal_root_ad.tables import read_json, shown, whole

NOT_SELECTED = "not in the selection"
QUANTITIES = {
    "pileup": "pileup",
    "delivered": "delivered_lumi_per_lumisection",
    "recorded": "recorded_lumi_per_lumisection",
}
"""Quantity to its column in OMS."""
LARGEST = 2**31 - 1
"""Largest number of a run or lumisection; selections write an open end as 9999 or more."""

Floats = NDArray[np.float64]
Selection = Mapping[int, Sequence[Range]]
"""Ranges of lumisections by run."""

COLLISIONS, COSMICS, IONS = "collisions", "cosmics", "ions"
"""Kinds of events."""


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run from elsewhere; None where nothing is.

    Attributes:
        menu: name of the trigger menu. trigger: kind of events (``collisions``, ``cosmics`` or ``ions``).
        field: of the magnet, in T. luminosity: integrated since the beginning of the year, in inverse femtobarn.
        missed: runs that were taken since the last that taught, beside this one. day: when it began, in days.
    """

    menu: str | None = None
    field: float | None = None
    trigger: str | None = None
    luminosity: float | None = None
    missed: int | None = None
    day: float | None = None


UNKNOWN = RunFacts()
"""Nothing is known of a run but what its counts say."""


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
    number = 0 if isinstance(value, str) else positive(value)
    if not number:
        raise InputError(f"{path} says {shown(value)} where {expected} was expected.")
    return number


def positive(value: object) -> int:
    """A number of a run or lumisection out of a file; 0 for what is none."""
    try:
        number = whole(value)
    except ValueError:
        return 0
    return number if 0 < number <= LARGEST else 0


def _ranges(run: int, ranges: object, path: Path) -> list[Range]:
    if not isinstance(ranges, list) or not all(isinstance(ends, list) and len(ends) == 2 for ends in ranges):
        raise InputError(f"{path} does not list run {run} as ranges [[first, last], …] of lumisections.")
    return [range_from(first, last, run, path) for first, last in ranges]
