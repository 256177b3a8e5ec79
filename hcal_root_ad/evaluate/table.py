"""The table of an evaluation, in Markdown, as JSON, and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hcal_root_ad.evaluate.campaign import Row
from hcal_root_ad.evaluate.limit import NAME as ORACLE
from hcal_root_ad.evaluate.metrics import bootstrap
from hcal_root_ad.evaluate.suite import COURSES, Suite

OVERALL = ("precision", "recall", "f1", "false_intervals_per_100_LS")


def per_condition(row: Row, number: str) -> dict[str, tuple[float, float, float]]:
    """Condition name to mean over runs and its interval, of one number."""
    names = sorted({name for run in row["runs"] for name in run["conditions"]})
    return {
        name: bootstrap(
            [run["conditions"][name].get(number, np.nan) for run in row["runs"] if name in run["conditions"]]
        )
        for name in names
    }


def summary(rows: Sequence[Row], subdetector: str) -> list[dict[str, Any]]:
    """One entry per system: partial AUC relative to the oracle's (mean and worst over conditions), and the rest."""
    mine = [row for row in rows if row["subdetector"] == subdetector]
    limit = per_condition(next(row for row in mine if row["system"] == ORACLE), "partial_auc")
    entries = []
    for row in mine:
        partial = per_condition(row, "partial_auc")
        share = {name: partial[name][0] / limit[name][0] for name in partial if limit[name][0] > 0}
        worst = min(share, key=lambda name: share[name])
        entry: dict[str, Any] = {
            "system": row["system"],
            "partial_auc": float(np.mean([value[0] for value in partial.values()])),
            "of_oracle": float(np.mean(list(share.values()))),
            "worst_of_oracle": share[worst],
            "worst_condition": worst,
            "auc": float(np.mean([value[0] for value in per_condition(row, "auc").values()])),
            "delay": _mean([value[0] for value in per_condition(row, "delay").values()]),
        }
        for number in OVERALL:
            entry[number] = bootstrap([run["overall"].get(number, np.nan) for run in row["runs"]])
        entries.append(entry)
    return sorted(entries, key=lambda entry: -entry["of_oracle"])


def markdown(rows: Sequence[Row], suite: Suite, head: str) -> str:
    """The whole table."""
    lines = ["# Every system, measured against the limit", "", head, ""]
    for subdetector in suite.subdetectors:
        entries = summary(rows, subdetector)
        lines += [f"## {subdetector}", "", *_systems_table(entries), ""]
        lines += [
            f"### Partial AUC (FPR ≤ 10⁻³) per condition, {subdetector}",
            "",
            *_conditions_table(rows, subdetector),
            "",
        ]
    return "\n".join(lines)


def _systems_table(entries: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "| system | partial AUC / oracle's, mean | worst | worst at | AUC | precision | recall | F1 | delay (LS) "
        "| false intervals per 100 LS |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in entries:
        rest = " | ".join(_interval(entry[number]) for number in OVERALL[:3])
        cells = [
            entry["system"],
            f"{entry['of_oracle']:.3f}",
            f"{entry['worst_of_oracle']:.3f}",
            entry["worst_condition"],
        ]
        cells += [f"{entry['auc']:.4f}", rest, _number(entry["delay"]), _interval(entry[OVERALL[3]], 2)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _conditions_table(rows: Sequence[Row], subdetector: str) -> list[str]:
    mine = [row for row in rows if row["subdetector"] == subdetector]
    columns = {row["system"]: per_condition(row, "partial_auc") for row in mine}
    names = sorted({name for column in columns.values() for name in column})
    lines = ["| condition | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name in names:
        values = [column.get(name, (np.nan,) * 3) for column in columns.values()]
        lines.append(f"| {name} | " + " | ".join(f"{value[0]:.3f}" for value in values) + " |")
    return lines


def _interval(value: tuple[float, float, float], digits: int = 3) -> str:
    mean, low, high = value
    return "–" if not np.isfinite(mean) else f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _number(value: float) -> str:
    return "–" if not np.isfinite(value) else f"{value:.2f}"


def figure(rows: Sequence[Row], suite: Suite, subdetector: str) -> Figure:
    """Partial AUC against the factor, a panel per scale, a line per system; the oracle in black."""
    kinds = [f"R={factor:g}" for factor in suite.factors] + list(COURSES)
    picture = Figure(figsize=(15, 4.2 * -(-len(suite.scales) // 3)), layout="constrained")
    FigureCanvasAgg(picture)
    panels = picture.subplots(-(-len(suite.scales) // 3), min(3, len(suite.scales)), sharey=True, squeeze=False)
    for panel, scale in zip(panels.flat, suite.scales, strict=False):
        for number, row in enumerate(row for row in rows if row["subdetector"] == subdetector):
            partial = per_condition(row, "partial_auc")
            found = [partial.get(f"{kind} {scale} persistent", (np.nan,) * 3)[0] for kind in kinds]
            style: dict[str, Any] = {
                "color": colormaps["tab20"](number % 20),
                "linestyle": ("-", "--", ":")[number % 3],
            }
            if row["system"] == ORACLE:
                style = {"color": "black", "linewidth": 2.5}
            panel.plot(range(len(kinds)), found, marker="o", markersize=3, label=row["system"], **style)
        panel.set_xticks(range(len(kinds)), kinds, rotation=60)
        panel.set_title(f"{subdetector}, {scale}, persistent", fontsize=11)
    panels[0, 0].set_ylabel("partial AUC (FPR ≤ 10⁻³)")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8)
    return picture
