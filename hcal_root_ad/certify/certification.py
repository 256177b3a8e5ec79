"""The verdict of a policy on a run: GOOD, BAD, STANDBY or NOTSET by lumisection and sub-detector, with the cause.

A record says by LS how many channels of each RBX were judged, bad and problematic (:class:`RbxCounts`); the rules of
the policy turn these into a :class:`LumiFlag`. In words: the comment of a range, and all behind one lumisection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.certify.policy import SUBDETECTORS, Policy, Rules, Untrusted
from hcal_root_ad.conditions import RunConditions
from hcal_root_ad.errors import UsageError
from hcal_root_ad.judge.verdict import Finding, Trust, how_large, how_sure, what, when
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


def rbx_counts(record: RunRecord, subdetector: str, axis: NDArray[np.int32]) -> Iterator[RbxCounts]:
    """Counts of a sub-detector, on an axis of consecutive LS that holds the record's; none if it was not judged."""
    rows = np.searchsorted(axis, record.lumisections)
    for component in record.parts:
        own = np.array([name.startswith(subdetector) for name in component.boxes])
        if component.name == subdetector or (component.name == STRIPS and own.any()):
            problematic = component.problematic + component.bad
            counts = {"judged": component.judged, "bad": component.bad, "problematic": problematic}
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
    every = np.concatenate([record.lumisections, *([conditions.oms.lumisections] if conditions.oms else [])])
    axis = np.arange(every.min(), every.max() + 1, dtype=np.int32) if len(every) else every
    in_files, events = np.zeros(len(axis), dtype=np.bool_), np.zeros(len(axis), dtype=np.int64)
    rows = np.searchsorted(axis, record.lumisections)
    in_files[rows], events[rows] = True, record.events
    common = _common_flags(in_files, conditions, axis)
    counts = {name: tuple(rbx_counts(record, name, axis)) for name in SUBDETECTORS}
    flags = {
        name: _flags(counts[name], policy, policy.rules[name], common, NO_MODEL if name in record.unjudged else "")
        for name in SUBDETECTORS
    }
    decisive = {name: flags[name] for name in policy.decisive}
    flags[HCAL] = tuple(
        _combined(policy, dict(zip(decisive, own, strict=True))) for own in zip(*decisive.values(), strict=True)
    )
    return RunCertification(record, policy, conditions, axis, events, counts, flags)


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
    flags = []
    for flag, judged, cause, long_enough in zip(common, assessed, causes, lasting, strict=True):
        counts_at_once = cause == LOST_RBX and rules.any_lost_rbx
        own = LumiFlag(Status.BAD, cause) if cause and (long_enough or counts_at_once) else LumiFlag(Status.GOOD)
        flags.append(flag or (own if judged else LumiFlag(Status.NOTSET, NOT_ASSESSED)))
    return tuple(flags)


def doubt_of(counts: tuple[RbxCounts, ...]) -> str:
    """What a verdict that is not trusted rests on, as text; "" where all of it is trusted."""
    return ", ".join(dict.fromkeys(str(component.trust) for component in counts if not component.trust.trusted))


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
    held_up = (NOT_TRUSTED, NO_MODEL)
    deciding = {
        name: flag
        for name, flag in own.items()
        if name in policy.needed or flag.status is not Status.NOTSET or flag.cause.startswith(held_up)
    }
    worst = min((flag.status for flag in deciding.values()), key=WORST_FIRST.index)
    causes = {name: flag.cause for name, flag in deciding.items() if flag.status is worst}
    if len(set(causes.values())) == 1 and len(causes) == len(deciding):
        return LumiFlag(worst, next(iter(causes.values())))
    return LumiFlag(worst, "; ".join(f"{name}: {cause}" for name, cause in causes.items()))


_SHOWN = 3
"""Findings, and lost RBX, that a comment names."""


def comment(run: RunCertification, of: str, first: int, last: int) -> str:
    """One line on a range in which no flag changes: the numbers where it is BAD, doubts, and the policy."""
    names = run.policy.decisive if of == HCAL else (of,)
    row = run.rows(first, last).start
    faults = [_fault(run, name, first, last) for name in names if run.flags[name][row].status is Status.BAD]
    return "; ".join([*faults, *_doubts(run, names), f"policy {run.policy.label}"])


def _doubts(run: RunCertification, names: Iterable[str]) -> Iterator[str]:
    """What is not trusted of these sub-detectors, each reason once."""
    for name in names:
        for component in run.counts[name]:
            if not component.trust.trusted:
                judged = " but judged, as the policy says" if run.policy.untrusted is Untrusted.JUDGE else ""
                reason = f" ({component.trust_reason})" if component.trust_reason else ""
                yield f"{name} not trusted{judged}: {component.trust}{reason}"


def _fault(run: RunCertification, name: str, first: int, last: int) -> str:
    rules, rows = run.policy.rules[name], run.rows(first, last)
    lost = list(dict.fromkeys(rbx for component in run.counts[name] for rbx in component.lost_names(rules, rows)))
    bad = max(float(component.bad_share[rows].max()) for component in run.counts[name])
    problematic = max(float(component.problematic_share[rows].max()) for component in run.counts[name])
    numbers = f"{name} up to {bad:.1%} bad, {problematic:.1%} problematic or bad"
    strongest = islice(findings_in(run, name, first, last), _SHOWN)
    named = ", ".join(f"{finding.unit} {finding.kind}" for finding, _ in strongest)
    return ", ".join([numbers, *([f"lost {_some(lost)}"] if lost else []), *([f"strongest: {named}"] if named else [])])


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return " ".join(names[:_SHOWN]) + more


