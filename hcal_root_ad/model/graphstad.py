"""GraphSTAD: a spatio-temporal graph autoencoder of HCAL occupancy.

After arXiv:2311.04190 and, for what is transferred, arXiv:2408.16612: a CNN over the depth maps, a GNN
over the readout graph, an RNN over lumisections, a variational bottleneck, and the way back. What
differs from the public code, and why: the maps hold pulls against each channel's own reference, so the
network learns what changes; depths are mixed; iphi is a circle; convolutions stride instead of
pooling, so no index of the input's maxima reaches the decoder; the latent space has one vector per
readout box; and the reconstruction may move a channel's rate by a bounded amount only, so no fault is
ever explained away.

Shapes: a window is (windows, LS, channels, features); boxes are side × 18 + RBX − 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn import SAGEConv

from hcal_root_ad.detector import MODULES_PER_BOX, N_DEPTH, N_IPHI, N_RBX, ChannelTable, Subdetector, readout_graph
from hcal_root_ad.errors import ModelError
from hcal_root_ad.model.common_part import CommonPartFit
from hcal_root_ad.model.counts import CleanRun, SubdetectorCounts, blocks, lumisections_of, subdetector_counts
from hcal_root_ad.model.model import Model
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.stats.binomial import Binomial, Numbers, deviance, probability, pull

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


BOXES = 2 * N_RBX
MODULES = BOXES * MODULES_PER_BOX
TYPICAL_SHIFT = 0.01
"""What an output of 1 means: drifts are of the order of a percent."""
KIND = "GraphSTAD"
"""What a model's architecture is called."""
State = tuple[Tensor, Tensor, Tensor, Tensor]
"""Hidden and cell state of encoder and decoder RNN, each (windows·boxes, width)."""


@dataclass(frozen=True)
class GraphSTADConfig:
    """Every hyper-parameter with the reason for its value."""

    features: int = 3
    """Per channel: clipped pull, the same times its weight, and the weight (see ``model.network_input``)."""
    maps: tuple[int, int] = (24, 32)
    """CNN widths; twice as many gained nothing on simulated runs."""
    nodes: int = 16
    """GNN width per module and box."""
    hidden: int = 32
    """RNN width per box."""
    latent: int = 8
    """Numbers per box and LS: a box's common drift, its modules', and some spatial structure."""
    largest_shift: float = 0.15
    """Bound on |δ log λ|: slow drifts stay below it, faults do not."""
    variational: bool = True
    """The papers' variational bottleneck; False gives a plain autoencoder."""


