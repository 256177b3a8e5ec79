"""What a saved verdict says, for people: places by their full names, faults as sentences, the run in one."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_RBX, SUBDET_PM, rbx_of
from hcal_root_ad.judge.aggregate import N_BOXES, States, on_axis
from hcal_root_ad.judge.run_verdict import trust_sentences
from hcal_root_ad.judge.verdict import Finding, Kind, State, how_large, how_sure, what, when
from hcal_root_ad.publish.saved_verdict import HBHE_BOXES, STRIPS, PartRecord, RunRecord

_UNIT = re.compile(r"(?P<half>H[BEOF](?P<side>[MP]))(?P<box>\d\d)?(-RM(?P<module>\d))?(-card(?P<card>\d))?")
_CHANNEL = re.compile(r"(?P<name>H[BEOF]) (?P<ieta>[+-]\d+)/(?P<iphi>\d+)/(?P<depth>\d)")
_HO_BOX = re.compile(r"HO[012][MP]?\d\d")
_UHTR = re.compile(r"crate(?P<crate>\d+)-slot(?P<slot>\d+)")
_FED = re.compile(r"FED ?(?P<number>\d+)")
_RING = re.compile(r"(?P<name>H[BEOF]) \|ieta\| (?P<ieta>\d+)( depth (?P<depth>\d))?")
_STRIP = re.compile(r"(?P<half>H[BE][MP]) iphi (?P<iphi>\d+)")


def place(unit: str) -> str:
    """The full name of a finding's unit; a name of a form that is not known stays as it is.

    >>> place("HEP07-RM2"), place("HE +20/5/3")
    ('readout module 2 of HEP07', 'channel HE ieta +20, iphi 5, depth 3')
    """
    if match := _CHANNEL.fullmatch(unit):
        ieta = match["ieta"].replace("-", "−")
        return f"channel {match['name']} ieta {ieta}, iphi {match['iphi']}, depth {match['depth']}"
    if match := _STRIP.fullmatch(unit):
        return f"strip iphi {match['iphi']} of {match['half']}"
    match = _UNIT.fullmatch(unit)
    if match is None:
        return _larger_place(unit)
    if match["box"] is None:
        return f"the {'minus' if match['side'] == 'M' else 'plus'} side of {unit[:2]}"
    box = f"{match['half']}{match['box']}"
    if match["module"] is None:
        return f"readout box {box}"
    module = f"readout module {match['module']} of {box}"
    return f"QIE card {match['card']} of {module}" if match["card"] else module


def _larger_place(unit: str) -> str:
    """As :func:`place`, of units that are no part of a readout box of HB or HE."""
    if unit in ("HB", "HE", "HO", "HF"):
        return f"the whole of {unit}"
    if _HO_BOX.fullmatch(unit):
        return f"readout box {unit}"
    if match := _UHTR.fullmatch(unit):
        return f"the uHTR in crate {match['crate']}, slot {int(match['slot'])}"
    if match := _FED.fullmatch(unit):
        return f"FED {match['number']}"
    if match := _RING.fullmatch(unit):
        return f"ring |ieta| {match['ieta']} of {match['name']}" + (
            f", depth {match['depth']}" if match["depth"] else ""
        )
    return unit


def box_of_unit(unit: str) -> int | None:
    """Readout box 0…71 in which a finding's unit lies, None if it is larger than a box or not of HB and HE."""
    if (match := _CHANNEL.fullmatch(unit)) and match["name"] in ("HB", "HE"):
        half, rbx = match["name"] + ("P" if match["ieta"][0] == "+" else "M"), _rbx(match["iphi"])
    elif match := _STRIP.fullmatch(unit):
        half, rbx = match["half"], _rbx(match["iphi"])
    elif (match := _UNIT.fullmatch(unit)) and match["box"] and match["half"] in SUBDET_PM:
        half, rbx = match["half"], int(match["box"])
    else:
        return None
    return SUBDET_PM.index(half) * N_RBX + rbx - 1


def count(number: float) -> str:
    """A number of digis for people: exact below ten thousand, then three figures."""
    for size, word in ((1e9, " billion"), (1e6, " million")):
        if number >= size:
            return f"{number / size:.3g}{word}"
    return f"{round(number):,}"


def spread(values: NDArray[np.float64]) -> str:
    """From where to where numbers go that are known (finite), such as ``40–51``."""
    known = values[np.isfinite(values)]
    return f"{known.min():.0f}–{known.max():.0f}" if len(known) else "not known"


def quantity(number: int, one: str) -> str:
    """``1 channel``, ``2 channels``."""
    return f"{number:,} {one}" if number == 1 else f"{number:,} {one}s"


def happened(kind: Kind, observed: float, expected: float) -> str:
    """What the channels gave, against what was expected of them."""
    if observed == 0:
        return f"no digi at all where {count(expected)} were expected"
    if expected <= 0:
        return f"{count(observed)} digis where none was expected"
    ratio = observed / expected
    share = f"{100 * ratio:.0f} %" if ratio >= 0.01 else "less than 1 %"
    if kind is Kind.DEAD:
        return f"{count(observed)} digis where {count(expected)} were expected ({share})"
    if kind is Kind.DEGRADED:
        return f"{share} of the {count(expected)} digis that were expected"
    bursts = ", coming and going" if kind is Kind.NOISY else ""
    return f"{ratio:.2f} times the {count(expected)} digis that were expected{bursts}"


def _rbx(iphi: str) -> int:
    return int(rbx_of(np.array(int(iphi))))


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
