"""The figures: each function takes arrays by name and returns a figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import mplhep
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hcal_root_ad.stats.binomial import Floats
from hcal_root_ad.style import save
from studies.transfer.comparison import Row, chosen, rows_of
from studies.transfer.grids import MAIN, SENSIBLE
from studies.transfer.measurement import Result
from studies.transfer.settings import SCRATCH

STYLE = mplhep.style.CMS | {"font.size": 13, "axes.linewidth": 1.2, "savefig.dpi": 110, "lines.markersize": 5}
COLOURS = ("#5790fc", "#f89c20", "#e42536", "#964a8b", "#9c9ca1", "#7a21dd", "#b9ac70", "#92dadd", "#a96b59")
"""CMS's palette for colour-blind readers; one colour per preset of blocks, the same in every figure."""
NO_NETWORK = "no network"
Curves = Mapping[str, tuple[Floats, Floats]]
"""Name to x and y."""


def draw_figures(results: Sequence[Result], folder: Path) -> list[Path]:
    """Save the figures for which there are results."""
    return [save(figure, folder / f"{name}.png") for name, figure in _figures(rows_of(results))]


def _figures(rows: list[Row]) -> Iterator[tuple[str, Figure]]:
    first, epochs = min(row["seed"] for row in rows), min(row["size"]["epochs"] for row in rows)
    main = [r for r in rows if (r["direction"], r["seed"], r["size"]["epochs"]) == (MAIN, first, epochs)]
    names = {blocks: f"{blocks}  {what}" for blocks, what in SENSIBLE.items()}
    share = chosen(main, fraction=any)
    if curves := _against(share, "fraction", "excess", names):
        nothing = _against(share, "fraction", "reference", {SCRATCH: NO_NETWORK})
        yield "error_and_data", curve_figure(curves | nothing, "share of the target's lumisections", "error", log=True)
    if curves := _against(chosen(main, contamination=any), "contamination", "excess", names):
        yield "error_and_faults", curve_figure(curves, "share of training lumisections with faults", "error")
    if curves := _against(chosen(main, contamination=any), "contamination", "partial AUC", names):
        yield (
            "detection_and_faults",
            curve_figure(curves, "share of training lumisections with faults", "partial AUC (FPR ≤ 1e-3)"),
        )
    steps = {names[row["blocks"]]: _curve(row) for row in chosen(main) if row["blocks"] in names and row.result.epochs}
    if steps:
        yield "error_and_time", curve_figure(steps, "CPU seconds of training", "error")


def curve_figure(curves: Curves, x: str, y: str, log: bool = False) -> Figure:
    """Lines with markers, one per name, and the legend beside them."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 5.2), layout="constrained")
        axes: Axes = figure.subplots()
        for name, (xs, ys) in curves.items():
            colour, line = _look(name)
            axes.plot(xs, ys, line, color=colour, marker="o", label=name)
        if log:
            axes.set_xscale("log")
            ticks = sorted({float(value) for xs, _ in curves.values() for value in xs})
            axes.set_xticks(ticks, [f"{tick:.0%}" for tick in ticks])
            axes.minorticks_off()
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        figure.legend(loc="outside right center", fontsize=10)
        return figure


def _look(name: str) -> tuple[str, str]:
    """Colour and line of a curve, by the blocks that its name begins with."""
    if name == NO_NETWORK:
        return "black", ":"
    number = list(SENSIBLE).index(name[: len(SCRATCH)])
    return COLOURS[number], ("-", "--", "-.")[number % 3]


def _against(
    rows: list[Row], setting: str, quantity: str, names: Mapping[str, str]
) -> dict[str, tuple[Floats, Floats]]:
    """One curve per kind of blocks that has more than one value of the setting."""
    curves = {}
    for blocks, name in names.items():
        pairs = sorted((row[setting], _quantity(row, quantity)) for row in rows if row["blocks"] == blocks)
        if len(pairs) > 1:
            xs, ys = np.array(pairs).T
            curves[name] = (xs, ys)
    return curves


def _quantity(row: Row, name: str) -> float:
    values = {
        "excess": row.excess,
        "reference": row.result.reference_deviance - 1,
        "partial AUC": row.result.partial_auc,
    }
    return values[name]


def _curve(row: Row) -> tuple[Floats, Floats]:
    _, seconds, deviance = np.array(row.result.curve).T
    return seconds, deviance - 1
