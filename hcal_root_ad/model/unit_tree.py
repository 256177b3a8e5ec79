"""``UnitTree``: the levels of the readout and of the detector, as sums over channels.

Rings (what sees the same particles) cross boxes and modules (what is read out together). Every estimate of a level is a
sum over its channels, here a sparse matrix times an array of (channels, LS): the cells of a :class:`CellBlock`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hcal_root_ad.detector import N_HO_BOX_FIRST, ChannelTable, Subdetector, box_name
from hcal_root_ad.stats.binomial import HIGHEST_RATE, LOWEST_RATE, newton_step_at

Value = TypeVar("Value", bound=np.generic)
Labels = NDArray[np.intp]
Single = NDArray[np.float32]

SECTOR = 6
"""Adjacent iphi of HO and HF that stand in for a readout box, where no rule for their boxes is known: 30 degrees."""
SIDES = ("M", "P")


@dataclass(frozen=True, eq=False)
class Units:
    """The units of one level: ``of`` (channels,) gives each channel's unit, ``names`` (units,) theirs."""

    of: Labels
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: Labels) -> Units:
        """The same units over some of the channels."""
        return Units(self.of[rows], self.names)

    def spread(self, values: NDArray[Value], out: NDArray[Value] | None = None) -> NDArray[Value]:
        """(channels, LS) of (units, LS): to each channel what its unit has."""
        return np.take(values, self.of, axis=0, out=out, mode="clip")  # without a check, which would need a copy

    @cached_property
    def sums(self) -> sparse.csr_array:
        """(units, channels) matrix of ones: times (channels, LS) it gives sums."""
        ones = np.ones(len(self.of), dtype=np.float32)
        return sparse.csr_array((ones, (self.of, np.arange(len(self.of)))), shape=(len(self), len(self.of)))


@dataclass(frozen=True, eq=False)
class UnitTree:
    """All levels of the channels of HB, HE and HO that are judged together.

    Attributes:
        channels: who they are. subdetector, half, ring, side_ring, box, module: their units, level by level; a side
            ring is one side of a ring.
        half_of_box and so on: the unit above each unit. other_side: side ring across of each.
    """

    channels: ChannelTable
    subdetector: Units
    half: Units
    ring: Units
    side_ring: Units
    box: Units
    module: Units
    half_of_box: Labels
    subdetector_of_half: Labels
    subdetector_of_ring: Labels
    ring_of_side_ring: Labels
    half_of_side_ring: Labels
    other_side: Labels
    box_of_module: Labels

    @cached_property
    def modules_of_boxes(self) -> Units:
        """Boxes as units of modules, whose sums they are."""
        return Units(self.box_of_module, self.box.names)

    @cached_property
    def sides_of_rings(self) -> Units:
        """Rings as units of side rings, whose sums they are."""
        return Units(self.ring_of_side_ring, self.ring.names)

    @cached_property
    def subdetector_of_side_ring(self) -> Labels:
        return self.subdetector_of_ring[self.ring_of_side_ring]

    @cached_property
    def subdetector_of_box(self) -> Labels:
        return self.subdetector_of_half[self.half_of_box]

    def of_rows(self, rows: Labels) -> UnitTree:
        """The same units over some of the channels."""
        return replace(
            self, channels=self.channels.take(rows),
            subdetector=self.subdetector.take(rows), half=self.half.take(rows), ring=self.ring.take(rows),
            side_ring=self.side_ring.take(rows), box=self.box.take(rows), module=self.module.take(rows),
        )  # fmt: skip


_TREES: dict[bytes, UnitTree] = {}


def unit_tree(channels: ChannelTable) -> UnitTree:
    """The levels of a table of channels; made once for equal tables.

    Boxes are RBX for HB and HE, sectors of 30 degrees for HO. Modules are RM, or the whole box where no rule is known.
    """
    key = channels.raw_id.tobytes() + channels.era.value.encode()
    if key not in _TREES:
        _TREES[key] = _made(channels)
    return _TREES[key]


