"""The page on one run, from its record alone, and the figures on it, which are made of arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from hcal_root_ad import style
from hcal_root_ad.detector import IETA_LABELS, N_DEPTH, N_DQM_IETA, N_IPHI, N_RBX, SUBDET_PM, box_name
from hcal_root_ad.judge.aggregate import Array, Floats, States, flagged, on_axis
from hcal_root_ad.judge.verdict import State
from hcal_root_ad.lumi_maps import Range, listed, ranges_of, within
from hcal_root_ad.publish.elements import RBX_LABELS
from hcal_root_ad.publish.saved_verdict import HBHE_BOXES, STRIPS, PartRecord, RunRecord
from hcal_root_ad.report import page
from hcal_root_ad.report.page import Picture, ReportedFinding, picture

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
POINTS = 90
"""Most points of a small picture; those of a longer run are sums over neighbouring lumisections."""
MARKS: dict[int, tuple[str, str]] = {State.PROBLEMATIC: ("o", "#000000"), State.BAD: ("s", "#000000")}
_BLUE, _RED = "#3f6fd8", "#c1121f"


def run_page(record: RunRecord, pileup: Floats | None = None) -> str:
    """The page as HTML: verdict, timeline, maps, findings, ageing, conditions, provenance.

    ``pileup``: of the run's lumisections, where a campaign knows it.
    """
    findings = page.findings_of(record)
    states, length = page.box_states(record), int(record.lumisections.max(initial=1))
    events = on_axis(record.events, record.lumisections, length)
    assessed = on_axis(page.assessed_in(record), record.lumisections, length)
    entries = [
        {"number": number, "finding": finding, "stamp": _stamp(finding, record) if number <= STAMPS else None}
        for number, finding in enumerate(findings[:LINES], start=1)
    ]
    return page.render(
        "run.html.j2",
        record=record,
        provenance=record.provenance.text() if record.provenance else "",
        headline=page.headline_of(record, findings),
        trust=page.trust_of(record),
        numbers=[_numbers(part) for part in record.parts],
        strongest=min(len(findings), STRONGEST),
        entries=entries,
        stamps=STAMPS,
        hidden=max(0, len(findings) - LINES),
        timeline=_timeline(record, events, states, findings),
        block=-(-length // page.COLUMNS),
        boxes=list(_boxes(record)),
        maps=_maps(record),
        forecasts=[forecast for part in record.parts for forecast in part.forecasts],
        conditions=_conditions(record, events, assessed, np.zeros(0) if pileup is None else pileup),
    )


def _numbers(part: PartRecord) -> dict[str, Any]:
    """The column of one part in the table below the verdict; None where a number has no meaning."""
    flags = (part.bad + part.problematic).sum(axis=1)
    counts = {state: int((part.worst == state).sum()) for state in State} if part.name != STRIPS else {}
    return {
        "name": part.name,
        "granularity": part.granularity,
        "assessed": int(part.assessed.sum()),
        "lumisections": len(part.assessed),
        "clean": int((part.assessed & (flags == 0)).sum()),
        "bad_box": int((part.box_states == State.BAD).any(axis=1).sum()),
        "bad": counts.get(State.BAD),
        "problematic": counts.get(State.PROBLEMATIC),
        "not_connected": counts.get(State.NOT_CONNECTED),
        "findings": len(part.findings),
    }


@dataclass(frozen=True)
class Outline:
    """Lumisections of a readout box (0…71) to be outlined with a number."""

    number: int
    box: int
    first: int
    last: int


def _timeline(record: RunRecord, events: Array, states: States, findings: Sequence[ReportedFinding]) -> Picture:
    """The strongest findings within a box are outlined, of the parts whose states are shown."""
    shown = page.parts_by_lumisection(record)
    outlines = [
        Outline(number, box, each.finding.first, each.finding.last)
        for number, each in enumerate(findings[:OUTLINED], start=1)
        if each.part in shown and (box := page.box_of_unit(each.finding.unit)) is not None
    ]
    bad = sorted({box_name(int(box)) for box in np.flatnonzero((states == State.BAD).any(axis=0))})
    words = (
        f"State of the 72 readout boxes in LS 1 to {len(states)}. Bad at some time: {', '.join(bad) or 'none'}. "
        "The table below gives the lumisections."
    )
    return picture(timeline_figure(style.run_number(record.run, record.sources), events, states, outlines), words)


@style.in_cms_style
def timeline_figure(run: int, events: Array, states: Array, outlines: Sequence[Outline]) -> Figure:
    """Events (LS,) and states (LS, 72) of all readout boxes, LS 1 first; 0 where a box was not judged."""
    figure = style.page(run, 14, 14.5)
    top, *axes = figure.subplots(5, 1, sharex=True, height_ratios=[1.1, 3, 3, 3, 3])
    _draw_events(top, events)
    for index, (axis, half) in enumerate(zip(axes, SUBDET_PM, strict=True)):
        page.draw_timeline(axis, states[:, index * N_RBX : (index + 1) * N_RBX], 0.5)
        axis.yaxis.set_major_locator(FixedLocator(range(1, N_RBX + 1, 2)))
        axis.set_yticklabels(RBX_LABELS[half][::2], fontsize=10)
        for outline in outlines:
            if outline.box // N_RBX == index:
                style.outline(axis, outline.number, outline.box % N_RBX + 1, outline.first, outline.last)
    axes[-1].set_xlabel("lumisection")
    entries = [*style.STATES.values(), ("not judged", style.NO_CHANNEL)]
    style.legend_below(figure, [style.patch(colour, name) for name, colour in entries])
    return figure


def _draw_events(axis: Axes, events: Array) -> None:
    axis.stairs(events, np.arange(len(events) + 1) + 0.5, color="black", linewidth=1.2)
    axis.set_ylabel("events")
    axis.set_ylim(0, 1.15 * max(float(events.max(initial=0)), 1))


def _boxes(record: RunRecord) -> Iterator[dict[str, str]]:
    """When the boxes of HB, HE and HO, and the sides of HF, were bad and problematic, where they ever were."""
    for part in page.parts_by_lumisection(record):
        for box in np.flatnonzero((part.box_states >= State.PROBLEMATIC).any(axis=0)):
            states = np.broadcast_to(part.box_states[:, box], len(record.lumisections))  # one row may stand for the run
            where = {
                state.name.lower(): listed(ranges_of(record.lumisections[states == state]))
                for state in (State.BAD, State.PROBLEMATIC)
            }
            yield {"name": part.boxes[box], **where}


def _maps(record: RunRecord) -> dict[str, Any] | None:
    """The maps per depth, and the channels that are flagged longest."""
    parts = [part for part in record.parts if part.name != STRIPS]
    if not parts:
        return None
    shape = (N_DEPTH, N_DQM_IETA, N_IPHI)
    worst, observed, expected = np.zeros(shape, dtype=np.uint8), np.zeros(shape), np.zeros(shape)
    for part in parts:
        if part.boxes == HBHE_BOXES:
            worst += part.worst
            observed += part.observed
            expected += part.expected
    channels = [channel for part in parts for channel in _channels(part)]
    channels.sort(key=lambda channel: (-channel["fraction"], channel["name"]))
    by_depth = ", ".join(f"depth {depth}: {int(n)}" for depth, n in enumerate(flagged(worst).sum(axis=(1, 2)), start=1))
    words = f"Worst state of each channel of HB and HE, ieta by iphi, one map per depth. Flagged channels: {by_depth}."
    ratio = "Digis seen over digis expected for each channel, ieta by iphi, one map per depth."
    run = style.run_number(record.run, record.sources)
    return {
        "states": picture(style.state_maps(run, worst, 3, MARKS), words),
        "ratio": picture(ratio_maps(run, observed, expected), ratio),
        "channels": channels[:CHANNELS],
        "flagged": len(channels),
    }


def ratio_maps(run: int, observed: Array, expected: Array) -> Figure:
    """(7, 84, 72) digis seen over expected in the judged LS, white where nothing is expected."""
    ratio = np.divide(observed, expected, out=np.full(observed.shape, np.nan), where=expected > 0)
    label, colours = "digis seen / expected, over the judged LS", mpl.colormaps["PuOr_r"]
    return style.value_maps(run, ratio, label, "max", 3, cmap=colours, vmin=0, vmax=2)


def _channels(part: PartRecord) -> Iterator[dict[str, Any]]:
    for depth, x, y in zip(*np.nonzero(flagged(part.worst)), strict=True):
        cell = (depth, x, y)
        yield {
            "name": f"{part.name} {int(IETA_LABELS[x]):+d}/{y + 1}/{depth + 1}",
            "state": State(int(part.worst[cell])),
            "fraction": float(part.fraction[cell]),
            "ratio": f"{part.observed[cell] / part.expected[cell]:.2f}" if part.expected[cell] > 0 else "–",
            "score": float(part.score[cell]),
        }


@dataclass(frozen=True, eq=False)
class FindingHistory:
    """Digis per event of a finding's channels: (points,) LS, seen, expected and its sigma; and what is flagged."""

    lumisections: Array
    observed: Array
    expected: Array
    sigma: Array
    flagged: list[Range]


