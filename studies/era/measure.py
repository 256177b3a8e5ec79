"""How right a system is over an era: capture, false lines, creeping named, and what was learned as health."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hcal_root_ad.detector import Subdetector
from studies.era.systems import Answer, Line, System
from studies.era.world import Era, EraFault, EraRun, Floats

LOW_PILEUP = 20.0
"""Runs below are counted apart as well."""
LEARNED = 0.5
"""A reference that moved by more than this share of a fault towards it has learned it as health."""
RIGHT = 0.5
"""A line with a larger share of cells at fault is right."""
MOVED, LOOKED_BACK = 0.04, 3
"""A shift of log rate since one of the last runs by which something healthy truly moved."""
EDGE = 1
"""LS before and behind a fault in which a flag is not false."""

EVENTS = 1500
"""Of an LS that false lines are counted by."""

Numbers = dict[str, Any]


@dataclass(eq=False)
class Scores:
    """Sums over the runs of an era."""

    captured: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    false_lines: int = 0
    new_false_lines: int = 0
    moved: int = 0
    false_units: list[str] = field(default_factory=list)
    lines: int = 0
    lumisections: int = 0
    events: int = 0
    runs: int = 0
    distrusted: int = 0
    benign_questions: int = 0
    questions: int = 0
    creep_named: dict[str, float] = field(default_factory=dict)
    creep_flagged: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    learned: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    level_errors: list[float] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def numbers(self) -> Numbers:
        """As JSON can hold them."""
        return {
            "captured": {name: list(pair) for name, pair in sorted(self.captured.items())},
            "false_lines": self.false_lines,
            "new_false_lines": self.new_false_lines,
            "moved": self.moved,
            "false_units": self.false_units,
            "lines": self.lines,
            "lumisections": self.lumisections,
            "events": self.events,
            "runs": self.runs,
            "distrusted": self.distrusted,
            "questions": self.questions,
            "benign_questions": self.benign_questions,
            "creep_named": self.creep_named,
            "creep_flagged": {name: list(pair) for name, pair in self.creep_flagged.items()},
            "learned": {name: list(pair) for name, pair in sorted(self.learned.items())},
            "level_errors": self.level_errors,
            "missed": self.missed,
        }


def judge_era(
    era: Era, system: System, progress: Callable[[int, int], None] | None = None, runs: int | None = None
) -> Numbers:
    """One system over all runs of an era (or the first so many), as plain numbers."""
    scores = Scores()
    before: list[Floats] = []
    for run in era.runs():
        if runs is not None and run.index >= runs:
            break
        answer = system.judge(run)
        if run.index:
            _add(scores, era, run, answer, before)
        before = [*before, run.healthy][-LOOKED_BACK:]
        if progress:
            progress(run.index + 1, era.recipe.runs)
    return scores.numbers()


def _add(scores: Scores, era: Era, run: EraRun, answer: Answer, before: Sequence[Floats]) -> None:
    at_fault = run.factor != 1
    scores.runs += 1
    scores.lumisections += len(run.maps)
    scores.events += int(run.maps.events.sum())
    scores.lines += len(answer.lines)
    scores.benign_questions += answer.confirmed
    scores.distrusted += answer.trust not in ("adapted model", "the true rates")
    for line in _false(answer.lines, at_fault):
        scores.false_lines += 1
        scores.new_false_lines += not line.known
        scores.moved += not line.known and _moved(line, run, before)
        scores.false_units.append(f"{run.index}: {line.unit}{' (known)' if line.known else ''}")
    for question in answer.questions:
        rows = run.maps.channels.rows_of(question.subdetector)[list(question.rows)]
        scores.questions += 1
        scores.benign_questions += bool(at_fault[-1, rows].mean() <= RIGHT)
    for fault in era.faults:
        if fault.factor(run.index) != 1:
            _add_fault(scores, fault, run, answer, at_fault)
    if answer.reference is not None:
        errors = _level_errors(run, answer.reference)
        scores.level_errors.append(round(float(1.4826 * np.nanmedian(np.abs(errors))), 5))
        for fault in era.faults:
            if fault.last_run == run.index and not fault.creeps:
                _add_learned(scores, fault, errors)


def _false(lines: Sequence[Line], at_fault: np.ndarray) -> Iterator[Line]:
    near = at_fault.copy()
    for shift in range(1, EDGE + 1):
        near[:-shift] |= at_fault[shift:]
        near[shift:] |= at_fault[:-shift]
    for line in lines:
        cells = near[np.ix_(np.flatnonzero(line.inside), line.rows)]
        if not cells.size or cells.mean() <= RIGHT:
            yield line


def _moved(line: Line, run: EraRun, before: Sequence[Floats]) -> bool:
    """Whether what a line is about truly moved, healthy as it is, against its rings in one of the last runs."""
    live = run.rates[0] > 0
    shifts = [_off_rings(run, np.where(live, run.healthy - earlier, np.nan))[line.rows] for earlier in before]
    return any(abs(float(np.nanmedian(shift))) > MOVED for shift in shifts if np.isfinite(shift).any())


def _add_fault(scores: Scores, fault: EraFault, run: EraRun, answer: Answer, at_fault: np.ndarray) -> None:
    rows = fault.rows[run.rates[0, fault.rows] > 0]
    if not len(rows):
        return
    there = at_fault[:, rows]
    hits, cells = int((there & answer.flagged[:, rows]).sum()), int(there.sum())
    if fault.creeps:
        strength = fault.factor(run.index)
        pair = scores.creep_flagged[fault.name]
        pair[0], pair[1] = pair[0] + hits, pair[1] + cells
        if 2 * hits > cells and fault.unit not in scores.creep_named:
            scores.creep_named[fault.unit] = round(strength, 4)
        return
    if 2 * hits < cells:
        scores.missed.append(f"{run.index}: {fault.name} {fault.unit} at pileup {run.pileup:.0f}")
    names = [fault.name]
    if fault.start == 0 or run.index > fault.first_run:
        names.append(f"{fault.name} from LS 1")
    if run.pileup < LOW_PILEUP:
        names.append(f"{fault.name} pileup < 20")
    for name in names:
        pair = scores.captured[name]
        pair[0], pair[1] = pair[0] + hits, pair[1] + cells


def _level_errors(run: EraRun, reference: np.ndarray) -> np.ndarray:
    """(channels,) reference less truth, up to what is common to a ring, which is free LS by LS; NaN where not live."""
    live = run.rates[0] > 0
    return _off_rings(run, np.where(live, reference - run.healthy, np.nan))


def _off_rings(run: EraRun, values: Floats) -> Floats:
    """(channels,) values less the median of their ring."""
    ring = run.maps.channels.ring.astype(int) + 1000 * (run.maps.channels.subdetector == Subdetector.HE)
    there = np.flatnonzero(np.isfinite(values))
    order = there[np.lexsort((values[there], ring[there]))]
    _, first, of, size = np.unique(ring[order], return_index=True, return_inverse=True, return_counts=True)
    middle = (values[order[first + (size - 1) // 2]] + values[order[first + size // 2]]) / 2
    values[order] -= middle[of]
    return values


def _add_learned(scores: Scores, fault: EraFault, errors: np.ndarray) -> None:
    factor = fault.factors[-1]
    if factor <= 0 or fault.name.startswith(("ring", "sub-detector")):
        return
    moved = errors[fault.rows]
    if not np.isfinite(moved).any():
        return
    pair = scores.learned[fault.name]
    pair[0] += int(np.nanmedian(moved) / np.log(factor) > LEARNED)
    pair[1] += 1


def share(pair: Sequence[int] | None) -> float | None:
    """Of pairs (hits, all); None where there was nothing."""
    return pair[0] / pair[1] if pair and pair[1] else None


def summary(numbers: Mapping[str, Any]) -> dict[str, float | None]:
    """What the table shows of one system in one era."""
    captured, learned = numbers["captured"], numbers["learned"]
    out: dict[str, float | None] = {}
    for name in sorted(captured):
        out[name] = share(captured[name])
    for name, pair in sorted(learned.items()):
        out[f"{name} learned as health"] = share(pair)
    for scale in ("channel", "RBX"):
        named = [
            size
            for unit, size in numbers["creep_named"].items()
            if ("-RM" not in unit and "/" in unit) == (scale == "channel")
        ]
        out[f"{scale} creeping, named at"] = float(np.median(named)) if named else None
        out[f"{scale} creeping, share of cells named"] = share(numbers["creep_flagged"].get(f"{scale} creeping"))
    hundred = numbers["events"] / EVENTS / 100
    out["false lines per 100 LS"] = numbers["false_lines"] / hundred
    out["new false lines per 100 LS"] = numbers["new_false_lines"] / hundred
    out["– of something that truly moved by 4 %"] = numbers["moved"] / hundred
    out["– of something that did not"] = (numbers["new_false_lines"] - numbers["moved"]) / hundred
    out["new false lines per run"] = numbers["new_false_lines"] / max(numbers["runs"], 1)
    out["benign questions per run"] = numbers["benign_questions"] / max(numbers["runs"], 1)
    out["runs not trusted"] = numbers["distrusted"] / max(numbers["runs"], 1)
    out["level error, median"] = float(np.median(numbers["level_errors"])) if numbers["level_errors"] else None
    return out
