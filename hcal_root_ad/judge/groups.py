"""Flags to groups: a dead readout box is one line, not 188.

A unit (sub-detector, half, readout box, readout module) is at fault in the lumisections in which most of
its live channels are flagged in the same direction. Once it is, its thinner channels need less
evidence of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.flags import BATCH, Evidence, Span, intervals_of
from hcal_root_ad.judge.verdict import Group, Interval, Kind
from hcal_root_ad.stats.binomial import Floats

SHARE = 0.6
"""Share of a unit's live cells that must be flagged."""
SMALLEST = 4
"""Fewer live cells than this make no unit."""


@dataclass(frozen=True, eq=False)
class Level:
    """One level of the readout tree: the unit of every cell (−1: none), and the units' names."""

    unit_of: NDArray[np.intp]
    names: tuple[str, ...]
    smallest: int = SMALLEST


@dataclass(frozen=True)
class Unit:
    """A unit at fault: level, number, rows of assessed lumisections, direction."""

    level: int
    number: int
    first: int
    last: int
    loss: bool


def grouped(
    spans: Sequence[Span],
    evidence: Evidence,
    levels: Sequence[Level],
    live: NDArray[np.bool_],
    lumisections: NDArray[np.int32],
    together: Sequence[Unit] = (),
) -> tuple[tuple[Interval, ...], tuple[tuple[Unit, Group], ...]]:
    """Intervals with the names of their groups, and the groups, biggest units first.

    Levels are given from the largest unit to the smallest. An interval belongs to the largest unit that
    explains at least half of it, and a unit to which none belongs is not reported.

    Args:
        together: units whose channels show the fault only together; those of which most cells agree count.
    """
    units: list[Unit] = []
    completed: list[Span] = []
    for loss in (True, False):
        own = [span for span in spans if span.loss == loss]
        found = list(_units(own, levels, live, len(lumisections), loss))
        pooled = [u for u in together if u.loss == loss and _agreed(u, evidence, levels, live)]
        found = _joined([*found, *pooled])
        units += found
        completed += _completed(own, found, evidence, levels, live)
    of_span = [_unit_of(span, units, levels) for span in completed]
    names = [levels[unit.level].names[unit.number] if unit else "" for unit in of_span]
    intervals = intervals_of(completed, names, evidence, lumisections)
    members: dict[Unit, list[Interval]] = {unit: [] for unit in units}
    for unit, interval in zip(of_span, intervals, strict=True):
        if unit:
            members[unit].append(interval)
    groups = [(unit, _group(unit, members[unit], levels, lumisections)) for unit in units if members[unit]]
    return tuple(sorted(intervals, key=lambda i: (i.first, i.channel))), tuple(groups)


def _units(
    spans: Sequence[Span], levels: Sequence[Level], live: NDArray[np.bool_], length: int, loss: bool
) -> Iterator[Unit]:
    """Units of which most live cells are flagged, in runs of lumisections."""
    cell, first, last = np.array([(span.cell, span.first, span.last) for span in spans], dtype=np.intp).reshape(-1, 3).T
    for depth, level in enumerate(levels):
        size = np.bincount(level.unit_of[live & (level.unit_of >= 0)], minlength=len(level.names))
        unit = level.unit_of[cell]
        enough = np.bincount(unit[unit >= 0], minlength=len(size)) >= SHARE * size
        for number in np.flatnonzero(enough & (size >= level.smallest)):
            begun = np.bincount(first[unit == number], minlength=length + 1)
            ended = np.bincount(last[unit == number] + 1, minlength=length + 1)
            share = np.cumsum(begun - ended)[:-1] / size[number]
            for begin, end in _runs(share >= SHARE):
                yield Unit(depth, int(number), begin, end, loss)


def _agreed(unit: Unit, evidence: Evidence, levels: Sequence[Level], live: NDArray[np.bool_]) -> bool:
    """Whether most cells of a unit are nearer to its common factor than to health: not one bad cell among good ones."""
    cells = _cells_of(unit, levels, live)
    observed, expected = _sums(evidence, slice(unit.first, unit.last + 1), cells)
    expected = np.maximum(expected, 1e-9)
    factor = float(np.median(observed / expected))
    near = np.abs(observed / expected - factor) <= np.abs(observed / expected - 1)
    return bool((factor < 1) == unit.loss and near.mean() >= SHARE)


def _joined(units: list[Unit]) -> list[Unit]:
    """Units of the same place and direction that overlap or touch become one; largest levels first."""
    joined: list[Unit] = []
    for unit in sorted(units, key=lambda u: (u.level, u.number, u.first)):
        last = joined[-1] if joined else None
        if last and (last.level, last.number) == (unit.level, unit.number) and unit.first <= last.last + 1:
            joined[-1] = replace(last, last=max(last.last, unit.last))
        else:
            joined.append(unit)
    return joined


