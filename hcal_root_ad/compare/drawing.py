"""The pictures of a comparison, in the CMS style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, StrMethodFormatter

from hcal_root_ad.compare.comparison import TREND, ComparedElement, Comparison, DriftPoint, Likeness
from hcal_root_ad.compare.shifts import LEAST_UNIT_CHANGE, Changed, ChangeKind, UnitShift, channel_changes
from hcal_root_ad.detector import N_RBX, SUBDET_PM
from hcal_root_ad.judge.aggregate import Array, depth_maps
from hcal_root_ad.style import NO_CHANNEL, depth_map, depth_page, in_cms_style, lumi_axis, page, patch, run_number, save

Shifts = tuple[Array, Array]
COLOURS = {"HBM": "#5790fc", "HBP": "#964a8b", "HEM": "#e42536", "HEP": "#f89c20"}
_MARKERS = {"HBM": "o", "HBP": "s", "HEM": "^", "HEP": "D"}
_BAD, _EMPTY, _FILLED = "#c1121f", "#000000", "#33a02c"
_LARGEST = 2.0
"""Rate ratios are drawn up to this, and down to its inverse."""
_LINES = 14
"""Changes written out in words."""


class Bar(NamedTuple):
    """One monitor element: how far it differs, its limit, and a word where it is beyond it."""

    element: str
    value: float
    limit: float
    word: str


@in_cms_style
def comparison_figure(
    run: int, reference: str, boxes: Mapping[str, Shifts], bars: Sequence[Bar], lumisections: Array,
    trends: Mapping[str, Array], changes: Sequence[str], limit: float,
) -> Figure:  # fmt: skip
    """Boxes, elements, halves against LS and the changes in words.

    ``boxes``: by half, (18,) changes of log rate and their errors, NaN where a box has no channel in both; ``limit`` of
    a box. ``trends``: by half, (LS,) digis seen over expected at the lumisections compared.
    """
    figure = page(run, 16, 11)
    (left, right), (below, words) = figure.subplots(2, 2, width_ratios=(1.25, 1))
    _boxes(left, boxes, limit)
    _bars(right, bars)
    _trends(below, lumisections, trends)
    _words(words, reference, changes)
    return figure


@in_cms_style
def channel_figure(run: int, ratios: Array, empty: Array, filled: Array) -> Figure:
    """(7, 84, 72) rates over the reference's (NaN: no channel in both), and which channels are on one side only."""
    figure, axes = depth_page(run)
    style = {"cmap": mpl.colormaps["RdBu_r"], "norm": LogNorm(1 / _LARGEST, _LARGEST)}
    for axis, values, lost, in_reference in zip(axes, ratios, empty, filled, strict=False):
        image = depth_map(axis, values, **style)
        for where, colour in ((lost, _EMPTY), (in_reference, _FILLED)):
            depth_map(axis, np.where(where, 1.0, np.nan), cmap=mpl.colors.ListedColormap([colour]))
    bar = figure.colorbar(image, cax=axes[-1].inset_axes((0.02, 0.6, 0.96, 0.08)), orientation="horizontal",
                          extend="both", ticks=[0.5, 0.7, 1, 1.4, 2], format=StrMethodFormatter("{x:g}"))  # fmt: skip
    bar.ax.xaxis.set_minor_locator(NullLocator())
    bar.set_label("rate / rate in the reference, at this run's pileup", loc="center")
    entries = [
        patch(_EMPTY, f"empty here, filled in the reference: {int(empty.sum()):,}"),
        patch(_FILLED, f"filled here, empty in the reference: {int(filled.sum()):,}"),
        patch(NO_CHANNEL, "no channel, or empty in both"),
    ]
    axes[-1].legend(handles=entries, loc="upper center", bbox_to_anchor=(0.5, 0.35))
    return figure


