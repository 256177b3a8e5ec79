"""Pages in HTML and the pictures in them: a figure is made of arrays, and knows nothing of a record."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from PIL import Image

from hcal_root_ad.detector import N_RBX, SUBDET_PM
from hcal_root_ad.judge.aggregate import Array
from hcal_root_ad.judge.verdict import State, rests_on
from hcal_root_ad.lumi_maps import Range
from hcal_root_ad.publish.elements import RBX_LABELS
from hcal_root_ad.style import (
    HB_HE,
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
    page,
    patch,
    png,
    state_colours,
)
from hcal_root_ad.style import outline as draw_outline

COLUMNS = 1000
"""Most columns of the timeline: a column of a longer run holds several lumisections and shows the worst of them."""
POINTS = 90
"""Most points of a small picture; those of a longer run are sums over neighbouring lumisections."""
_MARKERS = {State.PROBLEMATIC: ("o", "#000000"), State.BAD: ("s", "#000000")}
_BLUE, _RED = "#3f6fd8", "#c1121f"


@dataclass(frozen=True)
class Outline:
    """Lumisections of a readout box (0…71) to be outlined with a number."""

    number: int
    box: int
    first: int
    last: int


def worst_of(states: Array, size: int) -> Array:
    """(LS, rows) states of blocks of ``size`` LS: a fault first, then what was not assessed, then good."""
    order = np.array([0, 1, 3, 2, 4, 5], dtype=np.uint8)  # exchanges good and not assessed, and is its own inverse
    starts = np.arange(0, len(states), size)
    return order[np.maximum.reduceat(order[states], starts, axis=0)]


@in_cms_style
def timeline_figure(run: int, events: Array, states: Array, outlines: Sequence[Outline]) -> Figure:
    """Events (LS,) and states (LS, 72) of all readout boxes, LS 1 first; 0 where a box was not judged."""
    length = len(states)
    size = -(-length // COLUMNS)
    edges = np.append(np.arange(0, length, size), length) + 0.5
    figure = page(run, 14, 14.5)
    top, *axes = figure.subplots(5, 1, sharex=True, height_ratios=[1.1, 3, 3, 3, 3])
    _events(top, events)
    colours, norm = state_colours()
    shown = worst_of(states, size).astype(float)
    for index, (axis, half) in enumerate(zip(axes, SUBDET_PM, strict=True)):
        rows = shown[:, index * N_RBX : (index + 1) * N_RBX]
        axis.set_facecolor(NO_CHANNEL)
        values = np.where(rows > 0, rows, np.nan).T
        axis.pcolormesh(edges, np.arange(N_RBX + 1) + 0.5, values, cmap=colours, norm=norm, rasterized=True)
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_locator(FixedLocator(range(1, N_RBX + 1, 2)))
        axis.set_yticklabels(RBX_LABELS[half][::2], fontsize=10)
        lumi_axis(axis, length)
        for one in outlines:
            if one.box // N_RBX == index:
                draw_outline(axis, one.number, one.box % N_RBX + 1, one.first, one.last)
    axes[-1].set_xlabel("lumisection")
    legend_below(figure, [*(patch(colour, name) for name, colour in STATES.values()), patch(NO_CHANNEL, "not judged")])
    return figure


@in_cms_style
def state_maps(run: int, states: Array) -> Figure:
    """(7, 84, 72) worst states of the run per depth, flagged channels marked; 0 where there is no channel."""
    figure, (*axes, legend) = depth_page(run, columns=3)
    colours, norm = state_colours()
    for axis, values in zip(axes, states, strict=True):
        depth_map(axis, np.where(values > 0, values, np.nan), cmap=colours, norm=norm)
        for state, (marker, colour) in _MARKERS.items():
            ieta, iphi = np.nonzero(values == state)
            style: dict[str, Any] = {"marker": marker, "facecolors": "none", "edgecolors": colour, "linewidths": 0.9}
            axis.scatter(ieta - HB_HE.start + 0.5, iphi + 1, s=42, **style)
    marks = [
        Line2D([], [], ls="", marker=marker, mfc="none", mec=colour, ms=7, label=f"marks a {STATES[state][0]} channel")
        for state, (marker, colour) in _MARKERS.items()
    ]
    entries = [*counted_states(states), *marks]
    legend.legend(handles=entries, loc="center", title="channels, by worst state of the run", alignment="left")
    return figure


@in_cms_style
def ratio_maps(run: int, observed: Array, expected: Array) -> Figure:
    """(7, 84, 72) digis seen over expected in the judged LS, white where nothing is expected."""
    figure, (*axes, legend) = depth_page(run, columns=3)
    ratio = np.divide(observed, expected, out=np.full(observed.shape, np.nan), where=expected > 0)
    for axis, values in zip(axes, ratio, strict=True):
        image = depth_map(axis, values, cmap=mpl.colormaps["PuOr_r"], vmin=0, vmax=2)
    colour_bar(figure, legend, image, "digis seen / expected, over the judged LS", extend="max")
    return figure


@in_cms_style
def events_figure(run: int, events: Array, assessed: Array) -> Figure:
    """(LS,) events against LS, LS 1 first, and where nothing was judged."""
    figure = page(run, 14, 3.6)
    axis = figure.subplots()
    _events(axis, events)
    edges = np.arange(len(events) + 1) + 0.5
    high = axis.get_ylim()[1]
    axis.stairs(np.where(assessed, 0, high), edges, baseline=0, fill=True, color=NOT_JUDGED, zorder=0)
    lumi_axis(axis, len(events))
    axis.set_xlabel("lumisection")
    legend_below(figure, [patch(NOT_JUDGED, "not assessed")])
    return figure


def _events(axis: Axes, events: Array) -> None:
    axis.stairs(events, np.arange(len(events) + 1) + 0.5, color="black", linewidth=1.2)
    axis.set_ylabel("events")
    axis.set_ylim(0, 1.15 * max(float(events.max(initial=0)), 1))


@dataclass(frozen=True, eq=False)
class FindingHistory:
    """Digis per event of a finding's channels: (points,) LS, seen, expected and its sigma; and what is flagged."""

    lumisections: Array
    observed: Array
    expected: Array
    sigma: Array
    flagged: list[Range]


