"""The network as it judges: log rates moved by what it sees, LS after LS, its state carried.

It is GraphSTAD, the same function of the same weights, in fewer and cheaper steps. Every step is a gather and a
matrix product. A convolution gathers, for each cell of its output, the cells that its kernel covers, the circle of
iphi closed. Doubling a map and convolving it is one product with four kernels, one for each of the four cells that a
cell becomes. A mean over readout modules is a product with a constant sparse matrix.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hcal_root_ad.detector import MODULES_PER_BOX, N_DEPTH, N_RBX
from hcal_root_ad.model.common_part import CommonPartFit
from hcal_root_ad.model.counts import CleanRun, SubdetectorCounts, blocks, lumisections_of, subdetector_counts
from hcal_root_ad.model.graphstad import BOXES, COLUMNS, MODULES, ROWS, TYPICAL_SHIFT, GraphSTAD, State, network_input
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.stats.binomial import Binomial, deviance, probability, pull

Grid = NDArray[np.int64]
"""(sides, rows, columns) which row of a (cells, features) matrix each cell of a map is."""

_TAPS = torch.tensor([[[1.0, 0, 0], [0, 1, 1], [0, 0, 0]], [[0, 0, 0], [1, 1, 0], [0, 0, 1]]])
"""How the three taps of a kernel on a doubled map fall on the small one, for the first and the second of two cells."""


@dataclass(frozen=True, eq=False)
class _Convolution:
    """(LS, cells, features), or (LS, cells) → (LS, cells out, features out): weights times what their kernel covers.

    ``covered``: (cells out · taps,) rows of the input, the one behind the last where the map ends.
    """

    covered: Tensor
    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        seen = functional.pad(x, (0, 0) * (x.dim() - 2) + (0, 1)).index_select(1, self.covered)
        return functional.linear(seen.reshape(len(x), -1, self.weight.shape[1]), self.weight, self.bias)


class FoldedGraphSTAD:
    """A trained network, ready for one lumisection after the other. Later changes of its weights have no effect."""

    def __init__(self, network: GraphSTAD) -> None:
        self._network = network
        self._weights = {name: value.detach() for name, value in network.state_dict().items()}
        self.device = network.module_of.device
        self._means = _means(network.module_of.cpu(), MODULES).to(self.device)
        half, quarter = (_grid(ROWS // size, COLUMNS // size) for size in (2, 4))
        towers = _grid(N_RBX, ROWS // 4).transpose(0, 2, 1)
        channel, cell = network.side_maps.channel.cpu().numpy(), network.side_maps.cell.cpu().numpy()
        first = self._weights["encoder_cnn.near.weight"].flatten(1), self._weights["encoder_cnn.near.bias"]
        self._near = _Convolution(self._index(_covered_channels(channel, len(cell), network.config.features)), *first)
        self._far = self._convolution("encoder_cnn.far", _covered(half, stride=2))
        self._tower = self._convolution("encoder_cnn.tower", quarter.transpose(0, 2, 1))
        self._far_back = self._convolution("decoder_cnn.far", _covered(towers), doubling=True)
        self._near_back = self._convolution("decoder_cnn.near", _covered(_doubled(quarter)), doubling=True)
        self._cells = self._index(_cells_of_channels(cell, _doubled(half)))
        self._tower_back = self._weights["decoder_cnn.tower.weight"][..., 0].permute(2, 1, 0).flatten(0, 1)
        self._tower_back_bias = self._weights["decoder_cnn.tower.bias"].repeat(ROWS // 4)

    def start(self) -> State:
        """State before the first lumisection."""
        return self._network.start()

    @torch.inference_mode()
    def __call__(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        """Reconstruct some lumisections in a row.

        Args:
            features: (LS, features, channels), as :mod:`hcal_root_ad.model.graphstad` makes them.
            state: from :meth:`start` or from the lumisections just before.

        Returns:
            δ log λ (LS, channels), and the state after.
        """
        network = self._network
        boxes = network.context(torch.cat([self._spatial(features), self._readout(features)], dim=2))
        boxes, encoder = network.encoder_rnn(boxes[None], state[:2])
        boxes, decoder = network.decoder_rnn(self._linear("bottleneck.mean", boxes), state[2:])
        shift = self._spread(boxes[0])
        bound = network.config.largest_shift
        return torch.tanh(shift * (TYPICAL_SHIFT / bound)) * bound, (*encoder, *decoder)

    def _spatial(self, features: Tensor) -> Tensor:
        """(LS, features, channels) → (LS, boxes, hidden), by convolutions."""
        x = functional.leaky_relu_(self._near(features.flatten(1)))
        x = functional.leaky_relu_(self._far(x))
        return functional.leaky_relu_(self._tower(x))

    def _readout(self, features: Tensor) -> Tensor:
        """(LS, features, channels) → (LS, boxes, nodes), along the readout."""
        x = functional.leaky_relu_(self._linear("encoder_gnn.channel", features.transpose(1, 2)))
        x = torch.stack([self._means @ one for one in x])
        x = functional.leaky_relu_(self._linear("encoder_gnn.to_module.lin_l", x))
        x = x.reshape(len(x), BOXES, MODULES_PER_BOX, -1).mean(dim=2)
        return functional.leaky_relu_(self._linear("encoder_gnn.to_box.lin_l", x))

    def _spread(self, boxes: Tensor) -> Tensor:
        """(LS, boxes, hidden) → (LS, channels) before the bound."""
        x = functional.leaky_relu_(functional.linear(boxes, self._tower_back, self._tower_back_bias))
        x = functional.leaky_relu_(self._far_back(x.reshape(len(x), BOXES * ROWS // 4, -1)))
        x = self._near_back(x.reshape(len(x), 4 * x.shape[1], -1))
        modules = self._linear("decoder_gnn.to_modules", boxes).flatten(1)
        return x.flatten(1).index_select(1, self._cells).add_(modules.index_select(1, self._network.module_of))

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(x, self._weights[f"{name}.weight"], self._weights.get(f"{name}.bias"))

    def _convolution(self, name: str, covered: NDArray[np.int64], *, doubling: bool = False) -> _Convolution:
        """A layer on what its kernels cover; of one on a doubled map, the four kernels on the map before."""
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        if doubling:
            taps = _TAPS.to(weight)
            weight = torch.einsum("aij,bkl,oqjl->aboqik", taps, taps, weight).flatten(0, 2)
            bias = bias.repeat(4)
        return _Convolution(self._index(covered), weight.permute(0, 2, 3, 1).flatten(1).contiguous(), bias)

    def _index(self, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(rows).reshape(-1)).to(self.device)


def _grid(rows: int, columns: int) -> Grid:
    """Cells in their natural order."""
    return np.arange(2 * rows * columns, dtype=np.int64).reshape(2, rows, columns)


def _doubled(grid: Grid) -> Grid:
    """Every cell is four: two rows, two columns."""
    within = np.array([[0, 1], [2, 3]])
    four = 4 * grid[:, :, None, :, None] + within[:, None, :]
    return np.asarray(four.reshape(2, 2 * grid.shape[1], 2 * grid.shape[2]))


def _covered(grid: NDArray[np.int64], stride: int = 1, outside: int | None = None) -> NDArray[np.int64]:
    """(…, rows, columns) → (…, rows out, columns out, 3, 3): what kernels cover, around the circle of iphi.

    Beyond the ends of ieta they cover ``outside``, if not given the row behind the last.
    """
    still = [(0, 0)] * (grid.ndim - 2)
    closed = np.pad(grid, [*still, (0, 0), (1, 1)], mode="wrap")
    beyond = grid.size if outside is None else outside
    whole = np.pad(closed, [*still, (1, 1), (0, 0)], constant_values=beyond)
    windows: NDArray[np.int64] = sliding_window_view(whole, (3, 3), axis=(-2, -1))
    return windows[..., ::stride, ::stride, :, :]


def _covered_channels(channel: NDArray[np.int64], channels: int, features: int) -> NDArray[np.int64]:
    """(sides, rows out, columns out, features, depths, 3, 3) numbers among (features · channels), and one behind."""
    covered = _covered(channel.reshape(2, N_DEPTH, ROWS, COLUMNS), 2, channels).transpose(0, 2, 3, 1, 4, 5)
    of_feature = [np.where(covered < channels, covered + n * channels, features * channels) for n in range(features)]
    return np.stack(of_feature, axis=3)


def _cells_of_channels(cell: NDArray[np.int64], grid: Grid) -> NDArray[np.int64]:
    """(channels,) where each channel lies in (cells · depths) numbers."""
    side, depth, row, column = np.unravel_index(cell, (2, N_DEPTH, ROWS, COLUMNS))
    return np.asarray(grid[side, row, column] * N_DEPTH + depth, dtype=np.int64)


def _means(label: Tensor, groups: int) -> Tensor:
    """(groups, channels) sparse matrix that takes the mean of each group; 0 where a group is empty."""
    weight = 1 / torch.bincount(label, minlength=groups).float()[label]
    place = torch.stack([label, torch.arange(len(label))])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse")  # torch calls its sparse matrices unfinished
        return torch.sparse_coo_tensor(place, weight, (groups, len(label))).to_sparse_csr()


@dataclass(frozen=True, eq=False)
class Segment:
    """Lumisections of one run and sub-detector, and what a reference expects of them.

    Attributes:
        counts: the counts.
        log_rate: (LS, channels) expected log rate: level, pileup, and what rings do from LS to LS.
        live: (channels,) which channels the reference knows.
    """

    counts: SubdetectorCounts
    log_rate: NDArray[np.float32]
    live: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.counts)


def segment_of(run: CleanRun, reference: Reference, subdetector: str) -> Segment:
    """The lumisections of a run against a reference of it and of the sub-detectors that share its pileup."""
    names = tuple(dict.fromkeys(reference.channels.names))
    clean = lumisections_of([run], names)
    levels = CommonPartFit(reference).fit(clean.counts, clean.events)
    rows = reference.channels.rows_of(subdetector)
    log_rate = reference.level[rows] + np.multiply.outer(levels.log_pileup.astype(np.float64), reference.power[rows])
    log_rate = log_rate + levels.ring[:, reference.tree.ring.of[rows]]
    counts = subdetector_counts(run.maps, subdetector, run.position)
    return Segment(counts, log_rate.astype(np.float32), reference.live[rows])


class Reconstructor:
    """Reconstructs lumisections as they come. The state is carried, and starts anew after every gap."""

    def __init__(self, network: FoldedGraphSTAD, live: NDArray[np.bool_]) -> None:
        self._network, self._live = network, live
        self._state = self._network.start()
        self._last: int | None = None

    def add(self, segment: Segment) -> NDArray[np.float32]:
        """(LS, channels) log rates of further lumisections, all later than those before, moved by the network."""
        counts, log_rate = segment.counts, segment.log_rate.copy()
        for stretch in counts.stretches():
            if counts.lumisections[stretch.start] - 1 != self._last:
                self._state = self._network.start()
            for rows in blocks(stretch.stop, stretch.start):
                n, events = counts.single(rows)
                features = network_input(n, Binomial(events, segment.log_rate[rows]), self._live)
                shift, self._state = self._network(torch.from_numpy(features).to(self._network.device), self._state)
                log_rate[rows] += shift.cpu().numpy()
            self._last = int(counts.lumisections[stretch.stop - 1])
        return log_rate


def reconstruct(network: GraphSTAD, segment: Segment) -> NDArray[np.float32]:
    """(LS, channels) log rates of a whole segment, moved by the network."""
    return Reconstructor(FoldedGraphSTAD(network), segment.live).add(segment)


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
