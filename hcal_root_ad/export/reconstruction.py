"""``Reconstruct``: :func:`hcal_root_ad.model.reconstruction.reconstruct` of one lumisection, as one module that exports.

Reference and network: the activity of the LS, the shifts of the rings, what the network sees, and its
answer. All statistics are float64; the network is float32, as all is in :mod:`hcal_root_ad.learn`.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.errors import BundleError
from hcal_root_ad.export.binomial import information, log_rate, probability, pull, slope
from hcal_root_ad.export.gathers import GatheredMean, GroupSum, members
from hcal_root_ad.learn import normalise
from hcal_root_ad.learn.reference import HUBER, NEWTON_STEPS, REJECT, Reference
from hcal_root_ad.model.graphstad import BOXES, MODULES, GraphSTAD
from hcal_root_ad.model.model import Bundle
from hcal_root_ad.model.reconstruction import model_error, ring_side

TYPICAL_EVENTS = 1500.0


def typical_counts(bundle: Bundle) -> NDArray[np.float32]:
    """(channels,) counts that the reference expects of a healthy LS of 1,500 events: the example that models see."""
    expected = np.round(TYPICAL_EVENTS * bundle.reference.expected(np.zeros(1))[0])
    return np.where(bundle.reference.live, expected, 0).astype(np.float32)


def buffer(values: NDArray[np.floating] | NDArray[np.bool_]) -> Tensor:
    """(1, channels) float64 tensor."""
    return torch.from_numpy(np.asarray(values, dtype=np.float64))[None]


class Activity(nn.Module):
    """:func:`hcal_root_ad.learn.reference.fit_activity`: its four Newton steps, unrolled."""

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
        """(1, channels) counts and (1, 1) events → (1, 1) common log activity."""
        n = counts[:, self.live]
        activity = _median((log_rate((n + 0.5) / (events + 1)) - self.level) / self.power)
        for _ in range(NEWTON_STEPS):
            p = probability(self.level + activity * self.power)
            z = pull(n, events, p)
            near = (z.abs() < REJECT).to(z.dtype)
            believed = torch.where(near.mean(dim=1, keepdim=True) <= 0.5, torch.ones_like(near), near)
            weight = believed * torch.clamp(HUBER / torch.clamp(z.abs(), min=1e-9), max=1.0)
            score = weight * (n - events * p) * slope(p) / (p * (1 - p))
            info = weight * information(events, p)
            step = (score * self.power).sum(dim=1, keepdim=True)
            step = step / torch.clamp((info * self.power**2).sum(dim=1, keepdim=True), min=1e-9)
            activity = activity + torch.clamp(step, -0.5, 0.5)
        return activity


def _median(values: Tensor) -> Tensor:
    """(1, values) → (1, 1), the mean of the middle two if their number is even."""
    count = values.shape[1]
    lower = torch.topk(values, count // 2 + 1, dim=1, largest=False).values
    return lower[:, (count - 1) // 2 :].mean(dim=1, keepdim=True)


class RingShift(nn.Module):
    """:func:`hcal_root_ad.model.network_input.ring_shift`, with the width of the ring's pileup power or as RIN."""

    ring: Tensor
    power_error: Tensor
    live: Tensor

    def __init__(self, channels: ChannelTable, reference: Reference, ring_normalisation: bool) -> None:
        super().__init__()
        ring = ring_side(channels) if ring_normalisation else channels.ring
        self.ring_normalisation = ring_normalisation
        self.over_ring = GroupSum(members(ring, int(ring.max()) + 1))
        one_of = np.zeros(int(ring.max()) + 1, dtype=np.intp)
        one_of[ring] = np.arange(len(ring))
        self.register_buffer("ring", torch.from_numpy(ring.astype(np.int64)))
        self.register_buffer("power_error", buffer(reference.power_error[one_of]))
        self.register_buffer("live", buffer(reference.live))

    def forward(self, counts: Tensor, events: Tensor, p: Tensor, activity: Tensor) -> Tensor:
        """(1, channels) common shift of log λ of each channel's ring."""
        info = information(events, p) * self.live
        score = torch.clamp(pull(counts, events, p), -normalise.CLIP, normalise.CLIP) * torch.sqrt(info)
        shift, total = self.over_ring(score), self.over_ring(info)
        if self.ring_normalisation:
            shift = shift / torch.clamp(total, min=1e-9)
        else:
            spread = torch.clamp((activity * self.power_error).abs(), min=1e-9)
            reach = 3 * spread
            shift = torch.minimum(torch.maximum(shift / (total + spread**-2), -reach), reach)
        of_channel: Tensor = shift[:, self.ring]
        return of_channel


