"""How far a verdict can be trusted: the scatter of all channels about the model says whether it knows the detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hcal_root_ad.judge.verdict import Level, Trust, Verdict

LESS_SENSITIVE = 1.6
"""Scatter of the channels, in widths that health allows, above which the model is one of another period."""
STRANGER = 4.0
"""The same, above which nothing is judged: another detector gives 4.5 to 18, offsets of 3 % or drift × 4 some 2."""


def trust_of(width: float, base: Trust, model: str) -> tuple[Trust, str]:
    """Trust in the judgement of one sub-detector, and the reason in a sentence ("" where all is well).

    ``base``: what it was judged with, if that fits. ``model``: its name.
    """
    if base is Trust.NONE:
        return base, "judged against this run itself; what was wrong throughout the run may not be seen"
    if width > STRANGER:
        return Trust.NONE, (
            f"{model} does not know this detector (channels scatter {width:.1f} times as much as it allows for); "
            "not judged; adapt the model with transfer on a clean run"
        )
    if width > LESS_SENSITIVE:
        return Trust.OTHER_PERIOD, (
            f"channels scatter {width:.1f} times as much about {model} as it allows for, so faults must be "
            f"{width:.1f} times as large to be seen; adapt it with transfer on a clean run of this period"
        )
    return base, ""


def hf_trust(others: Sequence[Verdict], model: str) -> tuple[Trust, str]:
    """Trust in the judgement of HF, whose counts are certain: only the list of its masked channels may be another's.

    ``others``: verdicts on the other sub-detectors. ``model``: the name of HF's.
    """
    if others and not any(verdict.trust.trusted for verdict in others):
        return Trust.OTHER_PERIOD, (
            f"which channels are masked is what {model} says, and no model knows the rest of this detector as it is; "
            "adapt it with transfer on a clean run of this period"
        )
    return Trust.ADAPTED, ""


def one_against_the_others(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts, not trusted where a sub-detector seems to have gained as a whole: the others may have lost.

    Two that lose digis together look like a lower pileup to the third. The pileup from elsewhere would tell.
    """
    gained = [
        (verdict.subdetector, finding)
        for verdict in verdicts for finding in verdict.findings
        if finding.level is Level.SUBDETECTOR and finding.size > 1
    ]  # fmt: skip
    if not gained:
        return list(verdicts)
    name, finding = gained[0]
    reason = (
        f"{name} counts {100 * (finding.size - 1):.0f} % more than the other sub-detectors let expect in "
        f"LS {finding.first} to {finding.last}: it gained, or they lost; give the pileup, for example with --oms"
    )
    return [
        replace(verdict, trust=max(verdict.trust, Trust.OTHER_PERIOD, key=list(Trust).index),
                trust_reason="; ".join(filter(None, (verdict.trust_reason, reason))))
        for verdict in verdicts
    ]  # fmt: skip
