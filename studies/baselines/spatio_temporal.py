"""GraphSTAD as published (arXiv:2311.04190) and its parts: CNN + FC, CNN + RNN, CNN + GNN + RNN."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hcal_root_ad.detector import N_DEPTH, ChannelTable
from hcal_root_ad.model.graphstad import COLUMNS, ROWS, SideMaps
from studies.baselines.blocks import Bottleneck, BoxGNN, PoolingCNN, RingMean, StackedLSTM, UnpoolingCNN


@dataclass(frozen=True)
class Parts:
    """Which parts the autoencoder has; all lie on the sides stacked as a batch (dimension compression)."""

    latent: int = 8
    """L; all other widths are 4·L. The public trainer has 4, the authors' test of their export 8, CMSSW 32."""
    graph: bool = True
    recurrent: bool = True
    """An LSTM over the window; False gives fully connected layers, LS by LS."""
    variational: bool = True
    ring_normalisation: bool = False


class SpatioTemporalAutoencoder(nn.Module):
    """CNN (and GNN) → LSTM → bottleneck → LSTM → CNN, on windows of lumisections."""

    CELLS = 5
    """Of the map after four poolings: 1 × 1 × 5."""

    def __init__(self, channels: ChannelTable, parts: Parts) -> None:
        super().__init__()
        latent, width, flat = parts.latent, 4 * parts.latent, 4 * parts.latent * self.CELLS
        self.rings = RingMean(channels) if parts.ring_normalisation else None
        self.side_maps = SideMaps(channels)
        self.encoder_cnn = PoolingCNN(width)
        self.gnn = BoxGNN(channels, width) if parts.graph else None
        seen = flat + width if parts.graph else flat
        self.recurrent = parts.recurrent
        self.encoder = StackedLSTM(seen, width, latent) if parts.recurrent else _dense(seen, width, latent)
        self.bottleneck = Bottleneck(latent, parts.variational)
        self.decoder = StackedLSTM(latent, width, flat) if parts.recurrent else _dense(latent, width, flat)
        self.decoder_cnn = UnpoolingCNN(width)
        for block in (self.encoder, self.bottleneck, self.decoder):
            block.apply(_initialise)
        # Half the time of PyTorch's default layout on a CPU.
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(windows, LS, channels) → the same, and the Kullback–Leibler term."""
        return self.of_windows(x.flatten(0, 1), torch.arange(x.shape[0] * x.shape[1]).reshape(x.shape[:2]))

    def of_windows(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(LS, channels) and the rows (windows, LS) of windows → as :meth:`forward`; each LS is encoded once."""
        scale = self.rings(x) if self.rings is not None else torch.ones_like(x)
        x = x / scale
        maps = self.side_maps.to_maps(x.unsqueeze(-1)).reshape(-1, 1, N_DEPTH, ROWS, COLUMNS)
        maps, places = self.encoder_cnn(maps)
        vectors, shape = maps.flatten(1), maps.shape[1:]
        if self.gnn is not None:
            vectors = torch.cat([vectors, self.gnn(x)], dim=1)
        windows, steps = rows.shape
        sequences = vectors.unflatten(0, (-1, 2))[rows].transpose(1, 2).flatten(0, 1)
        latent = self.encoder(sequences)
        if self.recurrent:
            latent = latent[:, -1:]
        latent, divergence = self.bottleneck(latent)
        sequences = self.decoder(latent.expand(-1, steps, -1))
        vectors = sequences.unflatten(0, (windows, 2)).transpose(1, 2).flatten(0, 2)
        sides = (2 * rows.flatten()[:, None] + torch.arange(2)).flatten()
        places = [(where[sides], before) for where, before in places]
        restored = self.decoder_cnn(vectors.unflatten(1, shape), places)
        return self.side_maps.to_channels(restored).reshape(windows, steps, -1) * scale[rows], divergence


def _dense(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.LeakyReLU(0.5), nn.Linear(hidden, outputs))


def _initialise(module: nn.Module) -> None:
    """Kaiming-uniform weights and zero biases, as published for LSTM, bottleneck and dense layers."""
    if isinstance(module, nn.Linear | nn.LSTM):
        for parameter in module.parameters():
            if parameter.dim() > 1:
                nn.init.kaiming_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)
