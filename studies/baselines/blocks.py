"""The blocks of GraphSTAD as published, and of its parts (facts: ``model_trainer.py`` and
``models_spatial.py`` of the authors' public code, CMS_HCAL_ML_OnlineDQM).

Maps are (maps, widths, depth, row, column): depth comes first because no kernel reaches across it,
which makes the convolutions plain two-dimensional ones in memory.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn import SAGEConv

from hcal_root_ad.detector import N_RBX, ChannelTable, readout_graph

LAYERS = 4
SLOPE = 0.5
"""Of the leaky ReLUs, as published."""
Places = list[tuple[Tensor, torch.Size]]
"""For every pooling, where the maxima were, and the shape before it."""


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    """The published kernel (3, 3, 2) rounds to (3, 3, 1): depths mix by pooling only."""
    convolution = nn.Conv3d(inputs, outputs, (1, 3, 3), padding=(0, 1, 1), bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(outputs), nn.LeakyReLU(SLOPE, inplace=True))


class PoolingCNN(nn.Module):
    """Four times convolution and pooling by two; remembers where the maxima were."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_convolution(1 if i == 0 else width, width) for i in range(LAYERS))

    def forward(self, maps: Tensor) -> tuple[Tensor, Places]:
        """(maps, 1, 7, 16, 72) → (maps, width, 1, 1, 5) and the places of the maxima."""
        places: Places = []
        for layer in self.layers:
            maps = layer(maps)
            before = maps.shape[2:]
            maps, where = functional.max_pool3d(maps, 2, ceil_mode=True, return_indices=True)
            places.append((where, before))
        return maps, places


class UnpoolingCNN(nn.Module):
    """The way back: values return to where the *input's* maxima were, as published.

    This lets the position of every maximum of the input reach the reconstruction past the bottleneck.
    CMSSW's ONNX form (upsampling, times a mask of the indices) computes the same.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_convolution(width, 1 if i == LAYERS - 1 else width) for i in range(LAYERS))
        self.last = nn.Conv3d(1, 1, 1)

    def forward(self, maps: Tensor, places: Places) -> Tensor:
        """(maps, width, 1, 1, 5) → (maps, 1, 7, 16, 72)."""
        for layer, (where, shape) in zip(self.layers, reversed(places), strict=True):
            maps = layer(functional.max_unpool3d(maps, where, (2, 2, 2), output_size=list(shape)))
        restored: Tensor = self.last(maps)
        return restored


class BoxGNN(nn.Module):
    """Occupancies of the channels of a side → one vector: four graph convolutions and attention.

    The published graph joins all channels of a readout box with each other (its exact edges are not
    public). With self-loops, a normalised convolution on such a clique gives each channel the clique's
    mean; from then on all channels of a box are equal. So one node per box gives the same numbers at
    a cost linear in the channels; the attention counts each box as often as it has channels.
    """

    edges: Tensor
    log_size: Tensor

    def __init__(self, channels: ChannelTable, width: int) -> None:
        super().__init__()
        graph = readout_graph(channels)
        box = torch.from_numpy(graph.box_of[graph.module_of])
        self.register_buffer("edges", torch.stack([torch.arange(len(box)), box]), persistent=False)
        size = torch.bincount(box, minlength=2 * N_RBX).reshape(2, N_RBX, 1)
        self.register_buffer("log_size", size.float().log(), persistent=False)
        self.first = SAGEConv((1, 1), width, root_weight=False)
        self.further = nn.ModuleList(nn.Linear(width, width) for _ in range(LAYERS - 1))
        self.gate = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(LS, channels) → (2·LS, width)."""
        boxes = functional.relu(self.first((x.unsqueeze(-1), None), self.edges, size=(x.shape[1], 2 * N_RBX)))
        for layer in self.further:
            boxes = functional.relu(layer(boxes))
        boxes = boxes.reshape(len(x), 2, N_RBX, -1)
        weight = torch.softmax(self.gate(boxes) + self.log_size, dim=2)
        sides: Tensor = (weight * boxes).sum(dim=2)
        return sides.flatten(0, 1)


class StackedLSTM(nn.Module):
    """LSTMs one after the other, from zero state."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.LSTM(inputs, outputs, batch_first=True) for inputs, outputs in itertools.pairwise(widths)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(sequences, LS, first width) → (sequences, LS, last width)."""
        for layer in self.layers:
            x, _ = layer(x)
        return x


class Bottleneck(nn.Module):
    """Mean and log-variance; samples in training only. Without ``variational`` it passes all through."""

    def __init__(self, latent: int, variational: bool) -> None:
        super().__init__()
        self.heads = nn.Linear(latent, 2 * latent) if variational else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(…, latent) → (…, latent) and the Kullback–Leibler term, summed over all (as published)."""
        if self.heads is None:
            return x, x.new_zeros(())
        mean, log_variance = self.heads(x).chunk(2, dim=-1)
        divergence = 0.5 * (log_variance.exp() + mean**2 - 1 - log_variance).sum()
        if self.training:
            mean = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return mean, divergence


class RingMean(nn.Module):
    """RIN: what each ring of (ieta, depth) holds on average over its non-zero channels, per LS."""

    ring: Tensor

    def __init__(self, channels: ChannelTable) -> None:
        super().__init__()
        key = torch.from_numpy(channels.ieta.astype("int64") * 8 + channels.depth)
        self.register_buffer("ring", torch.unique(key, return_inverse=True)[1], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(…, channels) → (…, channels); 1 where a ring is empty."""
        rings = int(self.ring.max()) + 1
        total, filled = (x.new_zeros(*x.shape[:-1], rings).index_add(-1, self.ring, v) for v in (x, (x != 0).to(x)))
        mean = total / filled.clamp(min=1)
        return torch.where(mean == 0, 1.0, mean)[..., self.ring]
