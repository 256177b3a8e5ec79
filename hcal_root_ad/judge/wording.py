"""Findings and trust for people: what fails, when, how much, how sure; the same words in every output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from hcal_root_ad.judge.verdict import Finding, Level, RunVerdict, Trust
from hcal_root_ad.lumi_ranges import listed

STEADY = 0.9
"""From this duty on a fault is steady; below it comes and goes."""
CERTAIN, LIKELY = 7.0, 6.0
"""Standard deviations from which a finding is certain, or likely. A run of 1,000 LS has some 10⁶ independent channels
and stretches: a fluctuation of 6 σ comes about once in a thousand such runs, one of 5 σ about once in three."""
NOTICEABLE = 1.6
"""Loss of sensitivity from which it is said."""
_RANGES = 3
"""Stretches of a fault that are listed; more are counted."""
_ENORMOUS = 1000.0

Named = tuple[Finding, str]
"""A finding, and what its rows are: ``channel`` or ``strip``."""


def strongest_first(findings: Iterable[Named]) -> tuple[Named, ...]:
    """By significance; of equal ones the larger first."""
    return tuple(sorted(findings, key=lambda named: (-named[0].significance, -named[0].channels)))


def every_finding(verdict: RunVerdict) -> tuple[Named, ...]:
    """The findings of all that was judged of a run, channels and strips, the strongest first."""
    of_strips = verdict.strips.findings if verdict.strips else ()
    channels = ((finding, "channel") for finding in verdict.findings)
    return strongest_first((*channels, *((finding, "strip") for finding in of_strips)))


def what(finding: Finding, noun: str = "channel") -> str:
    """What fails: ``channel``, ``RBX, 184 channels``, ``11 channels``."""
    if finding.level is Level.CHANNEL:
        return noun if finding.channels == 1 else f"{finding.channels:,} {noun}s"
    many = f"{finding.channels:,} {noun}{'s' * (finding.channels != 1)}"
    return many if finding.level is Level.CHANNELS else f"{finding.level}, {many}"


def when(finding: Finding) -> str:
    """Its lumisections: ``18–31``, ``5–9, 20–31``, or ``flickers: 31 of 80 LS, 20–99``."""
    if finding.duty >= STEADY or 1 < len(finding.ranges) <= _RANGES:
        return listed(finding.ranges)
    span = round(finding.lumisections / finding.duty) if finding.duty > 0 else finding.lumisections
    return f"flickers: {finding.lumisections} of {span} LS, {listed([(finding.first, finding.last)])}"


def how_large(finding: Finding) -> str:
    """Rate over the expected one, with its error: ``×0.85 ± 0.01``; ``×0`` without a digi."""
    if finding.observed == 0:
        return "×0"
    if finding.size >= _ENORMOUS:
        return f"over ×{_ENORMOUS:.0f}"
    digits = 2 if finding.size < 10 else 0
    return f"×{finding.size:.{digits}f} ± {max(finding.size_error, 10.0**-digits):.{digits}f}"


def how_sure(finding: Finding) -> str:
    """``certain``, ``likely`` or ``weak``, by its significance."""
    if finding.significance >= CERTAIN:
        return "certain"
    return "likely" if finding.significance >= LIKELY else "weak"


class HasTrust(Protocol):
    """A verdict on a sub-detector, or the record of one."""

    @property
    def trust(self) -> Trust: ...
    @property
    def trust_reason(self) -> str: ...
    @property
    def sensitivity(self) -> float: ...


_RESTS_ON = {
    Trust.ADAPTED: "",
    Trust.STATE: "judged by a detector state",
    Trust.REFERENCE_RUN: "compared with a reference run",
    Trust.OLD_STATE: "NOT TRUSTED, judged by a detector state that missed too much",
    Trust.OTHER_PERIOD: "NOT TRUSTED, judged by a model of another period",
    Trust.NONE: "NOT TRUSTED, no reference",
}


def rests_on(trust: Trust, reason: str) -> str:
    """What a verdict rests on; of a detector state whose it is, and how old."""
    return reason if trust is Trust.STATE else str(trust)


def trust_sentences(judged: Mapping[str, HasTrust]) -> tuple[str, ...]:
    """How far the verdicts on sub-detectors, by name, can be trusted, where it is not as it should be."""
    names: dict[str, list[str]] = {}
    for name, part in judged.items():
        if words := "; ".join(_doubts(part)):
            names.setdefault(words, []).append(name)
    return tuple(f"{enumerated(alike)}: {words}." for words, alike in names.items())


def enumerated(names: Sequence[str]) -> str:
    """``HB``, ``HB and HE``, ``HB, HE and HF``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _doubts(part: HasTrust) -> Iterator[str]:
    if rests := _RESTS_ON[part.trust]:
        yield f"{rests} ({part.trust_reason.rstrip('.')})" if part.trust_reason else rests
    if part.sensitivity > NOTICEABLE and part.trust is not Trust.NONE:
        yield f"less sensitive: shifts must be {part.sensitivity:.1f} times as large"


def trust_of_run(verdict: RunVerdict) -> tuple[str, ...]:
    """As :func:`trust_sentences`, of all that was judged of a run."""
    judged: dict[str, HasTrust] = {one.subdetector: one for one in verdict.verdicts}
    if verdict.strips:
        judged["strips"] = verdict.strips
    return trust_sentences(judged)
