"""What a record says of a sub-detector against the lumisection: how many channels were judged, bad, problematic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.certify.policy import SUBDETECTORS, Rules
from hcal_root_ad.detector import SUBDET_PM, box_name
from hcal_root_ad.publish.record import STRIPS, PartRecord, RunRecord
from hcal_root_ad.publish.reductions import N_BOXES

WHOLE_RUN = "run"
_BOXES = {
    name: np.repeat([half.startswith(name) for half in SUBDET_PM], N_BOXES // len(SUBDET_PM)) for name in SUBDETECTORS
}
"""Which of the 72 readout boxes belong to a sub-detector."""


@dataclass(frozen=True, eq=False)
class Finding:
    """One part of a record, on an axis of consecutive lumisections.

    ``granularity``: ``lumisection``, ``run`` or ``strips``. ``assessed``: (LS,). ``judged``, ``bad`` and
    ``problematic``: (LS, 72) channels (or strips) of each readout box; ``problematic`` counts the bad ones too.
    """

    granularity: str
    assessed: NDArray[np.bool_]
    judged: NDArray[np.int32]
    bad: NDArray[np.int32]
    problematic: NDArray[np.int32]

    @property
    def bad_share(self) -> NDArray[np.float64]:
        """(LS,) share of the judged channels that are bad."""
        return self._share(self.bad)

    @property
    def problematic_share(self) -> NDArray[np.float64]:
        """(LS,) share of the judged channels that are problematic or bad."""
        return self._share(self.problematic)

    def _share(self, counts: NDArray[np.int32]) -> NDArray[np.float64]:
        share: NDArray[np.float64] = counts.sum(axis=1) / np.maximum(self.judged.sum(axis=1), 1)
        return share

    def lost(self, rules: Rules, rows: slice = slice(None)) -> NDArray[np.bool_]:
        """(rows, 72) readout boxes that count as lost."""
        bad = self.bad[rows]
        lost: NDArray[np.bool_] = (bad > 0) & (bad >= rules.lost_box * self.judged[rows])
        return lost

    def lost_names(self, rules: Rules, rows: slice) -> list[str]:
        """Names of the boxes that are lost in some of these rows."""
        return [box_name(int(box)) for box in np.flatnonzero(self.lost(rules, rows).any(axis=0))]


def findings_of(record: RunRecord, subdetector: str, axis: NDArray[np.int32]) -> tuple[Finding, ...]:
    """Findings on a sub-detector, on an axis of consecutive LS that holds the record's; none if it was not judged."""
    return tuple(_findings(record, subdetector, axis))


def _findings(record: RunRecord, subdetector: str, axis: NDArray[np.int32]) -> Iterator[Finding]:
    rows = np.searchsorted(axis, record.lumisections)
    for part in record.parts:
        if part.name in (subdetector, STRIPS):
            boxes = _BOXES[subdetector]
            flagged = part.problematic + part.bad
            counts = {"judged": part.judged, "bad": part.bad, "problematic": flagged}
            yield Finding(
                granularity=part.granularity,
                assessed=_spread(part, part.assessed, rows, len(axis)),
                **{name: _spread(part, values * boxes, rows, len(axis)) for name, values in counts.items()},
            )


def _spread(part: PartRecord, values: NDArray[Any], rows: NDArray[np.intp], length: int) -> NDArray[Any]:
    """A part's rows at their places on the axis; its one row at all of them where it stands for the run."""
    spread = np.zeros((length, *values.shape[1:]), dtype=values.dtype)
    spread[rows] = values[0] if part.granularity == WHOLE_RUN else values
    return spread
