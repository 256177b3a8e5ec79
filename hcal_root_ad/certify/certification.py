"""The verdict of a policy on a run: GOOD, BAD, STANDBY or NOTSET by lumisection and sub-detector, with the cause.

A record says by LS how many channels of each RBX were judged, bad and problematic (:class:`RbxCounts`); the rules of
the policy turn these into a :class:`LumiFlag`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.certify.conditions import RunConditions
from hcal_root_ad.certify.policy import SUBDETECTORS, Policy, Rules, Untrusted
from hcal_root_ad.judge.verdict import Trust
from hcal_root_ad.lumi_maps import Range, ranges_of, stretches
from hcal_root_ad.publish.saved_verdict import STRIPS, PartRecord, RunRecord

HCAL = "HCAL"
LOST_RBX, BAD_CHANNELS, PROBLEMATIC_CHANNELS = "lost RBX", "bad channels", "problematic channels"
NOT_ASSESSED, NOT_JUDGED, NOT_TRUSTED = "too few events or no data", "not judged", "verdict not trusted"
NO_MODEL = "not judged, no model for it"
NOT_IN_FILES, NOT_IN_OMS = "not in the files", "not in the OMS export"
WHOLE_RUN = "run"


class Status(StrEnum):
    """Flags of the Run Registry that are set by certification."""

    GOOD = "GOOD"
    BAD = "BAD"
    STANDBY = "STANDBY"
    """No collisions to judge by, or HCAL was off: nobody's fault."""
    NOTSET = "NOTSET"
    """Could not be judged."""


WORST_FIRST = (Status.BAD, Status.STANDBY, Status.NOTSET, Status.GOOD)


@dataclass(frozen=True)
class LumiFlag:
    """Status of one LS, and the cause where it is not GOOD."""

    status: Status
    cause: str = ""


@dataclass(frozen=True, eq=False)
class RbxCounts:
    """Channels of a sub-detector by RBX, on an axis of consecutive lumisections, from one component of a record.

    ``granularity``: ``lumisection``, ``run`` or ``strips``. ``rbx``: their names. ``assessed``: (LS,).
    ``judged``, ``bad`` and ``problematic``: (LS, RBX) channels (or strips); ``problematic`` counts the
    bad ones too. ``trust``: what the judgement rests on; ``trust_reason``: a sentence, or "".
    """

    granularity: str
    rbx: tuple[str, ...]
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
        """(rows, RBX) those that count as lost."""
        bad = self.bad[rows]
        lost: NDArray[np.bool_] = (bad > 0) & (bad >= rules.lost_rbx_share * self.judged[rows])
        return lost

    def lost_names(self, rules: Rules, rows: slice) -> list[str]:
        """Names of the RBX that are lost in some of these rows."""
        return [self.rbx[column] for column in np.flatnonzero(self.lost(rules, rows).any(axis=0))]


def rbx_counts(record: RunRecord, subdetector: str, axis: NDArray[np.int32]) -> tuple[RbxCounts, ...]:
    """Counts of a sub-detector, on an axis of consecutive LS that holds the record's; none if it was not judged."""
    return tuple(_rbx_counts(record, subdetector, axis))


def _rbx_counts(record: RunRecord, subdetector: str, axis: NDArray[np.int32]) -> Iterator[RbxCounts]:
    rows = np.searchsorted(axis, record.lumisections)
    for component in record.parts:
        own = np.array([name.startswith(subdetector) for name in component.boxes])
        if component.name == subdetector or (component.name == STRIPS and own.any()):
            counts = {
                "judged": component.judged,
                "bad": component.bad,
                "problematic": component.problematic + component.bad,
            }
            yield RbxCounts(
                granularity=component.granularity,
                rbx=component.boxes,
                assessed=_spread(component, component.assessed, rows, len(axis)),
                trust=component.trust,
                trust_reason=component.trust_reason,
                **{name: _spread(component, values * own, rows, len(axis)) for name, values in counts.items()},
            )


