"""Every lumisection as a row of a CSV file, for people and spreadsheets."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.certify.certification import HCAL, RunCertification
from hcal_root_ad.certify.conditions import QUANTITIES
from hcal_root_ad.certify.part_counts import PartCounts
from hcal_root_ad.certify.policy import SUBDETECTORS

_OF_A_SUBDETECTOR = ("judged", "bad", "problematic", "lost_boxes", "trust")
COLUMNS = (
    "run", "lumisection", "status", "cause", *(name.lower() for name in SUBDETECTORS), "events", *QUANTITIES,
    *(f"{name.lower()}_{what}" for name in SUBDETECTORS for what in _OF_A_SUBDETECTOR), "policy",
)  # fmt: skip
"""``bad`` and ``problematic`` count channels, the latter with the bad ones; ``lost_boxes`` names readout boxes;
``trust`` says what the verdict on the sub-detector rests on, empty where it was not judged."""


def lumisection_rows(run: RunCertification) -> Iterator[tuple[object, ...]]:
    """The rows of one run, in the order of :data:`COLUMNS`; what is not known is empty."""
    quantities = [run.conditions.quantity(name, run.lumisections) for name in QUANTITIES]
    counts = {name: _counts(run.counts[name], len(run.lumisections)) for name in SUBDETECTORS}
    trusts = {name: ", ".join(dict.fromkeys(str(part.trust) for part in run.counts[name])) for name in SUBDETECTORS}
    for row, lumisection in enumerate(run.lumisections.tolist()):
        hcal = run.rulings[HCAL][row]
        numbers = [
            entry
            for name in SUBDETECTORS
            for entry in (*counts[name][row].tolist(), _lost(run, name, row), trusts[name])
        ]
        yield (
            run.run, lumisection, str(hcal.status), hcal.cause,
            *(str(run.rulings[name][row].status) for name in SUBDETECTORS),
            int(run.events[row]), *(_known(values[row]) for values in quantities), *numbers, run.policy.label,
        )  # fmt: skip


def _counts(counts: tuple[PartCounts, ...], length: int) -> NDArray[np.int64]:
    """(LS, 3) channels judged, bad, and problematic or bad, in the first of the parts."""
    if not counts:
        return np.zeros((length, 3), dtype=np.int64)
    part = counts[0]
    return np.stack([part.judged.sum(axis=1), part.bad.sum(axis=1), part.problematic.sum(axis=1)], axis=1)


def _lost(run: RunCertification, name: str, row: int) -> str:
    rules = run.policy.rules[name]
    boxes = (box for part in run.counts[name] for box in part.lost_names(rules, slice(row, row + 1)))
    return " ".join(dict.fromkeys(boxes))


def _known(value: np.floating) -> str:
    return "" if np.isnan(value) else f"{value:g}"
