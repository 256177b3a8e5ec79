"""The oracle: it knows the true healthy rates, and adds up each unit's channels and lumisections. No judge can.

From the largest unit to the smallest, a unit whose sum over some LS lies further from the healthy one than chance
explains is at fault there, if most of its channels are nearer to its factor than to health. What is explained by a
larger unit is left out below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from hcal_root_ad.certify.policy import load_policy
from hcal_root_ad.detector import SUBDET_PM, ChannelTable, Subdetector, box_name
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.unit_names import qie_card, unit_names
from studies.stress.judged import Certified, Judge, JudgedRun, Line, certified
from studies.stress.truth import DEAD_BELOW, HOT_ABOVE
from studies.stress.worlds import WorldRuns

WINDOWS = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89)
"""Lengths of stretches that are tried, besides the whole run."""
AGREED = 0.6
"""Share of a unit's channels that must be nearer to its factor than to health."""

Floats = NDArray[np.floating]


def oracle_of(runs: WorldRuns) -> Judge:
    """The judge that knows the healthy rates of a world's judged run."""
    healthy = runs.judged.rates.astype(np.float64)

    def judge(clean_runs: Sequence[LumiMaps], maps: LumiMaps, asked: float) -> JudgedRun:  # noqa: ARG001
        answer = judge_by_rates(maps, healthy, asked)
        if runs.world.knowable:
            return answer
        nothing = (Certified.NOTSET,) * len(maps)
        return JudgedRun((), np.zeros_like(answer.flagged), "another detector", False, nothing)

    return judge


@dataclass(eq=False)
class _Residuals:
    """(LS, channels) counts, healthy means and variances; 0 where a fault is explained already."""

    observed: Floats
    expected: Floats
    variance: Floats

    def explain(self, where: slice, rows: NDArray[np.intp]) -> None:
        for values in (self.observed, self.expected, self.variance):
            values[where, rows] = 0.0


def judge_by_rates(maps: LumiMaps, healthy: Floats, asked: float) -> JudgedRun:
    """Judge by the healthy digi probabilities (LS, channels) of the maps."""
    columns = maps.channels.rows_of("HB", "HE")
    channels, counts, healthy = maps.channels.take(columns), maps.counts[:, columns], healthy[:, columns]
    expected = maps.events[:, None] * healthy
    left = _Residuals(counts.astype(np.float64), expected.copy(), expected * (1 - healthy))
    live = healthy.max(axis=0) > 0
    flagged, bad = (np.zeros(maps.counts.shape, dtype=np.bool_) for _ in range(2))
    lines = []
    for unit_of, names in _levels(channels):
        threshold = norm.isf(asked / 2 / 100 / max(len(names) / 2, 1) / len(WINDOWS))
        for number, where in _candidates(left, unit_of, threshold):
            rows = np.flatnonzero((unit_of == number) & live)
            size = _common_factor(left, where, rows)
            if size is None:
                continue
            flagged[where, columns[rows]] = True
            bad[where, columns[rows]] = size <= DEAD_BELOW or size >= HOT_ABOVE
            first, last = maps.lumisections[where][[0, -1]].tolist()
            kind = "loss" if size < 1 else "gain"
            lines.append(Line(names[number], kind, ((first, last),), tuple(columns[rows].tolist()), size))
            left.explain(where, rows)
    alive = np.zeros(len(maps.channels), dtype=np.bool_)
    alive[columns] = live
    certification = certified(maps.channels, bad, flagged, alive, load_policy())
    return JudgedRun(tuple(lines), flagged, "the true rates", True, certification)


def _levels(channels: ChannelTable) -> Iterator[tuple[NDArray[np.intp], list[str]]]:
    """Unit number of each channel, and names of the units, from the largest to the smallest."""
    ring = (channels.subdetector.astype(np.intp) - 1) * 30 + np.abs(channels.ieta)
    module = channels.box.astype(np.intp) * 5 + channels.rm
    yield channels.subdetector.astype(np.intp) - 1, ["HB", "HE"]
    yield channels.half.astype(np.intp), list(SUBDET_PM)
    yield ring, [f"{Subdetector(number // 30 + 1).name} |ieta| {number % 30}" for number in range(60)]
    yield channels.box.astype(np.intp), [box_name(number) for number in range(72)]
    yield module, [f"{box_name(number // 5)}-RM{number % 5}" for number in range(360)]
    cards = [f"{box_name(n // 25)}-RM{n // 5 % 5}-card{n % 5}" for n in range(1800)]
    yield module * 5 + qie_card(channels), cards
    yield np.arange(len(channels)), unit_names(channels, "channel")


def _candidates(left: _Residuals, unit_of: NDArray[np.intp], threshold: float) -> Iterator[tuple[int, slice]]:
    """Units and stretches beyond the threshold: of each unit the most significant stretches that do not overlap."""
    rest = _sums(left.observed - left.expected, unit_of)
    variance = _sums(left.variance, unit_of)
    length = len(left.observed)
    found: list[tuple[float, int, int, int]] = []
    for width in (*(w for w in WINDOWS if w < length), length):
        above, below = rest[width:] - rest[:-width], variance[width:] - variance[:-width]
        squares = above**2 / np.maximum(below, 1.0)
        starts, units = np.nonzero(squares > threshold**2)
        found += zip(squares[starts, units], units.tolist(), starts.tolist(), [width] * len(units), strict=True)
    taken: dict[int, NDArray[np.bool_]] = {}
    for _, unit, start, width in sorted(found, reverse=True):
        used = taken.setdefault(unit, np.zeros(length, dtype=np.bool_))
        if used[start : start + width].any():
            continue
        first, end = _edges(rest[:, unit], variance[:, unit], start, start + width)
        if not used[first:end].any():
            used[max(first - 1, 0) : end + 1] = True
            yield unit, slice(first, end)


def _edges(rest: Floats, variance: Floats, start: int, end: int) -> tuple[int, int]:
    """The most significant stretch whose edges lie within half a length of the given ones."""
    reach = max((end - start) // 2, 1)
    firsts = np.arange(max(start - reach, 0), min(start + reach, end - 1) + 1)
    ends = np.arange(max(end - reach, start + 1), min(end + reach, len(rest) - 1) + 1)
    above = rest[ends] - rest[firsts, None]
    pull = np.where(ends > firsts[:, None], np.abs(above), 0.0)
    pull = pull / np.sqrt(np.maximum(variance[ends] - variance[firsts, None], 1.0))
    best_first, best_end = np.unravel_index(int(pull.argmax()), pull.shape)
    return int(firsts[best_first]), int(ends[best_end])


def _sums(values: Floats, unit_of: NDArray[np.intp]) -> Floats:
    """(LS + 1, units) running sums over LS of the units' sums."""
    size = int(unit_of.max()) + 1
    sums = values if size == values.shape[1] else np.stack([np.bincount(unit_of, row, size) for row in values])
    return np.concatenate([np.zeros((1, size)), np.cumsum(sums, axis=0)])


def _common_factor(left: _Residuals, where: slice, rows: NDArray[np.intp]) -> float | None:
    """Digis over healthy ones of a unit, if most of its channels are nearer to that than to 1."""
    observed, expected = left.observed[where, rows].sum(axis=0), left.expected[where, rows].sum(axis=0)
    filled = expected > 0
    if not filled.any():
        return None
    factor = float(observed[filled].sum() / expected[filled].sum())
    ratio = observed[filled] / expected[filled]
    agreed = np.abs(ratio - factor) <= np.abs(ratio - 1)
    return factor if agreed.mean() >= AGREED else None
