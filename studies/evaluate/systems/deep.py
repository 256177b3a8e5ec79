"""Autoencoders as systems: one training loop and one way to score for all of them; a recipe says the rest.

Scores are errors of the reconstruction over their own spread, per channel. A recipe that looks at
windows is trained on windows side by side, as published; for scoring, each LS is the last of a window
of its own, so that no score waits for a later LS. Windows never cross a gap; where a stretch is
younger than a window, its first LS is repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.errors import InputError
from hcal_root_ad.model.counts import SubdetectorCounts
from hcal_root_ad.stats.binomial import Floats
from studies.evaluate.protocol import FALSE_ALARM_SHARE, Effort, System, Training, Truth, clean_threshold

Scaling = Callable[[SubdetectorCounts], Floats]
"""Counts of a series → (LS, channels) numbers for a network."""
PER_PASS = 8
"""Windows that go through a network at once when scoring."""


@dataclass(frozen=True)
class Recipe:
    """An autoencoder, and how it is fed, trained and read.

    Attributes:
        name, origin: as in :class:`System`.
        network: makes the untrained network.
        scaling: learns, from clean series, what turns counts into the network's input.
        window: LS that the network is trained on at once; scored: LS that it scores at once.
        batch: windows per step. steps: of the quick training. epochs: of the published one.
        optimiser: from parameters. divergence: weight of the Kullback–Leibler term.
        error: of one channel and LS, from reconstruction less input; averaged over the window.
        standard: mean error per channel and its spread, from clean errors (n, channels); the score is the
            distance from that mean over that spread.
        threshold: published, or None for :func:`clean_threshold`.
    """

    name: str
    origin: str
    network: Callable[[ChannelTable], nn.Module]
    scaling: Callable[[Sequence[SubdetectorCounts]], Scaling]
    window: int
    scored: int
    batch: int
    steps: int
    epochs: int
    optimiser: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    divergence: float
    error: Callable[[Tensor], Tensor]
    standard: Callable[[Floats], tuple[Floats, Floats]]
    threshold: float | None


@dataclass(frozen=True, eq=False)
class FittedAutoencoder:
    """A trained network with the errors that it makes on clean runs."""

    recipe: Recipe
    network: nn.Module
    scaling: Scaling
    mean: Floats
    spread: Floats
    threshold: float

    def score(self, series: SubdetectorCounts, truth: Truth) -> Floats:  # noqa: ARG002
        """(LS, channels) distance of the window's error from its mean on clean runs, over its spread."""
        errors = window_errors(self.network, self.recipe, self.scaling(series), trailing(series, self.recipe.scored))
        return np.abs(errors - self.mean) / self.spread


def system_of(recipe: Recipe) -> System:
    """A recipe as a system."""
    settings = f"{recipe.window} {recipe.scored} {recipe.batch} {recipe.steps} {recipe.epochs} {recipe.threshold}"
    fit, trained = partial(fit_autoencoder, recipe), partial(share_of_published, recipe)
    return System(recipe.name, recipe.origin, fit, deep=True, settings=settings, trained=trained)


def fit_autoencoder(recipe: Recipe, training: Training) -> FittedAutoencoder:
    """Train on ``training.learn``, take errors (and threshold, where none is published) from ``training.calibrate``.

    The public codes take the errors from the runs trained on; held-out ones are larger, and fairer.

    Raises:
        InputError: no run is long enough for one window.
    """
    torch.manual_seed(training.seed)
    scaling = recipe.scaling(training.learn)
    windows = np.concatenate([scaling(one)[side_by_side(one, recipe.window)] for one in training.learn])
    if not len(windows):
        raise InputError(f"{recipe.name} learns from {recipe.window} consecutive lumisections; no clean run has them")
    network = recipe.network(training.channels).to("cuda" if torch.cuda.is_available() else "cpu")
    train_autoencoder(
        network, torch.from_numpy(windows), recipe, steps_of(recipe, training.effort, len(windows)), training.seed
    )
    clean = [
        window_errors(network, recipe, scaling(one), side_by_side(one, recipe.scored)) for one in training.calibrate
    ]
    mean, spread = recipe.standard(np.concatenate(clean))
    scores = [np.abs(errors - mean) / spread for errors in clean]
    threshold = clean_threshold(scores, FALSE_ALARM_SHARE) if recipe.threshold is None else recipe.threshold
    return FittedAutoencoder(recipe, network, scaling, mean, spread, threshold)


def steps_of(recipe: Recipe, effort: Effort, windows: int) -> int:
    """Gradient steps of a training."""
    return min(_published(recipe, windows), max(1, round(effort.most * recipe.steps)))


