"""How channels lie on the maps that convolutions see, and back: gathers only, so that it exports."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from hcal_root_ad.detector import N_DEPTH, N_IPHI, ChannelTable, Subdetector

ROWS = 16
"""Rows per side: |ieta| 1–16 of HB, |ieta| 16–29 of HE and two empty ones; equal, so that weights transfer."""
COLUMNS = N_IPHI
"""Columns are (iphi + 1) mod 72: four neighbouring ones are one readout box."""


def cells(channels: ChannelTable) -> np.ndarray:
    """(channels,) flat cell of each channel in (side, depth, row, column); both sides count |ieta| outwards."""
    first = np.where(channels.subdetector == Subdetector.HB, 1, 16)
    row, column = np.abs(channels.ieta) - first, (channels.iphi + 1) % COLUMNS
    shape = (2, N_DEPTH, ROWS, COLUMNS)
    return np.ravel_multi_index((channels.side, channels.depth - 1, row, column), shape)


class SideMaps(nn.Module):
    """Channel vectors to maps of the two sides, and maps back to channels.

    The sides are stacked on the batch axis (the papers' dimension compression), so that one set of
    weights serves both.
    """

    cell: Tensor
    channel: Tensor

    def __init__(self, channels: ChannelTable) -> None:
        super().__init__()
        cell = cells(channels)
        channel = np.full(2 * N_DEPTH * ROWS * COLUMNS, len(channels), dtype=np.int64)
        channel[cell] = np.arange(len(channels))
        self.register_buffer("cell", torch.from_numpy(cell.astype(np.int64)), persistent=False)
        self.register_buffer("channel", torch.from_numpy(channel), persistent=False)

    def to_maps(self, features: Tensor) -> Tensor:
        """(LS, channels, features) → (2·LS, features·depths, rows, columns); empty cells are 0."""
        steps, _, width = features.shape
        padded = torch.nn.functional.pad(features, (0, 0, 0, 1))
        maps = padded[:, self.channel].reshape(steps * 2, N_DEPTH, ROWS, COLUMNS, width)
        return maps.permute(0, 4, 1, 2, 3).reshape(steps * 2, width * N_DEPTH, ROWS, COLUMNS)

    def to_channels(self, maps: Tensor) -> Tensor:
        """(2·LS, depths, rows, columns) → (LS, channels)."""
        return maps.reshape(maps.shape[0] // 2, -1)[:, self.cell]
