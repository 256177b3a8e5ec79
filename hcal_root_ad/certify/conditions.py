"""Conditions of a run against the lumisection: from an OMS export, and from a selection such as DCS-only JSON files.

An LS without stable beams, with CMS inactive or with HBHE off is on standby: it is not judged, and nobody's fault.
Flags as in the golden JSON's logic: both beams present and stable, CMS active, every part of HBHE ready.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.certify.golden import Selection
from hcal_root_ad.lumi_ranges import Range, ranges_of, within

NO_STABLE_BEAMS, CMS_NOT_ACTIVE, HBHE_OFF = "no stable beams", "CMS not active", "HBHE off"
NOT_SELECTED = "not in the selection"
CAUSE_OF_FLAG = {
    "beams_stable": NO_STABLE_BEAMS,
    "beam1_stable": NO_STABLE_BEAMS,
    "beam2_stable": NO_STABLE_BEAMS,
    "beam1_present": NO_STABLE_BEAMS,
    "beam2_present": NO_STABLE_BEAMS,
    "cms_active": CMS_NOT_ACTIVE,
    "hbhea_ready": HBHE_OFF,
    "hbheb_ready": HBHE_OFF,
    "hbhec_ready": HBHE_OFF,
}
"""OMS flag to the cause that it is when it is not set, in the order in which causes are told."""
HBHE_FLAGS = tuple(flag for flag, cause in CAUSE_OF_FLAG.items() if cause == HBHE_OFF)
QUANTITIES = {
    "pileup": "pileup",
    "delivered": "delivered_lumi_per_lumisection",
    "recorded": "recorded_lumi_per_lumisection",
}
"""Quantity to its column in OMS."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class OmsRun:
    """What OMS says of a run.

    ``lumisections``: (LS,) int32, ascending. ``causes``: (LS,) why an LS is on standby, or "". ``pileup``,
    ``delivered`` and ``recorded``: (LS,), luminosity in the export's unit, NaN where unknown.
    """

    lumisections: NDArray[np.int32]
    causes: tuple[str, ...]
    pileup: Floats
    delivered: Floats
    recorded: Floats


@dataclass(frozen=True, eq=False)
class RunConditions:
    """Conditions of one run; ``oms`` is None without an OMS export, ``selected`` None without a selection."""

    oms: OmsRun | None = None
    selected: tuple[Range, ...] | None = None

    @property
    def pileup(self) -> dict[int, float]:
        """Mean interactions per crossing by LS, as far as OMS says."""
        if self.oms is None:
            return {}
        pairs = zip(self.oms.lumisections.tolist(), self.oms.pileup.tolist(), strict=True)
        return {ls: pileup for ls, pileup in pairs if pileup > 0}

    def standby(self, lumisections: NDArray[np.int32]) -> list[str]:
        """Why each LS is on standby, or ""."""
        from_oms = dict(zip(self.oms.lumisections.tolist(), self.oms.causes, strict=True)) if self.oms else {}
        causes = [from_oms.get(ls, "") for ls in lumisections.tolist()]
        if self.selected is None:
            return causes
        chosen = within(lumisections, self.selected)
        return [cause or ("" if ok else NOT_SELECTED) for cause, ok in zip(causes, chosen, strict=True)]

    def unknown(self, lumisections: NDArray[np.int32]) -> NDArray[np.bool_]:
        """(LS,) whether an OMS export was given that lacks the LS."""
        if self.oms is None:
            return np.zeros(len(lumisections), dtype=np.bool_)
        return ~np.isin(lumisections, self.oms.lumisections)

    def quantity(self, name: str, lumisections: NDArray[np.int32]) -> Floats:
        """(LS,) one of :data:`QUANTITIES`, NaN where it is unknown."""
        found = np.full(len(lumisections), np.nan)
        if self.oms is not None and len(self.oms.lumisections):
            place = np.searchsorted(self.oms.lumisections, lumisections).clip(max=len(self.oms.lumisections) - 1)
            known = self.oms.lumisections[place] == lumisections
            found[known] = getattr(self.oms, name)[place[known]]
        return found

    @property
    def given(self) -> bool:
        return self.oms is not None or self.selected is not None

    @property
    def judging(self) -> dict[str, Any]:
        """What of the conditions changes the judgement: which LS are left out, and the pileup of the others."""
        oms = self.oms and ranges_of(ls for ls, cause in self._causes() if cause)
        return {"standby": oms, "selected": self.selected, "pileup": self.pileup}

    def _causes(self) -> list[tuple[int, str]]:
        return list(zip(self.oms.lumisections.tolist(), self.oms.causes, strict=True)) if self.oms else []

    def as_table(self) -> dict[str, Any]:
        """All as a table for JSON."""
        oms = self.oms and {
            "lumisections": self.oms.lumisections.tolist(),
            "causes": list(self.oms.causes),
            **{name: [None if np.isnan(x) else x for x in getattr(self.oms, name).tolist()] for name in QUANTITIES},
        }
        return {"oms": oms, "selected": self.selected}


def conditions_of_table(table: Mapping[str, Any]) -> RunConditions:
    """The inverse of :meth:`RunConditions.as_table`."""
    oms, selected = table["oms"], table["selected"]
    return RunConditions(
        oms=None if oms is None else OmsRun(
            lumisections=np.array(oms["lumisections"], dtype=np.int32),
            causes=tuple(oms["causes"]),
            **{name: np.array(oms[name], dtype=np.float64) for name in QUANTITIES},
        ),
        selected=None if selected is None else tuple((first, last) for first, last in selected),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Conditions:
    """Conditions of a campaign: OMS runs and a selection, each None if it was not given."""

    oms: Mapping[int, OmsRun] | None = None
    selection: Selection | None = None
    notes: Sequence[str] = ()

    def of(self, run: int) -> RunConditions:
        """Conditions of a run; one that an export lacks is known for no LS, one that a selection lacks not selected."""
        return RunConditions(
            oms=None if self.oms is None else self.oms.get(run, _NOTHING),
            selected=None if self.selection is None else tuple(self.selection.get(run, ())),
        )


_NOTHING = OmsRun(np.zeros(0, dtype=np.int32), (), *(np.zeros(0) for _ in QUANTITIES))
