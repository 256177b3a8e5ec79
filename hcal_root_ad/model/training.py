"""Training: GraphSTAD learns from clean runs what the reference leaves.

Two devices keep it honest. The counts of every LS are split in two independent binomial parts: the
network sees one and is judged on the other, so it cannot gain by copying noise. And faults are put into
what it sees, never into what it is judged on, so it learns to look past them.

Where a training stands is kept beside its output, so that one that was killed goes on to the same weights.

It is safetensors: weights, Adam's moments, random states; the learning rate's course as JSON in its head.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer, lr_scheduler

from hcal_root_ad.detector import ChannelTable, readout_graph
from hcal_root_ad.errors import InputError, OutputError, UsageError
from hcal_root_ad.model.counts import SubdetectorCounts
from hcal_root_ad.model.graphstad import GraphSTAD, Segment, State, network_input
from hcal_root_ad.stats.binomial import Binomial, Floats

_RANDOM, _STORY, _DIGEST = "torch random state", "training", "sha256"
_log = logging.getLogger(__name__)


def checkpoint_path(model: Path) -> Path:
    """Where the checkpoint of the training of a model lies."""
    return model.with_name(f".{model.name}.checkpoint.safetensors")


class Checkpoint:
    """The state of one training after its last whole epoch.

    One of another training, or a damaged one, is as if there were none, and the log says so.
    """

    def __init__(self, path: Path, network: GraphSTAD, segments: Sequence[Segment], schedule: Schedule) -> None:
        self._path, self._identity = path, _identity(network, segments, schedule)

    def save(
        self, losses: Sequence[float], network: GraphSTAD, optimiser: Optimizer, annealing: lr_scheduler.LRScheduler,
        draw: np.random.Generator,
    ) -> None:  # fmt: skip
        """Keep where it stands after as many epochs as there are losses. Raises OutputError."""
        state = optimiser.state_dict()
        tensors = {f"network.{name}": weight for name, weight in network.state_dict().items()}
        tensors |= {f"optimiser.{n}.{name}": one for n, kept in state["state"].items() for name, one in kept.items()}
        flat = {name: one.detach().cpu().contiguous() for name, one in tensors.items()}
        flat[_RANDOM] = torch.get_rng_state()
        story = {
            "identity": self._identity, "losses": list(losses), "groups": state["param_groups"],
            "annealing": annealing.state_dict(), "draw": draw.bit_generator.state,
        }  # fmt: skip
        partial = self._path.with_name(f"{self._path.name}.partial")
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            save_file(flat, partial, {_STORY: json.dumps(story | {_DIGEST: _digest(flat, story)})})
            partial.replace(self._path)
        except (OSError, SafetensorError) as error:
            partial.unlink(missing_ok=True)
            raise OutputError(f"{self._path}: cannot be written ({error}); choose another place.") from error

    def restore(
        self, network: GraphSTAD, optimiser: Optimizer, annealing: lr_scheduler.LRScheduler, draw: np.random.Generator
    ) -> list[float]:
        """Put all back as it stood; returns the losses of the epochs that are done, none without a checkpoint."""
        found = self._read()
        if found is None:
            return []
        tensors, story = found
        network.load_state_dict(dict(_below(tensors, "network.")))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, one in _below(tensors, "optimiser."):
            number, _, key = name.partition(".")
            moments.setdefault(int(number), {})[key] = one
        optimiser.load_state_dict({"state": moments, "param_groups": story["groups"]})
        annealing.load_state_dict(story["annealing"])
        torch.set_rng_state(tensors[_RANDOM])
        draw.bit_generator.state = story["draw"]
        return list(map(float, story["losses"]))

    def _read(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        if not self._path.is_file():
            return None
        try:
            with safe_open(self._path, framework="pt") as file:
                story = json.loads(file.metadata()[_STORY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if story.pop(_DIGEST) != _digest(tensors, story):
                raise ValueError("its content does not match its digest")
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            _log.warning("%s: the checkpoint is damaged (%s); the training begins again.", self._path, error)
            return None
        if story["identity"] != self._identity:
            _log.warning(
                "%s: the checkpoint is of another training (other runs, options or versions); this one begins again.",
                self._path,
            )
            return None
        return tensors, story


def _below(tensors: dict[str, Tensor], prefix: str) -> Iterator[tuple[str, Tensor]]:
    return ((name.removeprefix(prefix), one) for name, one in tensors.items() if name.startswith(prefix))


def _digest(tensors: dict[str, Tensor], story: dict[str, Any]) -> str:
    """Of all that a checkpoint holds, whatever the order."""
    digest = hashlib.sha256(json.dumps(story, sort_keys=True).encode())
    for name, one in sorted(tensors.items()):
        digest.update(name.encode() + one.numpy().tobytes())
    return digest.hexdigest()


def _identity(network: GraphSTAD, segments: Sequence[Segment], schedule: Schedule) -> str:
    """Digest of all that the weights follow from: schedule, first weights, data."""
    digest = hashlib.sha256(repr((schedule, network.config, torch.__version__)).encode())
    for weight in network.state_dict().values():
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    for segment in segments:
        counts = segment.counts
        for array in (counts.counts, counts.events, counts.lumisections, segment.log_rate):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


Progress = Callable[[int, int], None]
AfterEpoch = Callable[[int], None]
"""Called with the number of epochs done; may use the network, but must leave its weights."""
ANNEALINGS = ("cosine", "constant", "step", "one-cycle")


@dataclass(frozen=True)
class Schedule:
    """How to train, each number with its reason."""

    epochs: int = 16
    """The error on held-out runs is flat after about ten."""
    window: int = 10
    """LS per window: long enough for the RNN to learn averaging, twice the papers' five."""
    batch: int = 4
    """Windows per step, as in the public code."""
    rate: float = 5e-3
    """Adam's first learning rate (one-cycle: its highest)."""
    annealing: str = "cosine"
    """One of :data:`ANNEALINGS`. The cosine falls to a twentieth; steps are two, each to 0.3."""
    preserved: bool = False
    """Whether the RNN state at the end of a window starts the next one of its stretch; else it is reset."""
    seen: float = 0.75
    """Share of the events that the network sees; it is judged on the rest."""
    faulty: float = 0.5
    """Share of windows with faults put into what the network sees."""
    divergence: float = 1e-4
    """Weight of the Kullback–Leibler term (public code: 1e-4)."""
    seed: int = 123


