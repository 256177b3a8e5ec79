"""The pictures, in the CMS style: each function takes arrays and returns a figure, and knows nothing of a verdict.

Figures are made without pyplot, so that no state is left behind in a user's session.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, StrMethodFormatter

from hcal_root_ad.detector import N_RBX
from hcal_root_ad.files import whole_file
from hcal_root_ad.judge.aggregate import Array
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
class History:
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
def history_figure(run: int, histories: Sequence[History]) -> Figure:
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


def _history(axis: Axes, history: History) -> None:
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