def _spread(component: PartRecord, values: NDArray[Any], rows: NDArray[np.intp], length: int) -> NDArray[Any]:
    """A component's rows at their places on the axis; its one row at all of them where it stands for the run."""
    spread = np.zeros((length, *values.shape[1:]), dtype=values.dtype)
    spread[rows] = values[0] if component.granularity == WHOLE_RUN else values
    return spread


@dataclass(frozen=True, eq=False)
class RunCertification:
    """A run under a policy.

    ``lumisections``: (LS,) consecutive, from the first to the last that the record or OMS lists; there may be none.
    ``events``: (LS,). ``flags``: one per LS for each sub-detector and ``HCAL``. ``counts``: what they rest on, by
    sub-detector.
    """

    record: RunRecord
    policy: Policy
    conditions: RunConditions
    lumisections: NDArray[np.int32]
    events: NDArray[np.int64]
    counts: Mapping[str, tuple[RbxCounts, ...]]
    flags: Mapping[str, tuple[LumiFlag, ...]]

    @property
    def run(self) -> int:
        return self.record.run

    @property
    def untrusted(self) -> dict[str, str]:
        """Sub-detectors that decide about HCAL and are not trusted, each with what its verdict rests on, as text."""
        doubts = {name: doubt_of(self.counts[name]) for name in self.policy.decisive}
        return {name: doubt for name, doubt in doubts.items() if doubt}

    def good(self, of: str = HCAL) -> list[Range]:
        """Ranges of good lumisections."""
        pairs = zip(self.lumisections.tolist(), self.flags[of], strict=True)
        return ranges_of(ls for ls, flag in pairs if flag.status is Status.GOOD)

    def stretches(self) -> Iterator[tuple[int, int, Mapping[str, LumiFlag]]]:
        """First and last LS of stretches in which no flag changes, and these flags."""
        rows = zip(*self.flags.values(), strict=True)
        for first, last, flags in stretches(zip(self.lumisections.tolist(), rows, strict=True)):
            yield first, last, dict(zip(self.flags, flags, strict=True))

    def rows(self, first: int, last: int) -> slice:
        """Rows of the lumisections from ``first`` to ``last``."""
        start = int(self.lumisections[0])
        return slice(first - start, last - start + 1)


def certify_run(record: RunRecord, policy: Policy, conditions: RunConditions | None = None) -> RunCertification:
    """Apply a policy to what was judged of a run, under its conditions."""
    conditions = conditions or RunConditions()
    axis = _axis(record, conditions)
    in_files, events = np.zeros(len(axis), dtype=np.bool_), np.zeros(len(axis), dtype=np.int64)
    rows = np.searchsorted(axis, record.lumisections)
    in_files[rows], events[rows] = True, record.events
    common = _common_flags(in_files, conditions, axis)
    counts = {name: rbx_counts(record, name, axis) for name in SUBDETECTORS}
    flags = {
        name: _flags(counts[name], policy, policy.rules[name], common, NO_MODEL if name in record.unjudged else "")
        for name in SUBDETECTORS
    }
    decisive = {name: flags[name] for name in policy.decisive}
    flags[HCAL] = tuple(
        _combined(policy, dict(zip(decisive, own, strict=True))) for own in zip(*decisive.values(), strict=True)
    )
    return RunCertification(record, policy, conditions, axis, events, counts, flags)


def _axis(record: RunRecord, conditions: RunConditions) -> NDArray[np.int32]:
    listed = [record.lumisections] + ([conditions.oms.lumisections] if conditions.oms else [])
    every = np.concatenate(listed)
    return np.arange(every.min(), every.max() + 1, dtype=np.int32) if len(every) else every


