"""The table of an evaluation, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from studies.evaluate import limit, unit_limit
from studies.evaluate.campaign import Row
from studies.evaluate.findings import findings
from studies.evaluate.material import Material
from studies.evaluate.summary import OVERALL, Entry, Interval, Share, summary

LEGEND = f"""\
**`{limit.NAME}`** knows the true rates and the fault's kind, strength and course, and looks at single channels;
**`{unit_limit.NAME}`** also knows which channels would fail together, and adds them up. Neither knows where nor since
when. *Mean* is the average over all conditions of a system's partial AUC (FPR ≤ 10⁻³) over the limit's; *worst kind*
that of the fault kind where it is lowest, over all scales and persistences. In brackets: 68 % intervals, runs drawn
with replacement."""

HEAD = (
    "system", "of whole unit's limit: mean", "worst kind", "worst condition", "of single channel's: mean", "worst kind",
    "worst condition", "AUC", "precision", "recall", "F1", "delay (LS)", "false intervals per 100 LS",
)  # fmt: skip


def markdown(rows: Sequence[Row], material: Material, made: str) -> str:
    """The whole table. ``made``: by which command, version and when."""
    entries = {subdetector: summary(rows, subdetector) for subdetector in material.subdetectors}
    lines = ["# Every system, measured against the limit", "", f"{made} {material.head}", "", LEGEND, ""]
    lines += ["## What it shows", ""]
    for subdetector, mine in entries.items():
        said = " ".join(findings(mine, material.kinds, material.scales))
        lines += [f"**{subdetector}.** {said}", ""] if said else []
    for subdetector, mine in entries.items():
        lines += [f"## {subdetector}", "", *_systems_table(mine), ""]
        lines += [f"### Partial AUC per kind, over all scales and persistences, {subdetector}", ""]
        lines += [*_kinds_table(mine, material.kinds), ""]
        lines += [f"### Partial AUC per condition, {subdetector}", "", *_conditions_table(mine), ""]
    return "\n".join(lines)


def _systems_table(entries: Sequence[Entry]) -> list[str]:
    return _table(HEAD, ([entry.name, *_cells(entry)] for entry in entries))


def _cells(entry: Entry) -> list[str]:
    return [
        *_share(entry.of_unit),
        *_share(entry.of_channel),
        f"{entry.auc:.4f}",
        *(_interval(entry.overall[number]) for number in OVERALL[:3]),
        _number(entry.delay, 2),
        _interval(entry.overall[OVERALL[3]], 2),
    ]


def _share(share: Share) -> list[str]:
    return [
        f"{share.mean:.3f}",
        f"{share.of_worst_kind:.3f} ({share.worst_kind})",
        f"{share.of_worst:.3f} ({share.worst})",
    ]


def _kinds_table(entries: Sequence[Entry], kinds: Sequence[str]) -> list[str]:
    lines = ([kind, *(_number(entry.of_kind(kind)) for entry in entries)] for kind in kinds)
    return _table(("kind", *(entry.name for entry in entries)), lines)


def _conditions_table(entries: Sequence[Entry]) -> list[str]:
    conditions = sorted({condition for entry in entries for condition in entry.partial}, key=lambda c: c.name)
    unknown = (np.nan,) * 3
    lines = (
        [condition.name, *(_number(entry.partial.get(condition, unknown)[0]) for entry in entries)]
        for condition in conditions
    )
    return _table(("condition", *(entry.name for entry in entries)), lines)


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines)]


def _interval(value: Interval, digits: int = 3) -> str:
    mean, low, high = value
    return "–" if not np.isfinite(mean) else f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _number(value: float, digits: int = 3) -> str:
    return "–" if not np.isfinite(value) else f"{value:.{digits}f}"
