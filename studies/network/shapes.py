"""Condition shapes: what trigger mixes, thresholds and ageing do to the rings, learned or fitted.

A ring is a sub-detector, |ieta| and depth. What conditions do to one is predicted from the others: while a ring is
predicted, all rings of its |ieta| are hidden, so that a fault of its own can never explain itself. Alternatives:

- *nothing*: the rings as they are;
- *smooth*: today's robust fit in |ieta| and depth (``judge.levels``), the model alone;
- *linear*: on top of it, the conditional mean of a Gaussian whose covariance is learned from the network's shapes;
- *network*: on top of it, :class:`ShapeNetwork`, GraphSTAD's pieces on rings;
- *oracle*: the true shift of each ring; what is left is chance.

Shapes are drawn from the changes of the stress suite with random parameters, on many detectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from hcal_root_ad.detector import N_DEPTH, ChannelTable, Era
from hcal_root_ad.judge.levels import smooth_conditions
from hcal_root_ad.model.graphstad import BoxRNN, Context, GraphSTADConfig, VariationalBottleneck
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.unit_tree import UnitTree, unit_tree
from hcal_root_ad.simulate.simulated_detector import REFERENCE_PILEUP, SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.simulated_run import RateChange
from hcal_root_ad.stats.binomial import Floats, information, log_rate
from studies.stress.changes import Ageing, JetTriggers, SmoothField, TriggerMix, ZeroSuppression
from studies.stress.worlds import Setting

FAMILIES = ("mix", "jets", "thresholds", "ageing", "field")
DETECTORS = tuple(range(500, 508))
"""Seeds of the detectors that shapes are learned on."""
CLEAN_PILEUP = 43.0
SHAPES = 1200
QUIET = 0.005
"""How far a ring moves by itself."""
OVERDISPERSION = 1.25
GROUPS = 6
"""|ieta| are hidden in turn, every sixth together."""
SCALE = 0.05
"""What an input or output of 1 means, in log rate."""
WINDOW = 4
WIDTH = 16
INETA = 29
FAR_OFF = 4.0
TYPICAL_EVENTS, CHANNEL_WIDTH = 1400, 0.0155
"""A channel says at most this much of its sub-detector, as in the fit of the common part."""


@dataclass(frozen=True, eq=False)
class Rings:
    """The rings of HB and HE: where each lies, which channels it has."""

    tree: UnitTree

    @cached_property
    def place(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """(rings,) sub-detector 0 or 1, depth − 1, |ieta| − 1."""
        tree, out = self.tree, np.zeros((2, len(self.tree.ring)), dtype=np.intp)
        out[0, tree.ring.of], out[1, tree.ring.of] = tree.channels.depth - 1, np.abs(tree.channels.ieta) - 1
        return tree.subdetector_of_ring, out[0], out[1]

    @property
    def group(self) -> NDArray[np.intp]:
        return np.asarray(self.place[2] % GROUPS)

    def __len__(self) -> int:
        return len(self.tree.ring)


def rings_of(channels: ChannelTable) -> Rings:
    return Rings(unit_tree(channels))


@cache
def detector(seed: int, era: Era = Era.RUN3) -> SimulatedDetector:
    """HB and HE of a simulated detector."""
    return simulate_detector(seed, era).select("HB", "HE")


def true_reference(detector: SimulatedDetector) -> Reference:
    """What a perfect model knows: levels and powers of the truth."""
    nothing = np.zeros(len(detector.channels))
    rate = detector.response * (CLEAN_PILEUP / REFERENCE_PILEUP) ** detector.power + detector.noise
    return Reference(
        detector.channels, np.log(np.maximum(rate, 1e-9)), nothing, detector.power / mean_power(detector), nothing,
        detector.live, (-0.3, 0.2), clean="truth",
    )  # fmt: skip


def mean_power(detector: SimulatedDetector) -> float:
    """Of HB, as a reference counts it."""
    hb = detector.channels.rows_of("HB")
    weight = -np.expm1(-detector.response[hb]) * detector.live[hb]
    return float(np.average(detector.power[hb], weights=weight))


# --- shapes


def random_changes(draw: np.random.Generator, families: Sequence[str]) -> list[RateChange]:
    """One to three changes with random parameters, all since before the run."""
    out: list[RateChange] = []
    for name in draw.choice(families, size=int(draw.integers(1, 4))):
        match name:
            case "mix":
                out.append(TriggerMix(draw.uniform(0, 0.03), 0.05 * draw.standard_normal(), at=0.0))
            case "jets":
                low = draw.uniform(0, 0.15)
                out.append(JetTriggers(low, low + draw.uniform(0, 0.3), draw.uniform(0, 0.03), at=0.0))
            case "thresholds":
                sub = str(draw.choice(["HB", "HE"]))
                out.append(ZeroSuppression(-0.05 + 0.05 * draw.standard_normal(), draw.uniform(0, 0.04), sub, 0.0))
            case "ageing":
                out.append(Ageing(draw.uniform(0, 0.25)))
            case _:
                out.append(SmoothField(draw.uniform(0, 0.03)))
    return out


@dataclass(frozen=True, eq=False)
class Shapes:
    """True ring shifts (shapes, rings), what one event says of each, and HE's shift against HB's (shapes,)."""

    shift: Floats
    information: Floats
    apart: Floats

    def beyond_smooth(self, rings: Rings) -> Shapes:
        """What today's smooth fit leaves of them."""
        sides = rings.tree.ring_of_side_ring  # alike on both sides, so the fit is
        _, one_side = np.unique(sides, return_index=True)
        return replace(self, shift=self.shift - smooth_conditions(self.shift[:, sides], rings.tree)[:, one_side])


