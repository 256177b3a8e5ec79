"""Why a lumisection has its flag: the comment of a range, and every number behind one lumisection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from hcal_root_ad.certify.certification import (
    BAD_CHANNELS,
    HCAL,
    LOST_RBX,
    NOT_JUDGED,
    NOT_TRUSTED,
    PROBLEMATIC_CHANNELS,
    WHOLE_RUN,
    RbxCounts,
    RunCertification,
    Status,
    assessed_of,
    broken,
)
from hcal_root_ad.certify.policy import SUBDETECTORS, Rules, Untrusted
from hcal_root_ad.errors import UsageError
from hcal_root_ad.judge.verdict import Finding, how_large, how_sure, what, when
from hcal_root_ad.publish.saved_verdict import STRIPS

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
