"""The verdict of a policy on a run: GOOD, BAD, STANDBY or NOTSET, per lumisection and sub-detector, with the cause."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.certify.conditions import RunConditions
from hcal_root_ad.certify.part_counts import WHOLE_RUN, PartCounts, part_counts
from hcal_root_ad.certify.policy import SUBDETECTORS, Policy, Rules, Untrusted
from hcal_root_ad.lumi_ranges import Range, ranges_of, stretches
from hcal_root_ad.publish.saved_verdict import RunRecord

HCAL = "HCAL"
LOST_BOX, BAD_CHANNELS, PROBLEMATIC_CHANNELS = "lost readout box", "bad channels", "problematic channels"
NOT_ASSESSED, NOT_JUDGED, NOT_TRUSTED = "too few events or no data", "not judged", "verdict not trusted"
NOT_IN_FILES, NOT_IN_OMS = "not in the files", "not in the OMS export"


class Status(StrEnum):
    """Flags of the Run Registry that are given here."""

    GOOD = "GOOD"
    BAD = "BAD"
    STANDBY = "STANDBY"
    """No collisions to judge by, or HCAL was off: nobody's fault."""
    NOTSET = "NOTSET"
    """Could not be judged."""


WORST_FIRST = (Status.BAD, Status.STANDBY, Status.NOTSET, Status.GOOD)


@dataclass(frozen=True)
class Ruling:
    """Status of one LS, and the cause where it is not GOOD."""

    status: Status
    cause: str = ""


@dataclass(frozen=True, eq=False)
class RunCertification:
    """A run under a policy.

    ``lumisections``: (LS,) consecutive, from the first to the last that the record or OMS knows; there may be none.
    ``events``: (LS,).
    ``rulings``: one per LS for each sub-detector and ``HCAL``. ``counts``: what they rest on, by sub-detector.
    """

    record: RunRecord
    policy: Policy
    conditions: RunConditions
    lumisections: NDArray[np.int32]
    events: NDArray[np.int64]
    counts: Mapping[str, tuple[PartCounts, ...]]
    rulings: Mapping[str, tuple[Ruling, ...]]

    @property
    def run(self) -> int:
        return self.record.run

    @property
    def untrusted(self) -> dict[str, str]:
        """Sub-detectors that decide about HCAL and are not trusted, each with what its verdict rests on, in words."""
        doubts = {name: doubt_of(self.counts[name]) for name in self.policy.decisive}
        return {name: doubt for name, doubt in doubts.items() if doubt}

    def good(self, of: str = HCAL) -> list[Range]:
        """Ranges of good lumisections."""
        pairs = zip(self.lumisections.tolist(), self.rulings[of], strict=True)
        return ranges_of(ls for ls, ruling in pairs if ruling.status is Status.GOOD)

    def stretches(self) -> Iterator[tuple[int, int, Mapping[str, Ruling]]]:
        """First and last LS of stretches in which no ruling changes, and these rulings."""
        rows = zip(*(self.rulings[name] for name in self.rulings), strict=True)
        for first, last, rulings in stretches(zip(self.lumisections.tolist(), rows, strict=True)):
            yield first, last, dict(zip(self.rulings, rulings, strict=True))

    def rows(self, first: int, last: int) -> slice:
        """Rows of the lumisections from ``first`` to ``last``."""
        start = int(self.lumisections[0])
        return slice(first - start, last - start + 1)


def certify_run(record: RunRecord, policy: Policy, conditions: RunConditions | None = None) -> RunCertification:
    """Apply a policy to what was judged of a run, under its conditions."""
    conditions = conditions or RunConditions()
    axis = _axis(record, conditions)
    given, events = np.zeros(len(axis), dtype=np.bool_), np.zeros(len(axis), dtype=np.int64)
    rows = np.searchsorted(axis, record.lumisections)
    given[rows], events[rows] = True, record.events
    common = _common(given, conditions, axis)
    counts = {name: part_counts(record, name, axis) for name in SUBDETECTORS}
    rulings = {name: _rulings(counts[name], policy, policy.rules[name], common) for name in SUBDETECTORS}
    rulings[HCAL] = tuple(_together(policy, {name: rulings[name][row] for name in policy.decisive})
                          for row in range(len(axis)))  # fmt: skip
    return RunCertification(record, policy, conditions, axis, events, counts, rulings)


def _axis(record: RunRecord, conditions: RunConditions) -> NDArray[np.int32]:
    known = [record.lumisections] + ([conditions.oms.lumisections] if conditions.oms else [])
    every = np.concatenate(known)
    return np.arange(every.min(), every.max() + 1, dtype=np.int32) if len(every) else every