def network_input(counts: Tensor, events: Tensor, p: Tensor, live: Tensor) -> Tensor:
    """(1, channels, 3) float32 features, see :func:`hcal_root_ad.model.network_input.network_input`."""
    whole = pull(counts, events, p)
    z = torch.clamp(whole, -normalise.CLIP, normalise.CLIP)
    weight = information(events, p) / normalise.WEIGHT_SCALE
    seen = live * (whole.abs() <= normalise.REJECT).to(live.dtype)
    features = torch.stack([z / 2, z * torch.sqrt(weight), weight], dim=-1) * seen[:, :, None]
    return features.float()


def exportable(network: GraphSTAD) -> GraphSTAD:
    """A copy of the network whose graph convolutions gather instead of scatter; their sums differ by rounding."""
    network = copy.deepcopy(network).cpu().eval()
    gnn = network.encoder_gnn
    gnn.to_module.aggr_module = GatheredMean(network.channel_to_module[1], MODULES)
    gnn.to_box.aggr_module = GatheredMean(network.module_to_box[1], BOXES)
    return network


class Reconstruct(nn.Module):
    """Reference and network of a bundle, for one lumisection.

    Raises:
        BundleError: if no channel of the bundle is live.
    """

    level: Tensor
    power: Tensor
    live: Tensor
    variance_inside: Tensor
    variance_outside: Tensor

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        reference = bundle.reference
        if not reference.live.any():
            raise BundleError(f"bundle {bundle.name}: none of its channels is live; make it anew from clean runs")
        self.activity = Activity(reference)
        self.ring_shift = RingShift(bundle.channels, reference, bundle.ring_normalisation)
        self.network = exportable(bundle.network)
        self.known = reference.activity
        self.register_buffer("level", buffer(reference.level))
        # The square of the model error is linear in the square of the distance outside: two points tell both terms.
        edge = reference.activity[1]
        inside, one_outside = model_error(reference, bundle.model_error, np.array([edge, edge + 1.0])) ** 2
        self.register_buffer("variance_inside", buffer(inside))
        self.register_buffer("variance_outside", buffer(one_outside - inside))
        self.register_buffer("power", buffer(reference.power))
        self.register_buffer("live", buffer(reference.live))

    def start(self) -> Tensor:
        """Memory before the first lumisection: (1, 4, boxes, hidden) zeros."""
        return torch.stack(self.network.start())[None]

    def forward(self, counts: Tensor, events: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruct one lumisection.

        Args:
            counts: (1, channels) float64. events: (1, 1) float64, at least 1.
            memory: (1, 4, boxes, hidden) hidden and cell state of the encoder's and the decoder's RNN.

        Returns:
            (1, 1) activity, (1, channels) log λ, and the memory after.
        """
        activity = self.activity(counts, events)
        eta = self.level + activity * self.power
        eta = eta + self.ring_shift(counts, events, probability(eta), activity)
        features = network_input(counts, events, probability(eta), self.live)
        state = memory[0, 0], memory[0, 1], memory[0, 2], memory[0, 3]
        shift, _, state = self.network(features[None], state)
        return activity, eta + shift[0].to(eta.dtype), torch.stack(state).reshape(memory.shape)

    def outside(self, activity: Tensor) -> Tensor:
        """(1, 1) how far the activity lies outside of what the reference has seen."""
        low, high = self.known
        return torch.clamp(torch.maximum(low - activity, activity - high), min=0.0)

    def error(self, activity: Tensor) -> Tensor:
        """(1, channels) standard error of log λ, see :func:`hcal_root_ad.model.reconstruction.model_error`."""
        return torch.sqrt(self.variance_inside + self.variance_outside * self.outside(activity) ** 2)