def learn_shapes(families: Sequence[str], number: int = SHAPES, seed: int = 1, era: Era = Era.RUN3) -> Shapes:
    """Shapes of random conditions on several detectors of an era."""
    draw = np.random.default_rng([seed, 0x5A])
    shifts, informations, apart = [], [], []
    for k in range(number):
        own = detector(DETECTORS[k % len(DETECTORS)], era)
        shift, said, offset = ring_shift(own, random_changes(draw, families), draw)
        shifts.append(shift + QUIET * draw.standard_normal(len(shift)))
        informations.append(said)
        apart.append(offset)
    return Shapes(np.stack(shifts), np.stack(informations), np.array(apart))


def ring_shift(
    detector: SimulatedDetector, changes: Sequence[RateChange], draw: np.random.Generator
) -> tuple[Floats, Floats, float]:
    """(rings,) shift of log rate that changes make, what one event says of it, and HE's shift against HB's."""
    conditions = Setting(lumisections=2, pileup=(float(draw.uniform(15, 60)),) * 2).conditions(draw)
    rates = rates_at(detector, conditions.pileup)
    changed = rates
    for change in changes:
        changed = change.apply(changed, detector, conditions, draw)
    return mean_shift(detector, rates[-1:], changed[-1:])


def rates_at(detector: SimulatedDetector, pileup: Floats) -> NDArray[np.float32]:
    """(LS, channels) digi probabilities without drift."""
    rate = detector.response * np.power.outer(pileup / REFERENCE_PILEUP, np.ones(1)) ** detector.power + detector.noise
    rates: NDArray[np.float32] = (-np.expm1(-rate) * detector.live).astype(np.float32)
    return rates


def mean_shift(detector: SimulatedDetector, before: Floats, after: Floats) -> tuple[Floats, Floats, float]:
    """(rings,) mean shift of log rate between two sets of rates, its information per event, HE's shift against HB's.

    The last is that of the typical channel, weighted as the fit of the common part does.
    """
    ring, p = rings_of(detector.channels).tree.ring, before.mean(axis=0).astype(np.float64)
    use = detector.live & (p > 1e-4) & (p < 1 - 1e-4)
    said = np.where(use, information(np.ones_like(p), np.clip(p, 1e-4, 1 - 1e-4)), 0.0)
    off = np.where(use, log_rate(after.mean(axis=0).astype(np.float64)) - log_rate(p), 0.0)
    total = np.bincount(ring.of, said, len(ring))
    softened = said / (1 + TYPICAL_EVENTS * said * CHANNEL_WIDTH**2)
    middle = [_weighted_median(off[rows], softened[rows]) for rows in map(detector.channels.rows_of, ("HB", "HE"))]
    mean: Floats = np.bincount(ring.of, said * off, len(ring)) / np.maximum(total, 1e-9)
    return mean, total.astype(float), middle[1] - middle[0]


