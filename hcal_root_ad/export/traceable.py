"""What the judge computes in one lumisection, as torch modules that ONNX can express.

``Reconstruct`` gives what a model expects: the pileup of the LS, what rings do in common, what the network sees, and
its answer. The judge fits the pileup of all sub-detectors together, and robustly at every level
(:mod:`hcal_root_ad.model.common_part`); here it is that of one sub-detector alone. All statistics are float64; the
network is float32.

The formulas, clips and precision of :mod:`hcal_root_ad.stats.binomial` are the same, and the tests compare both. ONNX
has neither ``expm1`` nor ``log1p``; probabilities stay within 1e-5 of 0 and 1, so a plain ``log(1 − p)`` keeps ten
digits. Sums over groups are gathers, which every ONNX opset has and every runtime does fast.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn.aggr import Aggregation

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.errors import ModelError
from hcal_root_ad.model import graphstad as seen
from hcal_root_ad.model.graphstad import BOXES, MODULES, GraphSTAD, network_of
from hcal_root_ad.model.model import Model
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.stats import binomial
from hcal_root_ad.stats.binomial import LARGEST, SMALLEST


def probability(log_rate: Tensor) -> Tensor:
    """Digi probability of a log rate."""
    return torch.clamp(1 - torch.exp(-torch.exp(torch.clamp(log_rate, max=5.0))), SMALLEST, LARGEST)


def log_rate(p: Tensor) -> Tensor:
    """Log rate of a digi probability."""
    return torch.log(-torch.log(1 - torch.clamp(p, SMALLEST, LARGEST)))


def slope(p: Tensor) -> Tensor:
    """dp / dlog λ."""
    return -(1 - p) * torch.log(1 - p)


def pull(counts: Tensor, events: Tensor, p: Tensor) -> Tensor:
    """Binomial pull; ``events`` must not be 0."""
    return (counts - events * p) / torch.sqrt(events * p * (1 - p))


def information(events: Tensor, p: Tensor) -> Tensor:
    """Fisher information of a count on log λ."""
    return events * slope(p) ** 2 / (p * (1 - p))


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


class MapCells(nn.Module):
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


TYPICAL_EVENTS = 1500.0
NEWTON_STEPS = 4
HUBER, FAR = 2.5, 8.0
"""Pulls beyond ``HUBER`` lose weight; channels beyond ``FAR`` have no say, as long as most channels are within."""


def typical_counts(model: Model) -> NDArray[np.float32]:
    """(channels,) counts that the reference expects of a healthy LS of 1,500 events: the example that models see."""
    reference = model.reference
    expected = np.round(TYPICAL_EVENTS * binomial.probability(reference.level))
    return np.where(reference.live, expected, 0).astype(np.float32)


def buffer(values: NDArray[np.floating] | NDArray[np.bool_]) -> Tensor:
    """(1, channels) float64 tensor."""
    return torch.from_numpy(np.asarray(values, dtype=np.float64))[None]


class LogPileup(nn.Module):
    """The log pileup at which most channels are as expected: the median, then four Newton steps, unrolled."""

    live: Tensor
    level: Tensor
    power: Tensor

    def __init__(self, reference: Reference) -> None:
        super().__init__()
        live = np.flatnonzero(reference.live)
        self.register_buffer("live", torch.from_numpy(live))
        self.register_buffer("level", buffer(reference.level[live]))
        self.register_buffer("power", buffer(reference.power[live]))

    def forward(self, counts: Tensor, events: Tensor) -> Tensor:
        """(1, channels) counts and (1, 1) events → (1, 1) log pileup."""
        n = counts[:, self.live]
        u = _median((log_rate((n + 0.5) / (events + 1)) - self.level) / self.power)
        for _ in range(NEWTON_STEPS):
            p = probability(self.level + u * self.power)
            z = pull(n, events, p)
            near = (z.abs() < FAR).to(z.dtype)
            believed = torch.where(near.mean(dim=1, keepdim=True) <= 0.5, torch.ones_like(near), near)
            weight = believed * torch.clamp(HUBER / torch.clamp(z.abs(), min=1e-9), max=1.0)
            score = weight * (n - events * p) * slope(p) / (p * (1 - p))
            info = weight * information(events, p)
            step = (score * self.power).sum(dim=1, keepdim=True)
            step = step / torch.clamp((info * self.power**2).sum(dim=1, keepdim=True), min=1e-9)
            u = u + torch.clamp(step, -0.5, 0.5)
        return u


def _median(values: Tensor) -> Tensor:
    """(1, values) → (1, 1), the mean of the middle two if their number is even."""
    count = values.shape[1]
    lower = torch.topk(values, count // 2 + 1, dim=1, largest=False).values
    return lower[:, (count - 1) // 2 :].mean(dim=1, keepdim=True)


class RingShift(nn.Module):
    """What each ring does in common: a condition. Clipped pulls keep one hot cell from moving its ring."""

    ring: Tensor
    live: Tensor

    def __init__(self, channels: ChannelTable, reference: Reference) -> None:
        super().__init__()
        ring = channels.ring
        self.over_ring = GroupSum(members(ring, int(ring.max()) + 1))
        self.register_buffer("ring", torch.from_numpy(ring.astype(np.int64)))
        self.register_buffer("live", buffer(reference.live))

    def forward(self, counts: Tensor, events: Tensor, p: Tensor) -> Tensor:
        """(1, channels) common shift of log λ of each channel's ring."""
        info = information(events, p) * self.live
        score = torch.clamp(pull(counts, events, p), -seen.CLIP, seen.CLIP) * torch.sqrt(info)
        shift: Tensor = self.over_ring(score) / torch.clamp(self.over_ring(info), min=1e-9)
        return shift[:, self.ring]


