"""What is asked of each image: whether it is bad, and how bad. Networks of 2018, one trained here, and ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from hcal_root_ad.model.counts import SubdetectorCounts
from studies.evaluate.protocol import Training
from studies.evaluate.systems import ours, training
from studies.weights_of_2018.images import COLUMNS, ROWS, images
from studies.weights_of_2018.keras_file import read_network, untrained

AUTOENCODER = "AE_best_model.hdf5"
CLASSIFIERS = {
    "classifier good/hot/dead, weights of 2018": "best_trained_model_good_hot_dead.hdf5",
    "classifier good/bad, weights of 2018": "best_nbmodel_good_bad.hdf5",
}
TRAINED_HERE = "the same autoencoder, trained here"
CUT = 0.4
"""Largest error of an image above which the study called it bad."""
SCHEDULE = training.Schedule(10, 1500, torch.optim.Adadelta, 0.0)
"""Of the same network trained here; the study's optimiser and loss."""
Verdict = tuple[bool, float]
"""Whether an image is called bad, and how bad it is."""
Asked = Callable[[SubdetectorCounts], Verdict]
"""A lumisection of HB to the verdict on it."""


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """Bad where the largest error of any cell is above the study's cut."""

    network: nn.Module

    def __call__(self, one: SubdetectorCounts) -> Verdict:
        error = largest_error(self.network, images(one))[0]
        return error > CUT, error


@dataclass(frozen=True, eq=False)
class Classifier:
    """Bad where another class than the first, good, is the most probable."""

    network: nn.Module

    def __call__(self, one: SubdetectorCounts) -> Verdict:
        with torch.inference_mode():
            (share,) = self.network(images(one))
        return bool(share.argmax() > 0), 1 - float(share[0])


@dataclass(frozen=True, eq=False)
class Ours:
    """The judge on this lumisection alone: bad where it flags any channel of depth 1."""

    judge: ours.Judge

    def __call__(self, one: SubdetectorCounts) -> Verdict:
        first = one.channels.depth == 1
        scores, flags = self.judge.looked_at(one)
        return bool(flags[0, first].any()), float(scores[0, first].max())


def largest_error(network: nn.Module, seen: Tensor) -> list[float]:
    """Of every image the largest distance of the reconstruction from it."""
    with torch.inference_mode():
        return (network(seen) - seen).abs().flatten(1).amax(dim=1).tolist()  # type: ignore[no-any-return]


def systems(folder: Path, many: Training, few: Training, weights: Path | None) -> dict[str, Callable[[], Asked]]:
    """What makes each of them. ``folder``: of the files of 2018; ours learns from ``few``, a network from ``many``.

    ``weights``: where those of the network trained here are kept; None for none.
    """
    named: dict[str, Callable[[], Asked]] = {
        "autoencoder, weights of 2018": lambda: Autoencoder(read_network(folder / AUTOENCODER)),
        "ours": lambda: Ours(ours.fit(few)),
    }
    if weights:
        named[TRAINED_HERE] = lambda: Autoencoder(trained_here(folder, many, weights))
    for name, file in CLASSIFIERS.items():
        named[name] = partial(_classifier, folder / file)
    return named


def _classifier(path: Path) -> Asked:
    return Classifier(read_network(path))


class _Windows(nn.Module):
    """An autoencoder of images, as one of windows of a single lumisection."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.network(x.reshape(-1, 1, ROWS, COLUMNS)).reshape(x.shape), x.new_zeros(())


def trained_here(folder: Path, learned: Training, weights: Path) -> nn.Module:
    """The autoencoder's layers, trained on images of clean runs of HB; every tenth image chooses the weights."""
    torch.manual_seed(learned.seed)
    network = _Windows(untrained(folder / AUTOENCODER))
    seen = torch.cat([images(run) for run in learned.learn]).flatten(2)
    held = torch.arange(len(seen)) % 10 == 9
    training.train(network, seen[~held], seen[held], SCHEDULE, training.Weights(weights), learned.seed)
    return network.network
