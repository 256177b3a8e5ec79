"""The pictures of comparisons: which numbers go into each, and where they are saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hcal_root_ad.compare.changes import LEAST_UNIT_CHANGE, Change, Changed, UnitShift, channel_changes
from hcal_root_ad.compare.compared_elements import TREND, ComparedElement, Likeness
from hcal_root_ad.compare.comparison import Comparison, Drift
from hcal_root_ad.detector import N_RBX, SUBDET_PM
from hcal_root_ad.judge.aggregate import Array, depth_maps
from hcal_root_ad.publish import comparison_figures as figures
from hcal_root_ad.publish.figures import save
from hcal_root_ad.style import run_number


def draw_comparison(comparison: Comparison, stem: Path) -> tuple[Path, Path]:
    """Save both pictures of one run as ``<stem>.png`` and ``<stem>_channels.png``."""
    overview = figures.comparison_figure(
        run_number(comparison.maps.run, comparison.maps.sources),
        str(comparison.reference.entry),
        [_shifts(comparison.drift.boxes, half) for half in SUBDET_PM if half[:2] in comparison.parts],
        [_bar(element) for element in comparison.elements],
        list(_trends(comparison)),
        [_sentence(line) for line in comparison.changes],
        LEAST_UNIT_CHANGE,
    )
    channels = stem.with_name(f"{stem.name}_channels.png")
    return save(overview, stem.with_name(f"{stem.name}.png")), save(_channels(comparison), channels)


def draw_drift(reference: str, drifts: Sequence[Drift], path: Path) -> Path:
    """Save the picture of the drift over several runs."""
    halves = {}
    for half in SUBDET_PM:
        found = [{one.unit: one for one in drift.halves}.get(half) for drift in drifts]
        if any(found):
            shift = np.array([one.shift if one else np.nan for one in found])
            halves[half] = shift, np.array([one.error if one else np.nan for one in found])
    boxes = [np.concatenate([_shifts(one.boxes, half).shift for half in SUBDET_PM]) for one in drifts]
    return save(figures.drift_figure(reference, [one.run for one in drifts], halves, np.array(boxes)), path)


def _shifts(boxes: Sequence[UnitShift], half: str) -> figures.Shifts:
    known = {one.unit: (one.shift, one.error) for one in boxes}
    columns = [known.get(f"{half}{rbx:02d}", (np.nan, np.nan)) for rbx in range(1, N_RBX + 1)]
    shift, error = np.array(columns).T
    return figures.Shifts(half, shift, error)


def _bar(element: ComparedElement) -> figures.Bar:
    differs = "differs" if element.shape_differs else f"KS distance {element.kolmogorov.distance:.3f}"
    words = {Likeness.EMPTY: "empty here", Likeness.FILLED: "empty in the reference", Likeness.DIFFERS: differs}
    value = element.beyond if element.likeness not in (Likeness.EMPTY, Likeness.FILLED) else element.limit
    return figures.Bar(element.path, value, element.limit, words.get(element.likeness, ""))


def _trends(comparison: Comparison) -> Iterator[figures.Trend]:
    for element in comparison.elements:
        if element.path.startswith(TREND):
            ratio = element.observed / np.maximum(element.expected, 1)
            yield figures.Trend(element.path.rpartition("/")[2], comparison.lumisections, ratio)


def _sentence(line: Changed) -> str:
    size = "" if line.channels == 1 else f" ({line.channels} channels)"
    if line.change in (Change.EMPTY, Change.FILLED):
        where = "here, filled in the reference" if line.change is Change.EMPTY else "here, empty in the reference"
        return f"{line.unit}{size}: {line.change} {where}"
    return f"{line.unit}{size}: {line.change}, rate × {line.ratio:.2f} ± {line.ratio_error:.2f}"


def _channels(comparison: Comparison) -> Figure:
    """Rate ratios by depth, and channels that are there on one side only."""
    ratios, empty, filled = (np.zeros(()) for _ in range(3))
    for part in comparison.parts.values():
        channels, changes = part.series.channels, channel_changes(part)
        both = part.live & ~part.empty
        ratios = ratios + depth_maps(channels, np.where(both, np.exp(part.sums.shift), 0))
        empty = empty + depth_maps(channels, changes[Change.EMPTY])
        filled = filled + depth_maps(channels, changes[Change.FILLED])
    shown: Array = np.where(ratios > 0, ratios, np.nan)
    return figures.channel_figure(
        run_number(comparison.maps.run, comparison.maps.sources), shown, empty > 0, filled > 0
    )
