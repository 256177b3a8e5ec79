"""Table and figure of the study of eras."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hcal_root_ad.files import write_text
from hcal_root_ad.state.unexplained import SOURCES, Unexplained
from studies.era.measure import share, summary
from studies.era.systems import SYSTEMS
from studies.era.world import ERAS

TARGETS: Mapping[str, tuple[float, str]] = {
    "channel ×0.9": (0.88, "≥"),
    "channel ×0.85": (0.98, "≥"),
    "RM ×0.95": (0.90, "≥"),
    "RBX ×0.9": (0.95, "≥"),
    "channel creeping, named at": (0.88, "≥"),
    "false lines per 100 LS": (1.0, "≤"),
    "new false lines per 100 LS": (0.3, "≤"),
    "channel ×0.9 learned as health": (0.03, "≤"),
}
"""What was to be reached by the state in the era of the recipe."""
OF_ROW = ("era", "system", "seed", "runs", "lumisections")
REFIT = "refit"
"""Its levels are those at the pileup of the run that it was made of: their error is not that of the others."""
TITLES = {
    "facts": "The recipe: widths of 0.7, 0.25 and 0.4 % per run, box steps, two changes of settings, a gap",
    "doubled": "The same with all widths doubled",
    "own": "Other widths, heavy tails, and faults of rings, sides and sub-detectors",
}
INTRODUCTION = """\
# An era of runs

`python -m studies era -o DIR` makes eras of 50 runs of a simulated detector that no model has met ({lumisections}), and
lets each system judge them in order, after one clean run at pileup 52 falling to 33. A run has some 27 LS of 4,500
events, which say what 80 LS of 1,500 do; false lines are counted per 100 LS of 1,500 events. Boxes, modules
and channels walk from run to run, boxes step by 2 to 5 % and stay there, HE ages, two trigger menus take turns, all
settings change twice, channels are masked and come back, sums scatter more than binomially, and there is a gap.
Pileup lies between 5 and 65. In half of the runs something fails, half of it from LS 1 on, 40 % of it over several
runs; some channels and boxes creep to ×0.7 in ten runs.

*Fixed model*: that of the clean run. *Refit on the last good run*: fitted after each run with less than 2 % flagged,
what was named keeping its reference; its levels are at the pileup of that run, so what it learned as health is known to
4 % only, and it is renewed seldom once it is off. *State*: the detector state, judged with and advanced after each
run; a person answers what is asked with the truth. *Oracle*: knows the healthy rates. Captured: share of faulty
(channel, LS) pairs that were flagged. A false line is one whose cells are mostly healthy; it is known where it was open
before the run. Many are of units that truly moved by 4 % or more within three runs, healthy as they are: without the
healthy rates nothing tells them from a fault in the run in which they move. Several seeds: mean and its standard error.

Constants of the state were chosen by eras of seeds 10 to 13."""


def write_results(rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Write ``table.md``, ``table.json`` and, if there is anything, the figure; returns their paths."""
    order = list(SYSTEMS)
    rows = sorted(rows, key=lambda row: (list(ERAS).index(row["era"]), order.index(row["system"]), row["seed"]))
    summaries = [{key: row[key] for key in OF_ROW} | summary(row) for row in rows]
    for row in summaries:
        if row["system"].startswith(REFIT):
            row["level error, median"] = None
    table, numbers = folder / "table.md", folder / "table.json"
    write_text(numbers, json.dumps(summaries, indent=1, ensure_ascii=False) + "\n")
    count = rows[0]["lumisections"] if rows else 0
    sections = [INTRODUCTION.format(lumisections=f"{count:,} LS in the first of them")]
    for era in dict.fromkeys(row["era"] for row in rows):
        mine = [row for row in summaries if row["era"] == era]
        sections.append(f"## {TITLES[era]}\n\n{_table(mine, era == 'facts')}")
    write_text(table, "\n\n".join(sections) + "\n")
    return [table, numbers, *_figure(rows, folder)]


