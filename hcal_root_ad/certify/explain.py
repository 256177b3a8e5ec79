"""Words for a ruling: the comment of a range, and all that is known of one lumisection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from hcal_root_ad.certify.certification import (
    BAD_CHANNELS,
    HCAL,
    LOST_BOX,
    NOT_JUDGED,
    NOT_TRUSTED,
    PROBLEMATIC_CHANNELS,
    RunCertification,
    Status,
    assessed_of,
    broken,
)
from hcal_root_ad.certify.part_counts import WHOLE_RUN, PartCounts
from hcal_root_ad.certify.policy import SUBDETECTORS, Rules, Untrusted
from hcal_root_ad.errors import UsageError
from hcal_root_ad.judge.verdict import Finding
from hcal_root_ad.judge.wording import how_large, how_sure, what, when
from hcal_root_ad.publish.saved_verdict import STRIPS

_SHOWN = 3
"""Findings, and lost boxes, that a comment names."""


def comment(run: RunCertification, of: str, first: int, last: int) -> str:
    """One line on a range in which no ruling changes: the numbers where it is BAD, doubts, and the policy."""
    names = run.policy.decisive if of == HCAL else (of,)
    row = run.rows(first, last).start
    faults = [_fault(run, name, first, last) for name in names if run.rulings[name][row].status is Status.BAD]
    return "; ".join([*faults, *_doubts(run, names), f"policy {run.policy.label}"])


def _doubts(run: RunCertification, names: Iterable[str]) -> Iterator[str]:
    """What is not trusted of these sub-detectors, each reason once."""
    for name in names:
        for part in run.counts[name]:
            if not part.trust.trusted:
                so = " but judged, as the policy says" if run.policy.untrusted is Untrusted.JUDGE else ""
                reason = f" ({part.trust_reason})" if part.trust_reason else ""
                yield f"{name} not trusted{so}: {part.trust}{reason}"


def _fault(run: RunCertification, name: str, first: int, last: int) -> str:
    rules, rows = run.policy.rules[name], run.rows(first, last)
    lost = list(dict.fromkeys(box for part in run.counts[name] for box in part.lost_names(rules, rows)))
    bad = max(float(part.bad_share[rows].max()) for part in run.counts[name])
    problematic = max(float(part.problematic_share[rows].max()) for part in run.counts[name])
    numbers = f"{name} up to {bad:.1%} bad, {problematic:.1%} problematic or bad"
    strongest = islice(findings_in(run, name, first, last), _SHOWN)
    named = ", ".join(f"{finding.unit} {finding.kind}" for finding, _ in strongest)
    parts = [numbers, f"lost {_some(lost)}" if lost else "", f"strongest: {named}" if named else ""]
    return ", ".join(part for part in parts if part)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return " ".join(names[:_SHOWN]) + more


def findings_in(run: RunCertification, name: str, first: int, last: int) -> Iterator[tuple[Finding, str]]:
    """What was found of a sub-detector in some of these lumisections, the strongest first, and what its rows are."""
    for part in run.record.parts:
        for finding in part.findings:
            inside = any(begin <= last and end >= first for begin, end in finding.ranges)
            if finding.subdetector == name and inside:
                yield finding, "strip" if part.name == STRIPS else "channel"


def explanation(run: RunCertification, lumisection: int) -> Iterator[str]:
    """Why a lumisection is what it is, line by line.

    Raises:
        UsageError: nothing is known of that lumisection.
    """
    row = int(np.searchsorted(run.lumisections, lumisection))
    if lumisection not in run.lumisections:
        known = f"from LS {run.lumisections[0]} to LS {run.lumisections[-1]}" if len(run.lumisections) else "without LS"
        raise UsageError(f"Run {run.run} is known {known}; LS {lumisection} is not among them.")
    yield f"Run {run.run}, LS {lumisection}: {_words(run, HCAL, row)}"
    yield f"  policy      {run.policy.label}: {run.policy.description}"
    yield f"  conditions  {_conditions(run, row)}"
    for name in SUBDETECTORS:
        yield f"  {name}          {_words(run, name, row)}"
        yield from (f"              {line}" for line in _evidence(run, name, row))
    for part in run.record.parts:
        judge = part.judge
        trust = f", {part.trust}" + (f": {part.trust_reason}" if part.trust_reason else "")
        yield f"  judged by   {judge.name} {judge.version} ({part.name}, {judge.digest[:12] or 'no digest'}){trust}"
    yield from (f"  file        {source.name}" for source in run.record.sources[:_SHOWN])


def _words(run: RunCertification, name: str, row: int) -> str:
    ruling = run.rulings[name][row]
    return f"{ruling.status} ({ruling.cause})" if ruling.cause else str(ruling.status)


def _conditions(run: RunCertification, row: int) -> str:
    at = run.lumisections[row : row + 1]
    standby = run.conditions.standby(at)[0] or ("no OMS export" if run.conditions.oms is None else "fit to be judged")
    numbers = {name: float(run.conditions.quantity(name, at)[0]) for name in ("pileup", "recorded")}
    known = [f"{name} {value:g}" for name, value in numbers.items() if np.isfinite(value)]
    return ", ".join([standby, f"{int(run.events[row])} events", *known])


def _evidence(run: RunCertification, name: str, row: int) -> Iterator[str]:
    """Every rule with the numbers of the LS, a broken one marked, and the findings."""
    counts, rules = run.counts[name], run.policy.rules[name]
    if not counts:
        yield f"{NOT_JUDGED}: " + ("; ".join(note for note in run.record.notes if name in note) or "no model serves it")
        return
    yield from _doubts(run, [name])
    if assessed_of(counts)[row]:
        ruling = run.rulings[name][row]
        decides = not ruling.cause.startswith(NOT_TRUSTED)
        for part in counts:
            yield from _against_rules(part, rules, row, decides)
        if broken(counts, rules)[row] and ruling.status is Status.GOOD:
            yield f"a rule is broken, but in fewer than {rules.consecutive} LS in a row"
    lumisection = int(run.lumisections[row])
    for finding, noun in islice(findings_in(run, name, lumisection, lumisection), 2 * _SHOWN):
        yield (
            f"found: {finding.unit} {finding.kind} ({what(finding, noun)}), LS {when(finding)}, {how_large(finding)}, "
            f"{how_sure(finding)}: {finding.observed} digis seen, {finding.expected:.0f} expected"
        )


def _against_rules(part: PartCounts, rules: Rules, row: int, decides: bool) -> Iterator[str]:
    """Each rule as a line, which begins with ✖ where it is broken, ✔ where it is kept, a blank where none decides."""
    of = {"strips": "strips", WHOLE_RUN: "channels (totals of the run)"}.get(part.granularity, "channels")
    lost = part.lost_names(rules, slice(row, row + 1))
    bad, problematic = float(part.bad_share[row]), float(part.problematic_share[row])
    lines = {
        BAD_CHANNELS: (bad > rules.bad_channels, f"{bad:.2%} of {part.judged[row].sum()} {of} bad, "
                       f"at most {rules.bad_channels:.2%} may be"),
        PROBLEMATIC_CHANNELS: (problematic > rules.problematic_channels, f"{problematic:.2%} problematic or bad, "
                               f"at most {rules.problematic_channels:.2%} may be"),
        LOST_BOX: (len(lost) > rules.lost_boxes, f"{_boxes(len(lost))} lost{': ' + _some(lost) if lost else ''}, "
                   f"at most {rules.lost_boxes} may be"),
    }  # fmt: skip
    for rule, (is_broken, line) in lines.items():
        sign = ("✖" if is_broken else "✔") if decides else " "
        yield f"{sign} {line}" + (f"   ← broken: {rule}" if is_broken and decides else "")


def _boxes(number: int) -> str:
    return f"{number} readout box{'es' * (number != 1)}"