def share_of_published(recipe: Recipe, effort: Effort, lumisections: Sequence[NDArray[np.int32]]) -> float:
    """Steps taken over those of the published training, on runs with these LS to learn from."""
    stretches = [part for run in lumisections for part in np.split(run, np.flatnonzero(np.diff(run) != 1) + 1)]
    windows = sum(len(stretch) // recipe.window for stretch in stretches)
    return steps_of(recipe, effort, windows) / _published(recipe, windows)


def _published(recipe: Recipe, windows: int) -> int:
    return recipe.epochs * max(1, windows // recipe.batch)


def train_autoencoder(network: nn.Module, windows: Tensor, recipe: Recipe, steps: int, seed: int) -> list[float]:
    """Train in place on (windows, LS, channels); returns the mean squared error of every step."""
    optimiser = recipe.optimiser(network.parameters())
    device = next(network.parameters()).device
    network.train()
    losses = []
    for chosen in islice(_batches(len(windows), recipe.batch, seed), steps):
        seen = windows[chosen].to(device)
        restored, divergence = network(seen)
        loss = nn.functional.mse_loss(restored, seen)
        optimiser.zero_grad()
        (loss + recipe.divergence * divergence).backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    network.eval()
    return losses


def _batches(windows: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Epoch after epoch in random order; a last incomplete batch is dropped, as published."""
    draw = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(windows, generator=draw)
        yield from (part for part in torch.split(order, batch) if len(part) == min(batch, windows))


def side_by_side(series: SubdetectorCounts, window: int) -> NDArray[np.intp]:
    """(windows, LS) positions of windows that neither overlap nor leave their stretch."""
    starts = [first for s in series.stretches() for first in range(s.start, s.stop - window + 1, window)]
    return np.array(starts, dtype=np.intp).reshape(-1, 1) + np.arange(window)


def trailing(series: SubdetectorCounts, window: int) -> NDArray[np.intp]:
    """(LS, window) positions: each LS after those before it, the first of its stretch repeated where needed."""
    first = np.concatenate([np.full(s.stop - s.start, s.start) for s in series.stretches()])
    return np.asarray(np.maximum(np.arange(len(series))[:, None] + np.arange(1 - window, 1), first[:, None]))


def window_errors(network: nn.Module, recipe: Recipe, scaled: Floats, windows: NDArray[np.intp]) -> Floats:
    """(windows, channels) mean error of the reconstruction over each window of a scaled run."""
    device = next(network.parameters()).device
    run = torch.from_numpy(scaled)
    errors = []
    with torch.inference_mode():
        for rows in torch.split(torch.from_numpy(windows), PER_PASS):
            seen = run[rows].to(device)
            restored, _ = network(seen)
            errors.append(recipe.error(restored - seen).mean(dim=1).cpu())
    return torch.cat(errors).numpy()


def occupancy(series: SubdetectorCounts) -> NDArray[np.float32]:
    """(LS, channels) digis per event."""
    return (series.counts / series.trials).astype(np.float32)


def minimum_to_maximum(learn: Sequence[SubdetectorCounts]) -> Scaling:
    """Each channel's occupancy to 0…1 over the clean runs, as GraphSTAD; beyond them it is not cut."""
    seen = np.concatenate([occupancy(one) for one in learn])
    lowest, span = seen.min(axis=0), np.ptp(seen, axis=0)
    span[span == 0] = 1
    return lambda series: (occupancy(series) - lowest) / span


def share_of_largest(_learn: Sequence[SubdetectorCounts]) -> Scaling:
    """Each LS over its own largest channel, as the CMS–IBM HCAL study; one hot channel rescales all."""
    return lambda series: (share := occupancy(series)) / np.maximum(share.max(axis=1, keepdims=True), 1e-9)


def quartiles(_learn: Sequence[SubdetectorCounts]) -> Scaling:
    """Each LS from its own lower to its upper quartile, as the working group's DepthViT."""

    def scale(series: SubdetectorCounts) -> Floats:
        share = occupancy(series)
        low, high = np.quantile(share, [0.25, 0.75], axis=1, keepdims=True).astype(np.float32)
        return np.asarray((share - low) / np.maximum(high - low, 1e-9))

    return scale


def sigmas(errors: Floats) -> tuple[Floats, Floats]:
    """Errors over their standard deviation, the mean left in, as GraphSTAD; a spread of 0 becomes the average."""
    spread = errors.std(axis=0)
    return np.zeros_like(spread), np.where(spread == 0, spread.mean(), spread)


def sigmas_from_mean(errors: Floats) -> tuple[Floats, Floats]:
    """Errors from their mean over their standard deviation, as DepthViT; a spread near 0 becomes the mean."""
    mean, spread = errors.mean(axis=0), errors.std(axis=0)
    return mean, np.maximum(np.where(spread < 1e-6, mean, spread), 1e-6)


def plain(errors: Floats) -> tuple[Floats, Floats]:
    """The errors themselves."""
    return np.zeros_like(errors[0]), np.ones_like(errors[0])