def train_network(
    network: GraphSTAD,
    segments: Sequence[Segment],
    schedule: Schedule,
    progress: Progress | None = None,
    after_epoch: AfterEpoch | None = None,
    checkpoint: Path | None = None,
) -> list[float]:
    """Train in place; returns the loss of every epoch.

    The loss is the gain in deviance per channel and LS over the reference alone (negative is better).
    Uses the device on which the network's weights are. Equal seeds give equal weights on one CPU, whether it ran
    through or was killed and goes on from its ``checkpoint``, which is written after each epoch.

    Raises:
        InputError: if no window fits between the gaps of the clean runs.
    """
    torch.manual_seed(schedule.seed)
    draw = np.random.default_rng(schedule.seed)
    windows = [(segment, first) for segment in segments for first in _starts(segment.counts, schedule.window)]
    if not windows:
        raise InputError(f"the clean runs have no {schedule.window} lumisections in a row; give longer runs")
    steps = len(_batches(windows, schedule, np.random.default_rng(0)))
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=schedule.rate)
    annealing = _annealing(optimiser, schedule, schedule.epochs * steps)
    kept = Checkpoint(checkpoint, network, segments, schedule) if checkpoint else None
    losses = kept.restore(network, optimiser, annealing, draw) if kept else []
    network.eval()  # as after each epoch, where none is left
    for epoch in range(len(losses), schedule.epochs):
        network.train()
        total = 0.0
        carried = _Carried(network, schedule)
        for step, chosen in enumerate(_batches(windows, schedule, draw)):
            loss, gain = _loss(network, chosen, schedule, draw, carried)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            annealing.step()
            total += gain
            if progress:
                progress(epoch * steps + step + 1, schedule.epochs * steps)
        losses.append(total / steps)
        network.eval()
        if kept:
            kept.save(losses, network, optimiser, annealing, draw)
        if after_epoch:
            after_epoch(epoch + 1)
    return losses


