"""Findings in their order, and trust for people: the same words in every output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from hcal_root_ad.judge.verdict import Named, RunParts, Trust

NOTICEABLE = 1.6
"""Loss of sensitivity from which it is said."""


def strongest_first(findings: Iterable[Named]) -> tuple[Named, ...]:
    """By significance; of equal ones the larger first."""
    return tuple(sorted(findings, key=lambda named: (-named[0].significance, -named[0].channels)))


def every_finding(verdict: RunParts) -> tuple[Named, ...]:
    """The findings of all that was judged of a run, channels and strips, the strongest first."""
    of_strips = verdict.strips.findings if verdict.strips else ()
    channels = ((finding, "channel") for finding in verdict.findings)
    return strongest_first((*channels, *((finding, "strip") for finding in of_strips)))


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


def trust_of_run(verdict: RunParts) -> tuple[str, ...]:
    """As :func:`trust_sentences`, of all that was judged of a run."""
    judged: dict[str, HasTrust] = {one.subdetector: one for one in verdict.verdicts}
    if verdict.strips:
        judged["strips"] = verdict.strips
    return trust_sentences(judged)
