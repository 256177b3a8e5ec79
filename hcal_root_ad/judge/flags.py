"""Evidence to flags: which channel, which lumisections, which kind of fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.evidence import IS_LOSS, LOSSES, Excursions, merged
from hcal_root_ad.judge.verdict import Interval, Kind
from hcal_root_ad.room import picked
from hcal_root_ad.stats.binomial import Floats, Numbers

DEAD_BELOW = 0.1
"""Observed over expected digis below which a loss is called dead, not degraded."""
HOT_ABOVE = 1.5
"""Rate over expected rate from which a gain is called hot, not warm."""
NOISY_ABOVE = 4.0
"""Spread of a gain from LS to LS, in statistical standard deviations, from which it is called noisy."""
DECISIVE = 3.0
"""Evidence (natural log) of the weakest fault that keeps a lumisection at the edge of an interval."""
PAUSE = 6.0
"""Evidence (natural log) for health, within a fault's span, that cuts it in two."""
WEAKEST_LOSS, WEAKEST_GAIN = len(LOSSES) - 1, len(LOSSES)


Found = TypeVar("Found")

BATCH = 64
"""Cells that are looked at again together; it bounds the memory."""

Ratios = Callable[[NDArray[np.intp]], Floats]
"""Gives the (hypotheses, cells, LS) log-likelihood ratios of some cells (or units) in all assessed lumisections."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What flags are made of, per assessed lumisection and cell (columns: channels or strips).

    ``ratios`` of single cells; ``observed`` and ``expected`` counts, (rows, cells), and ``position``, (LS,) the row of
    each assessed lumisection; ``trials``: (LS,) the largest count there can be, infinite for strips.
    """

    ratios: Ratios
    observed: NDArray[np.integer]
    expected: Floats
    trials: Numbers
    position: NDArray[np.intp]

    def counts(self, rows: slice, cells: NDArray[np.intp]) -> tuple[NDArray[np.integer], Floats]:
        """(LS, cells) observed and expected counts of some assessed lumisections."""
        position = self.position[rows]
        return picked(self.observed, position, cells), picked(self.expected, position, cells)

    def of(self, cells: NDArray[np.intp]) -> Iterator[tuple[Floats, NDArray[np.integer], Floats]]:
        """(hypotheses, LS) ratios, (LS,) observed and expected counts of one cell after the other."""
        observed, expected = self.counts(slice(None), cells)
        columns = np.ascontiguousarray(observed.T), np.ascontiguousarray(expected.T)
        return zip(self.ratios(cells).transpose(1, 0, 2), *columns, strict=True)


@dataclass(frozen=True)
class Span:
    """A flagged stretch of one cell, in assessed lumisections (inclusive)."""

    cell: int
    first: int
    last: int
    loss: bool


def spans_of(excursions: Excursions, ratios: Ratios) -> list[Span]:
    """Excursions above threshold as spans with sharp edges, apart where the fault pauses."""
    spans = []
    for loss in (True, False):
        found = [Span(cell, first, last, loss) for cell, first, last, _ in merged(excursions, loss)]
        for number, whole in _each(found, lambda cells: ratios(cells).transpose(1, 0, 2)):
            span = found[number]
            within = whole[:, span.first : span.last + 1]
            for begin, end in _apart(within[WEAKEST_LOSS if loss else WEAKEST_GAIN]):
                first, last = span.first + begin, span.first + end
                inner = _sharpened(within[:, begin : end + 1], first, last, loss)
                spans.append(Span(span.cell, *inner, loss))
    return spans


def _each(spans: Sequence[Span], found: Callable[[NDArray[np.intp]], Iterable[Found]]) -> Iterator[tuple[int, Found]]:
    """The number of every span, cell by cell, with what is found of its cell."""
    of_cell: dict[int, list[int]] = {}
    for number, span in enumerate(spans):
        of_cell.setdefault(span.cell, []).append(number)
    cells = sorted(of_cell)
    for first in range(0, len(cells), BATCH):
        batch = cells[first : first + BATCH]
        for cell, values in zip(batch, found(np.array(batch)), strict=True):
            yield from ((number, values) for number in of_cell[cell])