def _table(rows: Sequence[Mapping[str, Any]], targets: bool) -> str:
    systems = {
        name: [row for row in rows if row["system"] == name] for name in dict.fromkeys(r["system"] for r in rows)
    }
    keys = [key for key in dict.fromkeys(key for row in rows for key in row) if _shown(key)]
    head = ["", *systems, *(["target"] if targets else [])]
    seeds = ["seeds", *(", ".join(str(row["seed"]) for row in mine) for mine in systems.values())]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines.append("| " + " | ".join([*seeds, *([""] if targets else [])]) + " |")
    for key in keys:
        cells = [_cell([row.get(key) for row in mine], key) for mine in systems.values()]
        if targets:
            cells.append(f"{TARGETS[key][1]} {TARGETS[key][0]:g}" if key in TARGETS else "")
        lines.append(f"| {key} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _shown(key: str) -> bool:
    """Whether a row is shown; all are in the JSON file."""
    name, _, what = key.partition(" from LS 1") if " from LS 1" in key else key.partition(" pileup < 20")
    if key != name:
        return name in ("channel ×0.9", "channel ×0.85", "RBX ×0.95")
    if key.endswith("learned as health"):
        return key.startswith(("channel ×0.9", "RM ×0.95", "RBX ×0.95"))
    return not what and key not in OF_ROW


def _cell(values: Sequence[float | None], key: str) -> str:
    """Mean over seeds and its standard error."""
    numbers = np.array([value for value in values if value is not None])
    if not len(numbers):
        return "–"
    percent, unit = (100, " %") if key.startswith("level error") else (1, "")
    mean, several = percent * numbers.mean(), len(numbers) > 1
    error = f" ± {percent * numbers.std(ddof=1) / np.sqrt(len(numbers)):.1g}" if several and np.ptp(numbers) else ""
    return f"{mean:.3g}{error}{unit}"


def _figure(rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Captured share of weak channels by size, and how well levels are known run by run."""
    lowest_seed = {row["system"]: row for row in reversed(rows) if row["era"] == rows[0]["era"]}
    mine = [row for name, row in reversed(lowest_seed.items()) if "without" not in name]
    if not mine:
        return []
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    names = ["channel ×0.93", "channel ×0.9", "channel ×0.85", "RM ×0.95", "RBX ×0.95", "RBX ×0.9"]
    width = 0.8 / len(mine)
    for k, row in enumerate(mine):
        shares = [share(row["captured"].get(name)) or 0.0 for name in names]
        colour = f"C{list(SYSTEMS).index(row['system'])}"
        left.bar([x + k * width for x in range(len(names))], shares, width, label=row["system"], color=colour)
        if row["level_errors"] and not row["system"].startswith(REFIT):
            errors = [100 * error for error in row["level_errors"]]
            right.plot(range(1, len(errors) + 1), errors, marker=".", color=colour)
    left.set_xticks([x + 0.4 - width / 2 for x in range(len(names))], names, rotation=30, ha="right")
    left.set_ylabel("captured share of faulty (channel, LS) pairs")
    figure.legend(fontsize="small", loc="outside upper center", ncols=len(mine))
    right.set_xlabel("run")
    right.set_ylabel("median error of a channel's level [%]")
    right.set_ylim(bottom=0)
    path = folder / "era.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return [path]


def write_innovations(rows: Sequence[Unexplained], path: Path) -> None:
    """Write the table of what innovations follow."""
    sources = (*SOURCES, "all")
    lines = [
        "# What innovations follow",
        "",
        "Out-of-sample R² of what each run of the first era, without faults, does beyond what the state expected, by",
        "the unit's own past, its two nearest neighbours in the same run (for rings all others as well), the trigger",
        "menu and the luminosity since the run before, of which the state was told nothing. `hcal-root-ad innovations`",
        "prints the same of your own runs; above 0.1 there is more to learn. Scatter: of the pulls, 1 where the state",
        "expects what comes.",
        "",
        "| | runs | values | scatter | " + " | ".join(sources) + " |",
        "|---" * (4 + len(sources)) + "|",
    ]
    for row in rows:
        cells = ["–" if (value := row.by[source]) is None else f"{value:.4f}" for source in sources]
        lines.append(
            f"| {row.subdetector} {row.level} | {row.runs} | {row.values:,} | {row.scatter:.2f} | {' | '.join(cells)} |"
        )
    write_text(path, "\n".join(lines) + "\n")