class EncoderCNN(nn.Module):
    """Depth maps of both sides → one vector per readout box: what particles do to neighbours."""

    def __init__(self, config: GraphSTADConfig) -> None:
        super().__init__()
        first, second = config.maps
        self.near = nn.Conv2d(config.features * N_DEPTH, first, 3, stride=2)
        self.far = nn.Conv2d(first, second, 3, stride=2)
        self.tower = nn.Conv2d(second, config.hidden, (4, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """(2·LS, features·depths, 16, 72) → (LS, boxes, hidden)."""
        x = functional.leaky_relu(self.near(_around(maps)))
        x = functional.leaky_relu(self.far(_around(x)))
        x = functional.leaky_relu(self.tower(x)).squeeze(2)
        return x.transpose(1, 2).reshape(-1, BOXES, x.shape[1])


class EncoderGNN(nn.Module):
    """Channels → readout modules → readout boxes: what electronics do to those who share them."""

    def __init__(self, config: GraphSTADConfig) -> None:
        super().__init__()
        width = config.nodes
        self.channel = nn.Linear(config.features, width)
        self.to_module = SAGEConv((width, width), width, root_weight=False)
        self.to_box = SAGEConv((width, width), width, root_weight=False)

    def forward(self, features: Tensor, channel_to_module: Tensor, module_to_box: Tensor) -> Tensor:
        """(LS, channels, features) → (LS, boxes, nodes)."""
        x = functional.leaky_relu(self.channel(features))
        sizes = (x.shape[1], MODULES), (MODULES, BOXES)
        x = functional.leaky_relu(self.to_module((x, None), channel_to_module, size=sizes[0]))
        return functional.leaky_relu(self.to_box((x, None), module_to_box, size=sizes[1]))


class Context(nn.Module):
    """Attention over the boxes of an LS: what the whole sub-detector does, told to every box."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(LS, boxes, width) → (LS, boxes, 2·width)."""
        common = (torch.softmax(self.gate(x), dim=1) * x).sum(dim=1, keepdim=True)
        return torch.cat([x, common.expand_as(x)], dim=-1)


class BoxRNN(nn.Module):
    """An LSTM over lumisections, one sequence per box, weights shared by all."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, batch_first=True)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(windows, LS, boxes, inputs) → (windows, LS, boxes, hidden) and the new state."""
        windows, steps, boxes, width = x.shape
        sequences = x.transpose(1, 2).reshape(windows * boxes, steps, width)
        out, (hidden, cell) = self.lstm(sequences, (state[0][None], state[1][None]))
        return out.reshape(windows, boxes, steps, -1).transpose(1, 2), (hidden[0], cell[0])


class VariationalBottleneck(nn.Module):
    """Mean and log-variance per latent; samples in training, the mean at inference."""

    def __init__(self, config: GraphSTADConfig) -> None:
        super().__init__()
        self.variational = config.variational
        self.mean = nn.Linear(config.hidden, config.latent)
        self.log_variance = nn.Linear(config.hidden, config.latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(…, hidden) → (…, latent) and the Kullback–Leibler term per latent (scalar)."""
        mean = self.mean(x)
        if not self.variational:
            return mean, mean.new_zeros(())
        log_variance = self.log_variance(x).clamp(-10, 4)
        divergence = 0.5 * (log_variance.exp() + mean**2 - 1 - log_variance).mean()
        if self.training:
            mean = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return mean, divergence


class DecoderCNN(nn.Module):
    """One vector per box → depth maps of both sides."""

    def __init__(self, config: GraphSTADConfig) -> None:
        super().__init__()
        first, second = config.maps
        self.tower = nn.ConvTranspose2d(config.hidden, second, (4, 1))
        self.far = nn.Conv2d(second, first, 3)
        self.near = nn.Conv2d(first, N_DEPTH, 3)

    def forward(self, boxes: Tensor) -> Tensor:
        """(LS, boxes, hidden) → (2·LS, depths, 16, 72)."""
        x = boxes.reshape(-1, N_RBX, boxes.shape[-1]).transpose(1, 2).unsqueeze(2)
        x = functional.leaky_relu(self.tower(x))
        x = functional.leaky_relu(self.far(_around(functional.interpolate(x, scale_factor=2.0))))
        maps: Tensor = self.near(_around(functional.interpolate(x, scale_factor=2.0)))
        return maps


class DecoderGNN(nn.Module):
    """One vector per box → one shift per readout module: combs that no convolution can draw."""

    def __init__(self, config: GraphSTADConfig) -> None:
        super().__init__()
        self.to_modules = nn.Linear(config.hidden, MODULES_PER_BOX)

    def forward(self, boxes: Tensor, module_of: Tensor) -> Tensor:
        """(LS, boxes, hidden) → (LS, channels)."""
        modules: Tensor = self.to_modules(boxes).flatten(1)
        return modules[:, module_of]


class GraphSTAD(nn.Module):
    """The whole network for the channels of one sub-detector; its weights fit any of them."""

    module_of: Tensor
    channel_to_module: Tensor
    module_to_box: Tensor

    def __init__(self, channels: ChannelTable, config: GraphSTADConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GraphSTADConfig()
        graph = readout_graph(channels)
        for name in ("module_of", "channel_to_module", "module_to_box"):
            self.register_buffer(name, torch.from_numpy(getattr(graph, name)), persistent=False)
        self.side_maps = SideMaps(channels)
        self.encoder_cnn = EncoderCNN(config)
        self.encoder_gnn = EncoderGNN(config)
        self.context = Context(config.hidden + config.nodes)
        self.encoder_rnn = BoxRNN(2 * (config.hidden + config.nodes), config.hidden)
        self.bottleneck = VariationalBottleneck(config)
        self.decoder_rnn = BoxRNN(config.latent, config.hidden)
        self.decoder_cnn = DecoderCNN(config)
        self.decoder_gnn = DecoderGNN(config)
        # Untrained, the reconstruction is the reference itself.
        for last in (self.decoder_cnn.near, self.decoder_gnn.to_modules):
            nn.init.normal_(last.weight, std=1e-2)

    def start(self, windows: int = 1) -> State:
        """State before the first lumisection."""
        zero = self.decoder_cnn.near.weight.new_zeros(windows * BOXES, self.config.hidden)
        return zero, zero, zero, zero

    def forward(self, features: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """Reconstruct windows.

        Args:
            features: (windows, LS, channels, features), see :mod:`hcal_root_ad.model.graphstad`.
            state: from :meth:`start` or from the lumisections just before.

        Returns:
            δ log λ (windows, LS, channels), the Kullback–Leibler term (scalar), the state after.
        """
        windows, steps = features.shape[:2]
        flat = features.flatten(0, 1)
        spatial = self.encoder_cnn(self.side_maps.to_maps(flat))
        readout = self.encoder_gnn(flat, self.channel_to_module, self.module_to_box)
        boxes: Tensor = self.context(torch.cat([spatial, readout], dim=-1))
        boxes = boxes.reshape(windows, steps, BOXES, boxes.shape[-1])
        boxes, encoder_state = self.encoder_rnn(boxes, state[:2])
        latent, divergence = self.bottleneck(boxes)
        boxes, decoder_state = self.decoder_rnn(latent, state[2:])
        boxes = boxes.flatten(0, 1)
        shift = self.side_maps.to_channels(self.decoder_cnn(boxes)) + self.decoder_gnn(boxes, self.module_of)
        bound = self.config.largest_shift
        shift = bound * torch.tanh(shift * TYPICAL_SHIFT / bound)
        return shift.reshape(windows, steps, -1), divergence, (*encoder_state, *decoder_state)


def _around(maps: Tensor) -> Tensor:
    """One more row of zeros at either end of ieta, and one more column around the circle of iphi."""
    return functional.pad(functional.pad(maps, (1, 1, 0, 0), mode="circular"), (0, 0, 1, 1))


def network_of(model: Model) -> GraphSTAD:
    """The network of a model, on the CPU, ready to reconstruct.

    Raises:
        ModelError: if it has none, one of another kind, or weights of another shape.
    """
    if not model.architecture:
        raise ModelError(f"the model {model.name} ({model.subdetector}) has no network, only a reference")
    values = dict(model.architecture)
    if (kind := values.pop("kind", None)) != KIND:
        raise ModelError(f"the model {model.name} has a network of the kind {kind!r}, expected {KIND!r}; retrain it")
    try:
        config = GraphSTADConfig(**values | {"maps": tuple(values["maps"])})
        network = GraphSTAD(model.channels, config)
        network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in model.weights.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"the network of the model {model.name} cannot be built ({reason}); retrain it") from error
    return network.eval()


def architecture_of(network: GraphSTAD) -> Mapping[str, Any]:
    """Kind and hyper-parameters, as a model keeps them."""
    values = asdict(network.config)
    return {"kind": KIND, **values, "maps": list(values["maps"])}


def weights_of(network: GraphSTAD) -> dict[str, NDArray[Any]]:
    """The weights, as a model keeps them."""
    return {name: np.ascontiguousarray(value.detach().cpu().numpy()) for name, value in network.state_dict().items()}


CLIP = 4.0
"""Pulls are cut here, so that no single count moves its neighbours by much."""
REJECT = 6.0
"""Counts with larger pulls are a fault's, say nothing about drifts, and are hidden from the network."""
WEIGHT_SCALE = 1000.0
"""Typical information of a channel on its log rate in one LS of 1,500 events."""


def network_input(counts: Numbers, expected: Binomial, live: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(LS, 3, channels) features; 0 for channels that are not live, or plainly at fault.

    The first is the clipped pull, the last the information on log λ, the middle one their product:
    averaged over a module or a box, middle / last is the maximum-likelihood estimate of its shift.
    """
    pull = expected.pull(counts)
    z = np.clip(pull, -CLIP, CLIP)
    weight = expected.information / WEIGHT_SCALE
    features = np.stack([z / 2, z * np.sqrt(weight), weight], axis=1).astype(np.float32, copy=False)
    features.transpose(0, 2, 1)[(np.abs(pull) > REJECT) | ~live] = 0
    return features


@dataclass(frozen=True, eq=False)
class Segment:
    """Counts of lumisections of one run and sub-detector, and what a reference expects of them.

    ``log_rate``: (LS, channels) expected: level, pileup, and what rings do from LS to LS. ``live``: (channels,) which
    the reference knows.
    """

    counts: SubdetectorCounts
    log_rate: NDArray[np.float32]
    live: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.counts)


def segment_of(run: CleanRun, reference: Reference, subdetector: str) -> Segment:
    """The lumisections of a run against a reference of it and of the sub-detectors that share its pileup."""
    clean = lumisections_of([run], tuple(dict.fromkeys(reference.channels.names)))
    levels = CommonPartFit(reference).fit(clean.counts, clean.events)
    rows = reference.channels.rows_of(subdetector)
    log_rate = reference.level[rows] + np.multiply.outer(levels.log_pileup.astype(np.float64), reference.power[rows])
    log_rate += levels.ring[:, reference.tree.ring.of[rows]]
    counts = subdetector_counts(run.maps, subdetector, run.position)
    return Segment(counts, log_rate.astype(np.float32), reference.live[rows])


@torch.inference_mode()
def reconstruct(network: GraphSTAD, segment: Segment) -> NDArray[np.float32]:
    """(LS, channels) log rates of a segment moved by the network; its state is carried, but not over a gap."""
    counts, log_rate, device = segment.counts, segment.log_rate.copy(), network.module_of.device
    for stretch in counts.stretches():
        state = network.start()
        for rows in blocks(stretch.stop, stretch.start):
            n, events = counts.single(rows)
            features = network_input(n, Binomial(events, segment.log_rate[rows]), segment.live)
            shift, _, state = network(torch.from_numpy(features).to(device).transpose(1, 2)[None], state)
            log_rate[rows] += shift[0].cpu().numpy()
    return log_rate


def reconstruction_metrics(network: GraphSTAD, segments: Sequence[Segment]) -> dict[str, float]:
    """Mean deviance per channel and LS (1 is perfect), and spread of pulls, with and without the network."""
    sums = np.zeros(5)
    for segment in segments:
        live, counts = segment.live, segment.counts
        n, trials = counts.counts[:, live], counts.trials
        for k, log_rate in enumerate((reconstruct(network, segment), segment.log_rate)):
            p = probability(log_rate[:, live].astype(np.float64))
            sums[k] += deviance(n, trials, p).sum()
            sums[2 + k] += (pull(n, trials, p) ** 2).sum()
        sums[4] += len(counts) * live.sum()
    return {
        "deviance_per_count": float(sums[0] / sums[4]),
        "deviance_per_count_reference_only": float(sums[1] / sums[4]),
        "pull_spread": float(np.sqrt(sums[2] / sums[4])),
        "pull_spread_reference_only": float(np.sqrt(sums[3] / sums[4])),
        "clean_lumisections": float(sum(map(len, segments))),
    }
