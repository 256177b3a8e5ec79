"""Autoencoders as systems: what they are fed with and how their errors are read; a recipe says what differs.

Scores are errors of the reconstruction over their own spread, per channel. A recipe that looks at
windows is trained on windows side by side, as published; for scoring, each LS is the last of a window
of its own, so that no score waits for a later LS. Windows never cross a gap; where a stretch is
younger than a window, its first LS is repeated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.errors import InputError
from hcal_root_ad.model.counts import SubdetectorCounts
from hcal_root_ad.stats.binomial import Floats
from studies.baselines.spatio_temporal import SpatioTemporalAutoencoder
from studies.evaluate.protocol import FALSE_ALARM_SHARE, System, Training, Truth, clean_threshold
from studies.evaluate.systems.training import Schedule, Weights, train


class Scaled(NamedTuple):
    """(LS, channels) numbers for a network, and the occupancy that one of each stands for."""

    values: Floats
    unit: Floats


Scaling = Callable[[SubdetectorCounts], Scaled]
"""Counts of a series to what a network is fed with."""
PER_PASS = 8
"""Windows that go through a network at once when scoring."""
HOLD_OUT = 10
"""One of so many runs chooses the weights, and is not trained on."""
BRIGHT = 10
"""Digis of a channel and LS whose binomial error is well known."""


@dataclass(frozen=True)
class Recipe:
    """An autoencoder, and how it is fed, trained and read.

    Attributes:
        name, origin: as in :class:`System`.
        network: makes the untrained network.
        scaling: learns, from clean series, what turns counts into the network's input.
        window: LS that the network is trained on at once; scored: LS that it scores at once.
        schedule: of the training. epochs, batch: of the published one, windows per step.
        error: of one channel and LS, from reconstruction less input; averaged over the window.
        standard: mean error per channel and its spread, from clean errors (n, channels); the score is the
            distance from that mean over that spread.
        threshold: published, or None for :func:`clean_threshold`.
        changed: in a few words, where this is not the public code.
        from_he: whether a network of HB begins with the weights of HE.
    """

    name: str
    origin: str
    network: Callable[[ChannelTable], nn.Module]
    scaling: Callable[[Sequence[SubdetectorCounts]], Scaling]
    window: int
    scored: int
    schedule: Schedule
    epochs: int
    batch: int
    error: Callable[[Tensor], Tensor]
    standard: Callable[[Floats], tuple[Floats, Floats]]
    threshold: float | None
    changed: str = ""
    from_he: bool = True

    @property
    def settings(self) -> str:
        """What a result depends on, beside the code."""
        return f"{self.window} {self.scored} {self.schedule.batch} {self.schedule.steps} {self.threshold}"


@dataclass(frozen=True, eq=False)
class FittedAutoencoder:
    """A trained network with the errors that it makes on clean runs; ``training``: how its training went."""

    recipe: Recipe
    network: nn.Module
    scaling: Scaling
    mean: Floats
    spread: Floats
    threshold: float
    training: dict[str, float]

    def score(self, series: SubdetectorCounts, truth: Truth) -> Floats:  # noqa: ARG002
        """(LS, channels) distance of the window's error from its mean on clean runs, over its spread."""
        return self.score_rows(series, np.arange(len(series)))

    def score_rows(self, series: SubdetectorCounts, rows: NDArray[np.intp]) -> Floats:
        """(rows, channels) the same of some lumisections."""
        windows = trailing(series, self.recipe.scored)[rows]
        errors = window_errors(self.network, self.recipe, self.scaling(series).values, windows)
        return np.abs(errors - self.mean) / self.spread


def system_of(recipe: Recipe) -> System:
    """A recipe as a system."""
    fit = partial(fit_autoencoder, recipe)
    return System(recipe.name, recipe.origin, fit, deep=True, settings=recipe.settings, changed=recipe.changed)


