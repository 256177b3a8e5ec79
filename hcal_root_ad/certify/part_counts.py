"""What a record says of a sub-detector against the lumisection: how many channels were judged, bad, problematic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.certify.policy import Rules
from hcal_root_ad.judge.verdict import Trust
from hcal_root_ad.publish.saved_verdict import STRIPS, PartRecord, RunRecord

WHOLE_RUN = "run"


@dataclass(frozen=True, eq=False)
class PartCounts:
    """One part of a record, on an axis of consecutive lumisections.

    ``granularity``: ``lumisection``, ``run`` or ``strips``. ``boxes``: names of the readout boxes. ``assessed``: (LS,).
    ``judged``, ``bad`` and ``problematic``: (LS, boxes) channels (or strips) of each box; ``problematic`` counts the
    bad ones too. ``trust``: what the judgement rests on; ``trust_reason``: a sentence, or "".
    """

    granularity: str
    boxes: tuple[str, ...]
    assessed: NDArray[np.bool_]
    judged: NDArray[np.int32]
    bad: NDArray[np.int32]
    problematic: NDArray[np.int32]
    trust: Trust = Trust.ADAPTED
    trust_reason: str = ""

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
        """(rows, boxes) readout boxes that count as lost."""
        bad = self.bad[rows]
        lost: NDArray[np.bool_] = (bad > 0) & (bad >= rules.lost_box * self.judged[rows])
        return lost

    def lost_names(self, rules: Rules, rows: slice) -> list[str]:
        """Names of the boxes that are lost in some of these rows."""
        return [self.boxes[box] for box in np.flatnonzero(self.lost(rules, rows).any(axis=0))]


def part_counts(record: RunRecord, subdetector: str, axis: NDArray[np.int32]) -> tuple[PartCounts, ...]:
    """Counts of a sub-detector, on an axis of consecutive LS that holds the record's; none if it was not judged."""
    return tuple(_part_counts(record, subdetector, axis))


def _part_counts(record: RunRecord, subdetector: str, axis: NDArray[np.int32]) -> Iterator[PartCounts]:
    rows = np.searchsorted(axis, record.lumisections)
    for part in record.parts:
        own = np.array([name.startswith(subdetector) for name in part.boxes])
        if part.name == subdetector or (part.name == STRIPS and own.any()):
            counts = {"judged": part.judged, "bad": part.bad, "problematic": part.problematic + part.bad}
            yield PartCounts(
                granularity=part.granularity,
                boxes=part.boxes,
                assessed=_spread(part, part.assessed, rows, len(axis)),
                trust=part.trust,
                trust_reason=part.trust_reason,
                **{name: _spread(part, values * own, rows, len(axis)) for name, values in counts.items()},
            )


def _spread(part: PartRecord, values: NDArray[Any], rows: NDArray[np.intp], length: int) -> NDArray[Any]:
    """A part's rows at their places on the axis; its one row at all of them where it stands for the run."""
    spread = np.zeros((length, *values.shape[1:]), dtype=values.dtype)
    spread[rows] = values[0] if part.granularity == WHOLE_RUN else values
    return spread
