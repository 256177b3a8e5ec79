"""The pictures of a run, in the CMS style: figures of arrays, and what a verdict puts into them.

Figures are made without pyplot, so that no state is left behind in a user's session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, StrMethodFormatter

from hcal_root_ad import style
from hcal_root_ad.detector import N_RBX, SUBDET_PM
from hcal_root_ad.errors import OutputError
from hcal_root_ad.judge import aggregate
from hcal_root_ad.judge.aggregate import Array, axis_length, boxes_of, depth_maps, on_axis
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import Finding, State, StripVerdict, Verdict, how_large, what, when
from hcal_root_ad.lumi_maps import ranges_of

KINDS = {
    "dead": ("#5790fc", "-"),
    "degraded": ("#f89c20", "--"),
    "warm": ("#964a8b", "-."),
    "hot": ("#e42536", "-"),
    "noisy": ("#5b5b60", ":"),
}
"""Colours (CMS's palette for colour-blind readers) and lines of the kinds of fault."""
_LINES = {"HB": ("#5790fc", "-"), "HE": ("#e42536", "--")}


@dataclass(frozen=True)
class Mark:
    """Where a finding is outlined: its ``rows`` readout boxes from ``rbx`` (1…18) of a half on, and its number."""

    number: int
    half: str
    rbx: int
    rows: int
    first: int
    last: int


@dataclass(frozen=True, eq=False)
class RateHistory:
    """Digis per event of one group's channels against LS: ``sigma`` is that of ``expected`` for binomial counts."""

    title: str
    lumisections: Array
    observed: Array
    expected: Array
    sigma: Array
    first: int
    last: int


@style.in_cms_style
def box_figure(run: int, states: Mapping[str, Array], marks: Sequence[Mark], findings: Sequence[str]) -> Figure:
    """(LS, 18) states of the readout boxes of each half in DQM's colours; the findings are outlined and numbered."""
    lines = -(-(len(findings) + len(style.STATES)) // 4)
    figure = style.page(run, 14, 9.2 + 0.25 * lines)
    axes = figure.subplots(2, 2, sharex=True).ravel()
    for axis, (half, values) in zip(axes, states.items(), strict=True):
        style.lumi_states(axis, values)
        for mark in marks:
            if mark.half == half:
                style.outline(axis, mark.number, mark.rbx, mark.first, mark.last, mark.rows)
        axis.yaxis.set_major_locator(FixedLocator(range(1, N_RBX + 1)))
        axis.set_yticklabels([f"{half}{rbx:02d}" for rbx in range(1, N_RBX + 1)], fontsize=9)
    for axis in axes[2:]:
        axis.set_xlabel("lumisection")
    numbered = [f"{number}  {text}" for number, text in enumerate(findings, start=1)] or ["nothing flagged"]
    shown = [style.patch(colour, name) for name, colour in style.STATES.values()]
    style.legend_below(figure, [*shown, *(Patch(alpha=0, label=text) for text in numbered)])
    return figure


@style.in_cms_style
def strip_figure(run: int, states: Mapping[str, Array]) -> Figure:
    """(LS, 72) states of iphi strips per half, LS × iphi."""
    figure = style.page(run, 14, 9.8)
    axes = figure.subplots(2, 2, sharex=True, sharey=True).ravel()
    for axis, (half, values) in zip(axes, states.items(), strict=True):
        style.lumi_states(axis, values)
        axis.yaxis.set_major_locator(FixedLocator([1, 18, 36, 54, 72]))
        axis.set_title(half, fontsize=13)
    for axis in axes[2:]:
        axis.set_xlabel("lumisection")
    for axis in axes[::2]:
        axis.set_ylabel("iphi")
    style.legend_below(figure, [style.patch(colour, name) for name, colour in style.STATES.values()])
    return figure


@style.in_cms_style
def trend_figure(
    run: int,
    events: Array,
    assessed: Array,
    flagged: Mapping[str, Mapping[str, Array]],
    errors: Mapping[str, Array],
    unit: str,
) -> Figure:
    """Against LS, LS 1 first: events, flagged ``unit`` per sub-detector and kind, and the reconstruction error."""
    panels = 1 + len(flagged) + bool(errors)
    figure = style.page(run, 12, 2.7 * panels + 0.7)
    axes = np.atleast_1d(figure.subplots(panels, 1, sharex=True))
    edges = np.arange(len(events) + 1) + 0.5
    axes[0].stairs(events, edges, color="black", linewidth=1.4)
    axes[0].set_ylabel("events")
    axes[0].set_ylim(0, 1.3 * max(float(events.max(initial=0)), 1))
    axes[0].legend(handles=[Patch(facecolor=style.NOT_JUDGED, label="not assessed")], loc="upper left")
    for axis, (name, kinds) in zip(axes[1:], flagged.items(), strict=False):
        shown = {kind: np.where(assessed, values, np.nan) for kind, values in kinds.items() if values.any()}
        _kinds(axis, edges, shown, f"{name} flagged {unit}")
    if errors:
        _errors(axes[-1], edges, {name: np.where(assessed, values, np.nan) for name, values in errors.items()})
    for axis in axes:
        low, high = axis.get_ylim()
        axis.stairs(np.where(assessed, low, high), edges, baseline=low, fill=True, color=style.NOT_JUDGED, zorder=0)
        axis.set_ylim(low, high)
        style.lumi_axis(axis, len(events))
    axes[-1].set_xlabel("lumisection")
    figure.align_ylabels(axes)
    return figure


@style.in_cms_style
def history_figure(run: int, histories: Sequence[RateHistory]) -> Figure:
    """Digis per event, seen against expected, for each of the strongest groups."""
    columns = min(len(histories), 2)
    rows = -(-len(histories) // columns)
    figure = style.page(run, 7 * columns, 3.4 * rows + 1.2)
    axes = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for axis, history in zip(axes, histories, strict=False):
        _history(axis, history)
    for axis in axes[len(histories) :]:
        axis.set_visible(False)
    for axis in axes[max(0, len(histories) - columns) : len(histories)]:
        axis.set_xlabel("lumisection")
    style.legend_below(figure, axes[0].get_legend_handles_labels()[0])
    return figure


def _kinds(axis: Axes, edges: Array, kinds: Mapping[str, Array], title: str) -> None:
    """Counts of the kinds that occur; the scale is linear up to 1 and logarithmic above."""
    for kind, values in kinds.items():
        colour, line = KINDS[kind]
        axis.stairs(values, edges, baseline=None, color=colour, linestyle=line, label=kind, linewidth=2.2)
    highest = max((float(np.nanmax(values)) for values in kinds.values()), default=1)
    axis.set_yscale("symlog", linthresh=1)
    axis.set_ylim(-0.1, max(10.0, 10 * highest))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_ylabel(title)
    if kinds:
        axis.legend(loc="upper left", ncols=5)
    else:
        axis.text(0.5, 0.5, "nothing flagged", transform=axis.transAxes, ha="center", va="center", bbox=style.BOX)


def _errors(axis: Axes, edges: Array, errors: Mapping[str, Array]) -> None:
    for name, values in errors.items():
        colour, line = _LINES[name]
        axis.stairs(values, edges, baseline=None, color=colour, linestyle=line, label=name, linewidth=1.8)
    axis.axhline(1, color="black", linewidth=1, linestyle=":", label="statistics alone")
    axis.set_ylabel("RMS of\n(seen $-$ expected) / $\\sigma$")
    axis.set_ylim(0, 1.4 * max(1.5, *(float(np.nan_to_num(values).max(initial=0)) for values in errors.values())))
    axis.legend(loc="upper left", ncols=3)


def _history(axis: Axes, history: RateHistory) -> None:
    x, blue = history.lumisections, "#5790fc"
    axis.axvspan(history.first - 0.5, history.last + 0.5, color="#e42536", alpha=0.12, linewidth=0, label="flagged")
    low, high = history.expected - history.sigma, history.expected + history.sigma
    axis.fill_between(x, low, high, step="mid", color=blue, alpha=0.45, linewidth=0)
    axis.step(
        x, history.expected, where="mid", color=blue, linewidth=1.8, label="expected $\\pm$ statistical $\\sigma$"
    )
    size = 4 if len(x) <= 100 else 2
    axis.plot(x, history.observed, "o", color="black", markersize=size, label="seen")
    axis.set_title(history.title, fontsize=13, loc="left")
    axis.set_ylabel("digis per event")
    top = max(float(history.expected.max(initial=0)), float(history.observed.max(initial=0)), 1e-6)
    axis.set_ylim(-0.05 * top, 1.15 * top)
    axis.set_xlim(x.min(initial=1) - 0.5, x.max(initial=1) + 0.5)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))


Judgement = Verdict | StripVerdict

_DRAWN = ("HB", "HE")
"""Sub-detectors on the maps, whose readout boxes are known; findings of the others have their histories."""
_MARKS, _HISTORIES = 16, 6
"""Findings outlined on the map of boxes, and findings with a history of their own."""


def draw_plots(verdict: RunVerdict, folder: Path) -> tuple[Path, ...]:
    """Save the pictures that the verdict's granularity allows as PNG files in ``folder``, and return their paths.

    Per lumisection: boxes against LS, trends, histories of the strongest findings. Per channel: states
    and residuals by depth. Strips: states against LS. Raises OutputError if the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tuple(style.save(figure, folder / f"{name}.png") for name, figure in _figures(verdict))
    except OSError as error:
        raise OutputError(f"{folder}: pictures cannot be written ({error.strerror}); choose another folder.") from error


def _figures(run: RunVerdict) -> Iterator[tuple[str, Figure]]:
    number = style.run_number(run.maps.run, run.maps.sources)
    # Channels where they were judged per lumisection, else strips.
    per_lumi: Sequence[Judgement] = [verdict for verdict in run.verdicts if verdict.granularity == "lumisection"]
    per_lumi = per_lumi or ([run.strips] if run.strips else [])
    with_boxes = [each for each in per_lumi if isinstance(each, StripVerdict) or each.subdetector in _DRAWN]
    if with_boxes:
        yield "flagged_boxes", _boxes(number, axis_length(run), with_boxes)
    if drawn := [verdict for verdict in run.verdicts if verdict.subdetector in _DRAWN]:
        yield "states", style.state_maps(number, _summed(drawn, lambda each: aggregate.worst_state(each.states)))
        yield "residuals", _residuals(number, drawn)
    if run.strips:
        states = on_axis(run.strips.states, run.strips.lumisections, axis_length(run), State.NOT_ASSESSED)
        yield "strip_states", strip_figure(number, _by_half(states))
    if with_boxes:
        yield "trends", _trends(number, axis_length(run), with_boxes)
    strongest = enumerate(_strongest(per_lumi)[:_HISTORIES], start=1)
    if histories := [_history_of(rank, *pair) for rank, pair in strongest]:
        yield "strongest_findings", history_figure(number, histories)


def _unit(judgement: Judgement) -> str:
    return "channel" if isinstance(judgement, Verdict) else "strip"


def _by_half(columns: Array) -> dict[str, Array]:
    """(LS, columns) of all halves, one after the other, by half."""
    return dict(zip(SUBDET_PM, np.split(columns, len(SUBDET_PM), axis=1), strict=True))


def _boxes(run: int, length: int, judgements: Sequence[Judgement]) -> Figure:
    states = np.zeros((length, len(SUBDET_PM) * N_RBX), dtype=np.uint8)
    for verdict in judgements:
        own = on_axis(aggregate.box_states(verdict), verdict.lumisections, length, State.NOT_ASSESSED)
        own[:, ~np.isin(np.arange(own.shape[1]), boxes_of(verdict))] = 0
        np.maximum(states, own, out=states)
    strongest = _strongest(judgements)[:_MARKS]
    marks = [mark for number, pair in enumerate(strongest, start=1) for mark in _marks(number, *pair)]
    return box_figure(run, _by_half(states), marks, [_describe(finding) for _, finding in strongest])


def _marks(number: int, verdict: Judgement, finding: Finding) -> Iterator[Mark]:
    """Where a finding is on the map of boxes: neighbouring boxes of a half together."""
    boxes = np.unique(boxes_of(verdict)[list(finding.rows)])
    for index, half in enumerate(SUBDET_PM):
        inside = boxes[boxes // N_RBX == index] % N_RBX + 1
        for first, last in ranges_of(inside.tolist()):
            yield Mark(number, half, first, last - first + 1, finding.first, finding.last)


def _describe(finding: Finding) -> str:
    return f"{finding.unit} {finding.kind}, LS {when(finding)}"


def _summed(verdicts: Sequence[Verdict], values: Callable[[Verdict], Array]) -> Array:
    """(7, 84, 72) values of the channels of all, each of which has cells of its own."""
    maps = np.stack([depth_maps(verdict.channels, values(verdict)) for verdict in verdicts])
    return np.asarray(maps.sum(axis=0, dtype=np.float64))


def _residuals(run: int, verdicts: Sequence[Verdict]) -> Figure:
    """Signed pulls of the run, where a channel was judged."""
    pulls = _summed(verdicts, aggregate.run_pull)
    judged = _summed(verdicts, lambda each: aggregate.count_by_channel(each.states, aggregate.judged) > 0) > 0
    label, colours = "(seen $-$ expected) / binomial $\\sigma$, over the judged LS", mpl.colormaps["RdBu_r"]
    return style.value_maps(run, np.where(judged, pulls, np.nan), label, "both", cmap=colours, vmin=-10.0, vmax=10.0)


def _trends(run: int, length: int, judgements: Sequence[Judgement]) -> Figure:
    events = on_axis(judgements[0].events, judgements[0].lumisections, length)
    assessed = np.zeros(length, dtype=bool)
    kinds: dict[str, dict[str, Array]] = {}
    errors = {}
    for verdict in judgements:
        assessed |= on_axis(verdict.assessed, verdict.lumisections, length)
        counts = {kind: on_axis(c, verdict.lumisections, length) for kind, c in aggregate.kind_counts(verdict).items()}
        for name, boxes in {"HB": slice(0, 2 * N_RBX), "HE": slice(2 * N_RBX, 4 * N_RBX)}.items():
            if isinstance(verdict, StripVerdict) or verdict.subdetector == name:
                kinds[name] = {str(kind): values[:, boxes].sum(axis=1) for kind, values in counts.items()}
        if isinstance(verdict, Verdict):
            errors[verdict.subdetector] = on_axis(aggregate.reconstruction_error(verdict), verdict.lumisections, length)
    return trend_figure(run, events, assessed, kinds, errors, f"{_unit(judgements[0])}s")


def _strongest(judgements: Sequence[Judgement]) -> list[tuple[Judgement, Finding]]:
    """All findings, the strongest first, each with the judgement that it belongs to."""
    pairs = [(verdict, finding) for verdict in judgements for finding in verdict.findings]
    return sorted(pairs, key=lambda pair: -pair[1].significance)


def _history_of(number: int, verdict: Judgement, finding: Finding) -> RateHistory:
    """Digis per event of the finding's channels, at the assessed lumisections."""
    rows, channels = np.flatnonzero(verdict.assessed), np.array(finding.rows, dtype=np.intp)
    events = np.maximum(verdict.events[rows], 1).astype(np.float64)
    observed = verdict.observed[np.ix_(rows, channels)]
    expected = verdict.expected[np.ix_(rows, channels)].astype(np.float64)
    spread = aggregate.variance(expected, verdict.events[rows, None]) if isinstance(verdict, Verdict) else expected
    return RateHistory(
        title=f"{number}  {_describe(finding)} ({what(finding, _unit(verdict))}, {how_large(finding)})",
        lumisections=verdict.lumisections[rows],
        observed=observed.sum(axis=1) / events,
        expected=expected.sum(axis=1) / events,
        sigma=np.sqrt(spread.sum(axis=1)) / events,
        first=finding.first,
        last=finding.last,
    )
