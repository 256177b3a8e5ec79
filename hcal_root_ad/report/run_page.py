"""The page on one run, from its record alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hcal_root_ad.detector import IETA_LABELS, N_DEPTH, N_DQM_IETA, N_IPHI, box_name
from hcal_root_ad.judge.aggregate import Array, Floats, States, flagged, on_axis
from hcal_root_ad.judge.verdict import State
from hcal_root_ad.lumi_maps import listed, ranges_of
from hcal_root_ad.publish.saved_verdict import HBHE_BOXES, STRIPS, PartRecord, RunRecord
from hcal_root_ad.report.page import (
    COLUMNS,
    POINTS,
    FindingHistory,
    Outline,
    Picture,
    events_figure,
    picture,
    ratio_maps,
    render,
    small_figure,
    state_maps,
    timeline_figure,
)
from hcal_root_ad.report.run_in_words import (
    ReportedFinding,
    assessed_in,
    box_of_unit,
    box_states,
    count,
    findings_of,
    headline_of,
    parts_by_lumisection,
    quantity,
    spread,
    trust_of,
)
from hcal_root_ad.style import run_number

STAMPS = 60
"""Findings with a picture; the others are lines."""
STRONGEST = 5
"""Findings named beside the verdict."""
LINES = 300
"""Most lines of a table; the flags file has the rest."""
OUTLINED = 12
"""Most findings outlined on the timeline."""
CHANNELS = 60
"""Most channels listed below the maps."""


@dataclass(frozen=True)
class Numbers:
    """The row of one part in the table below the verdict; None where a number has no meaning."""

    name: str
    granularity: str
    assessed: int
    lumisections: int
    clean: int
    bad_box: int
    bad: int | None
    problematic: int | None
    not_connected: int | None
    findings: int


@dataclass(frozen=True)
class Entry:
    """One line of the table of findings."""

    number: int
    finding: ReportedFinding
    stamp: Picture | None


@dataclass(frozen=True)
class Box:
    """A readout box that was not good: the lumisections in which it was bad, and problematic, in words."""

    name: str
    bad: str
    problematic: str


@dataclass(frozen=True)
class Channel:
    """A flagged channel in the list below the maps."""

    name: str
    state: State
    fraction: float
    ratio: str
    score: float


def run_page(record: RunRecord, pileup: Floats | None = None) -> str:
    """The page as HTML: verdict, timeline, maps, findings, ageing, conditions, provenance.

    ``pileup``: of the run's lumisections, where a campaign knows it.
    """
    findings = findings_of(record)
    states, length = box_states(record), int(record.lumisections.max(initial=1))
    events = on_axis(record.events, record.lumisections, length)
    assessed = on_axis(assessed_in(record), record.lumisections, length)
    return render(
        "run.html.j2",
        record=record,
        provenance=record.provenance.text() if record.provenance else "",
        headline=headline_of(record, findings),
        trust=trust_of(record),
        numbers=[_numbers(part) for part in record.parts],
        strongest=min(len(findings), STRONGEST),
        entries=[_entry(number, one, record) for number, one in enumerate(findings[:LINES], start=1)],
        stamps=STAMPS,
        hidden=max(0, len(findings) - LINES),
        timeline=_timeline(record, events, states, findings),
        block=-(-length // COLUMNS),
        boxes=list(_boxes(record)),
        maps=_maps(record),
        forecasts=[forecast for part in record.parts for forecast in part.forecasts],
        conditions=_conditions(record, events, assessed, np.zeros(0) if pileup is None else pileup),
    )


def _numbers(part: PartRecord) -> Numbers:
    flags = (part.bad + part.problematic).sum(axis=1)
    counts = {state: int((part.worst == state).sum()) for state in State} if part.name != STRIPS else {}
    return Numbers(
        name=part.name,
        granularity=part.granularity,
        assessed=int(part.assessed.sum()),
        lumisections=len(part.assessed),
        clean=int((part.assessed & (flags == 0)).sum()),
        bad_box=int((part.box_states == State.BAD).any(axis=1).sum()),
        bad=counts.get(State.BAD),
        problematic=counts.get(State.PROBLEMATIC),
        not_connected=counts.get(State.NOT_CONNECTED),
        findings=len(part.findings),
    )


def _entry(number: int, finding: ReportedFinding, record: RunRecord) -> Entry:
    stamp = _stamp(finding, record) if number <= STAMPS else None
    return Entry(number, finding, stamp)


def _stamp(finding: ReportedFinding, record: RunRecord) -> Picture | None:
    """The small picture, where the record has digis against LS."""
    part = finding.part
    if finding.row is None or part.granularity == "run":
        return None
    rows = np.flatnonzero(part.assessed & _near(record.lumisections, finding))
    if len(rows) == 0:
        return None
    history = _history(part, finding, rows, record)
    inside = np.zeros(len(history.lumisections), dtype=bool)
    for first, last in finding.finding.ranges:
        inside |= (history.lumisections >= first) & (history.lumisections <= last)
    return picture(small_figure(history), _in_words(history, inside))


def _near(lumisections: Array, finding: ReportedFinding) -> Array:
    """(LS,) the finding's lumisections, and as many to either side, twenty at least."""
    first, last = finding.finding.first, finding.finding.last
    margin = max(20, last - first + 1)
    return (lumisections >= first - margin) & (lumisections <= last + margin)


