"""Flags that people set, and how far a campaign of ``certify`` agrees with them: what they call bad, it should find."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.certify.certification import HCAL, RunCertification, Status
from hcal_root_ad.certify.policy import SUBDETECTORS
from hcal_root_ad.conditions import QUANTITIES, range_from, run_number, selection_of
from hcal_root_ad.content import nearest
from hcal_root_ad.errors import InputError
from hcal_root_ad.files import write_text
from hcal_root_ad.lumi_maps import Range, union
from hcal_root_ad.stats.binomial import Floats
from hcal_root_ad.tables import open_rows, read_json, shown, whole

REGISTRY_COLUMNS = {HCAL: "hcal-hcal", **{name: f"hcal-{name.lower()}" for name in SUBDETECTORS}}
"""What is certified, and its column in the Run Registry, ``{workspace}-{column}``.

``hcal-hcal`` is what the golden JSON asks for, ``hcal-hb`` … ``hcal-ho`` are the workspace's own.
"""
NO_LABEL, NOT_GOOD = "no label", "not good"
FLAGS = ("GOOD", "BAD", "STANDBY", "EXCLUDED", "NOTSET", "EMPTY", "NO VALUE FOUND")
"""What the Run Registry calls lumisections."""
TABLE = "lumisections.csv"
_BY_SUBDETECTOR = ("judged", "bad", "problematic", "lost_rbx", "trust")
TABLE_COLUMNS = (
    "run", "lumisection", "status", "cause", *(name.lower() for name in SUBDETECTORS), "events", *QUANTITIES,
    *(f"{name.lower()}_{what}" for name in SUBDETECTORS for what in _BY_SUBDETECTOR), "policy",
)  # fmt: skip
"""``bad`` and ``problematic`` count channels, the latter with the bad ones; ``lost_rbx`` names the RBX that are lost;
``trust`` says what the verdict on the sub-detector rests on, empty where it was not judged."""
Row = Mapping[str, Any]
"""A line of that table, with numbers where counts are."""
_COUNTS = (
    "run", "lumisection", *(f"{name.lower()}_{what}" for name in SUBDETECTORS for what in ("judged", "problematic"))
)  # fmt: skip
AGREEMENT_PAGE = "agreement.md"
HOW = (
    "Counted are lumisections that certify called GOOD or BAD and that people called good or not. AUC: of the share of "
    "channels that are not good. In brackets: 68 % intervals, runs drawn with replacement."
)
NUMBERS = ("precision", "recall", "f1", "auc")
HEAD = ("of", "runs", "LS", "bad by label", "bad by certify", "agreed", "precision", "recall", "F1", "AUC")


@dataclass(frozen=True)
class Labels:
    """What people called the lumisections of runs.

    ``ranges``: by run, in order and without overlap, with their flags. ``golden``: of a golden JSON, which
    lists good ones alone: what it leaves out from its first to its last run is ``not good``.
    """

    ranges: Mapping[int, Sequence[tuple[Range, str]]]
    golden: bool = False

    def covers(self, run: int) -> bool:
        """Whether there are flags of a run."""
        return run in self.ranges or (self.golden and min(self.ranges) <= run <= max(self.ranges))

    def of(self, run: int, lumisections: Sequence[int]) -> list[str]:
        """The flag of each lumisection of a run, or ``no label``."""
        other = NOT_GOOD if self.golden and self.covers(run) else NO_LABEL
        ranges = self.ranges.get(run, ())
        places = np.searchsorted([first for (first, _), _ in ranges], lumisections, side="right") - 1
        return [
            ranges[place][1] if place >= 0 and ls <= ranges[place][0][1] else other
            for ls, place in zip(lumisections, places.tolist(), strict=True)
        ]


class NoFlagsError(InputError):
    """A file of flags has none of the column that is asked for."""


def read_labels(path: Path, column: str = REGISTRY_COLUMNS[HCAL]) -> Labels:
    """Flags of one column.

    Taken are ranges by run (``{"run": [{"start", "end", "hcal-hcal": {"status": …}}, …]}``), ranges by run and column,
    one list of ranges that name their ``run_number``, and a golden JSON.

    Raises:
        InputError: the file is missing, no JSON, of another form, or contradicts itself.
        NoFlagsError: it has no flag of that column.
    """
    table = read_json(path, "file of flags")
    if isinstance(table, dict) and table and all(_is_golden(ranges) for ranges in table.values()):
        good = str(Status.GOOD)
        selection = selection_of(table, path)
        return Labels({run: [(ends, good) for ends in ranges] for run, ranges in selection.items()}, golden=True)
    ranges: dict[int, dict[str, list[Range]]] = {}
    try:
        for key, entry in _entries(table, column):
            if entry.get(column) is not None:
                run = run_number(key, path)
                ranges.setdefault(run, {}).setdefault(_status(entry[column], run, path), []).append(
                    range_from(entry["start"], entry["end"], run, path)
                )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is not of the Run Registry's form: ranges with start, end and {column} by run were expected."
        ) from error
    if not ranges:
        raise NoFlagsError(f"{path} holds no flag {column}; export the workspace hcal.")
    return Labels({run: _in_order(by_flag, run, path) for run, by_flag in ranges.items()})


def _is_golden(ranges: object) -> bool:
    return isinstance(ranges, list) and all(isinstance(ends, list) for ends in ranges)


def _entries(table: Any, column: str) -> Iterator[tuple[object, Mapping[str, Any]]]:
    """Run and entry of every range, whatever the form."""
    if isinstance(table, list):
        yield from ((entry["run_number"], entry) for entry in table)
        return
    for run, entries in table.items():
        if isinstance(entries, dict):
            entries = [{**entry, column: entry} for entry in entries.get(column, [])]
        yield from ((run, entry) for entry in entries)


def _status(flag: Any, run: int, path: Path) -> str:
    status = flag["status"] if isinstance(flag, Mapping) else flag
    if status not in FLAGS:
        (like,) = nearest(str(status), FLAGS)
        raise InputError(f"{path} calls lumisections of run {run} {shown(status)}; the nearest known flag is {like}.")
    return str(status)


def _in_order(by_flag: Mapping[str, list[Range]], run: int, path: Path) -> list[tuple[Range, str]]:
    """Ranges of a run with their flags; raises InputError where one lumisection has two."""
    ordered = sorted((ends, flag) for flag, ranges in by_flag.items() for ends in union(ranges))
    for ((_, end), flag), ((begin, _), other) in pairwise(ordered):
        if begin <= end:
            raise InputError(f"{path} calls LS {begin} of run {run} both {flag} and {other}; export it again.")
    return ordered


def _both_say(ours: str, theirs: str) -> bool:
    """Whether a status and a flag both say that a lumisection is good, or that it is not."""
    return ours in (Status.GOOD, Status.BAD) and theirs in (Status.GOOD, Status.BAD, NOT_GOOD)


@dataclass
class Agreement:
    """How many lumisections have which status of HCAL from certification, and which flag from people."""

    labels: Labels
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, run: RunCertification) -> None:
        """Count the lumisections of a run."""
        flags = self.labels.of(run.run, run.lumisections.tolist())
        self.counts.update((str(own.status), flag) for own, flag in zip(run.flags[HCAL], flags, strict=True))

    def as_table(self) -> dict[str, Any]:
        """Counts by status and flag, and the share of LS in which both say GOOD, or neither does.

        The share is of those LS that people called GOOD, BAD or not good and that were certified GOOD or BAD.
        """
        both = {pair: n for pair, n in self.counts.items() if _both_say(*pair)}
        agreed = sum(n for (ours, theirs), n in both.items() if (ours == Status.GOOD) == (theirs == Status.GOOD))
        total = sum(both.values())
        rows = [{"status": pair[0], "label": pair[1], "lumisections": n} for pair, n in sorted(self.counts.items())]
        return {"counts": rows, "compared": total, "agreed": agreed, "share": agreed / total if total else None}


_NAMED = 5
"""Runs that a sentence names."""


@dataclass(frozen=True)
class MissingRuns:
    """A file of conditions or flags lacks runs that are certified: ``all_missing`` if it has none of them."""

    sentence: str
    all_missing: bool


def missing_runs(path: Path, covers: Callable[[int], bool], runs: Sequence[int]) -> MissingRuns | None:
    """Which of the runs a file lacks; None where it has all."""
    missing = [run for run in runs if not covers(run)]
    if not missing:
        return None
    if len(missing) == len(runs):
        return MissingRuns(
            f"{path.name} holds none of the runs that were judged ({_few(runs)}); give the export of these runs.", True
        )
    return MissingRuns(f"{path.name} holds nothing of {_few(missing)}.", False)


def _few(runs: Sequence[int]) -> str:
    more = f" and {len(runs) - _NAMED} more" if len(runs) > _NAMED else ""
    return f"run{'s' * (len(runs) != 1)} {', '.join(map(str, runs[:_NAMED]))}{more}"


@dataclass(frozen=True, eq=False)
class LabelledRun:
    """Lumisections of one run that certify called GOOD or BAD, and people good or not.

    ``bad``: (LS,) by label. ``flagged``: (LS,) BAD by certify. ``share``: (LS,) channels that are bad or problematic,
    of those judged.
    """

    bad: NDArray[np.bool_]
    flagged: NDArray[np.bool_]
    share: Floats


@dataclass(frozen=True)
class Score:
    """How far a certification agrees with people, for HCAL or a sub-detector.

    ``numbers``: mean over runs and 68 % interval (runs drawn with replacement) of precision, recall and F1 of what is
    BAD by certify, and AUC of the share of channels that are not good. A run in which a number has no meaning does not
    count.
    """

    of: str
    runs: int
    lumisections: int
    bad: int
    flagged: int
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
            raise InputError(f"{path} lacks the columns {', '.join(sorted(missing))}; run certify again.")
        for number, row in enumerate(table.rows, start=1):
            try:
                numbers = {name: whole(row[name]) for name in _COUNTS}
            except ValueError as error:
                raise InputError(f"Row {number} of {path}: {error}; run certify again.") from None
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
            continue  # of HCAL as a whole
        labelled = [labelled_run(rows, of, flags) for rows in runs.values()]
        scores.append(score_of(of, [run for run in labelled if len(run.bad)]))
    if not scores[0].lumisections:
        raise InputError(
            f"{labels} and {campaign} have no lumisection in common that both call good or bad; "
            "name the flags of its runs."
        )
    return scores


def labelled_run(rows: Sequence[Row], of: str, labels: Labels) -> LabelledRun:
    """What both say of a run."""
    statuses = [row["status" if of == HCAL else of.lower()] for row in rows]
    flags = labels.of(rows[0]["run"], [row["lumisection"] for row in rows])
    kept = [number for number, pair in enumerate(zip(statuses, flags, strict=True)) if _both_say(*pair)]
    return LabelledRun(
        bad=np.array([flags[number] != Status.GOOD for number in kept], dtype=np.bool_),
        flagged=np.array([statuses[number] == Status.BAD for number in kept], dtype=np.bool_),
        share=np.array([_share(rows[number], of) for number in kept]),
    )


def _share(row: Row, of: str) -> float:
    """Largest share of channels, in any of the sub-detectors asked for, that are not good."""
    names = [name.lower() for name in (SUBDETECTORS if of == HCAL else (of,))]
    shares = (row[f"{name}_problematic"] / max(row[f"{name}_judged"], 1) for name in names)
    return float(max(shares))


def score_of(of: str, runs: Sequence[LabelledRun]) -> Score:
    """The numbers of all runs."""
    per_run = [_numbers(run) for run in runs]
    return Score(
        of=of,
        runs=len(runs),
        lumisections=sum(len(run.bad) for run in runs),
        bad=sum(int(run.bad.sum()) for run in runs),
        flagged=sum(int(run.flagged.sum()) for run in runs),
        agreed=sum(int((run.bad == run.flagged).sum()) for run in runs),
        numbers={name: bootstrap([numbers[name] for numbers in per_run]) for name in NUMBERS},
    )


def _numbers(run: LabelledRun) -> dict[str, float]:
    bad, right = int(run.bad.sum()), int((run.bad & run.flagged).sum())
    auc = np.nan
    if 0 < bad < len(run.bad):
        auc = 1 - float(false_positive_rates(run.share[run.bad], np.sort(run.share[~run.bad])).mean())
    return {**detection(right, bad, int(run.flagged.sum()) - right), "auc": auc}


def write_agreement(campaign: Path, labels: Path) -> Path:
    """Write the scores of a campaign as a table into its folder, and return its place.

    Raises:
        InputError: as :func:`score_certification`.
    """
    path = campaign / AGREEMENT_PAGE
    write_text(path, markdown(score_certification(campaign, labels), labels.name))
    return path


def markdown(scores: Sequence[Score], labels: str) -> str:
    """The table in Markdown; ``labels`` names the file of the flags."""
    lines = ["# Certification and the flags of people", "", f"Flags of `{labels}`. {HOW}", ""]
    lines += ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    for score in scores:
        agreed = f"{score.agreed / score.lumisections:.1%}" if score.lumisections else "–"
        numbers = (_written(*score.numbers[name]) for name in NUMBERS)
        cells = (score.of, score.runs, score.lumisections, score.bad, score.flagged, agreed, *numbers)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, ""])


def _written(mean: float, low: float, high: float) -> str:
    return "–" if np.isnan(mean) else f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def false_positive_rates(positives: Floats, negatives: Floats) -> Floats:
    """(positives,) share of the sorted negatives that score as high as each positive; ties count half."""
    ranks = np.searchsorted(negatives, positives, side="right") + np.searchsorted(negatives, positives, side="left")
    return 1 - ranks / (2 * len(negatives))


def detection(flagged: int, positives: int, false: int) -> dict[str, float]:
    """Recall, precision and F1 at a threshold."""
    recall = flagged / positives if positives else float("nan")
    precision = flagged / (flagged + false) if flagged + false else float("nan")
    total = 2 * flagged + false + (positives - flagged)
    return {"recall": recall, "precision": precision, "f1": 2 * flagged / total if total else float("nan")}


def bootstrap(values: Sequence[float], seed: int = 0, draws: int = 500) -> tuple[float, float, float]:
    """Mean over runs, and its 68 % interval from runs drawn with replacement."""
    finite = np.array([value for value in values if np.isfinite(value)])
    if len(finite) == 0:
        return (float("nan"),) * 3
    means = finite[np.random.default_rng(seed).integers(len(finite), size=(draws, len(finite)))].mean(axis=1)
    return float(finite.mean()), float(np.quantile(means, 0.16)), float(np.quantile(means, 0.84))
