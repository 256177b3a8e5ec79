"""The pictures of a run, in the CMS style: figures of arrays, and what a verdict puts into them.

Figures are made without pyplot, so that no state is left behind in a user's session.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, StrMethodFormatter

from hcal_root_ad.detector import N_DEPTH, N_DQM_IETA, N_IPHI, N_RBX, SUBDET_PM
from hcal_root_ad.errors import OutputError
from hcal_root_ad.files import whole_file
from hcal_root_ad.judge.aggregate import (
    Array,
    axis_length,
    box_states,
    boxes_of,
    count_by_channel,
    depth_maps,
    judged,
    kind_counts,
    on_axis,
    reconstruction_error,
    run_pull,
    variance,
    worst_state,
)
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import Finding, State, StripVerdict, Verdict, how_large, what, when
from hcal_root_ad.lumi_maps import ranges_of
from hcal_root_ad.style import (
    BOX,
    NO_CHANNEL,
    NOT_JUDGED,
    STATES,
    colour_bar,
    counted_states,
    depth_map,
    depth_page,
    in_cms_style,
    legend_below,
    lumi_axis,
    lumi_map,
    outline,
    page,
    patch,
    png,
    run_number,
    state_colours,
)

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


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_bytes(png(figure))
    return path


@in_cms_style
def box_figure(run: int, states: Mapping[str, Array], marks: Sequence[Mark], findings: Sequence[str]) -> Figure:
    """(LS, 18) states of the readout boxes of each half in DQM's colours; the findings are outlined and numbered."""
    lines = -(-(len(findings) + len(STATES)) // 4)
    figure = page(run, 14, 9.2 + 0.25 * lines)
    axes = figure.subplots(2, 2, sharex=True).ravel()
    colours, norm = state_colours()
    for axis, (half, values) in zip(axes, states.items(), strict=True):
        lumi_map(axis, np.where(values > 0, values, np.nan), cmap=colours, norm=norm)
        axis.set_facecolor(NO_CHANNEL)
        for mark in marks:
            if mark.half == half:
                outline(axis, mark.number, mark.rbx, mark.first, mark.last, mark.rows)
        axis.yaxis.set_major_locator(FixedLocator(range(1, N_RBX + 1)))
        axis.set_yticklabels([f"{half}{rbx:02d}" for rbx in range(1, N_RBX + 1)], fontsize=9)
    for axis in axes[2:]:
        axis.set_xlabel("lumisection")
    numbered = [f"{number}  {text}" for number, text in enumerate(findings, start=1)] or ["nothing flagged"]
    shown = [patch(colour, name) for name, colour in STATES.values()]
    legend_below(figure, [*shown, *(Patch(alpha=0, label=text) for text in numbered)])
    return figure


@in_cms_style
def state_figure(run: int, states: Array) -> Figure:
    """(7, 84, 72) worst states of the run per depth, ieta × iphi; 0 where there is no channel."""
    figure, axes = depth_page(run)
    colours, norm = state_colours()
    for axis, values in zip(axes, states, strict=False):
        depth_map(axis, np.where(values > 0, values, np.nan), cmap=colours, norm=norm)
    title = "channels, by worst state of the run"
    axes[-1].legend(handles=counted_states(states), loc="center", title=title, alignment="left")
    return figure


@in_cms_style
def residual_figure(run: int, pulls: Array, judged: Array, largest: float = 10.0) -> Figure:
    """(7, 84, 72) signed pulls of the run, seen against expected; ``judged`` tells which cells count."""
    figure, axes = depth_page(run)
    style = {"cmap": mpl.colormaps["RdBu_r"], "vmin": -largest, "vmax": largest}
    for axis, values, use in zip(axes, pulls, judged, strict=False):
        image = depth_map(axis, np.where(use, values, np.nan), **style)
    label = "(seen $-$ expected) / binomial $\\sigma$, over the judged LS"
    colour_bar(figure, axes[-1], image, label, extend="both")
    return figure


@in_cms_style
def strip_figure(run: int, states: Mapping[str, Array]) -> Figure:
    """(LS, 72) states of iphi strips per half, LS × iphi."""
    figure = page(run, 14, 9.8)
    axes = figure.subplots(2, 2, sharex=True, sharey=True).ravel()
    colours, norm = state_colours()
    for axis, (half, values) in zip(axes, states.items(), strict=True):
        lumi_map(axis, np.where(values > 0, values, np.nan), cmap=colours, norm=norm)
        axis.yaxis.set_major_locator(FixedLocator([1, 18, 36, 54, 72]))
        axis.set_title(half, fontsize=13)
    for axis in axes[2:]:
        axis.set_xlabel("lumisection")
    for axis in axes[::2]:
        axis.set_ylabel("iphi")
    legend_below(figure, [patch(colour, name) for name, colour in STATES.values()])
    return figure


@in_cms_style
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
    figure = page(run, 12, 2.7 * panels + 0.7)
    axes = np.atleast_1d(figure.subplots(panels, 1, sharex=True))
    edges = np.arange(len(events) + 1) + 0.5
    _events(axes[0], edges, events)
    for axis, (name, kinds) in zip(axes[1:], flagged.items(), strict=False):
        shown = {kind: np.where(assessed, values, np.nan) for kind, values in kinds.items() if values.any()}
        _kinds(axis, edges, shown, f"{name} flagged {unit}")
    if errors:
        _errors(axes[-1], edges, {name: np.where(assessed, values, np.nan) for name, values in errors.items()})
    for axis in axes:
        low, high = axis.get_ylim()
        axis.stairs(np.where(assessed, low, high), edges, baseline=low, fill=True, color=NOT_JUDGED, zorder=0)
        axis.set_ylim(low, high)
        lumi_axis(axis, len(events))
    axes[-1].set_xlabel("lumisection")
    figure.align_ylabels(axes)
    return figure


@in_cms_style
def history_figure(run: int, histories: Sequence[RateHistory]) -> Figure:
    """Digis per event, seen against expected, for each of the strongest groups."""
    columns = min(len(histories), 2)
    rows = -(-len(histories) // columns)
    figure = page(run, 7 * columns, 3.4 * rows + 1.2)
    axes = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for axis, history in zip(axes, histories, strict=False):
        _history(axis, history)
    for axis in axes[len(histories) :]:
        axis.set_visible(False)
    for axis in axes[max(0, len(histories) - columns) : len(histories)]:
        axis.set_xlabel("lumisection")
    legend_below(figure, axes[0].get_legend_handles_labels()[0])
    return figure


def _events(axis: Axes, edges: Array, events: Array) -> None:
    axis.stairs(events, edges, color="black", linewidth=1.4)
    axis.set_ylabel("events")
    axis.set_ylim(0, 1.3 * max(float(events.max(initial=0)), 1))
    axis.legend(handles=[Patch(facecolor=NOT_JUDGED, label="not assessed")], loc="upper left")


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
        axis.text(0.5, 0.5, "nothing flagged", transform=axis.transAxes, ha="center", va="center", bbox=BOX)


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
        return tuple(save(figure, folder / f"{name}.png") for name, figure in _figures(verdict))
    except OSError as error:
        raise OutputError(f"{folder}: pictures cannot be written ({error.strerror}); choose another folder.") from error


def _figures(run: RunVerdict) -> Iterator[tuple[str, Figure]]:
    number = _number(run)
    per_lumi = _per_lumisection(run)
    drawn = tuple(verdict for verdict in run.verdicts if verdict.subdetector in _DRAWN)
    with_boxes = tuple(
        source for source in per_lumi if isinstance(source, StripVerdict) or source.subdetector in _DRAWN
    )
    if with_boxes:
        yield "flagged_boxes", _boxes(run, with_boxes)
    if drawn:
        states = sum((depth_maps(v.channels, worst_state(v.states)) for v in drawn), _empty_maps())
        yield "states", state_figure(number, states)
        yield "residuals", residual_figure(number, *_pulls(drawn))
    if run.strips:
        yield "strip_states", strip_figure(number, _strip_states(run.strips, axis_length(run)))
    if with_boxes:
        yield "trends", _trends(run, with_boxes)
    if histories := [
        _history_of(number_of, *pair) for number_of, pair in enumerate(_strongest(per_lumi)[:_HISTORIES], start=1)
    ]:
        yield "strongest_findings", history_figure(number, histories)


def _per_lumisection(run: RunVerdict) -> tuple[Judgement, ...]:
    """What was judged per lumisection: channels where they were, else strips."""
    verdicts = tuple(verdict for verdict in run.verdicts if verdict.granularity == "lumisection")
    return verdicts or ((run.strips,) if run.strips else ())


def _unit(per_lumi: tuple[Judgement, ...]) -> str:
    return "channels" if isinstance(per_lumi[0], Verdict) else "strips"


def _boxes(run: RunVerdict, per_lumi: tuple[Judgement, ...]) -> Figure:
    length = axis_length(run)
    states = np.zeros((length, len(SUBDET_PM) * N_RBX), dtype=np.uint8)
    for verdict in per_lumi:
        own = on_axis(box_states(verdict), verdict.lumisections, length, State.NOT_ASSESSED)
        own[:, ~np.isin(np.arange(own.shape[1]), boxes_of(verdict))] = 0
        np.maximum(states, own, out=states)
    halves = {half: slice(index * N_RBX, (index + 1) * N_RBX) for index, half in enumerate(SUBDET_PM)}
    strongest = _strongest(per_lumi)[:_MARKS]
    return box_figure(
        _number(run),
        {half: states[:, columns] for half, columns in halves.items()},
        [mark for number, pair in enumerate(strongest, start=1) for mark in _marks(number, *pair)],
        [_describe(finding) for _, finding in strongest],
    )


def _number(run: RunVerdict) -> int:
    return run_number(run.maps.run, run.maps.sources)


def _marks(number: int, verdict: Judgement, finding: Finding) -> Iterator[Mark]:
    """Where a finding is on the map of boxes: neighbouring boxes of a half together."""
    boxes = np.unique(boxes_of(verdict)[list(finding.rows)])
    for index, half in enumerate(SUBDET_PM):
        inside = boxes[boxes // N_RBX == index] % N_RBX + 1
        for first, last in ranges_of(inside.tolist()):
            yield Mark(number, half, first, last - first + 1, finding.first, finding.last)


def _describe(finding: Finding) -> str:
    return f"{finding.unit} {finding.kind}, LS {when(finding)}"


def _pulls(verdicts: tuple[Verdict, ...]) -> tuple[Array, Array]:
    """Signed pulls of the run and which cells were judged, both (7, 84, 72)."""
    pulls, use = _empty_maps(), _empty_maps()
    for verdict in verdicts:
        pulls += depth_maps(verdict.channels, run_pull(verdict))
        use += depth_maps(verdict.channels, count_by_channel(verdict.states, judged) > 0)
    return pulls, use > 0


def _strip_states(strips: StripVerdict, length: int) -> dict[str, Array]:
    states = on_axis(strips.states, strips.lumisections, length, State.NOT_ASSESSED)
    return {half: states[:, index * N_IPHI : (index + 1) * N_IPHI] for index, half in enumerate(SUBDET_PM)}


def _trends(run: RunVerdict, per_lumi: tuple[Judgement, ...]) -> Figure:
    length = axis_length(run)
    first = per_lumi[0]
    events = on_axis(first.events, first.lumisections, length)
    assessed = np.zeros(length, dtype=bool)
    kinds: dict[str, dict[str, Array]] = {}
    errors = {}
    for verdict in per_lumi:
        assessed |= on_axis(verdict.assessed, verdict.lumisections, length)
        counts = {kind: on_axis(c, verdict.lumisections, length) for kind, c in kind_counts(verdict).items()}
        for name, boxes in _subdetectors(verdict).items():
            kinds[name] = {str(kind): values[:, boxes].sum(axis=1) for kind, values in counts.items()}
        if isinstance(verdict, Verdict):
            errors[verdict.subdetector] = on_axis(reconstruction_error(verdict), verdict.lumisections, length)
    return trend_figure(_number(run), events, assessed, kinds, errors, _unit(per_lumi))


def _subdetectors(verdict: Judgement) -> dict[str, slice]:
    """Columns of (LS, 72 boxes) of each sub-detector that was judged."""
    columns = {"HB": slice(0, 2 * N_RBX), "HE": slice(2 * N_RBX, 4 * N_RBX)}
    return {verdict.subdetector: columns[verdict.subdetector]} if isinstance(verdict, Verdict) else columns


def _strongest(per_lumi: tuple[Judgement, ...]) -> list[tuple[Judgement, Finding]]:
    """All findings, the strongest first, each with the judgement that it belongs to."""
    pairs = [(verdict, finding) for verdict in per_lumi for finding in verdict.findings]
    return sorted(pairs, key=lambda pair: -pair[1].significance)


def _history_of(number: int, verdict: Judgement, finding: Finding) -> RateHistory:
    """Digis per event of the finding's channels, at the assessed lumisections."""
    channels = np.array(finding.rows, dtype=np.intp)
    rows = np.flatnonzero(verdict.assessed)
    events = np.maximum(verdict.events[rows], 1).astype(np.float64)
    observed = verdict.observed[np.ix_(rows, channels)]
    expected = verdict.expected[np.ix_(rows, channels)].astype(np.float64)
    spread = variance(expected, verdict.events[rows, None]) if isinstance(verdict, Verdict) else expected
    return RateHistory(
        title=f"{number}  {_describe(finding)} ({what(finding, _unit((verdict,))[:-1])}, {how_large(finding)})",
        lumisections=verdict.lumisections[rows],
        observed=observed.sum(axis=1) / events,
        expected=expected.sum(axis=1) / events,
        sigma=np.sqrt(spread.sum(axis=1)) / events,
        first=finding.first,
        last=finding.last,
    )


def _empty_maps() -> Array:
    return np.zeros((N_DEPTH, N_DQM_IETA, N_IPHI))
