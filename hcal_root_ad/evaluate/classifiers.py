"""Systems that judge whole images, not channels: they have a table of their own.

The supervised classifiers of the CMS–IBM HCAL study (good, hot or dead; one region of HB depth 1), beside
any system of ours on the same images; and the study's ECAL barrel pair on a simulated barrel. Unlike
there, training and test images come from different runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hcal_root_ad.evaluate.metrics import ranking
from hcal_root_ad.evaluate.protocol import Fitted, Truth
from hcal_root_ad.learn.series import Series
from hcal_root_ad.networks.rivals.image_classifiers import (
    ECAL_IMAGE,
    ecal_autoencoder,
    ecal_classifier,
    logistic,
    pooled,
    strided,
)
from hcal_root_ad.occupancy import Floats

GOOD, HOT, DEAD = range(3)
ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {"pooled": pooled, "strided": strided, "logistic": logistic}
REGIONS = ("5×5 fixed", "5×5 random", "one channel")
FALL_OUT = 0.033
"""Share of good images called bad at which the ECAL study gives its recall."""
Images = NDArray[np.float32]
"""(images, rows, columns), or one of them."""


@dataclass(frozen=True)
class Judged:
    """One row of the table; ``accuracy`` is NaN for what only ranks, ``auc`` and ``recall`` are of bad against good.

    ``recall`` is at a fall-out of :data:`FALL_OUT`.
    """

    task: str
    system: str
    accuracy: float
    auc: float
    recall: float


# --- HCAL -------------------------------------------------------------------------------------------------------------


def hcal_table(
    learn: Sequence[Series], test: Sequence[Series], seed: int, ours: Fitted | None = None, epochs: int = 30
) -> list[Judged]:
    """Every architecture on every kind of region, and ``ours`` (a system fitted to HB) on the same test images.

    ``learn`` and ``test`` are clean runs of HB. Every LS gives a good, a hot and a dead image: in the region
    every event has a digi, or none (the study wrote 10⁴ and 0).
    """
    rows = []
    for region in REGIONS:
        draw = np.random.default_rng(seed)
        training, (exam, truth) = _hcal_images(learn, region, draw), _hcal_images(test, region, draw)
        for name, architecture in ARCHITECTURES.items():
            torch.manual_seed(seed)
            network = architecture()
            _train(network, _occupancy_image(training[0]), torch.from_numpy(training[1]), epochs, batch=32)
            answer = torch.softmax(_answer(network, _occupancy_image(exam)), dim=1).numpy()
            rows.append(_judged(f"HB {region}", name, answer.argmax(axis=1), 1 - answer[:, GOOD], truth))
        if ours is not None:
            rows.append(_judged(f"HB {region}", "ours", *_classes_of(ours, exam), truth))
    return rows


def _hcal_images(runs: Sequence[Series], region: str, draw: np.random.Generator) -> tuple[Series, NDArray[np.int64]]:
    """Good, hot and dead copies of every LS as one series, no LS next to another, and their classes."""
    channels = runs[0].channels
    counts, events = (np.concatenate([getattr(run, name) for run in runs]) for name in ("counts", "events"))
    hot, dead = counts.copy(), counts.copy()
    fixed = _region(channels.ieta, channels.iphi, region, np.random.default_rng(0))
    for ls in range(len(counts)):
        for image, value in ((hot, events[ls]), (dead, 0)):
            where = fixed if region.endswith("fixed") else _region(channels.ieta, channels.iphi, region, draw)
            image[ls, where & (channels.depth == 1)] = value
    total = 3 * len(counts)
    numbers = 2 * np.arange(total)
    series = Series(
        channels, np.concatenate([counts, hot, dead]), np.tile(events, 3), numbers.astype(np.int32), numbers
    )
    return series, np.repeat([GOOD, HOT, DEAD], len(counts))


def _region(
    ieta: NDArray[np.int16], iphi: NDArray[np.int16], region: str, draw: np.random.Generator
) -> NDArray[np.bool_]:
    """Channels in a square of five rows and columns, or in one cell, at a random place of HB."""
    width = 1 if region == "one channel" else 5
    row, column = _row(ieta), iphi - 1
    top, left = draw.integers(0, 32 - width + 1), draw.integers(0, 72 - width + 1)
    return np.asarray((row >= top) & (row < top + width) & (column >= left) & (column < left + width))


def _row(ieta: NDArray[np.int16]) -> NDArray[np.int16]:
    return np.where(ieta < 0, ieta + 16, ieta + 15).astype(np.int16)


def _occupancy_image(series: Series) -> Tensor:
    """(images, 1, 32, 72) digis per event of HB depth 1."""
    first = np.flatnonzero(series.channels.depth == 1)
    image = np.zeros((len(series), 32, 72), dtype=np.float32)
    image[:, _row(series.channels.ieta[first]), series.channels.iphi[first] - 1] = (
        series.counts[:, first] / series.trials
    )
    return torch.from_numpy(image).unsqueeze(1)


def _classes_of(system: Fitted, series: Series) -> tuple[NDArray[np.int64], Floats]:
    """Class and score of each image: its worst channel of depth 1, hot if above its mean over the images."""
    first = np.flatnonzero(series.channels.depth == 1)
    nothing = np.zeros((0, 0), dtype=np.float32)
    scores = np.asarray(system.score(series, Truth(nothing, nothing)))[:, first]
    worst = scores.argmax(axis=1)
    share = (series.counts / series.trials)[:, first]
    high = share[np.arange(len(worst)), worst] > share.mean(axis=0)[worst]
    largest = scores.max(axis=1)
    return np.where(largest <= system.threshold, GOOD, np.where(high, HOT, DEAD)), largest


# --- ECAL barrel ------------------------------------------------------------------------------------------------------


def ecal_table(seed: int, runs: int = 10, per_run: int = 20, epochs: int = 10) -> list[Judged]:
    """The supervised CNN and the autoencoder on hot towers and missing modules of a simulated barrel.

    The CNN learns from good and bad images of the first two thirds of the runs, the autoencoder from the good.
    """
    draw = np.random.default_rng(seed)
    split = 2 * runs // 3
    good = [simulate_barrel(per_run, np.random.default_rng([seed, run]), seed) for run in range(runs)]
    learn, test = np.concatenate(good[:split]), np.concatenate(good[split:])
    rows = []
    for task, spoil in (("EB hot tower", hot_tower), ("EB missing module", missing_module)):
        bad_learn, bad_test = (np.stack([spoil(image, draw) for image in part]) for part in (learn, test))
        exam = standardised(np.concatenate([test, bad_test]))
        truth = np.repeat([0, 1], len(test))
        torch.manual_seed(seed)
        network: nn.Module = ecal_classifier()
        classes = torch.from_numpy(np.repeat([0, 1], len(learn)))
        _train(network, standardised(np.concatenate([learn, bad_learn])), classes, epochs, batch=40)
        answer = torch.softmax(_answer(network, exam), dim=1).numpy()
        rows.append(_judged(task, "supervised CNN", answer.argmax(axis=1), answer[:, 1], truth))
    torch.manual_seed(seed)
    network = ecal_autoencoder()
    clean = standardised(learn)
    _train(network, clean, clean, epochs, batch=10)
    for task, spoil in (("EB hot tower", hot_tower), ("EB missing module", missing_module)):
        exam = standardised(np.concatenate([test, np.stack([spoil(image, draw) for image in test])]))
        error = ((_answer(network, exam) - exam) ** 2).mean(dim=(1, 2, 3)).numpy()
        rows.append(_judged(task, "autoencoder", None, error, np.repeat([0, 1], len(test))))
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


def standardised(images: Images) -> Tensor:
    """(images, 1, rows, columns), each image with mean 0 and variance 1, as published."""
    mean, spread = (getattr(images, f)(axis=(1, 2), keepdims=True) for f in ("mean", "std"))
    return torch.from_numpy(((images - mean) / spread).astype(np.float32)).unsqueeze(1)


# --- both -------------------------------------------------------------------------------------------------------------


def _train(network: nn.Module, images: Tensor, target: Tensor, epochs: int, batch: int) -> None:
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


def _answer(network: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.cat([network(part) for part in torch.split(images, 50)])


def _judged(
    task: str, system: str, said: NDArray[np.int64] | None, badness: Floats, truth: NDArray[np.int64]
) -> Judged:
    """One row from the classes said (None for what only ranks), the badness of each image, and the true classes."""
    good, bad = np.sort(badness[truth == 0]), badness[truth != 0]
    accuracy = float("nan") if said is None else float((said == truth).mean())
    recall = float((bad > np.quantile(good, 1 - FALL_OUT)).mean())
    return Judged(task, system, accuracy, ranking(bad, good)["auc"], recall)