def _runs(where: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First and last index of every run of True."""
    edges = np.diff(np.concatenate([[0], where.astype(np.int8), [0]]))
    for first, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        yield int(first), int(end) - 1


def _completed(
    spans: list[Span], units: list[Unit], evidence: Evidence, levels: Sequence[Level], live: NDArray[np.bool_]
) -> list[Span]:
    """Let the cells of a unit at fault share its lumisections where their own counts agree with it."""
    by_cell: dict[int, list[Span]] = {}
    for span in spans:
        by_cell.setdefault(span.cell, []).append(span)
    for unit in units:
        rows = slice(unit.first, unit.last + 1)
        cells = _cells_of(unit, levels, live)
        observed, expected = _sums(evidence, rows, cells)
        factor = observed.sum() / max(expected.sum(), 1e-9)
        for batch in np.split(cells, range(BATCH, len(cells), BATCH)):
            seen, wanted = evidence.counts(rows, batch)
            for column, cell in enumerate(batch.tolist()):
                _complete(by_cell.setdefault(cell, []), cell, unit, seen[:, column], wanted[:, column], factor)
    return [span for cell in sorted(by_cell) for span in by_cell[cell]]


def _cells_of(unit: Unit, levels: Sequence[Level], live: NDArray[np.bool_]) -> NDArray[np.intp]:
    return np.flatnonzero((levels[unit.level].unit_of == unit.number) & live)


def _sums(evidence: Evidence, rows: slice, cells: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """(cells,) observed and expected counts, summed over lumisections."""
    sums = [
        [counts.sum(axis=0, dtype=np.float64) for counts in evidence.counts(rows, batch)]
        for batch in np.split(cells, range(BATCH, len(cells), BATCH))
    ]
    observed, expected = (np.concatenate(column) for column in zip(*sums, strict=True))
    return observed, expected


def _complete(
    own: list[Span], cell: int, unit: Unit, observed: NDArray[np.integer], expected: NDArray[np.floating], factor: float
) -> None:
    """Extend a cell's spans over the unit's lumisections, if what they leave out agrees with the fault."""
    touching = [span for span in own if span.first <= unit.last + 1 and span.last >= unit.first - 1]
    missing = np.ones(len(observed), dtype=bool)
    for span in touching:
        missing[max(span.first - unit.first, 0) : max(span.last - unit.first + 1, 0)] = False
    if not missing.any():
        return
    ratio = observed[missing].sum() / max(expected[missing].sum(), 1e-9)
    if abs(ratio - factor) > abs(ratio - 1):
        return
    for span in touching:
        own.remove(span)
    first = min([unit.first, *(span.first for span in touching)])
    last = max([unit.last, *(span.last for span in touching)])
    own.append(Span(cell, first, last, unit.loss))


def _unit_of(span: Span, units: Sequence[Unit], levels: Sequence[Level]) -> Unit | None:
    """The unit that explains at least half of a span, the largest first."""
    for unit in units:
        if unit.loss != span.loss or levels[unit.level].unit_of[span.cell] != unit.number:
            continue
        shared = min(span.last, unit.last) - max(span.first, unit.first) + 1
        if 2 * shared >= span.last - span.first + 1:
            return unit
    return None


def _group(unit: Unit, members: Sequence[Interval], levels: Sequence[Level], lumisections: NDArray[np.int32]) -> Group:
    kinds = [interval.kind for interval in members]
    return Group(
        unit=levels[unit.level].names[unit.number],
        kind=max(Kind, key=kinds.count),
        first=int(lumisections[unit.first]),
        last=int(lumisections[unit.last]),
        channels=len({interval.channel for interval in members}),
        observed=sum(interval.observed for interval in members),
        expected=sum(interval.expected for interval in members),
        score=sum(interval.score for interval in members),
    )


def single_groups(intervals: Sequence[Interval], names: Sequence[str]) -> tuple[Group, ...]:
    """A group of its own for every interval that belongs to no unit."""
    return tuple(
        Group(names[i.channel], i.kind, i.first, i.last, 1, i.observed, i.expected, i.score)
        for i in intervals
        if not i.group
    )


def by_weight(groups: Sequence[Group]) -> tuple[Group, ...]:
    """Groups in the order in which people should see them: most channels first, then strongest."""
    return tuple(sorted(groups, key=lambda g: (-g.channels, -g.score, g.first)))