def _apart(weakest: Floats) -> list[tuple[int, int]]:
    """Parts of a span between its pauses: lumisections that together speak clearly for health.

    ``weakest``: (LS,) ratios of the weakest fault. The pause that speaks loudest is cut out first.
    """
    sums = np.concatenate([[0.0], np.cumsum(weakest)])
    highest = np.maximum.accumulate(sums)
    end = int(np.argmin(sums - highest))
    begin = int(np.argmax(sums[: end + 1]))
    if sums[end] - sums[begin] > -PAUSE:
        return [(0, len(weakest) - 1)]
    parts = []
    for offset, part in ((0, weakest[:begin]), (end, weakest[end:])):
        if part.sum() > DECISIVE:
            parts += [(offset + first, offset + last) for first, last in _apart(part)]
    return parts or [(0, len(weakest) - 1)]


def _sharpened(ratios: Floats, first: int, last: int, loss: bool) -> tuple[int, int]:
    """Cut lumisections off either end that the fault does not explain better than health."""
    best = ratios[_best(ratios, loss)]
    weakest = ratios[WEAKEST_LOSS if loss else WEAKEST_GAIN]
    cut_last = _useless(best[::-1], weakest[::-1])
    cut_first = _useless(best[: len(best) - cut_last], weakest[: len(best) - cut_last])
    return first + cut_first, last - cut_last


def _useless(best: Floats, weakest: Floats) -> int:
    """How many of the leading lumisections speak against the fault; at least one is left."""
    against = np.cumsum(best[:-1])
    if len(against) == 0:
        return 0
    lowest = int(np.argmin(against))
    clear = against[lowest] < 0 and weakest[: lowest + 1].sum() < DECISIVE
    return lowest + 1 if clear else 0


def _best(ratios: Floats, loss: bool) -> int:
    total = np.where(loss == IS_LOSS, ratios.sum(axis=1), -np.inf)
    return int(np.argmax(total))


def intervals_of(
    spans: Sequence[Span], groups: Sequence[str], evidence: Evidence, lumisections: NDArray[np.int32]
) -> list[Interval]:
    """Spans, and the name of the group of each or "", with their numbers: kind, digis seen and expected, score."""
    intervals: dict[int, Interval] = {}
    for number, whole in _each(spans, evidence.of):
        span = spans[number]
        rows = slice(span.first, span.last + 1)
        ratios, observed, expected = whole[0][:, rows], whole[1][rows], whole[2][rows]
        intervals[number] = Interval(
            channel=span.cell,
            kind=kind_of(observed, expected, evidence.trials[rows], span.loss),
            first=int(lumisections[span.first]),
            last=int(lumisections[span.last]),
            observed=int(observed.sum()),
            expected=float(expected.sum(dtype=np.float64)),
            score=float(ratios[_best(ratios, span.loss)].sum() / np.log(10)),
            group=groups[number],
        )
    return [intervals[number] for number in range(len(spans))]


def kind_of(observed: NDArray[np.integer], expected: Floats, trials: Numbers, loss: bool) -> Kind:
    """Kind of a fault from its counts per lumisection: (LS,) observed, expected, largest possible."""
    total, wanted = float(observed.sum()), float(expected.sum())
    if loss:
        return Kind.DEAD if total <= DEAD_BELOW * wanted else Kind.DEGRADED
    possible = float(trials.sum())
    if np.isfinite(possible):
        ratio = np.log1p(-min(total / possible, 1 - 1e-6)) / np.log1p(-min(wanted / possible, 1 - 1e-6))
    else:
        ratio = total / wanted
    # A steady gain scatters around its own mean as its counts do; a noisy one does not.
    mean = expected * (total / wanted)
    spread = float(np.sqrt(np.mean((observed - mean) ** 2 / np.maximum(mean, 1.0))))
    if len(observed) >= 3 and spread > NOISY_ABOVE:
        return Kind.NOISY
    return Kind.HOT if ratio >= HOT_ABOVE else Kind.WARM
