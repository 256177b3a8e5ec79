"""``UnitTree``: the levels of the readout and of the detector, as sums over channels.

Rings (what sees the same particles) cross boxes and modules (what is read out together). Every estimate of a level is a
sum over its channels, here a sparse matrix times an array of (channels, LS).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hcal_root_ad.detector import ChannelTable, Subdetector, box_name

Value = TypeVar("Value", bound=np.generic)
Labels = NDArray[np.intp]

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
        channels: who they are. subdetector, half, ring, box, module: their units, level by level.
        half_of_box, subdetector_of_half, subdetector_of_ring, box_of_module: the unit above each unit.
    """

    channels: ChannelTable
    subdetector: Units
    half: Units
    ring: Units
    box: Units
    module: Units
    half_of_box: Labels
    subdetector_of_half: Labels
    subdetector_of_ring: Labels
    box_of_module: Labels

    @cached_property
    def subdetector_of_box(self) -> Labels:
        return self.subdetector_of_half[self.half_of_box]

    def of_rows(self, rows: Labels) -> UnitTree:
        """The same units over some of the channels."""
        return replace(
            self, channels=self.channels.take(rows),
            subdetector=self.subdetector.take(rows), half=self.half.take(rows), ring=self.ring.take(rows),
            box=self.box.take(rows), module=self.module.take(rows),
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
    names = np.array(channels.names)
    side = np.array(SIDES)[channels.side]
    half = np.char.add(names, side)
    readout = channels.subdetector <= Subdetector.HE
    sector = (channels.iphi - 1) // SECTOR + 1
    box = np.where(
        readout,
        [box_name(int(b)) if 0 <= b < 72 else "" for b in np.where(readout, channels.box, 0)],
        [f"{h} sector {s}" for h, s in zip(half, sector, strict=True)],
    )
    module = np.where(channels.rm > 0, np.char.add(np.char.add(box, "-RM"), channels.rm.astype(str)), box)
    ring = np.array(
        [f"{n} |ieta| {abs(e)} depth {d}" for n, e, d in zip(names, channels.ieta, channels.depth, strict=True)]
    )
    subdetector, halves, rings = _units(names), _units(half), _units(ring)
    boxes, modules = _units(box), _units(module)
    return UnitTree(
        channels, subdetector, halves, rings, boxes, modules,
        half_of_box=_above(boxes, halves),
        subdetector_of_half=_above(halves, subdetector),
        subdetector_of_ring=_above(rings, subdetector),
        box_of_module=_above(modules, boxes),
    )  # fmt: skip


def _units(labels: NDArray[np.str_]) -> Units:
    """Units by name, in the order in which channels bring them up."""
    names, first, of = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    return Units(rank[of], tuple(str(name) for name in names[order]))


def _above(units: Units, larger: Units) -> Labels:
    """The larger unit of each unit."""
    above = np.zeros(len(units), dtype=np.intp)
    above[units.of] = larger.of
    return above