def _common(given: NDArray[np.bool_], conditions: RunConditions, axis: NDArray[np.int32]) -> list[Ruling | None]:
    """What is ruled for every sub-detector alike, whatever was judged."""
    rulings: list[Ruling | None] = []
    for cause, unknown, there in zip(conditions.standby(axis), conditions.unknown(axis), given, strict=True):
        if cause:
            rulings.append(Ruling(Status.STANDBY, cause))
        elif not there:
            rulings.append(Ruling(Status.NOTSET, NOT_IN_FILES))
        else:
            rulings.append(Ruling(Status.NOTSET, NOT_IN_OMS) if unknown else None)
    return rulings


def _rulings(
    counts: tuple[PartCounts, ...], policy: Policy, rules: Rules, common: list[Ruling | None]
) -> tuple[Ruling, ...]:
    doubt = doubt_of(counts) if policy.untrusted is Untrusted.NOT_ASSESSED else ""
    if doubt or not counts:
        silent = Ruling(Status.NOTSET, f"{NOT_TRUSTED} ({doubt})" if doubt else NOT_JUDGED)
        return tuple(ruling or silent for ruling in common)
    open_ = np.array([ruling is None for ruling in common], dtype=np.bool_)
    assessed = assessed_of(counts) & open_
    causes = broken(counts, rules)
    lasting = _lasting(np.array([bool(cause) for cause in causes]), assessed, rules.consecutive)
    return tuple(
        ruling or _own(bool(judged), cause if long_enough else "")
        for ruling, judged, cause, long_enough in zip(common, assessed, causes, lasting, strict=True)
    )


def doubt_of(counts: tuple[PartCounts, ...]) -> str:
    """What a verdict that is not trusted rests on, in words; "" where every part of it is trusted."""
    return ", ".join(dict.fromkeys(str(part.trust) for part in counts if not part.trust.trusted))


def _own(assessed: bool, cause: str) -> Ruling:
    if not assessed:
        return Ruling(Status.NOTSET, NOT_ASSESSED)
    return Ruling(Status.BAD, cause) if cause else Ruling(Status.GOOD)


def assessed_of(counts: tuple[PartCounts, ...]) -> NDArray[np.bool_]:
    """(LS,) whether a sub-detector could be judged; the run's totals count only where nothing finer is there."""
    finer = [part for part in counts if part.granularity != WHOLE_RUN] or list(counts)
    assessed: NDArray[np.bool_] = np.logical_and.reduce(
        [part.assessed & (part.judged.sum(axis=1) > 0) for part in finer]
    )
    return assessed


def broken(counts: tuple[PartCounts, ...], rules: Rules) -> list[str]:
    """The first rule that each LS breaks in any of the parts, or ""."""
    length = len(counts[0].assessed)
    hits = {
        LOST_BOX: [part.lost(rules).sum(axis=1) > rules.lost_boxes for part in counts],
        BAD_CHANNELS: [part.bad_share > rules.bad_channels for part in counts],
        PROBLEMATIC_CHANNELS: [part.problematic_share > rules.problematic_channels for part in counts],
    }
    anywhere = {cause: np.logical_or.reduce(rows) for cause, rows in hits.items()}
    return [next((cause for cause, rows in anywhere.items() if rows[row]), "") for row in range(length)]


def _lasting(fails: NDArray[np.bool_], assessed: NDArray[np.bool_], consecutive: int) -> NDArray[np.bool_]:
    """Failing LS that stand in a row of at least so many; LS that were not assessed interrupt nothing."""
    rows = np.flatnonzero(assessed)
    lasting = np.zeros(len(fails), dtype=np.bool_)
    for first, last, failing in stretches(enumerate(fails[rows].tolist())):
        if failing and last - first + 1 >= consecutive:
            lasting[rows[first : last + 1]] = True
    return lasting


def _together(policy: Policy, own: Mapping[str, Ruling]) -> Ruling:
    """HCAL's ruling from those of the sub-detectors that decide: the worst, with the causes of all that have it.

    One that is counted but not needed decides only where it was judged: it may be absent, but not doubtful.
    """
    deciding = {name: ruling for name, ruling in own.items() if name in policy.needed or _speaks(ruling)}
    worst = min((ruling.status for ruling in deciding.values()), key=WORST_FIRST.index)
    causes = {name: ruling.cause for name, ruling in deciding.items() if ruling.status is worst}
    if len(set(causes.values())) == 1 and len(causes) == len(deciding):
        return Ruling(worst, next(iter(causes.values())))
    return Ruling(worst, "; ".join(f"{name}: {cause}" for name, cause in causes.items()))


def _speaks(ruling: Ruling) -> bool:
    return ruling.status is not Status.NOTSET or ruling.cause.startswith(NOT_TRUSTED)
