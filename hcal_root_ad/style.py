"""What the pictures share: the CMS style, the colours of the states, pages and axes.

Figures are made without pyplot, so that no state is left behind in a user's session.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
import mplhep
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from hcal_root_ad.detector import IETA_LABELS, N_DEPTH
from hcal_root_ad.files import whole_file
from hcal_root_ad.lumi_maps import Source

Array = NDArray[Any]
P = ParamSpec("P")

STYLE = mplhep.style.CMS | {
    "font.size": 13, "mathtext.cal": "sans", "axes.linewidth": 1.2, "savefig.dpi": 120,
    "xtick.major.size": 6, "xtick.minor.size": 3, "ytick.major.size": 6, "ytick.minor.size": 3,
}  # fmt: skip
LABEL_VARIABLE = "HCAL_ROOT_AD_LABEL"
"""Environment variable: what stands behind CMS on plots."""
NO_CHANNEL, NOT_JUDGED = "#cfcfcf", "#c9c9c9"
STATES = {
    1: ("not connected or masked", "#737373"),
    2: ("not assessed", "#ffffff"),
    3: ("good", "#7fc97f"),
    4: ("problematic", "#ffd92f"),
    5: ("bad", "#c1121f"),
}
"""Names and colours of the states: those of hcaldqm, in shades that differ in brightness too."""
BOX = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2}
HB_HE = slice(13, 71)
"""Bins of the DQM ieta axis that HB and HE use: −29 to 29."""
_IETA_TICKS = ("-29", "-20", "-16", "-10", "-5", "5", "10", "16", "20", "29")


def in_cms_style(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = BytesIO()
    with mpl.rc_context(STYLE):  # texts are laid out only now
        FigureCanvasAgg(figure)
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_bytes(png(figure))
    return path


class SimulatedRunNumber(int):
    """Number of a run that was simulated, which pictures say of it."""


def run_number(run: int, sources: Iterable[Source]) -> int:
    """The run by number, as a simulated one where its dataset says so."""
    return SimulatedRunNumber(run) if any("Simulated" in source.name for source in sources) else run


def page(run: int | str, width: float, height: float) -> Figure:
    """A figure with the CMS label above the panels, and the run by number, or runs in words."""
    figure = Figure(figsize=(width, height))
    top = 1 - 0.45 / height
    figure.set_layout_engine("constrained", rect=(0, 0, 1, top))
    line = figure.add_axes((0.015, top, 0.97, 0.001))
    line.set_axis_off()
    _label(line, run, 19)
    return figure


def cms_label(axis: Axes, run: int, sources: Iterable[Source]) -> None:
    """The CMS label above axes, with the run by number."""
    _label(axis, run_number(run, sources), 15)


def _label(axis: Axes, run: int | str, size: float) -> None:
    label = os.environ.get(LABEL_VARIABLE) or "HCAL DQM"
    # Without scilocator_adjust=False, mplhep would open a pyplot figure of its own.
    mplhep.cms.label(
        llabel=f"Simulation {label}" if isinstance(run, SimulatedRunNumber) else label,
        rlabel=f"Run {run}" if isinstance(run, int) else run,
        ax=axis,
        fontsize=size,
        scilocator_adjust=False,
    )


def depth_page(run: int, columns: int = 4) -> tuple[Figure, list[Axes]]:
    """Seven ieta × iphi panels, and an eighth without axes for the legend."""
    rows = -(-(N_DEPTH + 1) // columns)
    figure = page(run, 4.75 * columns, 4.9 * rows)
    axes = list(figure.subplots(rows, columns, sharex=True, sharey=True).ravel())
    labels = IETA_LABELS[HB_HE]
    axes[0].xaxis.set_major_locator(FixedLocator([labels.index(label) + 0.5 for label in _IETA_TICKS]))
    axes[0].set_xticklabels(_IETA_TICKS)
    axes[0].yaxis.set_major_locator(FixedLocator([1, 18, 36, 54, 72]))
    for depth, axis in enumerate(axes[:N_DEPTH], start=1):
        axis.set_facecolor(NO_CHANNEL)
        axis.set_title(f"depth {depth}", fontsize=14)
        axis.xaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_minor_locator(NullLocator())
        axis.tick_params(labelbottom=True, labelsize=10)
        axis.set_xlabel("ieta")
    for axis in axes[:N_DEPTH:columns]:
        axis.set_ylabel("iphi")
    for axis in axes[N_DEPTH:]:
        axis.axis("off")
    return figure, axes[: N_DEPTH + 1]


def depth_map(axis: Axes, values: Array, **style: Any) -> Any:
    """(84, 72) values on the DQM axes, cut to HB and HE."""
    edges = np.arange(HB_HE.stop - HB_HE.start + 1), np.arange(values.shape[1] + 1) + 0.5
    return axis.pcolormesh(*edges, values[HB_HE].T, rasterized=True, **style)


def lumi_map(axis: Axes, values: Array, **style: Any) -> Any:
    """(LS, rows) values, rows from 1."""
    edges = (np.arange(size + 1) + 0.5 for size in values.shape)
    lumi_axis(axis, len(values))
    axis.yaxis.set_minor_locator(NullLocator())
    return axis.pcolormesh(*edges, values.T, rasterized=True, **style)


def lumi_states(axis: Axes, states: Array) -> None:
    """(LS, rows) states, rows from 1; gray where a row was never judged (0)."""
    colours, norm = state_colours()
    lumi_map(axis, np.where(states > 0, states, np.nan), cmap=colours, norm=norm)
    axis.set_facecolor(NO_CHANNEL)


def lumi_axis(axis: Axes, length: int) -> None:
    axis.set_xlim(0.5, length + 0.5)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
    if length < 20:
        axis.xaxis.set_minor_locator(NullLocator())


def state_colours() -> tuple[ListedColormap, BoundaryNorm]:
    colours = ListedColormap([colour for _, colour in STATES.values()])
    return colours, BoundaryNorm(np.arange(len(STATES) + 1) + 0.5, len(STATES))


def patch(colour: str, label: str) -> Patch:
    return Patch(facecolor=colour, edgecolor="black", label=label)


@in_cms_style
def state_maps(run: int, states: Array, columns: int = 4, marks: Mapping[int, tuple[str, str]] | None = None) -> Figure:
    """(7, 84, 72) worst states of the run per depth; 0 where there is no channel.

    ``marks``: marker and colour of the states whose channels are marked.
    """
    figure, axes = depth_page(run, columns)
    colours, norm = state_colours()
    for axis, values in zip(axes, states, strict=False):
        depth_map(axis, np.where(values > 0, values, np.nan), cmap=colours, norm=norm)
        for state, (marker, colour) in (marks or {}).items():
            ieta, iphi = np.nonzero(values == state)
            style: dict[str, Any] = {"marker": marker, "facecolors": "none", "edgecolors": colour, "linewidths": 0.9}
            axis.scatter(ieta - HB_HE.start + 0.5, iphi + 1, s=42, **style)
    entries: list[Artist] = [patch(NO_CHANNEL, "no channel")]
    entries += [patch(colour, f"{name}: {int((states == state).sum()):,}") for state, (name, colour) in STATES.items()]
    entries += [
        Line2D([], [], ls="", marker=marker, mfc="none", mec=colour, ms=7, label=f"marks a {STATES[state][0]} channel")
        for state, (marker, colour) in (marks or {}).items()
    ]
    title = "channels, by worst state of the run"
    axes[-1].legend(handles=entries, loc="center", title=title, alignment="left")
    return figure


@in_cms_style
def value_maps(run: int, values: Array, label: str, extend: str, columns: int = 4, **style: Any) -> Figure:
    """(7, 84, 72) values per depth, NaN where there is none, with a colour bar."""
    figure, axes = depth_page(run, columns)
    for axis, of_depth in zip(axes, values, strict=False):
        image = depth_map(axis, of_depth, **style)
    bar = figure.colorbar(
        image, cax=axes[-1].inset_axes((0.02, 0.6, 0.96, 0.08)), orientation="horizontal", extend=extend
    )
    bar.set_label(label, loc="center")
    entries = [patch(NO_CHANNEL, "no channel, masked or not assessed")]
    axes[-1].legend(handles=entries, loc="upper center", bbox_to_anchor=(0.5, 0.35))
    return figure


def legend_below(figure: Figure, handles: Sequence[Artist]) -> None:
    columns = min(len(handles), 5 if len(handles) == 5 else 4)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=12, handlelength=1.2)


def outline(axis: Axes, number: int, row: float, first: float, last: float, rows: int = 1) -> None:
    """Outline lumisections of a row of a map (or of ``rows`` from there), with a number in a circle."""
    left = first - 0.5
    axis.add_patch(Rectangle((left, row - 0.5), last - first + 1, rows, fill=False, edgecolor="black", linewidth=1.3))
    row = row + (rows - 1) / 2
    # The number stands before the outline, or in it where that begins near the panel's edge.
    offset, side = (4, "left") if first < 0.05 * axis.get_xlim()[1] else (-4, "right")
    axis.annotate(
        str(number), (left, row), xytext=(offset, 0), textcoords="offset points", ha=side, va="center",
        fontsize=10, weight="bold", bbox=BOX | {"boxstyle": "circle,pad=0.15", "edgecolor": "black"},
    )  # fmt: skip