def _made(channels: ChannelTable) -> UnitTree:
    names, side, rm = channels.names, channels.side.astype(np.intp), np.maximum(channels.rm.astype(np.intp), 0)
    readout, sector = channels.subdetector <= Subdetector.HE, (channels.iphi.astype(np.intp) - 1) // SECTOR + 1
    half = 2 * channels.subdetector.astype(np.intp) + side
    box = np.where(readout, channels.box, N_HO_BOX_FIRST * (1 + half) + sector)
    ring = (10 * (half // 2) + channels.depth) * 100 + np.abs(channels.ieta)

    def half_name(row: int) -> str:
        return f"{names[row]}{SIDES[side[row]]}"

    def named_box(row: int) -> str:
        return box_name(int(box[row])) if readout[row] else f"{half_name(row)} sector {sector[row]}"

    def module_name(row: int) -> str:
        return f"{named_box(row)}-RM{rm[row]}" if rm[row] else named_box(row)

    def ring_name(row: int) -> str:
        return f"{names[row]} |ieta| {abs(channels.ieta[row])} depth {channels.depth[row]}"

    def side_ring_name(row: int) -> str:
        return f"{names[row]} ieta {channels.ieta[row]:+d} depth {channels.depth[row]}"

    subdetector, halves = _units(half // 2, lambda row: str(names[row])), _units(half, half_name)
    rings, side_rings = _units(ring, ring_name), _units(2 * ring + side, side_ring_name)
    boxes, modules = _units(box, named_box), _units(8 * box + rm, module_name)
    return UnitTree(
        channels, subdetector, halves, rings, side_rings, boxes, modules,
        half_of_box=_above(boxes, halves),
        subdetector_of_half=_above(halves, subdetector),
        subdetector_of_ring=_above(rings, subdetector),
        ring_of_side_ring=_above(side_rings, rings),
        half_of_side_ring=_above(side_rings, halves),
        other_side=other_of(_above(side_rings, rings)),
        box_of_module=_above(modules, boxes),
    )  # fmt: skip


def _units(numbers: Labels, name: Callable[[int], str]) -> Units:
    """Units by number, in the order in which channels bring them up; ``name``: of the unit of a row."""
    _, first, of = np.unique(numbers, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    return Units(rank[of], tuple(map(name, first[order].tolist())))


def other_of(larger: Labels) -> Labels:
    """Of units that come in pairs, the other one with the same larger unit; itself where there is none."""
    units = np.arange(len(larger))
    return np.array([next((k for k in units[larger == larger[own]] if k != own), own) for own in units], dtype=np.intp)


def _above(units: Units, larger: Units) -> Labels:
    """The larger unit of each unit."""
    above = np.zeros(len(units), dtype=np.intp)
    above[units.of] = larger.of
    return above


def sum_in_order(values: NDArray[Any]) -> NDArray[Any]:
    """Sums over the first axis, in the same order however many there are beside each other."""
    sums: NDArray[Any] = np.add.accumulate(values, axis=0)[-1]
    return sums


BLOCK = 16
"""Lumisections that are looked at together: their arrays stay near the processor."""
BIWEIGHT = 6.0
"""Tukey's constant: a channel this many standard deviations away has no say."""
CLIPPED = 4.0
"""Standard deviations at which a channel's pull is cut where a robust mean starts."""
NO_SAY = 1e6
"""Variance of the mean of a unit of which no channel has a say."""
LEAST_AGREEMENT = 0.3
"""Share of a unit's information that must agree for a robust mean."""
CHANNEL_WIDTH = 0.0155
"""Shift of a channel's log rate from run to run (measured 0.015 to 0.016 between pairs of clean runs)."""

_kept = threading.local()


def _arrays(cells: int) -> list[Single]:
    """Ten arrays of so many numbers, the same ones for each call of a thread."""
    if getattr(_kept, "cells", 0) < cells:
        _kept.cells, _kept.arrays = cells, [np.empty(cells, dtype=np.float32) for _ in range(10)]
    return [array[:cells] for array in _kept.arrays]


class CellBlock:
    """Counts of some lumisections, what is expected of them, and robust means of what is left over units.

    Most time of a judgement is spent here. Every array is used again and again: to get fresh memory from the system
    costs as much as what is computed in it. So one block at a time is good in a thread. No sum depends on how many
    lumisections are beside each other.

    Attributes:
        n: (channels, LS) digis, never more than the events. trials: (channels, LS) events.
        rate: (channels, LS) expected rates, to be set. b, w: scores and information of :meth:`newton_step`.
    """

    def __init__(self, counts: NDArray[np.integer], events: NDArray[np.integer], rows: NDArray[np.intp] | None) -> None:
        """``counts``: (LS, channels), of which ``rows`` are wanted (all, if not given); ``events``: (LS,)."""
        shape = (counts.shape[1] if rows is None else len(rows), len(counts))
        self.n, self.trials, self.rate, self.b, self.w, self._weight, self._scale, *self._spare = (
            array.reshape(shape) for array in _arrays(shape[0] * shape[1])
        )
        if rows is None:
            self.n[:] = counts.T
        else:
            np.take(np.array(counts.T, dtype=np.float32, order="C"), rows, axis=0, out=self.n, mode="clip")
        self.trials[:] = events  # one number per cell: numpy is slow where short rows are spread
        np.minimum(self.n, self.trials, out=self.n)

    def move(self, units: Units, shift: Single) -> None:
        """Shift the log rate of each unit; ``shift``: (units, LS)."""
        self.rate *= units.spread(np.exp(shift), out=self._spare[0])
        self.clip()

    def lose_digis(self, units: Units, shift: Single, where: NDArray[np.bool_]) -> None:
        """Multiply the digis of some units by a factor, whatever the rate: e^``shift`` ``where`` set, (units, LS)."""
        rows = np.flatnonzero(np.asarray(where.any(axis=1))[units.of])
        some, rate = units.of[rows], self.rate[rows]
        left = np.minimum(-np.expm1(-rate) * np.exp(shift)[some], 1 - 1e-4)
        self.rate[rows] = np.where(where[some], -np.log1p(-left), rate)
        self.clip()

    def clip(self) -> None:
        """Keep rates inside of what the smallest and largest probabilities allow."""
        np.clip(self.rate, LOWEST_RATE, HIGHEST_RATE, out=self.rate)

    def newton_step(self) -> None:
        """Score ``b`` and information ``w`` of every cell at its rate."""
        newton_step_at(self.n, self.trials, self.rate, (self.b, self.w, self._spare[0]))

    def clipped_mean(self, units: Units, say: Single | None = None) -> Single:
        """(units, LS) mean shift with each channel's pull cut: where a robust mean starts.

        ``say``: (channels, LS) 1 for those that count, 0 for others.
        """
        limit, b, w = *self._spare[:2], self.w
        np.sqrt(w, out=limit)
        limit *= CLIPPED
        np.minimum(self.b, limit, out=b)
        np.maximum(b, np.negative(limit, out=limit), out=b)
        if say is not None:
            b *= say
            w = np.multiply(w, say, out=limit)
        return np.asarray((units.sums @ b) / np.maximum(units.sums @ w, 1e-6))

    def weigh(self) -> None:
        """Make shifts x = b/w of the scores ``b``, and give each channel its weight: 1 / (1/w + CHANNEL_WIDTH²).

        That is its information, and the spread that health allows.
        """
        weight = np.reciprocal(self.w, out=self._weight)
        self.b *= weight
        weight += np.float32(CHANNEL_WIDTH**2)
        np.reciprocal(weight, out=weight)
        np.multiply(weight, np.float32(-1 / BIWEIGHT**2), out=self._scale)

    def robust_mean(
        self, units: Units, start: Single | None = None, say: Single | None = None
    ) -> tuple[Single, Single]:
        """(units, LS) mean of the shifts that were weighed, with Tukey's weights, and its statistical variance.

        ``start``: (units, LS) where it is looked for, 0 if not given.
        """
        x, (tukey, weighted, own) = self.b, self._spare
        weight = self._weight if say is None else np.multiply(self._weight, say, out=own)
        everyone, mean = units.sums @ weight, start
        for _ in range(2):
            if mean is None:
                np.square(x, out=tukey)
            else:
                units.spread(mean, out=tukey)
                np.subtract(x, tukey, out=tukey)
                np.square(tukey, out=tukey)
            tukey *= self._scale
            tukey += 1
            np.maximum(tukey, 0, out=tukey)
            np.square(tukey, out=tukey)
            np.multiply(tukey, weight, out=weighted)
            total = units.sums @ weighted
            mean = (units.sums @ np.multiply(weighted, x, out=tukey)) / np.maximum(total, np.float32(1e-6))
        assert mean is not None
        np.square(weighted, out=weighted)
        weighted /= self.w
        variance = (units.sums @ weighted) / np.maximum(total, 1e-6) ** 2
        few = total < LEAST_AGREEMENT * everyone
        if few.any():
            # Most channels are far from each other and from the start: there is no robust mean, only the plain one.
            w = self.w if say is None else self.w * say
            plain = (units.sums @ (x * w)) / np.maximum(units.sums @ w, 1e-6)
            mean = np.where(few, plain, mean)
            variance = np.where(few, 1 / np.maximum(everyone, 1e-6), variance)
        return np.asarray(mean), np.where(everyone > 1e-6, variance, np.float32(NO_SAY))

    def without(self, units: Units, shift: Single) -> None:
        """Take a shift of each unit, (units, LS), out of the shifts that were weighed."""
        self.b -= units.spread(shift, out=self._spare[0])
