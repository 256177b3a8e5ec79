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

from hcal_root_ad.judge.flags import Evidence, Span, interval_of
from hcal_root_ad.judge.verdict import Group, Interval, Kind

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
        flagged = np.zeros(evidence.observed.shape, dtype=bool)
        for span in own:
            flagged[span.first : span.last + 1, span.cell] = True
        found = _units(flagged, levels, live, loss)
        pooled = [u for u in together if u.loss == loss and _agreed(u, evidence, levels, live)]
        found = _joined([*found, *pooled])
        units += found
        completed += _completed(own, found, evidence, levels, live)
    intervals = []
    members: dict[Unit, list[Interval]] = {unit: [] for unit in units}
    for span in completed:
        unit = _unit_of(span, units, levels)
        name = levels[unit.level].names[unit.number] if unit else ""
        interval = interval_of(span, evidence, lumisections, name)
        intervals.append(interval)
        if unit:
            members[unit].append(interval)
    groups = [(unit, _group(unit, members[unit], levels, lumisections)) for unit in units if members[unit]]
    return tuple(sorted(intervals, key=lambda i: (i.first, i.channel))), tuple(groups)


def _units(flagged: NDArray[np.bool_], levels: Sequence[Level], live: NDArray[np.bool_], loss: bool) -> list[Unit]:
    """Units of which most live cells are flagged, in runs of lumisections."""
    found = []
    for depth, level in enumerate(levels):
        for number in range(len(level.names)):
            cells = np.flatnonzero((level.unit_of == number) & live)
            if len(cells) < level.smallest:
                continue
            share = flagged[:, cells].mean(axis=1)
            for first, last in _runs(share >= SHARE):
                found.append(Unit(depth, number, first, last, loss))
    return found


def _agreed(unit: Unit, evidence: Evidence, levels: Sequence[Level], live: NDArray[np.bool_]) -> bool:
    """Whether most cells of a unit are nearer to its common factor than to health: not one bad cell among good ones."""
    rows = slice(unit.first, unit.last + 1)
    cells = np.flatnonzero((levels[unit.level].unit_of == unit.number) & live)
    observed = evidence.observed[rows][:, cells].sum(axis=0)
    expected = np.maximum(evidence.expected[rows][:, cells].sum(axis=0), 1e-9)
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
        cells = np.flatnonzero((levels[unit.level].unit_of == unit.number) & live)
        observed, expected = evidence.observed[rows][:, cells], evidence.expected[rows][:, cells]
        factor = observed.sum() / max(expected.sum(), 1e-9)
        for column, cell in enumerate(cells.tolist()):
            _complete(by_cell.setdefault(cell, []), cell, unit, observed[:, column], expected[:, column], factor)
    return [span for cell in sorted(by_cell) for span in by_cell[cell]]


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
