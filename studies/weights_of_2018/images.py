"""Images of HB depth 1 in real lumisections, with faults put into the counts.

An image is 72 × 32: iphi × the columns of ieta −16 … 16, digis over the image's largest. Faults are those of the
evaluation (a factor on the digi probability, exact in the counts), in a region of 5 × 5 cells, a channel, an RM or an
RBX, and the studies' own hot one: 3,000 digis in each cell, before scaling.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.model.counts import SubdetectorCounts
from hcal_root_ad.stats.binomial import Floats
from studies.evaluate.real import shares
from studies.evaluate.suite import unit_labels, with_faults

ROWS, COLUMNS = 72, 32
REGION = 5
"""Cells on a side of the studies' region."""
SHAPES = ("5×5", "channel", "RM", "RBX")
FACTORS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.5, 2.0)
HOT = 3000
"""Digis in a cell that the studies called hot."""


@dataclass(frozen=True)
class Fault:
    """A shape and a factor; None is the studies' own hot value."""

    shape: str
    factor: float | None

    @property
    def name(self) -> str:
        return f"hot ({HOT:,} digis)" if self.factor is None else f"×{self.factor:g}"


FAULTS = (
    *(Fault(shape, factor) for shape in SHAPES for factor in FACTORS),
    *(Fault(shape, None) for shape in SHAPES[:2]),
)


def faulty(ten: SubdetectorCounts, fault: Fault, places: int, seed: int) -> Iterator[tuple[int, SubdetectorCounts]]:
    """Every LS ``places`` times with a fault somewhere else: its number, and the LS by itself."""
    draw = np.random.default_rng([seed, FAULTS.index(fault)])
    rates = shares(ten.counts, ten.events)
    for _ in range(places):
        for number in range(len(ten)):
            one = ten.rows(slice(number, number + 1))
            rows = place(ten.channels, rates > 0, fault.shape, draw)
            yield number, replace(one, counts=_changed(one, rates, rows, fault.factor, draw))


def _changed(
    one: SubdetectorCounts,
    rates: Floats,
    rows: NDArray[np.intp],
    factor: float | None,
    draw: np.random.Generator,
) -> NDArray[np.int32]:
    if factor is None:
        counts = one.counts.copy()
        counts[:, rows] = HOT
        return counts
    healthy = rates[None].astype(np.float32)
    after = healthy.copy()
    after[:, rows] = np.minimum(after[:, rows] * factor, 1)
    return with_faults(one.counts, one.events, healthy, after, draw)


def place(channels: ChannelTable, live: NDArray[np.bool_], shape: str, draw: np.random.Generator) -> NDArray[np.intp]:
    """Live rows of a random place of a shape; regions and channels lie in depth 1."""
    first = live & (channels.depth == 1)
    if shape == "channel":
        return draw.choice(np.flatnonzero(first), 1)
    if shape == "5×5":
        top, left = draw.integers(0, ROWS - REGION + 1), draw.integers(0, COLUMNS - REGION + 1)
        row, column = channels.iphi - 1 - top, columns(channels) - left
        inside = (row >= 0) & (row < REGION) & (column >= 0) & (column < REGION)
        return np.flatnonzero(first & inside)
    labels = unit_labels(shape, channels)
    return np.flatnonzero(live & (labels == draw.choice(labels[first])))


def columns(channels: ChannelTable) -> NDArray[np.int16]:
    """(channels,) column of each channel of HB: 0 … 31 for ieta −16 … 16."""
    return np.where(channels.ieta < 0, channels.ieta + 16, channels.ieta + 15).astype(np.int16)


def images(series: SubdetectorCounts) -> Tensor:
    """(LS, 1, 72, 32) digis of depth 1 over the largest of each image."""
    first = np.flatnonzero(series.channels.depth == 1)
    channels = series.channels.take(first)
    pixels = np.zeros((len(series), ROWS, COLUMNS), dtype=np.float32)
    pixels[:, channels.iphi - 1, columns(channels)] = series.counts[:, first]
    return torch.from_numpy(pixels / np.maximum(pixels.max(axis=(1, 2), keepdims=True), 1)).unsqueeze(1)
