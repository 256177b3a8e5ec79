"""The table of the stress suite, in Markdown and JSON: every world one row, every judge one column."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hcal_root_ad.files import write_text
from hcal_root_ad.lumi_maps import listed, ranges_of
from studies.stress.catalogue import WORLDS
from studies.stress.measure import Numbers
from studies.stress.points import ASKED, DEFAULT, TABLE
from studies.stress.worlds import World

PAGE = "table.md"
FIRST, LAST = ("current",), ("template", "oracle")
"""Judges that stand before and behind all others."""

INTRODUCTION = """\
`python -m studies stress -o DIR` adapts a judge to a world's clean run (100 LS at pileup 52 falling to 33, 1,500 events
per LS, a detector that no model has met) and lets it judge another run of the same detector under other conditions.
Each world breaks something that a judge may assume; the worlds are described in `hcal_root_ad/simulate/`. Judges:
*template* is a pileup-aware binomial template per channel; *oracle* knows the true healthy rates and adds up every
unit; *current* is this version; the others are versions by their commit. Runs of each: {runs}.
Seeds are detectors."""

HEALTHY = """\
## Healthy worlds: no finding is right

False lines per 100 LS of HB and HE together, where {asked} were asked for. In brackets, where {default:g} were asked
for: false intervals of single channels, and false lines of HO and HF, which not every judge looks at. One line is one
finding, as a person reads it."""

STANDARD = """\
## The same worlds with 34 standard faults

Share of faulty (channel, LS) pairs that were flagged, in LS with at least 200 events; lines over true faults; false
lines. The faults: one dead box, two dead modules, a dead card, and six channels each that are dead, ×0.4, ×0.7, ×2
and ×4, for 10 LS or longer."""

KINDS = """\
### By kind and level, over all these worlds

Share of pairs that were flagged."""

FAULTS = """\
## Worlds with faults

Faults found of all; captured share of pairs; lines in all, and the false ones among them; sizes found over the true
ones, as digis over expected digis, with their scatter where there are several."""

CERTIFICATION = """\
## Certification against the truth

By the standard policy, per LS but for those at a fault's edges. *Bad as good*: LS that are bad, or of which nothing can
be known, and that were certified GOOD. Then good LS that were called BAD, and good ones that were left NOTSET. Last,
in how many of the judged runs the judge said that its answer can be trusted; one that has no word for trust counts as
saying so. Healthy worlds count with their standard faults."""


@dataclass(frozen=True)
class Cells:
    """Rows of one world by judge: all seeds."""

    world: World
    by_judge: Mapping[str, Sequence[Numbers]]


def write_table(rows: Iterable[Numbers], folder: Path) -> Path:
    """Write ``table.json`` with every row, and ``table.md``; gives the latter's path."""
    ordered = sorted(rows, key=lambda row: (row["judge"], list(WORLDS).index(row["world"]), row["seed"]))
    write_text(folder / TABLE, json.dumps({"rows": ordered}, indent=None, separators=(",", ":")))
    write_text(folder / PAGE, markdown(ordered))
    return folder / PAGE


def markdown(rows: Sequence[Numbers]) -> str:
    """The whole page."""
    judges = sorted({row["judge"] for row in rows}, key=lambda name: (name in LAST, name not in FIRST, name))
    worlds = [_cells(world, rows) for world in WORLDS.values()]
    worlds = [cells for cells in worlds if cells.by_judge]
    healthy = [cells for cells in worlds if cells.world.healthy]
    knowable = [cells for cells in healthy if cells.world.knowable]
    faulty = [cells for cells in worlds if not cells.world.healthy]
    subdetectors = 2
    asked = ", ".join(f"{subdetectors * rate:g}" for rate in ASKED)
    runs = "; ".join(f"*{judge}* {_seeds(judge, rows)}" for judge in judges)
    lines = ["# Worlds that break the model", "", INTRODUCTION.format(runs=runs), ""]
    lines += [HEALTHY.format(asked=asked, default=subdetectors * DEFAULT), "", *_table(healthy, judges, _false), ""]
    lines += [STANDARD, "", *_table(knowable, judges, _standard), "", KINDS, "", *_kinds(knowable, judges), ""]
    lines += [FAULTS, "", *_table(faulty, judges, _faults), ""]
    lines += [CERTIFICATION, "", *_table(worlds, judges, _certified), ""]
    return "\n".join(lines)


def _seeds(judge: str, rows: Sequence[Numbers]) -> str:
    """How many worlds, with which seeds."""
    of_judge = [row for row in rows if row["judge"] == judge]
    seeds = ranges_of(row["seed"] for row in of_judge)
    return f"{len({row['world'] for row in of_judge})} worlds with seeds {listed(seeds)}"


