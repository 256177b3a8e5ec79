"""The network that runs in production, by its shape, as ONNX: latent 32, LSTM 128/32 and 128/640, four convolutions
of 128 channels. Its weights are drawn: they do not matter for the time."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.export.onnx_file import write_onnx
from studies.baselines.spatio_temporal import Parts, SpatioTemporalAutoencoder

INPUT = "occupancy"


def export(channels: ChannelTable, path: Path) -> Path:
    """Write the network for the channels of one sub-detector; takes (1, 1, channels), one lumisection per call."""
    torch.manual_seed(0)
    network = SpatioTemporalAutoencoder(channels, Parts(latent=32, graph=False, ring_normalisation=True)).eval()
    network.rings = _RingMean(channels)  # type: ignore[assignment]
    with patch.object(nn.functional, "max_unpool3d", _upsample_where):
        write_onnx(network, {INPUT: torch.rand(1, 1, len(channels))}, ("reconstruction", "divergence"), {}, path)
    return path


class _RingMean(nn.Module):
    """:class:`studies.baselines.blocks.RingMean` as a product of matrices: ONNX has no ``index_add``."""

    member: Tensor

    def __init__(self, channels: ChannelTable) -> None:
        super().__init__()
        key = torch.from_numpy(channels.ieta.astype("int64") * 8 + channels.depth)
        ring = torch.unique(key, return_inverse=True)[1]
        self.register_buffer("member", nn.functional.one_hot(ring).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        total, filled = x @ self.member, (x != 0).float() @ self.member
        mean = total / filled.clamp(min=1)
        return torch.where(mean == 0, torch.ones_like(mean), mean) @ self.member.T


def _upsample_where(maps: Tensor, where: Tensor, kernel: tuple[int, ...], output_size: list[int]) -> Tensor:
    """Unpooling as CMSSW's model has it: upsampling, times a mask of the places of the maxima."""
    position = torch.arange(int(torch.tensor(output_size).prod())).reshape(1, 1, *output_size)
    depth, rows, columns = output_size
    larger, places = (_repeated(values, kernel)[:, :, :depth, :rows, :columns] for values in (maps, where))
    return larger * (places == position)


def _repeated(values: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """Each value as often as the kernel is wide, along the last three axes."""
    a, b, c = kernel
    n, width, depth, rows, columns = values.shape
    spread = values[:, :, :, None, :, None, :, None].expand(n, width, depth, a, rows, b, columns, c)
    return spread.reshape(n, width, depth * a, rows * b, columns * c)