def fit_autoencoder(recipe: Recipe, training: Training) -> FittedAutoencoder:
    """Train on ``training.learn``, take errors (and threshold, where none is published) from ``training.calibrate``.

    Every tenth run learned from is held out of the steps, and says which weights are the best. The public codes take
    the errors from the runs trained on; those of other runs are larger, and fairer.

    Raises:
        InputError: no run is long enough for one window.
    """
    torch.manual_seed(training.seed)
    scaling = recipe.scaling(training.learn)
    windows = [scaling(one).values[side_by_side(one, recipe.window)] for one in training.learn]
    if not sum(map(len, windows)):
        raise InputError(f"{recipe.name} learns from {recipe.window} consecutive lumisections; no clean run has them")
    network = recipe.network(training.channels).to("cuda" if torch.cuda.is_available() else "cpu")
    steps = max(1, round(training.effort.most * recipe.schedule.steps))
    schedule = replace(recipe.schedule, steps=steps)
    course = train(network, *_held_out(windows), schedule, _weights(recipe, training, steps), training.seed)
    clean = [
        window_errors(network, recipe, scaling(one).values, side_by_side(one, recipe.scored))
        for one in training.calibrate
    ]
    mean, spread = recipe.standard(np.concatenate(clean))
    scores = [np.abs(errors - mean) / spread for errors in clean]
    threshold = clean_threshold(scores, FALSE_ALARM_SHARE) if recipe.threshold is None else recipe.threshold
    numbers = course.numbers | {
        "error_over_binomial": error_over_binomial(network, recipe.window, scaling, training.calibrate),
        "published_steps": float(recipe.epochs * max(1, sum(map(len, windows)) // recipe.batch)),
        "lumisections": float(sum(map(len, training.learn))),
    }
    return FittedAutoencoder(recipe, network, scaling, mean, spread, threshold, numbers)


def _held_out(windows: Sequence[Floats]) -> tuple[Tensor, Tensor]:
    """Windows to take steps with, and those of every tenth run; of fewer runs the last one's, of one run its own."""
    held = list(range(HOLD_OUT - 1, len(windows), HOLD_OUT)) or [len(windows) - 1]
    taken = [number for number in range(len(windows)) if number not in held or len(windows) == 1]
    seen, others = (torch.from_numpy(np.concatenate([windows[n] for n in numbers])) for numbers in (taken, held))
    return (seen, others) if len(seen) and len(others) else (torch.cat([seen, others]),) * 2


def _weights(recipe: Recipe, training: Training, steps: int) -> Weights:
    """Where the weights of a training are kept, and those of HE with which one of HB begins."""
    if training.weights is None:
        return Weights(None)
    key = hashlib.sha256(f"{recipe.settings} {steps} {sum(map(len, training.learn))}".encode()).hexdigest()[:8]
    path, before = (
        training.weights / f"{subdetector}-{recipe.name}-{training.seed}-{key}.pt"
        for subdetector in (training.subdetector, "HE")
    )
    begins = recipe.from_he and training.subdetector == "HB" and before.exists()
    return Weights(path, before if begins else None)


def error_over_binomial(network: nn.Module, window: int, scaling: Scaling, runs: Sequence[SubdetectorCounts]) -> float:
    """Root mean square of reconstruction less input, as occupancy, over its binomial error; 1 for the true rates.

    Of channels with at least ten digis and ten events without one in an LS, in runs that were not learned from.
    """
    squares, number = 0.0, 0
    for run in runs:
        scaled, windows = scaling(run), side_by_side(run, window)
        rows = windows.ravel()
        counts, misses = run.counts[rows], run.trials[rows] - run.counts[rows]
        error = restored(network, scaled.values, windows).reshape(counts.shape) - scaled.values[rows]
        known = (counts >= BRIGHT) & (misses >= BRIGHT)
        variance = counts * misses / run.trials[rows] ** 3
        squares += float(((error * scaled.unit[rows]) ** 2)[known] @ (1 / variance[known]))
        number += int(known.sum())
    return float(np.sqrt(squares / max(number, 1)))


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
    return np.concatenate(
        [recipe.error(part - seen).mean(dim=1).numpy() for part, seen in _passes(network, scaled, windows)]
    )


def restored(network: nn.Module, scaled: Floats, windows: NDArray[np.intp]) -> Floats:
    """(windows, LS, channels) reconstruction of windows of a scaled run."""
    return np.concatenate([part.numpy() for part, _ in _passes(network, scaled, windows)])


def _passes(network: nn.Module, scaled: Floats, windows: NDArray[np.intp]) -> Iterator[tuple[Tensor, Tensor]]:
    """Reconstruction of some windows at a time, and the windows."""
    device, run = next(network.parameters()).device, torch.from_numpy(scaled)
    for rows in torch.split(torch.from_numpy(windows), PER_PASS):
        with torch.inference_mode():
            if isinstance(network, SpatioTemporalAutoencoder):
                some, place = torch.unique(rows, return_inverse=True)
                yield network.of_windows(run[some].to(device), place)[0].cpu(), run[rows]
            else:
                yield network(run[rows].to(device))[0].cpu(), run[rows]


def occupancy(series: SubdetectorCounts) -> NDArray[np.float32]:
    """(LS, channels) digis per event."""
    return (series.counts / series.trials).astype(np.float32)


def minimum_to_maximum(learn: Sequence[SubdetectorCounts]) -> Scaling:
    """Each channel's occupancy to 0…1 over the clean runs, as GraphSTAD; beyond them it is not cut."""
    seen = np.concatenate([occupancy(one) for one in learn])
    lowest, span = seen.min(axis=0), np.ptp(seen, axis=0)
    span[span == 0] = 1
    return lambda series: _scaled(occupancy(series) - lowest, span)


def share_of_largest(_learn: Sequence[SubdetectorCounts]) -> Scaling:
    """Each LS over its own largest channel, as the CMS–IBM HCAL study; one hot channel rescales all."""
    return lambda series: _scaled(share := occupancy(series), np.maximum(share.max(axis=1, keepdims=True), 1e-9))


def quartiles(_learn: Sequence[SubdetectorCounts]) -> Scaling:
    """Each LS from its own lower to its upper quartile, as the working group's DepthViT."""

    def scale(series: SubdetectorCounts) -> Scaled:
        share = occupancy(series)
        low, high = np.quantile(share, [0.25, 0.75], axis=1, keepdims=True).astype(np.float32)
        return _scaled(share - low, np.maximum(high - low, 1e-9))

    return scale


def _scaled(share: Floats, unit: Floats) -> Scaled:
    return Scaled(np.asarray(share / unit, dtype=np.float32), np.broadcast_to(unit, share.shape))


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