def _stamp(reported: ReportedFinding, record: RunRecord) -> Picture | None:
    """The small picture, where the record has digis against LS: the finding's, and as many to either side."""
    part, finding = reported.part, reported.finding
    if reported.row is None or part.granularity == "run":
        return None
    margin, lumisections = max(20, finding.last - finding.first + 1), record.lumisections
    near = (lumisections >= finding.first - margin) & (lumisections <= finding.last + margin)
    rows = np.flatnonzero(part.assessed & near)
    if len(rows) == 0:
        return None
    history = _history(part, reported, rows, record)
    inside = within(history.lumisections, history.flagged)
    sentences = [f"Digis per event, LS {history.lumisections[0]:.0f} to {history.lumisections[-1]:.0f}."]
    for where, name in ((inside, "flagged"), (~inside, "not flagged")):
        if where.any():
            observed, expected = history.observed[where].mean(), history.expected[where].mean()
            sentences.append(f"Where {name}: {observed:.3g} seen, {expected:.3g} expected.")
    return picture(small_figure(history), " ".join(sentences))


def _history(part: PartRecord, reported: ReportedFinding, rows: Array, record: RunRecord) -> FindingHistory:
    """Digis per event at the given rows, neighbours summed where they are many."""
    starts = np.arange(0, len(rows), max(1, -(-len(rows) // POINTS)))
    events = np.maximum(record.events[rows], 1).astype(float)
    expected = part.finding_expected[reported.row, rows].astype(float)
    observed = part.finding_observed[reported.row, rows].astype(float)
    # A sum of binomials is at most as wide as one of their mean probability; strips may count more than one an event.
    share = 0.0 if part.name == STRIPS else np.minimum(expected / (events * reported.finding.channels), 1)
    variance = expected * (1 - share)
    seen, due, width, total = (np.add.reduceat(values, starts) for values in (observed, expected, variance, events))
    times = np.add.reduceat(record.lumisections[rows].astype(float), starts) / np.diff(np.append(starts, len(rows)))
    return FindingHistory(times, seen / total, due / total, np.sqrt(width) / total, list(reported.finding.ranges))


@style.in_cms_style
def small_figure(history: FindingHistory) -> Figure:
    """Seen against expected, in a picture the size of a stamp."""
    figure = Figure(figsize=(2.9, 1.05))
    axis = figure.add_axes((0.12, 0.21, 0.82, 0.75))
    x = history.lumisections
    shaded = [(first - 0.5, last - first + 1) for first, last in history.flagged]
    axis.broken_barh(shaded, (0, 1), transform=axis.get_xaxis_transform(), color=_RED, alpha=0.15, linewidth=0)
    low, high = history.expected - history.sigma, history.expected + history.sigma
    axis.fill_between(x, low, high, step="mid", color=_BLUE, alpha=0.35, linewidth=0)
    axis.step(x, history.expected, where="mid", color=_BLUE, linewidth=1)
    axis.plot(x, history.observed, ".", color="black", markersize=3)
    highest = max(float(history.expected.max(initial=0)), float(history.observed.max(initial=0)), 1e-6)
    axis.set_ylim(-0.05 * highest, 1.15 * highest)
    axis.set_xlim(x[0] - 0.5, x[-1] + 0.5)
    axis.set_yticks([0, float(f"{highest:.1g}")])
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, min_n_ticks=1))
    axis.minorticks_off()
    axis.tick_params(length=3, width=0.6, pad=2, labelsize=8.5, top=False, right=False)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def _conditions(record: RunRecord, events: Array, assessed: Array, pileup: Floats) -> dict[str, Any]:
    """What the run was taken under, as far as its record tells."""
    lumisections = record.lumisections
    judged = page.quantity(int(assessed.sum()), "lumisection")
    words = f"Events per lumisection, LS 1 to {len(events)}; {judged} judged."
    figure = events_figure(style.run_number(record.run, record.sources), events, assessed)
    return {
        "picture": picture(figure, words),
        "lumisections": f"{len(lumisections):,} ({listed(ranges_of(lumisections), 6)})",
        "missing": listed(ranges_of(np.setdiff1d(np.arange(1, len(events) + 1), lumisections))),
        "not_assessed": listed(ranges_of(lumisections[~assessed[lumisections - 1]])),
        "events": page.count(float(record.events.sum())),
        "typical": page.count(float(np.median(record.events))) if len(lumisections) else "0",
        "pileup": page.spread(pileup),
    }


@style.in_cms_style
def events_figure(run: int, events: Array, assessed: Array) -> Figure:
    """(LS,) events against LS, LS 1 first, and where nothing was judged."""
    figure = style.page(run, 14, 3.6)
    axis = figure.subplots()
    _draw_events(axis, events)
    edges, high = np.arange(len(events) + 1) + 0.5, axis.get_ylim()[1]
    axis.stairs(np.where(assessed, 0, high), edges, baseline=0, fill=True, color=style.NOT_JUDGED, zorder=0)
    style.lumi_axis(axis, len(events))
    axis.set_xlabel("lumisection")
    style.legend_below(figure, [style.patch(style.NOT_JUDGED, "not assessed")])
    return figure