def _weighted_median(values: Floats, weight: Floats) -> float:
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(total, 0.5 * total[-1])])


def centres(rings: Rings, shift: Floats, weight: Floats) -> Floats:
    """(…, 2) weighted mean shift of HB's and of HE's rings."""
    out = []
    for sub in (0, 1):
        mine = rings.place[0] == sub
        w = weight[..., mine]
        out.append((w * shift[..., mine]).sum(axis=-1) / np.maximum(w.sum(axis=-1), 1e-9))
    return np.stack(out, axis=-1)


def relative(rings: Rings, shift: Floats, weight: Floats) -> Floats:
    """Shifts against the centre of their sub-detector."""
    return shift - centres(rings, shift, weight)[..., rings.place[0]]


# --- the network


class ShapeNetwork(nn.Module):
    """Ring maps of some LS in a row → expected shift of every ring, and of HE against HB.

    A CNN along |ieta| with the depths as features, one node per sub-detector that hears of the other (``Context``), an
    RNN over LS, a variational bottleneck, and the way back. No path leads around the bottleneck.
    """

    def __init__(self, rings: Rings, latent: int = 12) -> None:
        super().__init__()
        config = GraphSTADConfig(hidden=WIDTH, latent=latent)
        self.encoder = nn.Sequential(
            nn.Conv1d(3 * N_DEPTH, WIDTH, 5, padding=2), nn.LeakyReLU(),
            nn.Conv1d(WIDTH, WIDTH, 5, stride=2, padding=2), nn.LeakyReLU(),
            nn.Flatten(1), nn.Linear(WIDTH * ((INETA + 1) // 2), WIDTH), nn.LeakyReLU(),
        )  # fmt: skip
        self.own = nn.Parameter(0.1 * torch.randn(2, WIDTH))
        self.context = Context(WIDTH)
        self.rnn = BoxRNN(2 * WIDTH, WIDTH)
        self.bottleneck = VariationalBottleneck(config)
        self.decoder = nn.Sequential(nn.Linear(2 * latent + 2, 64), nn.LeakyReLU(), nn.Linear(64, N_DEPTH * INETA))
        self.offset = nn.Sequential(nn.Linear(2 * latent, 32), nn.LeakyReLU(), nn.Linear(32, 1))
        place = np.ravel_multi_index(rings.place, (2, N_DEPTH, INETA))
        self.register_buffer("place", torch.from_numpy(place))

    place: Tensor

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(windows, LS, rings, 3) → shifts (windows, LS, rings), offset (windows, LS), Kullback–Leibler term."""
        windows, steps, rings, width = features.shape
        maps = features.new_zeros(windows * steps, 2 * N_DEPTH * INETA, width)
        maps[:, self.place] = features.reshape(windows * steps, rings, width)
        maps = maps.reshape(-1, 2, N_DEPTH, INETA, width).permute(0, 1, 4, 2, 3).reshape(-1, width * N_DEPTH, INETA)
        nodes = self.encoder(maps).reshape(windows * steps, 2, WIDTH) + self.own
        nodes = self.context(nodes).reshape(windows, steps, 2, -1)
        zero = features.new_zeros(windows * 2, WIDTH)
        nodes, _ = self.rnn(nodes, (zero, zero))
        latent, divergence = self.bottleneck(nodes)
        both = latent.flatten(2)
        one_hot = torch.eye(2).expand(windows, steps, 2, 2)
        out = self.decoder(torch.cat([both[:, :, None].expand(-1, -1, 2, -1), one_hot], dim=-1))
        shifts = out.reshape(windows, steps, -1)[:, :, self.place]
        return shifts, self.offset(both)[..., 0], divergence


def features_of(rings: Rings, shift: Floats, variance: Floats, hidden: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(…, rings, 3): clipped shift against the centre of what is seen, how well it is known, whether it is seen."""
    seen = ~hidden & (variance < 1)
    known = np.where(seen, 1 / (variance + QUIET**2), 0.0)
    own = robust_relative(rings, shift, known)
    value = np.clip(own / SCALE, -6, 6) * seen
    precision = np.where(seen, QUIET * np.sqrt(known), 0)
    return np.stack([value, precision, seen], axis=-1).astype(np.float32)


def robust_relative(rings: Rings, shift: Floats, weight: Floats) -> Floats:
    """Shifts against the weighted median of the seen rings of their sub-detector."""
    flat, w = shift.reshape(-1, len(rings)), weight.reshape(-1, len(rings))
    out = np.zeros_like(flat)
    for sub in (0, 1):
        mine = np.flatnonzero(rings.place[0] == sub)
        order = np.argsort(flat[:, mine], axis=1)
        some = np.take_along_axis(w[:, mine], order, axis=1)
        total = np.cumsum(some, axis=1)
        at = (total >= 0.5 * total[:, -1:]).argmax(axis=1)
        values = np.take_along_axis(flat[:, mine], order, axis=1)
        out[:, mine] = flat[:, mine] - values[np.arange(len(flat)), at][:, None]
    return out.reshape(shift.shape)


def _batch(rings: Rings, shapes: Shapes, size: int, draw: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features, true shifts, true offset, and which rings are asked for."""
    one, two = (draw.integers(len(shapes.shift), size=size) for _ in range(2))
    step = np.where(draw.random(size) < 0.5, draw.integers(1, WINDOW, size), 0)
    later = (np.arange(WINDOW)[None] >= step[:, None])[..., None]
    quiet_before = draw.random(size) < 0.5
    before = np.where(quiet_before[:, None, None], 0.0, shapes.shift[two][:, None])
    truth = np.where(later, shapes.shift[one][:, None], before)
    events = np.exp(draw.uniform(np.log(5), np.log(5000), size))[:, None, None]
    variance = np.broadcast_to(
        OVERDISPERSION / (events * np.maximum(shapes.information[one], 1e-6)[:, None]), truth.shape
    )
    measured = truth + np.sqrt(np.minimum(variance, 4)) * draw.standard_normal(truth.shape)
    measured = measured + _faults(rings, size, draw)
    hidden = np.zeros(truth.shape, dtype=bool)
    masked = draw.random(size) < 0.7
    group = draw.integers(GROUPS, size=size)
    hidden[masked] = (rings.group == group[masked, None])[:, None]
    asked = np.where(masked[:, None, None], hidden, True)
    features = features_of(rings, measured, variance, hidden)
    weight = np.broadcast_to(shapes.information[one][:, None], truth.shape)
    target = robust_relative(rings, truth, weight)
    offset_before = np.where(quiet_before, 0.0, shapes.apart[two])[:, None]
    offset = np.where(later[..., 0], shapes.apart[one][:, None], offset_before)
    return tuple(
        torch.from_numpy(np.asarray(a, dtype=np.float32)) for a in (features, target / SCALE, offset / SCALE, asked)
    )  # type: ignore[return-value]


def _faults(rings: Rings, size: int, draw: np.random.Generator) -> Floats:
    """(size, WINDOW, rings) shifts of rings at fault, in half of the windows: an |ieta|, a depth, or a ring."""
    out = np.zeros((size, WINDOW, len(rings)))
    sub, depth, ieta = rings.place
    for k in np.flatnonzero(draw.random(size) < 0.5):
        one = int(draw.integers(len(rings)))
        what = draw.integers(3)
        alike = (
            (ieta == ieta[one]) if what == 0 else (depth == depth[one]) if what == 1 else np.arange(len(rings)) == one
        )
        first = int(draw.integers(-2, WINDOW))
        out[k, max(first, 0) :, alike & (sub == sub[one])] = draw.uniform(np.log(0.5), np.log(1.4))
    return out


def train_shapes(rings: Rings, shapes: Shapes, seed: int, steps: int = 1000) -> ShapeNetwork:
    """A trained network; equal seeds give equal weights on one CPU."""
    torch.manual_seed(seed)
    draw = np.random.default_rng([seed, 0x7A])
    network = ShapeNetwork(rings)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    annealing = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, eta_min=1e-4)
    network.train()
    for _ in range(steps):
        features, target, offset, asked = _batch(rings, shapes, 16, draw)
        shift, apart, divergence = network(features)
        loss = (functional.smooth_l1_loss(shift, target, reduction="none", beta=0.5) * asked).sum() / asked.sum()
        loss = loss + 0.2 * functional.smooth_l1_loss(apart, offset, beta=0.5) + 1e-4 * divergence
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        annealing.step()
    return network.eval()


@torch.inference_mode()
def network_prediction(
    network: ShapeNetwork, rings: Rings, shift: Floats, variance: Floats, *, hide: bool = True
) -> tuple[Floats, Floats]:
    """(LS, rings) expected shift of each ring against its centre, and (LS,) of HE against HB, the state carried."""
    if not hide:
        features = torch.from_numpy(features_of(rings, shift, variance, np.zeros(shift.shape, dtype=bool)))[None]
        out, apart, _ = network(features)
        return SCALE * out[0].numpy(), SCALE * apart[0].numpy()
    result, offsets = np.zeros(shift.shape), []
    for group in range(GROUPS):
        hidden = np.broadcast_to(rings.group == group, shift.shape)
        out, apart, _ = network(torch.from_numpy(features_of(rings, shift, variance, hidden))[None])
        result[:, rings.group == group] = SCALE * out[0].numpy()[:, rings.group == group]
        offsets.append(SCALE * apart[0].numpy())
    return result, np.median(offsets, axis=0)


# --- the linear alternative


@dataclass(frozen=True, eq=False)
class Linear:
    """Mean and covariance of shapes against their centres, the offset of HE against HB as the last number."""

    rings: Rings
    mean: Floats
    covariance: Floats

    @classmethod
    def of(cls, rings: Rings, shapes: Shapes) -> Linear:
        own = robust_relative(rings, shapes.shift, shapes.information)
        values = np.concatenate([own, shapes.apart[:, None]], axis=1)
        return cls(rings, values.mean(axis=0), np.cov(values.T) + 1e-8 * np.eye(values.shape[1]))

    def prediction(self, shift: Floats, variance: Floats, *, hide: bool = True) -> tuple[Floats, Floats]:
        """As :func:`network_prediction`; rings that are far off the first answer have no say in the second."""
        out, apart = np.zeros(shift.shape), np.zeros((len(shift), GROUPS if hide else 1))
        for group in range(GROUPS) if hide else (None,):
            hidden = np.zeros(len(self.rings), bool) if group is None else self.rings.group == group
            for ls, (row, noise) in enumerate(zip(shift, variance, strict=True)):
                answer = self._one(row, noise, hidden)
                asked = hidden if hide else ~hidden
                out[ls, asked] = answer[:-1][asked]
                apart[ls, group or 0] = answer[-1]
        return out, np.median(apart, axis=1)

    def _one(self, row: Floats, noise: Floats, hidden: NDArray[np.bool_]) -> Floats:
        seen = np.flatnonzero(~hidden & (noise < 1))
        own = robust_relative(self.rings, row, np.where(np.isin(np.arange(len(row)), seen), 1 / (noise + QUIET**2), 0))
        scatter = noise[seen] + 1e-6
        cross, block = self.covariance[:, seen], self.covariance[np.ix_(seen, seen)]
        answer = self.mean
        for _ in range(3):
            gain = np.linalg.solve(block + np.diag(scatter), own[seen] - self.mean[seen])
            answer = self.mean + cross @ gain
            off = np.abs(own[seen] - answer[seen]) / np.sqrt(noise[seen] + 0.02**2)
            scatter = np.where(off > FAR_OFF, 1.0, noise[seen] + 1e-6)
        return answer