def _common_flags(
    in_files: NDArray[np.bool_], conditions: RunConditions, axis: NDArray[np.int32]
) -> list[LumiFlag | None]:
    """Flags that hold for every sub-detector alike, whatever was judged."""
    flags: list[LumiFlag | None] = []
    for cause, unknown, present in zip(conditions.standby(axis), conditions.unknown(axis), in_files, strict=True):
        if cause:
            flags.append(LumiFlag(Status.STANDBY, cause))
        elif not present:
            flags.append(LumiFlag(Status.NOTSET, NOT_IN_FILES))
        else:
            flags.append(LumiFlag(Status.NOTSET, NOT_IN_OMS) if unknown else None)
    return flags


def _flags(
    counts: tuple[RbxCounts, ...], policy: Policy, rules: Rules, common: list[LumiFlag | None], unjudged: str
) -> tuple[LumiFlag, ...]:
    doubt = doubt_of(counts) if policy.untrusted is Untrusted.NOT_ASSESSED else ""
    if doubt or not counts:
        undecided = LumiFlag(Status.NOTSET, f"{NOT_TRUSTED} ({doubt})" if doubt else unjudged or NOT_JUDGED)
        return tuple(flag or undecided for flag in common)
    open_ = np.array([flag is None for flag in common], dtype=np.bool_)
    assessed = assessed_of(counts) & open_
    causes = broken(counts, rules)
    lasting = _lasting(np.array([bool(cause) for cause in causes]), assessed, rules.consecutive)
    return tuple(
        flag or _own_flag(bool(judged), cause if long_enough or (cause == LOST_RBX and rules.any_lost_rbx) else "")
        for flag, judged, cause, long_enough in zip(common, assessed, causes, lasting, strict=True)
    )


def doubt_of(counts: tuple[RbxCounts, ...]) -> str:
    """What a verdict that is not trusted rests on, as text; "" where all of it is trusted."""
    return ", ".join(dict.fromkeys(str(component.trust) for component in counts if not component.trust.trusted))


def _own_flag(assessed: bool, cause: str) -> LumiFlag:
    if not assessed:
        return LumiFlag(Status.NOTSET, NOT_ASSESSED)
    return LumiFlag(Status.BAD, cause) if cause else LumiFlag(Status.GOOD)


def assessed_of(counts: tuple[RbxCounts, ...]) -> NDArray[np.bool_]:
    """(LS,) whether a sub-detector could be judged; the run's totals count only where there is nothing finer."""
    finer = [component for component in counts if component.granularity != WHOLE_RUN] or list(counts)
    assessed: NDArray[np.bool_] = np.logical_and.reduce(
        [component.assessed & (component.judged.sum(axis=1) > 0) for component in finer]
    )
    return assessed


def broken(counts: tuple[RbxCounts, ...], rules: Rules) -> list[str]:
    """The first rule that each LS breaks in any component, or ""."""
    length = len(counts[0].assessed)
    hits = {
        LOST_RBX: [component.lost(rules).sum(axis=1) > rules.most_lost for component in counts],
        BAD_CHANNELS: [component.bad_share > rules.bad_channels for component in counts],
        PROBLEMATIC_CHANNELS: [component.problematic_share > rules.problematic_channels for component in counts],
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


def _combined(policy: Policy, own: Mapping[str, LumiFlag]) -> LumiFlag:
    """HCAL's flag from those of the sub-detectors that decide: the worst, with the causes of all that have it.

    A sub-detector that is counted but not needed decides only where it was judged: it may be absent from the files, but
    neither doubtful nor without a model.
    """
    deciding = {name: flag for name, flag in own.items() if name in policy.needed or _decides(flag)}
    worst = min((flag.status for flag in deciding.values()), key=WORST_FIRST.index)
    causes = {name: flag.cause for name, flag in deciding.items() if flag.status is worst}
    if len(set(causes.values())) == 1 and len(causes) == len(deciding):
        return LumiFlag(worst, next(iter(causes.values())))
    return LumiFlag(worst, "; ".join(f"{name}: {cause}" for name, cause in causes.items()))


def _decides(flag: LumiFlag) -> bool:
    return flag.status is not Status.NOTSET or flag.cause.startswith((NOT_TRUSTED, NO_MODEL))