def findings_in(run: RunCertification, name: str, first: int, last: int) -> Iterator[tuple[Finding, str]]:
    """Findings of a sub-detector in some of these lumisections, the strongest first, and what their rows are."""
    for component in run.record.parts:
        for finding in component.findings:
            inside = any(begin <= last and end >= first for begin, end in finding.ranges)
            if finding.subdetector == name and inside:
                yield finding, "strip" if component.name == STRIPS else "channel"


def explanation(run: RunCertification, lumisection: int) -> Iterator[str]:
    """Why a lumisection is what it is, line by line.

    Raises:
        UsageError: nothing is known of that lumisection.
    """
    row = int(np.searchsorted(run.lumisections, lumisection))
    if lumisection not in run.lumisections:
        span = f"LS {run.lumisections[0]} to {run.lumisections[-1]}" if len(run.lumisections) else "no lumisection"
        raise UsageError(f"Run {run.run} has {span}; LS {lumisection} is not among them.")
    yield f"Run {run.run}, LS {lumisection}: {_flag_text(run, HCAL, row)}"
    yield f"  policy      {run.policy.label}: {run.policy.description}"
    yield f"  conditions  {_conditions(run, row)}"
    for name in SUBDETECTORS:
        yield f"  {name}          {_flag_text(run, name, row)}"
        yield from (f"              {line}" for line in _evidence(run, name, row))
    for component in run.record.parts:
        judge = component.judge
        trust = f", {component.trust}" + (f": {component.trust_reason}" if component.trust_reason else "")
        digest = judge.digest[:12] or "no digest"
        yield f"  judged by   {judge.name} {judge.version} ({component.name}, {digest}){trust}"
    yield from (f"  file        {source.name}" for source in run.record.sources[:_SHOWN])


def _flag_text(run: RunCertification, name: str, row: int) -> str:
    flag = run.flags[name][row]
    return f"{flag.status} ({flag.cause})" if flag.cause else str(flag.status)


def _conditions(run: RunCertification, row: int) -> str:
    at = run.lumisections[row : row + 1]
    standby = run.conditions.standby(at)[0] or ("no OMS export" if run.conditions.oms is None else "fit to be judged")
    numbers = {name: float(run.conditions.quantity(name, at)[0]) for name in ("pileup", "recorded")}
    finite = [f"{name} {value:g}" for name, value in numbers.items() if np.isfinite(value)]
    return ", ".join([standby, f"{int(run.events[row])} events", *finite])


def _evidence(run: RunCertification, name: str, row: int) -> Iterator[str]:
    """Every rule with the numbers of the LS, a broken one marked, and the findings."""
    counts, rules = run.counts[name], run.policy.rules[name]
    if not counts:
        yield f"{NOT_JUDGED}: " + ("; ".join(note for note in run.record.notes if name in note) or "no model serves it")
        return
    yield from _doubts(run, [name])
    if assessed_of(counts)[row]:
        flag = run.flags[name][row]
        decides = not flag.cause.startswith(NOT_TRUSTED)
        for component in counts:
            yield from _by_rule(component, rules, row, decides)
        if broken(counts, rules)[row] and flag.status is Status.GOOD:
            yield f"a rule is broken, but in fewer than {rules.consecutive} LS in a row"
    lumisection = int(run.lumisections[row])
    for finding, noun in islice(findings_in(run, name, lumisection, lumisection), 2 * _SHOWN):
        yield (
            f"finding: {finding.unit} {finding.kind} ({what(finding, noun)}), LS {when(finding)}, "
            f"{how_large(finding)}, {how_sure(finding)}: {finding.observed} digis observed, "
            f"{finding.expected:.0f} expected"
        )


def _by_rule(counts: RbxCounts, rules: Rules, row: int, decides: bool) -> Iterator[str]:
    """Each rule as a line, which begins with ✖ where it is broken, ✔ where it is kept, a blank where none decides."""
    of = {"strips": "strips", WHOLE_RUN: "channels (totals of the run)"}.get(counts.granularity, "channels")
    lost = counts.lost_names(rules, slice(row, row + 1))
    bad, problematic = float(counts.bad_share[row]), float(counts.problematic_share[row])
    lines = {
        BAD_CHANNELS: (bad > rules.bad_channels, f"{bad:.2%} of {counts.judged[row].sum()} {of} bad, "
                       f"at most {rules.bad_channels:.2%} may be"),
        PROBLEMATIC_CHANNELS: (problematic > rules.problematic_channels, f"{problematic:.2%} problematic or bad, "
                               f"at most {rules.problematic_channels:.2%} may be"),
        LOST_RBX: (len(lost) > rules.most_lost, f"{len(lost)} RBX lost{': ' + _some(lost) if lost else ''}, "
                   f"{f'at most {rules.most_lost}' if rules.most_lost else 'none'} may be"),
    }  # fmt: skip
    for rule, (is_broken, line) in lines.items():
        sign = ("✖" if is_broken else "✔") if decides else " "
        yield f"{sign} {line}" + (f"   ← broken: {rule}" if is_broken and decides else "")
