"""Networks in ONNX Runtime: the one that runs in production, by its shape, how far exported ones are from torch.

Production has latent 32, LSTM 128/32 and 128/640, four convolutions of 128 channels. The weights here are drawn: they
do not matter for the time.
"""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.worker import Action
from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.export.onnx_file import write_onnx
from hcal_root_ad.model.model import load_model
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


def difference(model_name: str, path: str, folder: str) -> Action:
    """Largest difference of any output in any lumisection, relative to the largest value of the output (or 1)."""
    from hcal_root_ad.export.onnx_file import (
        INPUTS,
        OUTPUTS,
        STATES,
        LumisectionModel,
        channel_threshold,
        session,
        write_model,
    )
    from hcal_root_ad.harvest.read import read_lumi_maps

    model, file = load_model(model_name), Path(folder) / f"{model_name}.onnx"
    write_model(model, file)
    opened, module = session(file), LumisectionModel(model, channel_threshold(model)).eval()
    (maps,) = read_lumi_maps(path)

    def compare() -> float:
        ours = theirs = module.start()
        worst = 0.0
        for grid, events in zip(maps.grid(), maps.events[maps.present], strict=True):
            counts, trials = torch.from_numpy(grid[None]).float(), torch.tensor([float(events)])
            feed = dict(zip(INPUTS, (counts, trials, *theirs), strict=True))
            answer = opened.run(OUTPUTS, {name: value.numpy() for name, value in feed.items()})
            with torch.no_grad():
                wanted = [value.numpy() for value in module(counts, trials, *ours)]
            worst = max(worst, *(_relative(a, b) for a, b in zip(answer, wanted, strict=True)))
            ours, theirs = (tuple(map(torch.from_numpy, values[-len(STATES) :])) for values in (wanted, answer))
        return worst

    return compare


def _relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).max() / max(1.0, float(np.abs(wanted).max())))