def _cells(world: World, rows: Sequence[Numbers]) -> Cells:
    by_judge: dict[str, list[Numbers]] = {}
    for row in rows:
        if row["world"] == world.name:
            by_judge.setdefault(row["judge"], []).append(row)
    return Cells(world, by_judge)


def _table(worlds: Sequence[Cells], judges: Sequence[str], cell: Callable[[Sequence[Numbers]], str]) -> list[str]:
    head = ["world", "what happens", *judges]
    lines = [[c.world.name, c.world.sentence, *(cell(c.by_judge.get(judge, ())) for judge in judges)] for c in worlds]
    return _lines(head, lines)


def _lines(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    rows = ([cell.replace("|", "\\|") for cell in cells] for cells in (head, ["---"] * len(head), *lines))
    return [f"| {' | '.join(cells)} |" for cells in rows]


def _false(rows: Sequence[Numbers]) -> str:
    """False lines at each asked rate; false intervals, and lines of HO and HF, at the default."""
    if not rows:
        return "–"
    every, outer = ([_per_100(rows, f"{asked:g}", key) for asked in ASKED] for key in ("false_lines", "false_outer"))
    lines = " / ".join(_rate(both - without) for both, without in zip(every, outer, strict=True))
    intervals = _per_100(rows, f"{DEFAULT:g}", "false_intervals")
    return f"{lines} ({_rate(intervals)}; {_rate(outer[ASKED.index(DEFAULT)])})"


def _rate(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _per_100(rows: Sequence[Numbers], asked: str, key: str) -> float:
    measured = [row["healthy"][asked] for row in rows]
    events, lumisections = (float(sum(one[name] for one in measured)) for name in (key, "lumisections"))
    return 100 * events / lumisections


def _standard(rows: Sequence[Numbers]) -> str:
    measured = [row["faulty"] for row in rows]
    if not measured:
        return "–"
    lines, faults = (sum(one[key] for one in measured) for key in ("lines", "faults"))
    false = sum(one["false_lines"] for one in measured)
    return f"{_share(_captured(measured))}; {lines / faults:.2f}; {false}"


def _captured(measured: Sequence[Numbers], kind: str = "") -> tuple[int, int]:
    """Captured pairs and all pairs, of one kind or of all."""
    pairs = [sums for one in measured for name, sums in one["capture"].items() if kind in ("", name)]
    return sum(captured for captured, _ in pairs), sum(every for _, every in pairs)


def _share(pairs: tuple[int, int]) -> str:
    return f"{pairs[0] / pairs[1]:.3f}" if pairs[1] else "–"


def _kinds(worlds: Sequence[Cells], judges: Sequence[str]) -> list[str]:
    measured = {judge: [row["faulty"] for cells in worlds for row in cells.by_judge.get(judge, ())] for judge in judges}
    kinds = sorted({kind for every in measured.values() for one in every for kind in one["capture"]})
    lines = ([kind, *(_share(_captured(measured[judge], kind)) for judge in judges)] for kind in kinds)
    return _lines(["fault", *judges], lines)


def _faults(rows: Sequence[Numbers]) -> str:
    measured = [row["faulty"] for row in rows]
    if not measured:
        return "–"
    found, faults, lines, false = (sum(one[key] for one in measured) for key in
                                   ("found", "faults", "lines", "false_lines"))  # fmt: skip
    return (
        f"{found} of {faults}; {_share(_captured(measured))}; {lines} ({false}); {'; '.join(_sizes(measured)) or '–'}"
    )


def _sizes(measured: Sequence[Numbers]) -> Iterator[str]:
    """Found and true size of every kind: mean, and standard deviation of several."""
    sizes: dict[str, list[tuple[float, float]]] = {}
    for one in measured:
        for kind, size, true in one["sizes"]:
            sizes.setdefault(kind, []).append((size, true))
    for pairs in sizes.values():
        mean, true = np.mean(pairs, axis=0)
        scatter = f" ± {np.std([size for size, _ in pairs], ddof=1):.3f}" if len(pairs) > 1 else ""
        yield f"×{mean:.3f}{scatter} for ×{true:.3f}"


def _certified(rows: Sequence[Numbers]) -> str:
    measured = [row["faulty"] for row in rows]
    if not measured:
        return "–"
    counts = [one["certification"] for one in measured]
    bad_good = sum(one["bad_good"] + one["notset_good"] for one in counts)
    bad = sum(value for one in counts for key, value in one.items() if key.startswith(("bad_", "notset_")))
    good_bad, good_notset = (sum(one[key] for one in counts) for key in ("good_bad", "good_notset"))
    trusted = sum(one["trusted"] for one in measured)
    return f"{bad_good} of {bad}; {good_bad}; {good_notset}; {trusted} of {len(measured)}"