@in_cms_style
def drift_figure(reference: str, runs: Sequence[int], halves: Mapping[str, Shifts], boxes: Array) -> Figure:
    """Over (runs,): shift and error of each half, and (runs, 72) shifts of boxes, NaN where there is none."""
    figure = page(f"Runs {min(runs)} to {max(runs)}", 15, 7)
    left, right = figure.subplots(1, 2)
    place = np.arange(len(runs))
    for number, (half, (shift, error)) in enumerate(halves.items()):
        left.errorbar(
            place + 0.06 * (number - 1.5), 100 * shift, 100 * error, label=half, color=COLOURS[half],
            marker=_MARKERS[half], capsize=2, linewidth=1.2,
        )  # fmt: skip
    left.axhline(0, color="black", linewidth=1)
    left.set_ylabel("mean change of log rate [%]")
    left.legend(ncols=4, loc="upper center", title=f"against {reference}")
    left.set_ylim(*_room(left.get_ylim()))
    most = max(5.0, float(np.nanmax(np.abs(100 * boxes), initial=0.0)))
    image = right.pcolormesh(np.arange(len(runs) + 1) - 0.5, np.arange(boxes.shape[1] + 1) + 0.5, 100 * boxes.T,
                             cmap="RdBu_r", vmin=-most, vmax=most)  # fmt: skip
    right.set_facecolor(NO_CHANNEL)
    right.yaxis.set_major_locator(FixedLocator([N_RBX * n + 9.5 for n in range(4)]))
    right.set_yticklabels(SUBDET_PM)
    for n in range(1, 4):
        right.axhline(N_RBX * n + 0.5, color="black", linewidth=1)
    figure.colorbar(image, ax=right, label="mean change of log rate per RBX [%]")
    shown = range(0, len(runs), -(-len(runs) // 12))
    for axis in (left, right):
        axis.xaxis.set_major_locator(FixedLocator(shown))
        axis.set_xticklabels([str(runs[n]) for n in shown], rotation=40, ha="right", fontsize=10)
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlim(-0.5, len(runs) - 0.5)
        axis.set_xlabel("run")
    right.yaxis.set_minor_locator(NullLocator())
    return figure


def _boxes(axis: Axes, boxes: Mapping[str, Shifts], limit: float) -> None:
    axis.axhspan(-100 * limit, 100 * limit, color="#e8e8e8", zorder=0)
    for number, (half, (shift, error)) in enumerate(boxes.items()):
        place = np.arange(1, N_RBX + 1) + 0.15 * (number - 1.5)
        axis.errorbar(
            place, 100 * shift, 100 * error, label=half, color=COLOURS[half], linestyle="none", marker=_MARKERS[half],
            markersize=5, elinewidth=1,
        )  # fmt: skip
    axis.axhline(0, color="black", linewidth=1)
    axis.set_xlim(0.4, N_RBX + 0.6)
    axis.xaxis.set_major_locator(FixedLocator(range(1, N_RBX + 1)))
    axis.xaxis.set_minor_locator(NullLocator())
    low, high = axis.get_ylim()
    low, high = min(low, -120 * limit), max(high, 120 * limit)
    low -= 0.06 * (high - low)
    for number, (half, (shift, _)) in enumerate(boxes.items()):
        empty = np.flatnonzero(np.isnan(shift))
        place = empty + 1 + 0.15 * (number - 1.5)
        axis.plot(place, np.full(len(empty), low + 0.03 * (high - low)), "x", color=COLOURS[half], markersize=9,
                  markeredgewidth=2.5)  # fmt: skip
    axis.set_ylim(*_room((low, high)))
    axis.set_xlabel("RBX ($\\times$: no channel filled in both)")
    axis.set_ylabel("mean change of log rate [%]")
    axis.legend(ncols=4, loc="upper center")


def _bars(axis: Axes, bars: Sequence[Bar]) -> None:
    place = np.arange(len(bars))
    values = np.array([100 * bar.value for bar in bars])
    axis.barh(place, values, color=[_BAD if bar.word else COLOURS["HBM"] for bar in bars], height=0.7)
    for y, bar in enumerate(bars):
        axis.text(100 * bar.value, y, f" {bar.word}", va="center", fontsize=9)
    limits = np.array([100 * bar.limit for bar in bars])
    axis.vlines(limits, place - 0.45, place + 0.45, color="black", linewidth=2, label="limit")
    axis.set_yticks(place, [bar.element for bar in bars], fontsize=9)
    axis.yaxis.set_minor_locator(NullLocator())
    axis.invert_yaxis()
    axis.set_xlim(0, 1.5 * max(float(values.max(initial=0)), 1.2 * float(limits.max())))
    axis.set_xlabel("RMS difference in shape beyond chance [%]")
    axis.legend(loc="lower right")


def _trends(axis: Axes, lumisections: Array, trends: Mapping[str, Array]) -> None:
    for half, ratio in trends.items():
        axis.plot(lumisections, ratio, color=COLOURS[half], marker=_MARKERS[half], markersize=3, linewidth=0.8,
                  label=half)  # fmt: skip
    axis.axhline(1, color="black", linewidth=1)
    axis.set_xlabel("lumisection")
    axis.set_ylabel("digis observed / expected")
    if not trends:
        axis.text(0.5, 0.5, "the file holds no maps per lumisection", transform=axis.transAxes, ha="center")
        return
    lumi_axis(axis, int(lumisections.max()))
    low, high = axis.get_ylim()
    axis.set_ylim(*_room((min(low, 0.97), max(high, 1.03))))
    axis.yaxis.set_major_locator(MaxNLocator(6))
    axis.legend(ncols=4, loc="upper center")


def _words(axis: Axes, reference: str, changes: Sequence[str]) -> None:
    axis.axis("off")
    hidden = len(changes) - _LINES
    lines = [
        *(changes[:_LINES] or ["no channel or readout unit changed"]),
        *([f"and {hidden} more"] if hidden > 0 else []),
    ]
    axis.text(0, 1, f"against {reference}", transform=axis.transAxes, va="top", weight="bold", wrap=True)
    axis.text(0, 0.9, "\n".join(lines), transform=axis.transAxes, va="top", fontsize=12, linespacing=1.5)


def _room(limits: tuple[float, float]) -> tuple[float, float]:
    """The same limits with room for a legend above."""
    low, high = limits
    return low, high + 0.18 * (high - low)


def draw_comparison(comparison: Comparison, stem: Path) -> tuple[Path, Path]:
    """Save both pictures of one run as ``<stem>.png`` and ``<stem>_channels.png``."""
    overview = comparison_figure(
        run_number(comparison.maps.run, comparison.maps.sources),
        str(comparison.reference.entry),
        {half: _shifts(comparison.drift.boxes, half) for half in SUBDET_PM if half[:2] in comparison.parts},
        [_bar(element) for element in comparison.elements],
        comparison.lumisections,
        {element.path.rpartition("/")[2]: element.observed / np.maximum(element.expected, 1)
         for element in comparison.elements if element.path.startswith(TREND)},
        [_sentence(line) for line in comparison.changes],
        LEAST_UNIT_CHANGE,
    )  # fmt: skip
    channels = stem.with_name(f"{stem.name}_channels.png")
    return save(overview, stem.with_name(f"{stem.name}.png")), save(_channels(comparison), channels)


def draw_drift(reference: str, drifts: Sequence[DriftPoint], path: Path) -> Path:
    """Save the picture of the drift over several runs."""
    halves: dict[str, Shifts] = {}
    for half in SUBDET_PM:
        shifts = [{each.unit: (each.shift, each.error) for each in drift.halves}.get(half) for drift in drifts]
        if any(shifts):
            shift, error = np.array([pair or (np.nan, np.nan) for pair in shifts]).T
            halves[half] = shift, error
    boxes = [np.concatenate([_shifts(drift.boxes, half)[0] for half in SUBDET_PM]) for drift in drifts]
    return save(drift_figure(reference, [drift.run for drift in drifts], halves, np.array(boxes)), path)


def _shifts(boxes: Sequence[UnitShift], half: str) -> Shifts:
    by_name = {box.unit: (box.shift, box.error) for box in boxes}
    columns = [by_name.get(f"{half}{rbx:02d}", (np.nan, np.nan)) for rbx in range(1, N_RBX + 1)]
    shift, error = np.array(columns).T
    return shift, error


def _bar(element: ComparedElement) -> Bar:
    differs = "differs" if element.shape_differs else f"KS distance {element.kolmogorov.distance:.3f}"
    words = {Likeness.EMPTY: "empty here", Likeness.FILLED: "empty in the reference", Likeness.DIFFERS: differs}
    value = element.beyond if element.likeness not in (Likeness.EMPTY, Likeness.FILLED) else element.limit
    return Bar(element.path, value, element.limit, words.get(element.likeness, ""))


def _sentence(line: Changed) -> str:
    size = "" if line.channels == 1 else f" ({line.channels} channels)"
    if line.change in (ChangeKind.EMPTY, ChangeKind.FILLED):
        other = "filled" if line.change is ChangeKind.EMPTY else "empty"
        return f"{line.unit}{size}: {line.change} here, {other} in the reference"
    return f"{line.unit}{size}: {line.change}, rate × {line.ratio:.2f} ± {line.ratio_error:.2f}"


def _channels(comparison: Comparison) -> Figure:
    """Rate ratios by depth, and channels that are there on one side only."""
    ratios, empty, filled = (np.zeros(()) for _ in range(3))
    for fit in comparison.parts.values():
        channels, changes = fit.series.channels, channel_changes(fit)
        both = fit.live & ~fit.empty
        ratios = ratios + depth_maps(channels, np.where(both, np.exp(fit.sums.shift), 0))
        empty = empty + depth_maps(channels, changes[ChangeKind.EMPTY])
        filled = filled + depth_maps(channels, changes[ChangeKind.FILLED])
    shown: Array = np.where(ratios > 0, ratios, np.nan)
    return channel_figure(run_number(comparison.maps.run, comparison.maps.sources), shown, empty > 0, filled > 0)