def _annealing(optimiser: Optimizer, schedule: Schedule, steps: int) -> lr_scheduler.LRScheduler:
    """How the learning rate goes over all steps."""
    match schedule.annealing:
        case "cosine":
            return lr_scheduler.CosineAnnealingLR(optimiser, steps, eta_min=schedule.rate / 20)
        case "constant":
            return lr_scheduler.ConstantLR(optimiser, factor=1.0)
        case "step":
            return lr_scheduler.StepLR(optimiser, -(-steps // 3), gamma=0.3)
        case "one-cycle":
            return lr_scheduler.OneCycleLR(optimiser, schedule.rate, total_steps=steps)
    raise UsageError(f"no annealing is called {schedule.annealing!r}; known are {', '.join(ANNEALINGS)}")


Windows = Sequence[tuple[Segment, int]]
"""Windows to train on: the segment, and the position of the first lumisection in it."""


def _batches(windows: Windows, schedule: Schedule, draw: np.random.Generator) -> list[Windows]:
    """One epoch in batches: shuffled; where the state is preserved, in order of the place in their stretch."""
    if not schedule.preserved:
        order = draw.permutation(len(windows))
        full = max(1, len(windows) // schedule.batch) * schedule.batch
        return [[windows[i] for i in order[k : k + schedule.batch]] for k in range(0, full, schedule.batch)]
    batches: list[Windows] = []
    later = {_next(*window, schedule.window) for window in windows}
    at_place = [window for window in windows if window not in later]
    while at_place:
        order = draw.permutation(len(at_place))
        batches += [[at_place[i] for i in order[k : k + schedule.batch]] for k in range(0, len(order), schedule.batch)]
        at_place = [following for window in at_place if (following := _next(*window, schedule.window))]
    return batches


def _next(segment: Segment, first: int, window: int) -> tuple[Segment, int] | None:
    """The window after the one at ``first``; None where the stretch has no whole one left."""
    numbers, last = segment.counts.lumisections, first + 2 * window - 1
    inside = last < len(numbers) and numbers[last] - numbers[first] == last - first
    return (segment, first + window) if inside else None


class _Carried:
    """RNN states at the ends of an epoch's windows, for those that follow upon them; none if they are reset."""

    def __init__(self, network: GraphSTAD, schedule: Schedule) -> None:
        self._schedule, self._network = schedule, network
        self._after: dict[tuple[Segment, int], State] = {}

    def start(self, chosen: Windows) -> State:
        """State before each window, one after the other."""
        if not self._schedule.preserved:
            return self._network.start(len(chosen))
        each = [self._after.get(window, self._network.start()) for window in chosen]
        hidden, cell, decoder_hidden, decoder_cell = (torch.cat(parts) for parts in zip(*each, strict=True))
        return hidden, cell, decoder_hidden, decoder_cell

    def keep(self, chosen: Windows, after: State) -> None:
        """Keep the states after the windows, cut from the graph."""
        if self._schedule.preserved:
            each = zip(*(part.detach().chunk(len(chosen)) for part in after), strict=True)
            for window, (hidden, cell, decoder_hidden, decoder_cell) in zip(chosen, each, strict=True):
                if following := _next(*window, self._schedule.window):
                    self._after[following] = hidden, cell, decoder_hidden, decoder_cell


def _starts(counts: SubdetectorCounts, window: int) -> list[int]:
    """First positions of non-overlapping windows that stay inside a stretch."""
    return [first for s in counts.stretches() for first in range(s.start, s.stop - window + 1, window)]


def _loss(
    network: GraphSTAD, chosen: Windows, schedule: Schedule, draw: np.random.Generator, carried: _Carried
) -> tuple[Tensor, float]:
    """Loss (tensor) and gain in deviance (number) of a batch of windows."""
    parts = [_window(segment, first, schedule, draw) for segment, first in chosen]
    device = network.module_of.device
    features, counts, misses, eta, live = (
        torch.from_numpy(np.stack(column)).to(device) for column in zip(*parts, strict=True)
    )
    shift, divergence, after = network(features, carried.start(chosen))
    carried.keep(chosen, after)
    # Twice the negative log-likelihood, less that of the reference: log p(hit) = log(1 − e^−λ), log p(miss) = −λ.
    gain = 2 * (_log_likelihood(counts, misses, eta) - _log_likelihood(counts, misses, eta + shift))
    mean_gain = (gain * live[:, None]).sum() / (live.sum() * gain.shape[1])
    return mean_gain + schedule.divergence * divergence, float(mean_gain.detach())


def _log_likelihood(counts: Tensor, misses: Tensor, eta: Tensor) -> Tensor:
    rate = torch.exp(eta)
    return counts * torch.log(-torch.expm1(-rate)) - misses * rate


def _window(segment: Segment, first: int, schedule: Schedule, draw: np.random.Generator) -> tuple[np.ndarray, ...]:
    """What the network sees, and the counts, misses, log rates and live channels that it is judged on."""
    rows = slice(first, first + schedule.window)
    counts, events = segment.counts.counts[rows], segment.counts.events[rows].astype(np.int64)
    seen_events = np.maximum((schedule.seen * events).astype(np.int64), 1)
    misses = events[:, None] - counts
    seen = draw.hypergeometric(counts, misses, seen_events[:, None])
    judged, judged_misses = counts - seen, (events - seen_events)[:, None] - (counts - seen)
    if draw.random() < schedule.faulty:
        factors = fault_factors(segment.counts.channels, len(seen), draw)
        seen = np.minimum(seen * factors, seen_events[:, None])
    eta, live = segment.log_rate[rows], segment.live
    features = network_input(seen, Binomial(seen_events[:, None].astype(np.float64), eta), live).transpose(0, 2, 1)
    as_float = (array.astype(np.float32) for array in (judged, judged_misses, np.clip(eta, -11, 2.4), live))
    return (features, *as_float)


def fault_factors(channels: ChannelTable, lumisections: int, draw: np.random.Generator) -> Floats:
    """(LS, channels) factors on the counts: one box or module, and some single channels, dead to hot.

    The fault comes and goes within the window, or lasts beyond it.
    """
    graph = readout_graph(channels)
    units = graph.module_of if draw.random() < 0.5 else graph.box_of[graph.module_of]
    factors = np.ones(len(channels))
    factors[units == draw.choice(units)] = draw.choice([0.0, 0.0, 0.3, 0.6, 0.8, 1.5, 3.0])
    single = draw.choice(len(channels), size=int(draw.integers(1, 20)), replace=False)
    factors[single] = draw.choice([0.0, 0.4, 0.7, 2.0, 4.0], size=len(single))
    first, last = np.sort(draw.integers(-lumisections // 2, lumisections + lumisections // 2, size=2))
    at_fault = (np.arange(lumisections) >= first) & (np.arange(lumisections) <= last)
    return np.where(at_fault[:, None], factors, 1.0)
