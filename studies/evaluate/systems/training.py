"""Training of the deep systems: a rate that falls to nothing, held-out runs that choose the weights, checkpoints.

The public codes train for a fixed number of epochs at a constant rate. Here every network is taken further: the rate
rises over the first twentieth of the steps and falls along a cosine, the error on held-out runs is looked at
:data:`LOOKS` times, the best weights are kept, and training ends where :data:`PATIENCE` looks brought nothing better.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hcal_root_ad.files import whole_file

LOOKS, PATIENCE = 16, 6
RISE = 0.05
"""Share of the steps over which the rate rises."""
LEAST_RATE = 0.01
"""Of the largest one, at the last step."""
AFTER_TRANSFER = 0.25
"""Share of the steps for a network that begins with the weights of another sub-detector."""
HELD_OUT = 40
"""Lumisections that are looked at, at most, evenly from all held-out runs."""


@dataclass(frozen=True)
class Schedule:
    """How a network is trained: windows per step, steps at most, and the optimiser.

    ``divergence``: weight of the Kullback–Leibler term.
    """

    batch: int
    steps: int
    optimiser: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    divergence: float

    def rate(self, step: int) -> float:
        """Share of the optimiser's own rate at a step."""
        rise = min(1.0, (step + 1) / max(1, round(RISE * self.steps)))
        return rise * (LEAST_RATE + (1 - LEAST_RATE) * 0.5 * (1 + float(np.cos(np.pi * step / self.steps))))


@dataclass
class Course:
    """How far a training is: ``step`` of ``steps`` taken; ``errors``: at every look on the held-out runs."""

    steps: int
    transferred: bool = False
    step: int = 0
    best_step: int = 0
    errors: list[float] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """The steps are taken, or the last looks brought nothing better."""
        late = len(self.errors) - 1 - int(np.argmin(self.errors)) if self.errors else 0
        return self.step >= self.steps or late >= PATIENCE

    @property
    def numbers(self) -> dict[str, float]:
        """What a table says of it."""
        return {
            "steps": float(self.step),
            "best_step": float(self.best_step),
            "held_out_error": min(self.errors),
            "transferred": float(self.transferred),
        }


@dataclass(frozen=True)
class Weights:
    """Where a training keeps its weights, and goes on with them (None: nowhere); ``begin``: those of HE for HB."""

    path: Path | None
    begin: Path | None = None


def train(
    network: nn.Module, windows: Tensor, held_out: Tensor, schedule: Schedule, weights: Weights, seed: int
) -> Course:
    """Train in place on (windows, LS, channels) until the course is done; the best weights stay in the network."""
    course = Course(max(1, round(schedule.steps * (AFTER_TRANSFER if weights.begin else 1))), bool(weights.begin))
    if weights.begin:
        network.load_state_dict(torch.load(weights.begin, weights_only=True)["best"])
    optimiser = schedule.optimiser(network.parameters())
    largest = [group["lr"] for group in optimiser.param_groups]
    best: dict[str, Any] = copy.deepcopy(network.state_dict())
    if weights.path and weights.path.exists():
        kept = torch.load(weights.path, weights_only=True)
        best, course = kept["best"], Course(**kept["course"])
        network.load_state_dict(kept["network"])
        optimiser.load_state_dict(kept["optimiser"])
    schedule = Schedule(schedule.batch, course.steps, schedule.optimiser, schedule.divergence)
    every = max(1, course.steps // LOOKS)
    batches = _batches(len(windows), schedule.batch, seed, course.step)
    while not course.done:
        for group, rate in zip(optimiser.param_groups, largest, strict=True):
            group["lr"] = rate * schedule.rate(course.step)
        _step(network, windows[next(batches)], optimiser, schedule.divergence)
        course.step += 1
        if course.step % every and course.step < course.steps:
            continue
        course.errors.append(held_out_error(network, held_out))
        if course.errors[-1] == min(course.errors):
            course.best_step, best = course.step, copy.deepcopy(network.state_dict())
        if weights.path:
            kept = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "best": best}
            with whole_file(weights.path) as temporary:
                torch.save(kept | {"course": vars(course)}, temporary)
    network.load_state_dict(best)
    network.eval()
    return course


def _step(network: nn.Module, windows: Tensor, optimiser: torch.optim.Optimizer, divergence: float) -> None:
    network.train()
    windows = windows.to(next(network.parameters()).device)
    restored, term = network(windows)
    optimiser.zero_grad()
    (nn.functional.mse_loss(restored, windows) + divergence * term).backward()
    optimiser.step()


def held_out_error(network: nn.Module, windows: Tensor) -> float:
    """Mean squared error of the reconstruction, of at most :data:`HELD_OUT` lumisections."""
    network.eval()
    every = max(1, -(-windows.shape[0] * windows.shape[1] // HELD_OUT))
    device, total, parts = next(network.parameters()).device, 0.0, torch.split(windows[::every], 8)
    with torch.inference_mode():
        for part in parts:
            total += float(nn.functional.mse_loss(network(part.to(device))[0], part.to(device))) * len(part)
    return total / len(windows[::every])


def _batches(windows: int, batch: int, seed: int, taken: int) -> Iterator[Tensor]:
    """Epoch after epoch in random order, those already taken left out; a last incomplete batch is dropped."""
    draw = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(windows, generator=draw)
        for part in torch.split(order, batch):
            if len(part) < min(batch, windows):
                continue
            if taken:
                taken -= 1
            else:
                yield part