@in_cms_style
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


@in_cms_style
def runs_figure(runs: Sequence[int], states: Array, names: Mapping[str, int]) -> Figure:
    """(LS, runs) states, LS 1 first, the first run on top; ``names`` says what each state stands for."""
    length, size = len(states), -(-len(states) // COLUMNS)
    edges = np.append(np.arange(0, length, size), length) + 0.5
    figure = page("1 run" if len(runs) == 1 else f"{len(runs)} runs", 14, float(np.clip(2.2 + 0.24 * len(runs), 3, 14)))
    axis = figure.subplots()
    colours, norm = state_colours()
    shown = worst_of(states, size).astype(float)
    axis.set_facecolor(NO_CHANNEL)
    values = np.where(shown > 0, shown, np.nan).T
    axis.pcolormesh(edges, np.arange(len(runs) + 1), values, cmap=colours, norm=norm, rasterized=True)
    axis.invert_yaxis()
    step = -(-max(len(runs), 1) // 45)
    axis.yaxis.set_major_locator(FixedLocator([row + 0.5 for row in range(0, len(runs), step)]))
    axis.set_yticklabels([str(run) for run in runs[::step]], fontsize=10)
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_ylabel("run")
    lumi_axis(axis, length)
    axis.set_xlabel("lumisection")
    legend_below(
        figure, [*(patch(STATES[state][1], name) for name, state in names.items()), patch(NO_CHANNEL, "no LS")]
    )
    return figure


_COLOURS = 96
"""Colours of a picture: enough for our maps, and a third of the bytes."""
_SIGNS = {State.NOT_CONNECTED: "–", State.NOT_ASSESSED: "○", State.GOOD: "✔", State.PROBLEMATIC: "▲", State.BAD: "✖"}
"""A shape for each state, because colours are not for everybody."""


@dataclass(frozen=True)
class Picture:
    """A picture inside the page: address with the data, size in pixels, and what it shows, in words."""

    source: str
    width: int
    height: int
    words: str


def picture(figure: Figure, words: str) -> Picture:
    """The figure as PNG data; ``words`` is read out where it cannot be seen."""
    image = Image.open(BytesIO(png(figure))).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    buffer = BytesIO()
    image.save(buffer, format="png", optimize=True)
    data = b64encode(buffer.getvalue()).decode()
    return Picture(f"data:image/png;base64,{data}", image.width, image.height, words)


def render(template: str, **values: Any) -> str:
    """A template of this package with the values, which are escaped."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("hcal_root_ad.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["signs"] = _SIGNS
    environment.filters["rests_on"] = rests_on
    environment.filters["number"] = "{:,}".format
    environment.filters["unbroken"] = lambda text: text.replace("–", "\u2060–\u2060")  # no line break within a range
    return environment
