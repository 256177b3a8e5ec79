"""Sums over groups and maps of channels as gathers, which every ONNX opset has and every runtime does fast."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn.aggr import Aggregation


def members(label: NDArray[np.integer], groups: int) -> NDArray[np.int64]:
    """(groups, most) positions that carry each label 0 … groups − 1; ``len(label)`` where a group has fewer."""
    size = np.bincount(label, minlength=groups)
    order = np.argsort(label, kind="stable")
    place = np.arange(len(label)) - np.repeat(np.cumsum(size) - size, size)
    table = np.full((groups, int(size.max())), len(label), dtype=np.int64)
    table[label[order], place] = order
    return table


class GroupSum(nn.Module):
    """(rows, channels) → (rows, groups) sums over the channels of each group, given as a table of members."""

    table: Tensor

    def __init__(self, table: NDArray[np.int64]) -> None:
        super().__init__()
        self.register_buffer("table", torch.from_numpy(table))

    def forward(self, values: Tensor) -> Tensor:
        return functional.pad(values, (0, 1)).T[self.table].sum(dim=1).T


class GatheredMean(Aggregation):  # type: ignore[misc]  # PyG has no types
    """PyG's mean over the edges that end in a node, for a graph that never changes: no scatter (opset 16) is needed."""

    table: Tensor
    size: Tensor

    def __init__(self, targets: Tensor, nodes: int) -> None:
        super().__init__()
        table = members(targets.numpy(), nodes)
        size = np.maximum((table < len(targets)).sum(axis=1), 1)
        self.register_buffer("table", torch.from_numpy(table))
        self.register_buffer("size", torch.from_numpy(size.astype(np.float32))[:, None])

    def forward(self, x: Tensor, *_: object, **__: object) -> Tensor:
        """(LS, edges, features) → (LS, nodes, features)."""
        return functional.pad(x, (0, 0, 0, 1))[:, self.table].sum(dim=2) / self.size


class Cells(nn.Module):
    """Channels in the cells of a map, flattened: ``cell`` (channels,) says where each one lies."""

    cell: Tensor
    channel: Tensor

    def __init__(self, cell: NDArray[np.integer], cells: int) -> None:
        super().__init__()
        channel = np.full(cells, len(cell), dtype=np.int64)
        channel[cell] = np.arange(len(cell))
        self.register_buffer("cell", torch.from_numpy(cell.astype(np.int64)))
        self.register_buffer("channel", torch.from_numpy(channel))

    def to_channels(self, cells: Tensor) -> Tensor:
        """(1, cells) → (1, channels)."""
        return cells[:, self.cell]

    def to_cells(self, values: Tensor) -> Tensor:
        """(maps, channels) → (maps, cells); 0 in cells without a channel."""
        return functional.pad(values, (0, 1)).T[self.channel].T
