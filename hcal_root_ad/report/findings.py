"""What a record says, for people: the verdict on the run in one sentence, and what was found, place by place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.verdict import Group, Kind, State
from hcal_root_ad.lumi_ranges import Range, listed, union
from hcal_root_ad.publish.record import STRIPS, PartRecord, RunRecord
from hcal_root_ad.publish.reductions import LOSSES, N_BOXES, States, on_axis
from hcal_root_ad.report.words import happened, place, quantity, strongest


@dataclass(frozen=True, eq=False)
class Finding:
    """All that was flagged of one readout unit in one direction.

    ``groups``: its groups, strongest first. ``row``: the one of the part's histories with most channels, None if
    there is none.
    """

    part: PartRecord
    groups: tuple[Group, ...]
    row: int | None

    @property
    def unit(self) -> str:
        return self.groups[0].unit

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds of fault, that of the strongest group first."""
        return tuple(dict.fromkeys(group.kind for group in self.groups))

    @property
    def state(self) -> State:
        return max(kind.state for kind in self.kinds)

    @property
    def channels(self) -> int:
        return max(group.channels for group in self.groups)

    @property
    def score(self) -> float:
        return strongest(self.groups).score

    @property
    def ranges(self) -> list[Range]:
        """Lumisections, in order."""
        return union([(group.first, group.last) for group in self.groups])

    @property
    def reason(self) -> str:
        """One sentence: who gave how many digis, of how many."""
        what = "strip" if self.part.name == STRIPS else "channel"
        who = place(self.unit) if self.channels == 1 else f"{quantity(self.channels, what)} of {place(self.unit)}"
        observed = sum(group.observed for group in self.groups)
        expected = sum(group.expected for group in self.groups)
        often = f", in {len(self.groups)} intervals" if len(self.groups) > 1 else ""
        sentence = f"{who} gave {happened(self.kinds[0], observed, expected)}{often}"
        return sentence[0].upper() + sentence[1:]


def findings_of(record: RunRecord) -> tuple[Finding, ...]:
    """Groups of one place and direction together, the strongest first."""
    found: dict[tuple[str, str, bool], list[tuple[int, Group]]] = {}
    for part in record.parts:
        for row, group in enumerate(part.groups):
            found.setdefault((part.name, group.unit, group.kind in LOSSES), []).append((row, group))
    parts = {part.name: part for part in record.parts}
    findings = [_finding(parts[name], rows) for (name, _, _), rows in found.items()]
    return tuple(sorted(findings, key=lambda finding: -abs(finding.score)))


def _finding(part: PartRecord, rows: list[tuple[int, Group]]) -> Finding:
    with_history = [(row, group) for row, group in rows if row < len(part.group_observed)]
    row = max(with_history, key=lambda pair: pair[1].channels)[0] if with_history else None
    return Finding(part, tuple(group for _, group in rows), row)


@dataclass(frozen=True)
class Headline:
    """The verdict on a run: its state, one sentence, and what was not judged at all."""

    state: State
    sentence: str
    missing: tuple[str, ...] = ()


def headline_of(record: RunRecord, findings: tuple[Finding, ...]) -> Headline:
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


def _strongest_of(findings: tuple[Finding, ...]) -> tuple[str, ...]:
    if not findings:
        return ()
    first = findings[0]
    return (f"Strongest: {place(first.unit)}, {first.kinds[0]} in LS {listed(first.ranges, 4)}.",)


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
    """(LS from 1 to the last, 72) states of all boxes, not assessed at lumisections that are not there."""
    length = int(record.lumisections.max(initial=1))
    states = np.zeros((len(record.lumisections), N_BOXES), dtype=np.uint8)
    for part in parts_by_lumisection(record):
        states = np.maximum(states, part.box_states)
    spread: States = on_axis(states, record.lumisections, length)
    spread[np.setdiff1d(np.arange(length), record.lumisections - 1)] = np.where(
        states.any(axis=0), State.NOT_ASSESSED, 0
    )
    return spread
