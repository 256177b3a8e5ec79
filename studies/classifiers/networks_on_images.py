"""What both studies of images share: training and asking a network, and the numbers of what it said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hcal_root_ad.stats.binomial import Floats
from studies.metrics import ranking

FALL_OUT = 0.033
"""Share of good images called bad at which the ECAL study gives its recall."""
GOOD = 0
"""Class of images with nothing wrong."""
Classes = NDArray[np.int64]


@dataclass(frozen=True)
class Judged:
    """One row of the table; ``accuracy`` is None for what only ranks, ``auc`` and ``recall`` are of bad against good.

    ``recall`` is at a fall-out of :data:`FALL_OUT`. ``learned``, ``tested``: numbers of images.
    """

    task: str
    system: str
    accuracy: float | None
    auc: float
    recall: float
    learned: int
    tested: int


def judged(task: str, system: str, said: Classes | None, badness: Floats, truth: Classes, learned: int) -> Judged:
    """One row from the classes said (None for what only ranks), the badness of each image, and the true classes."""
    good, bad = np.sort(badness[truth == GOOD]), badness[truth != GOOD]
    accuracy = None if said is None else float((said == truth).mean())
    recall = float((bad > np.quantile(good, 1 - FALL_OUT)).mean())
    return Judged(task, system, accuracy, ranking(bad, good)["auc"], recall, learned, len(truth))


def train(network: nn.Module, images: Tensor, target: Tensor, epochs: int, batch: int) -> None:
    """Classes by cross-entropy and Adam, images by squared error and AdaDelta, as published."""
    classes = target.dim() == 1
    loss = nn.CrossEntropyLoss() if classes else nn.MSELoss()
    optimiser = torch.optim.Adam(network.parameters()) if classes else torch.optim.Adadelta(network.parameters())
    network.train()
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(images)), batch):
            optimiser.zero_grad()
            loss(network(images[chosen]), target[chosen]).backward()
            optimiser.step()
    network.eval()


def answer(network: nn.Module, images: Tensor) -> Tensor:
    """What a trained network gives for every image."""
    with torch.inference_mode():
        return torch.cat([network(part) for part in torch.split(images, 50)])


def classified(network: nn.Module, images: Tensor) -> tuple[Classes, Floats]:
    """(images,) most probable class, and probability that it is not good."""
    shares = torch.softmax(answer(network, images), dim=1).numpy()
    return shares.argmax(axis=1), 1 - shares[:, GOOD]