def network_input(counts: Tensor, events: Tensor, p: Tensor, live: Tensor) -> Tensor:
    """(1, channels, 3) float32 features, see :func:`hcal_root_ad.model.graphstad.network_input`."""
    whole = pull(counts, events, p)
    z = torch.clamp(whole, -seen.CLIP, seen.CLIP)
    weight = information(events, p) / seen.WEIGHT_SCALE
    shown = live * (whole.abs() <= seen.REJECT).to(live.dtype)
    features = torch.stack([z / 2, z * torch.sqrt(weight), weight], dim=-1) * shown[:, :, None]
    return features.float()


def exportable(network: GraphSTAD) -> GraphSTAD:
    """A copy of the network whose graph convolutions gather instead of scatter; their sums differ by rounding."""
    network = copy.deepcopy(network).cpu().eval()
    gnn = network.encoder_gnn
    gnn.to_module.aggr_module = GatheredMean(network.channel_to_module[1], MODULES)
    gnn.to_box.aggr_module = GatheredMean(network.module_to_box[1], BOXES)
    return network


class Reconstruct(nn.Module):
    """Reference and network of a model, for one lumisection.

    Raises:
        ModelError: if no channel of the model is live, or it has no network.
    """

    level: Tensor
    power: Tensor
    live: Tensor
    known: Tensor

    def __init__(self, model: Model) -> None:
        super().__init__()
        reference = model.reference
        if not reference.live.any():
            raise ModelError(f"the model {model.name}: none of its channels is live; make it again from clean runs")
        self.network = exportable(network_of(model))
        self.log_pileup = LogPileup(reference)
        self.ring_shift = RingShift(model.channels, reference)
        self.register_buffer("level", buffer(reference.level))
        self.register_buffer("power", buffer(reference.power))
        self.register_buffer("live", buffer(reference.live))
        # How far a healthy channel may be off its level in another run: variance of log λ.
        self.register_buffer("known", buffer(reference.level_error**2 + reference.widths.channel**2))

    def start(self) -> Tensor:
        """Memory before the first lumisection: (1, 4, boxes, hidden) zeros."""
        return torch.stack(self.network.start())[None]

    def forward(self, counts: Tensor, events: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruct one lumisection.

        Args:
            counts: (1, channels) float64. events: (1, 1) float64, at least 1.
            memory: (1, 4, boxes, hidden) hidden and cell state of the encoder's and the decoder's RNN.

        Returns:
            (1, 1) log pileup, (1, channels) log λ, and the memory after.
        """
        u = self.log_pileup(counts, events)
        eta = self.level + u * self.power
        eta = eta + self.ring_shift(counts, events, probability(eta))
        features = network_input(counts, events, probability(eta), self.live)
        state = memory[0, 0], memory[0, 1], memory[0, 2], memory[0, 3]
        shift, _, state = self.network(features[None], state)
        return u, eta + shift[0].to(eta.dtype), torch.stack(state).reshape(memory.shape)
