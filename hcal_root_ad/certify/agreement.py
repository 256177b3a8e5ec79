"""A campaign of ``certify`` held against the flags that people set: what they call bad is what should be found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.certify.certification import HCAL, Status
from hcal_root_ad.certify.labels import NOT_GOOD, REGISTRY_COLUMNS, Labels, NoFlagsError, read_labels
from hcal_root_ad.certify.outputs import TABLE, TABLE_COLUMNS
from hcal_root_ad.certify.policy import SUBDETECTORS
from hcal_root_ad.errors import InputError
from hcal_root_ad.stats.binomial import Floats
from hcal_root_ad.tables import open_rows, whole

Row = Mapping[str, Any]
"""A line of ``lumisections.csv``, with numbers where counts are."""
_COUNTS = (
    "run", "lumisection", *(f"{name.lower()}_{what}" for name in SUBDETECTORS for what in ("judged", "problematic"))
)  # fmt: skip
NUMBERS = ("precision", "recall", "f1", "auc")
HEAD = ("of", "runs", "LS", "bad there", "bad here", "agreed", "precision", "recall", "F1", "AUC")


@dataclass(frozen=True, eq=False)
class Judged:
    """Lumisections of one run that were GOOD or BAD here, and good or not there.

    ``bad``: (LS,) there. ``found``: (LS,) here. ``share``: (LS,) channels that are bad or problematic, of those judged.
    """

    bad: NDArray[np.bool_]
    found: NDArray[np.bool_]
    share: Floats


@dataclass(frozen=True)
class Score:
    """How far a certification agrees with people, for HCAL or a sub-detector.

    ``numbers``: mean over runs and 68 % interval (runs drawn with replacement) of precision, recall and F1 of what is
    BAD here, and AUC of the share of channels that are not good. A run in which a number has no meaning has no say.
    """

    of: str
    runs: int
    lumisections: int
    bad: int
    found: int
    agreed: int
    numbers: Mapping[str, tuple[float, float, float]]


def read_campaign(folder: Path) -> dict[int, list[Row]]:
    """The lumisections of every run of a campaign.

    Raises:
        InputError: there is no table of lumisections, or one of other columns.
    """
    path, runs = folder / TABLE, dict[int, list[Row]]()
    with open_rows(path, "table of lumisections", TABLE_COLUMNS) as table:
        if missing := set(TABLE_COLUMNS) - set(table.columns):
            raise InputError(f"{path} lacks the columns {', '.join(sorted(missing))}; make it anew with certify.")
        for number, row in enumerate(table.rows, start=1):
            try:
                numbers = {name: whole(row[name]) for name in _COUNTS}
            except ValueError as error:
                raise InputError(f"Row {number} of {path}: {error}; make it anew with certify.") from None
            runs.setdefault(numbers["run"], []).append({**row, **numbers})
    return runs


def score_certification(campaign: Path, labels: Path) -> list[Score]:
    """Score HCAL, and each sub-detector that people flagged by itself.

    Raises:
        InputError: one of the two cannot be read, or they have no lumisection in common.
    """
    runs, scores = read_campaign(campaign), []
    for of, column in REGISTRY_COLUMNS.items():
        try:
            flags = read_labels(labels, column)
        except NoFlagsError:
            if of == HCAL:
                raise
            continue
        if of != HCAL and flags.golden:
            continue  # it speaks of HCAL as a whole
        judged = [judged_of(rows, of, flags) for rows in runs.values()]
        scores.append(score_of(of, [one for one in judged if len(one.bad)]))
    if not scores[0].lumisections:
        raise InputError(
            f"{labels} and {campaign} have no lumisection in common that both call good or bad; "
            "name the flags of its runs."
        )
    return scores


def judged_of(rows: Sequence[Row], of: str, labels: Labels) -> Judged:
    """What both say of a run."""
    here = [row["status" if of == HCAL else of.lower()] for row in rows]
    there = labels.of(rows[0]["run"], [row["lumisection"] for row in rows])
    kept = [
        number
        for number, pair in enumerate(zip(here, there, strict=True))
        if pair[0] in (Status.GOOD, Status.BAD) and pair[1] in (Status.GOOD, Status.BAD, NOT_GOOD)
    ]
    return Judged(
        bad=np.array([there[number] != Status.GOOD for number in kept], dtype=np.bool_),
        found=np.array([here[number] == Status.BAD for number in kept], dtype=np.bool_),
        share=np.array([_share(rows[number], of) for number in kept]),
    )


def _share(row: Row, of: str) -> float:
    """Largest share of channels, in any of the sub-detectors asked for, that are not good."""
    names = [name.lower() for name in (SUBDETECTORS if of == HCAL else (of,))]
    shares = (row[f"{name}_problematic"] / max(row[f"{name}_judged"], 1) for name in names)
    return float(max(shares))


def score_of(of: str, judged: Sequence[Judged]) -> Score:
    """The numbers of all runs."""
    per_run = [_numbers(one) for one in judged]
    return Score(
        of=of,
        runs=len(judged),
        lumisections=sum(len(one.bad) for one in judged),
        bad=sum(int(one.bad.sum()) for one in judged),
        found=sum(int(one.found.sum()) for one in judged),
        agreed=sum(int((one.bad == one.found).sum()) for one in judged),
        numbers={name: bootstrap([numbers[name] for numbers in per_run]) for name in NUMBERS},
    )


def _numbers(one: Judged) -> dict[str, float]:
    bad, found = int(one.bad.sum()), int((one.bad & one.found).sum())
    auc = np.nan
    if 0 < bad < len(one.bad):
        auc = 1 - float(false_positive_rates(one.share[one.bad], np.sort(one.share[~one.bad])).mean())
    return {**detection(found, bad, int(one.found.sum()) - found), "auc": auc}


def markdown(scores: Sequence[Score], head: str) -> str:
    """The table in Markdown."""
    lines = ["# Certification held against people's flags", "", head, ""]
    lines += ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    for one in scores:
        agreed = f"{one.agreed / one.lumisections:.1%}" if one.lumisections else "–"
        numbers = (_written(*one.numbers[name]) for name in NUMBERS)
        cells = (one.of, one.runs, one.lumisections, one.bad, one.found, agreed, *numbers)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, ""])


def _written(mean: float, low: float, high: float) -> str:
    return "–" if np.isnan(mean) else f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def false_positive_rates(positives: Floats, negatives: Floats) -> Floats:
    """(positives,) share of the sorted negatives that score as high as each positive; ties count half."""
    at_or_below = np.searchsorted(negatives, positives, side="right")
    below = np.searchsorted(negatives, positives, side="left")
    return 1 - (at_or_below + below) / (2 * len(negatives))


def detection(flagged: int, positives: int, false: int) -> dict[str, float]:
    """Recall, precision and F1 at a threshold."""
    recall = flagged / positives if positives else float("nan")
    precision = flagged / (flagged + false) if flagged + false else float("nan")
    total = 2 * flagged + false + (positives - flagged)
    return {"recall": recall, "precision": precision, "f1": 2 * flagged / total if total else float("nan")}


def bootstrap(values: Sequence[float], seed: int = 0, draws: int = 500) -> tuple[float, float, float]:
    """Mean over runs, and its 68 % interval from runs drawn with replacement."""
    known = np.array([value for value in values if np.isfinite(value)])
    if len(known) == 0:
        return (float("nan"),) * 3
    means = known[np.random.default_rng(seed).integers(len(known), size=(draws, len(known)))].mean(axis=1)
    return float(known.mean()), float(np.quantile(means, 0.16)), float(np.quantile(means, 0.84))
