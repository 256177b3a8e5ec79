"""A masked autoencoder with depth-wise embeddings after DepthViT (arXiv:2603.02369).

As far as it is public: the abstract (masked autoencoder, depth-wise embeddings, cross-depth attention)
and the class ``DepthwiseCrossViTMAE`` of the working group's code, for its sizes (8 numbers per patch
and depth, 5 + 5 layers, half masked, variational). Three choices are ours. Patches are masked per depth,
since attention joins only the depths of a patch. A masked patch is a learned token, and the decoder
asks by position alone, so the input does not bypass the mask. Attention sums over the keys.
The paper's ensemble of models of several years is left out: one detector state is seen here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hcal_root_ad.detector import N_DEPTH, ChannelTable
from hcal_root_ad.model.graphstad import COLUMNS, ROWS, SideMaps
from studies.baselines.blocks import Bottleneck

PATCH = (8, 12)
"""Rows × columns; the public 12 × 12 on the whole map of 64 rows does not divide a side's 16."""
PATCHES = (ROWS // PATCH[0]) * (COLUMNS // PATCH[1])
WIDTH = 8
"""Numbers per patch and depth."""
LAYERS = 5
MASKED = 0.5


class DepthAttention(nn.Module):
    """Each depth of a patch asks all depths of the same patch, number by number."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (
            nn.Parameter(torch.randn(N_DEPTH, WIDTH, WIDTH) / WIDTH**0.5) for _ in range(3)
        )
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Both (patches, depths, numbers), and so the answer."""
        query = torch.einsum("pdi,dij->pjd", x, self.query)
        key, value = (torch.einsum("pdi,dij->pjd", context, weight) for weight in (self.key, self.value))
        weight = torch.softmax(query.unsqueeze(-1) * key.unsqueeze(-2) / WIDTH**0.5, dim=-1)
        answer: Tensor = self.out((weight * value.unsqueeze(-2)).sum(dim=-1).transpose(1, 2))
        return answer


class Layer(nn.Module):
    """Attention to itself, to a context if there is one, and two dense layers over all depths of a patch."""

    def __init__(self, crossed: bool) -> None:
        super().__init__()
        shape, width = (N_DEPTH, WIDTH), N_DEPTH * WIDTH
        self.norms = nn.ModuleList(nn.LayerNorm(shape, eps=1e-6) for _ in range(3 if crossed else 2))
        self.itself = DepthAttention()
        self.crossed = DepthAttention() if crossed else None
        self.dense = nn.Sequential(
            nn.Flatten(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.Unflatten(1, shape)
        )

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(patches, depths, numbers) → the same."""
        seen = self.norms[0](x)
        x = x + self.itself(seen, seen)
        if self.crossed is not None:
            x = x + self.crossed(self.norms[1](x), context)
        return x + self.dense(self.norms[-1](x))  # type: ignore[no-any-return]


class MaskedDepthAutoencoder(nn.Module):
    """Patches → one embedding per depth → attention among depths → patches; in training half are hidden."""

    def __init__(self, channels: ChannelTable) -> None:
        super().__init__()
        self.side_maps = SideMaps(channels)
        width = N_DEPTH * WIDTH
        self.embed = nn.Conv2d(N_DEPTH, width, PATCH, stride=PATCH, groups=N_DEPTH)
        self.restore = nn.ConvTranspose2d(width, N_DEPTH, PATCH, stride=PATCH, groups=N_DEPTH)
        self.place, self.asked_place = (nn.Parameter(0.02 * torch.randn(2 * PATCHES, N_DEPTH, WIDTH)) for _ in range(2))
        self.hidden = nn.Parameter(torch.zeros(WIDTH))
        self.encoder = nn.ModuleList(Layer(crossed=False) for _ in range(LAYERS))
        self.bottleneck = Bottleneck(WIDTH, variational=True)
        self.decoder = nn.ModuleList(Layer(crossed=True) for _ in range(LAYERS))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(windows, LS, channels) → the same, and the Kullback–Leibler term per LS."""
        images = self.embed(self.side_maps.to_maps(x.flatten(0, 1).unsqueeze(-1)))
        shape = images.shape
        patches = images.flatten(2).transpose(1, 2).reshape(-1, 2 * PATCHES, N_DEPTH, WIDTH)
        lumisections = len(patches)
        if self.training:
            hide = torch.rand(patches.shape[:3], device=x.device) < MASKED
            patches = torch.where(hide.unsqueeze(-1), self.hidden, patches)
        tokens = (patches + self.place).flatten(0, 1)
        for layer in self.encoder:
            tokens = layer(tokens, tokens)
        tokens, divergence = self.bottleneck(tokens)
        asked = self.asked_place.repeat(lumisections, 1, 1)
        for layer in self.decoder:
            asked = layer(asked, tokens)
        images = asked.reshape(-1, PATCHES, N_DEPTH * WIDTH).transpose(1, 2).reshape(shape)
        restored = self.side_maps.to_channels(self.restore(images))
        return restored.reshape(x.shape), divergence / lumisections
