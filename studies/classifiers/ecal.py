"""The ECAL barrel pair of the CMS–IBM study: a supervised CNN and an autoencoder, on a simulated barrel of crystals.

The CNN learns from good and bad images, the autoencoder (LeakyReLU, linear output) from the good ones; both
from standardised images of other runs than those that test them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from studies.baselines.image_classifiers import ECAL_IMAGE, ecal_autoencoder, ecal_classifier
from studies.classifiers.networks_on_images import Classes, Judged, answer, classified, judged, train

Images = NDArray[np.float32]
"""(images, rows, columns), or one of them."""
SUPERVISED, AUTOENCODER = "supervised CNN", "autoencoder"


@dataclass(frozen=True)
class Barrel:
    """Clean images of a simulated barrel; the first two thirds of the runs are learned from."""

    seed: int
    runs: int
    per_run: int

    @cached_property
    def _runs(self) -> list[Images]:
        return [
            simulate_barrel(self.per_run, np.random.default_rng([self.seed, run]), self.seed)
            for run in range(self.runs)
        ]

    @property
    def learn(self) -> Images:
        return np.concatenate(self._runs[: 2 * self.runs // 3])

    @property
    def test(self) -> Images:
        return np.concatenate(self._runs[2 * self.runs // 3 :])

    def spoilt(self, images: Images, task: str, part: int) -> Images:
        """Bad copies of the images; ``part`` keeps those learned from and those tested on apart."""
        draw = np.random.default_rng([self.seed, list(TASKS).index(task), part])
        return np.stack([TASKS[task](image, draw) for image in images])

    def exam(self, task: str) -> tuple[Tensor, Classes]:
        """Standardised good and bad test images, and their classes."""
        test = self.test
        return standardised(np.concatenate([test, self.spoilt(test, task, 1)])), np.repeat([0, 1], len(test))


def supervised(barrel: Barrel, task: str, epochs: int) -> list[Judged]:
    """The CNN on one kind of bad images."""
    good = barrel.learn
    images = standardised(np.concatenate([good, barrel.spoilt(good, task, 0)]))
    exam, truth = barrel.exam(task)
    torch.manual_seed(barrel.seed)
    network = ecal_classifier()
    train(network, images, torch.from_numpy(np.repeat([0, 1], len(good))), epochs, batch=40)
    return [judged(task, SUPERVISED, *classified(network, exam), truth, len(images))]


def autoencoder(barrel: Barrel, epochs: int) -> list[Judged]:
    """The autoencoder on all kinds of bad images; it ranks by its mean squared error, and names no class."""
    torch.manual_seed(barrel.seed)
    network, clean = ecal_autoencoder(), standardised(barrel.learn)
    train(network, clean, clean, epochs, batch=10)
    rows = []
    for task in TASKS:
        exam, truth = barrel.exam(task)
        error = ((answer(network, exam) - exam) ** 2).mean(dim=(1, 2, 3)).numpy()
        rows.append(judged(task, AUTOENCODER, None, error, truth, len(clean)))
    return rows


def simulate_barrel(images: int, draw: np.random.Generator, detector: int) -> Images:
    """(images, 170, 360) rechits per crystal and LS of one run of a barrel.

    Smooth in η, crystals spread by a tenth, 1 % of the trigger towers masked (both fixed by ``detector``),
    an activity that falls along the run, Poisson counts. The level is made up; only shapes matter here.
    """
    fixed = np.random.default_rng([detector, 0xECA1])
    eta = np.abs(np.arange(ECAL_IMAGE[0]) - 84.5) / 85
    expected = 40 * (1 + 0.8 * eta**2)[:, None] * np.exp(0.1 * fixed.standard_normal(ECAL_IMAGE))
    expected = expected * np.kron(fixed.random((34, 72)) > 0.01, np.ones((5, 5)))
    activity = draw.uniform(0.6, 1.4) * np.exp(-0.01 * np.arange(images))
    return np.asarray(draw.poisson(activity[:, None, None] * expected), dtype=np.float32)


def hot_tower(image: Images, draw: np.random.Generator) -> Images:
    """The 5 × 5 crystals of a tower that is not masked times 10⁴, as published."""
    spoilt: Images = image.copy()
    row, column = 5 * draw.choice(np.argwhere(image[::5, ::5]))
    spoilt[row : row + 5, column : column + 5] *= 1e4
    return spoilt


def missing_module(image: Images, draw: np.random.Generator) -> Images:
    """85 × 20 = 1700 crystals without a hit; in two of ten images two such modules, as published."""
    spoilt: Images = image.copy()
    for _ in range(2 if draw.random() < 0.2 else 1):
        row, column = 85 * draw.integers(2), 20 * draw.integers(18)
        spoilt[row : row + 85, column : column + 20] = 0
    return spoilt


TASKS: dict[str, Callable[[Images, np.random.Generator], Images]] = {
    "EB hot tower": hot_tower,
    "EB missing module": missing_module,
}
"""What makes a good image bad."""


def standardised(images: Images) -> Tensor:
    """(images, 1, rows, columns), each image with mean 0 and variance 1, as published."""
    mean, spread = (getattr(images, f)(axis=(1, 2), keepdims=True) for f in ("mean", "std"))
    return torch.from_numpy(((images - mean) / spread).astype(np.float32)).unsqueeze(1)
