"""The two tables of a fair comparison, in Markdown: one unit at fault at a time, and the authors' own test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from studies.evaluate import limit, unit_limit
from studies.evaluate.authors_test import FACTORS, PERSISTENCE
from studies.evaluate.campaign import LIMITS, Row
from studies.evaluate.material import Material
from studies.evaluate.measure import BESIDE, CLEAN
from studies.evaluate.registry import systems
from studies.evaluate.summary import per_condition

CONVERGED = 2.0
"""Largest error of a reconstruction over the binomial one that passes for converged."""

HEAD = """\
{made} {head}

One unit is at fault in each block of twelve LS. Partial AUC (FPR ≤ 10⁻³) over that of **`{whole}`**, which knows the
true rates, the fault's kind, strength and course, and which channels would fail together, against the same negatives:
first **lumisections without faults**, then, apart, healthy channels **beside a fault** (in its LS, or in the four after
it). *Worst kind*: of faults, against LS without them. False intervals are those in LS without faults.

Systems of others are **our implementation of** what their authors published, with the public defaults; where the public
code is not followed, see below. *Error over σ*: root mean square of reconstruction less input, over the binomial error,
in runs that were not learned from; 1 is perfect, and above {converged:g} a network is marked **not converged**: its row
says how far this training came, not what the architecture can do. *Steps*: gradient steps to the best weights, of those
taken (those that the public code would take on these runs). *Of our recipe*: share of the steps that a full training
has. *Trainings*: with different seeds; the spread is the lowest and highest share of the limit.

*Perfect reconstruction* and *model of the common part* are the published score on reconstructions that were not
trained: the true rates, and what our model expects before any evidence. They separate the score from the training."""

BOXES = """\
The public code's own test: a random box (ieta, iphi, depth) in each of {windows} windows of five LS, at the same places
for every factor, at fault in the last LS (isolated) or in all five (persistent); judged in the last LS, each window by
itself. All other live channels of that LS are negatives. False-positive rate where 90, 95 and 99 % of the channels at
fault are captured, and precision and recall at the published cut (of systems without one, at one false pair in 10⁵)."""

DEVIATIONS = """\
All deep systems: runs are split (the public code tests later LS of the runs it trained on); every tenth run chooses the
weights; the rate rises over the first twentieth of the steps and falls along a cosine; errors and their spread come
from runs that were not learned from; HB begins with the weights of HE and takes a quarter of the steps, but for
GraphSTAD's networks, which come farther from nothing; each LS is scored as the last of a window of its own. Batches,
and so the statistics of batch normalisation, are smaller (two windows of both sides in GraphSTAD's networks, 16 and 25
lumisections in the others)."""


def markdown(rows: Sequence[Row], material: Material, made: str) -> str:
    """Both tables of every sub-detector. ``made``: by which command, version and when."""
    head = HEAD.format(made=made, head=material.head, whole=unit_limit.NAME, converged=CONVERGED)
    lines = ["# All systems on fair terms", "", head, ""]
    for subdetector in material.subdetectors:
        mine = [row for row in rows if row["subdetector"] == subdetector]
        if mine:
            lines += [f"## {subdetector}: one unit at fault at a time", "", *_systems(mine), ""]
            there = {row["system"] for row in mine}
            lacking = [name for name, one in systems().items() if name not in there and not one.only]
            lines += [f"Not measured in {subdetector} so far: {', '.join(lacking)}.", ""] if lacking else []
            lines += [f"### {subdetector}: partial AUC against LS without faults, per kind", "", *_kinds(mine), ""]
    windows = material.settings.get("windows")
    lines += ["## The authors' own test", "", BOXES.format(windows=windows), ""]
    for subdetector in material.subdetectors:
        mine = [row for row in rows if row["subdetector"] == subdetector and row.get("boxes")]
        for persistence in PERSISTENCE if mine else ():
            lines += [f"### {subdetector}, {persistence}", "", *_boxes(mine, persistence), ""]
    lines += ["## Where the public codes are not followed", "", DEVIATIONS, ""]
    changed = {row["system"]: row["changed"] for row in rows if row.get("changed")}
    lines += [f"- *{name}*: {words}." for name, words in changed.items()]
    return "\n".join(lines)


def _systems(rows: Sequence[Row]) -> list[str]:
    whole = next(row for row in rows if row["system"] == unit_limit.NAME)
    made = [(row, shares(row, whole, CLEAN), shares(row, whole, BESIDE)) for row in rows]
    made.sort(key=lambda one: (one[0]["system"] not in LIMITS, -_mean(one[1].values())))
    head = ("system", "what", "LS without faults", "worst kind", "beside a fault", "precision", "recall",
            "false intervals per 100 LS", "error over σ", "steps", "of our recipe", "LS learned from",
            "trainings")  # fmt: skip
    return _table(
        head, ([*_name(row), *_shared(row, clean, beside), *_training(row, whole)] for row, clean, beside in made)
    )


def shares(row: Row, whole: Row, kind: str) -> dict[str, float]:
    """Condition to the share of the whole unit's limit against one kind of negatives, where the limit is above 0."""
    number = f"partial_auc_{kind}"
    own, most = per_condition(row, number), per_condition(whole, number)
    return {
        condition.name: own[condition][0] / value[0]
        for condition, value in most.items()
        if condition in own and value[0] > 0
    }


