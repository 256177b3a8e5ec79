"""What a record says, for people: the verdict on the run in one sentence, and what was found, place by place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.aggregate import N_BOXES, States, on_axis
from hcal_root_ad.judge.verdict import Finding, State
from hcal_root_ad.judge.wording import how_large, how_sure, trust_sentences, what, when
from hcal_root_ad.publish.saved_verdict import HBHE_BOXES, STRIPS, PartRecord, RunRecord
from hcal_root_ad.report.words import happened, place, quantity


@dataclass(frozen=True, eq=False)
class ReportedFinding:
    """A finding with the part of the record that it is in, and its row of the part's histories, None without one."""

    part: PartRecord
    finding: Finding
    row: int | None

    @property
    def noun(self) -> str:
        return "strip" if self.part.name == STRIPS else "channel"

    @property
    def what(self) -> str:
        return what(self.finding, self.noun)

    @property
    def when(self) -> str:
        return when(self.finding)

    @property
    def rate(self) -> str:
        return how_large(self.finding)

    @property
    def sure(self) -> str:
        return how_sure(self.finding)

    @property
    def reason(self) -> str:
        """One sentence: who gave how many digis, of how many."""
        finding = self.finding
        where = place(finding.unit)
        who = where if finding.channels == 1 else f"{quantity(finding.channels, self.noun)} of {where}"
        sentence = f"{who} gave {happened(finding.kind, finding.observed, finding.expected)}"
        return sentence[0].upper() + sentence[1:]


def findings_of(record: RunRecord) -> tuple[ReportedFinding, ...]:
    """The findings of all parts, the strongest first."""
    reported = (
        ReportedFinding(part, finding, row if row < len(part.finding_observed) else None)
        for part in record.parts
        for row, finding in enumerate(part.findings)
    )
    return tuple(sorted(reported, key=lambda one: (-one.finding.significance, -one.finding.channels)))


def trust_of(record: RunRecord) -> tuple[str, ...]:
    """How far the record can be trusted, where it is not as it should be."""
    return trust_sentences({part.name: part for part in record.parts})


@dataclass(frozen=True)
class Headline:
    """The verdict on a run: its state, one sentence, and what was not judged at all."""

    state: State
    sentence: str
    missing: tuple[str, ...] = ()


def headline_of(record: RunRecord, findings: tuple[ReportedFinding, ...]) -> Headline:
    """Bad with any bad readout box, problematic with anything flagged, not assessed if nothing could be judged."""
    judged, bad, length = int(assessed_in(record).sum()), int(bad_in(record).sum()), len(record.lumisections)
    missing = tuple(name for name in ("HB", "HE") if name not in _judged_parts(record))
    all_of_it = f"all {length:,} lumisections" if judged == length else f"the {judged:,} lumisections that were judged"
    if record.parts and all(part.granularity == "run" for part in record.parts):
        all_of_it = "the run, which was judged as a whole"
    if not judged:
        state, sentence = (
            State.NOT_ASSESSED,
            "No lumisection could be judged: too few events, no data or no collisions.",
        )
    elif bad:
        of = f"{bad:,} of {all_of_it}" if bad < judged else all_of_it
        state, sentence = State.BAD, f"A readout box is bad in {of}."
    elif findings:
        flagged = f"{quantity(len(findings), 'place')} {'is' if len(findings) == 1 else 'are'} flagged"
        state, sentence = State.PROBLEMATIC, f"{flagged} in {all_of_it}, but no readout box is bad."
    else:
        state, sentence = State.GOOD, f"Nothing is flagged in {all_of_it}."
    return Headline(state, " ".join((sentence, *_strongest_of(findings))), missing)


def _strongest_of(findings: tuple[ReportedFinding, ...]) -> tuple[str, ...]:
    if not findings:
        return ()
    first = findings[0]
    return (f"Strongest: {place(first.finding.unit)}, {first.finding.kind} in LS {first.when}.",)


def _judged_parts(record: RunRecord) -> set[str]:
    """Sub-detectors of which something was judged."""
    names = {part.name for part in record.parts}
    return names | {"HB", "HE"} if STRIPS in names else names


def parts_by_lumisection(record: RunRecord) -> tuple[PartRecord, ...]:
    """What was judged per lumisection: channels where they were, else strips, else the run as a whole."""
    for granularity in ("lumisection", STRIPS):
        if chosen := tuple(part for part in record.parts if part.granularity == granularity):
            return chosen
    return record.parts


def assessed_in(record: RunRecord) -> NDArray[np.bool_]:
    """(LS,) whether anything was judged in the lumisection."""
    judged = np.zeros(len(record.lumisections), dtype=bool)
    for part in parts_by_lumisection(record):
        judged |= part.assessed
    return judged


def bad_in(record: RunRecord) -> NDArray[np.bool_]:
    """(LS,) whether some readout box is bad: a quarter of its channels is."""
    bad = np.zeros(len(record.lumisections), dtype=bool)
    for part in parts_by_lumisection(record):
        bad |= (part.box_states == State.BAD).any(axis=1)
    return bad


def box_states(record: RunRecord) -> States:
    """(LS from 1 to the last, 72) states of the boxes of HB and HE, not assessed at lumisections that are not there."""
    length = int(record.lumisections.max(initial=1))
    states = np.zeros((len(record.lumisections), N_BOXES), dtype=np.uint8)
    for part in parts_by_lumisection(record):
        if part.boxes == HBHE_BOXES:
            states = np.maximum(states, part.box_states)
    spread: States = on_axis(states, record.lumisections, length)
    spread[np.setdiff1d(np.arange(length), record.lumisections - 1)] = np.where(
        states.any(axis=0), State.NOT_ASSESSED, 0
    )
    return spread