def _history(part: PartRecord, finding: ReportedFinding, rows: Array, record: RunRecord) -> FindingHistory:
    """Digis per event at the given rows, neighbours summed where they are many."""
    size = max(1, -(-len(rows) // POINTS))
    starts = np.arange(0, len(rows), size)
    events = np.maximum(record.events[rows], 1).astype(float)
    expected = part.finding_expected[finding.row, rows].astype(float)
    observed = part.finding_observed[finding.row, rows].astype(float)
    # A sum of binomials is at most as wide as one of their mean probability; strips may count more than one an event.
    share = 0.0 if part.name == STRIPS else np.minimum(expected / (events * finding.finding.channels), 1)
    variance = expected * (1 - share)
    sums = [np.add.reduceat(values, starts) for values in (observed, expected, variance, events)]
    times = np.add.reduceat(record.lumisections[rows].astype(float), starts) / np.diff(np.append(starts, len(rows)))
    return FindingHistory(
        times, sums[0] / sums[3], sums[1] / sums[3], np.sqrt(sums[2]) / sums[3], list(finding.finding.ranges)
    )


def _in_words(history: FindingHistory, inside: Array) -> str:
    seen, wanted = history.observed, history.expected
    sentences = [f"Digis per event, LS {history.lumisections[0]:.0f} to {history.lumisections[-1]:.0f}."]
    for where, name in ((inside, "flagged"), (~inside, "not flagged")):
        if where.any():
            sentences.append(f"Where {name}: {seen[where].mean():.3g} seen, {wanted[where].mean():.3g} expected.")
    return " ".join(sentences)


def _timeline(record: RunRecord, events: Array, states: States, findings: Sequence[ReportedFinding]) -> Picture:
    outlines = list(_outlines(findings, parts_by_lumisection(record)))
    bad = sorted({box_name(int(box)) for box in np.flatnonzero((states == State.BAD).any(axis=0))})
    words = (
        f"State of the 72 readout boxes in LS 1 to {len(states)}. Bad at some time: {', '.join(bad) or 'none'}. "
        "The table below gives the lumisections."
    )
    return picture(timeline_figure(run_number(record.run, record.sources), events, states, outlines), words)


def _outlines(findings: Sequence[ReportedFinding], shown: Sequence[PartRecord]) -> Iterator[Outline]:
    """Outlines of the strongest findings within a box, in the parts whose states are shown."""
    for number, finding in enumerate(findings[:OUTLINED], start=1):
        box = box_of_unit(finding.finding.unit)
        if box is not None and finding.part in shown:
            yield Outline(number, box, finding.finding.first, finding.finding.last)


def _boxes(record: RunRecord) -> Iterator[Box]:
    """Of all parts: the boxes of HB, HE and HO, the sides of HF."""
    for part in parts_by_lumisection(record):
        for box in np.flatnonzero((part.box_states >= State.PROBLEMATIC).any(axis=0)):
            states = np.broadcast_to(part.box_states[:, box], len(record.lumisections))  # one row may stand for the run
            where = {state: listed(ranges_of(record.lumisections[states == state])) for state in State}
            yield Box(part.boxes[box], where[State.BAD], where[State.PROBLEMATIC])


@dataclass(frozen=True)
class Maps:
    """The maps per depth, and the channels that are flagged longest."""

    states: Picture
    ratio: Picture
    channels: list[Channel]
    flagged: int


def _maps(record: RunRecord) -> Maps | None:
    parts = [part for part in record.parts if part.name != STRIPS]
    drawn = [part for part in parts if part.boxes == HBHE_BOXES]
    if not parts:
        return None
    shape = (N_DEPTH, N_DQM_IETA, N_IPHI)
    worst = np.zeros(shape, dtype=np.uint8)
    observed, expected = np.zeros(shape), np.zeros(shape)
    for part in drawn:
        worst += part.worst
        observed += part.observed
        expected += part.expected
    channels = sorted((one for part in parts for one in _channels(part)), key=lambda one: (-one.fraction, one.name))
    by_depth = ", ".join(f"depth {depth}: {int(n)}" for depth, n in enumerate(flagged(worst).sum(axis=(1, 2)), start=1))
    words = f"Worst state of each channel of HB and HE, ieta by iphi, one map per depth. Flagged channels: {by_depth}."
    ratio = "Digis seen over digis expected for each channel, ieta by iphi, one map per depth."
    return Maps(
        picture(state_maps(run_number(record.run, record.sources), worst), words),
        picture(ratio_maps(run_number(record.run, record.sources), observed, expected), ratio),
        channels[:CHANNELS],
        len(channels),
    )


def _channels(part: PartRecord) -> Iterator[Channel]:
    for depth, x, y in zip(*np.nonzero(flagged(part.worst)), strict=True):
        cell = (depth, x, y)
        ratio = f"{part.observed[cell] / part.expected[cell]:.2f}" if part.expected[cell] > 0 else "–"
        name = f"{part.name} {int(IETA_LABELS[x]):+d}/{y + 1}/{depth + 1}"
        state = State(int(part.worst[cell]))
        yield Channel(name, state, float(part.fraction[cell]), ratio, float(part.score[cell]))


@dataclass(frozen=True)
class PageConditions:
    """What the run was taken under, as far as its record tells."""

    picture: Picture
    lumisections: str
    missing: str
    not_assessed: str
    events: str
    typical: str
    pileup: str


def _conditions(record: RunRecord, events: Array, assessed: Array, pileup: Floats) -> PageConditions:
    there = record.lumisections
    absent = np.setdiff1d(np.arange(1, len(events) + 1), there)
    dark = there[~assessed[there - 1]]
    words = f"Events per lumisection, LS 1 to {len(events)}; {quantity(int(assessed.sum()), 'lumisection')} judged."
    return PageConditions(
        picture=picture(events_figure(run_number(record.run, record.sources), events, assessed), words),
        lumisections=f"{len(there):,} ({listed(ranges_of(there), 6)})",
        missing=listed(ranges_of(absent)),
        not_assessed=listed(ranges_of(dark)),
        events=count(float(record.events.sum())),
        typical=count(float(np.median(record.events))) if len(there) else "0",
        pileup=spread(pileup),
    )