def _name(row: Row) -> tuple[str, str]:
    deep = f"our implementation of {row['origin']}, public defaults" if row["deep"] else row["origin"]
    return str(row["system"]), deep


def _shared(row: Row, clean: dict[str, float], beside: dict[str, float]) -> Iterator[str]:
    kinds = {name.split()[0] for name in clean}
    of_kind = {kind: _mean(share for name, share in clean.items() if name.split()[0] == kind) for kind in kinds}
    worst = min(of_kind, key=lambda kind: of_kind[kind])
    yield from (f"{_mean(clean.values()):.3f}", f"{of_kind[worst]:.3f} ({worst})", f"{_mean(beside.values()):.3f}")
    for number, digits in (("precision", 3), ("recall", 3), ("false_intervals_per_100_clean_LS", 2)):
        value = _mean(run["overall"].get(number, np.nan) for run in row["runs"])
        yield "–" if np.isnan(value) else f"{value:.{digits}f}"


def _training(row: Row, whole: Row) -> Iterator[str]:
    trainings = row["trainings"]
    if not trainings:
        yield from ("–",) * 5
        return
    error = _mean(one["error_over_binomial"] for one in trainings)
    yield f"{error:.2f}" + (" **not converged**" if error > CONVERGED else "")
    best, taken, published = (
        _mean(one[name] for one in trainings) for name in ("best_step", "steps", "published_steps")
    )
    yield f"{best:.0f} of {taken:.0f} ({published:.0f})"
    yield f"{_mean(one['effort'] for one in trainings):g}"
    yield f"{_mean(one['lumisections'] for one in trainings):.0f}"
    yield _spread(row, whole, len(trainings))


def _spread(row: Row, whole: Row, trainings: int) -> str:
    """Number of trainings, and the lowest and highest share of any."""
    if trainings == 1:
        return "1"
    runs = len(row["runs"]) // trainings
    parts = [row | {"runs": row["runs"][first * runs : (first + 1) * runs]} for first in range(trainings)]
    means = [_mean(shares(part, whole, CLEAN).values()) for part in parts]
    return f"{trainings} ({min(means):.3f} … {max(means):.3f})"


def _kinds(rows: Sequence[Row]) -> list[str]:
    kinds = list(
        dict.fromkeys(name.split()[0] for row in rows for run in row["runs"] for name in sorted(run["conditions"]))
    )
    ordered = sorted(rows, key=lambda row: row["system"] not in (limit.NAME, unit_limit.NAME))
    lines = []
    for row in ordered:
        partial = per_condition(row, f"partial_auc_{CLEAN}")
        of_kind = (_mean(value[0] for condition, value in partial.items() if condition.kind == kind) for kind in kinds)
        lines.append([row["system"], *(f"{value:.3f}" for value in of_kind)])
    return _table(("system", *kinds), lines)


def _boxes(rows: Sequence[Row], persistence: str) -> list[str]:
    names = [f"R={factor:g} {persistence}" for factor in FACTORS]
    head = ("system", *(f"R={factor:g}: FPR at 90, 95, 99 %" for factor in FACTORS), "precision, recall at the cut")
    return _table(head, ([row["system"], *_box_cells(row, names)] for row in rows))


def _box_cells(row: Row, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        rates = (_mean(one[name][f"fpr_at_{capture}%"] for one in row["boxes"]) for capture in (90, 95, 99))
        yield ", ".join(f"{rate:.2g}" for rate in rates)
    precision, recall = (
        _mean(one[name][key] for one in row["boxes"] for name in names) for key in ("precision", "recall")
    )
    yield f"{precision:.2f}, {recall:.2f}"


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(map(str, cells))} |" for cells in (head, ["---"] * len(head), *lines)]


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
