"""The image classifiers: regions and modules by hand, and tables that separate what is plain."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from hcal_root_ad.detector import ChannelTable, channel_table
from hcal_root_ad.evaluate import classifiers
from hcal_root_ad.evaluate.classifiers import (
    DEAD,
    GOOD,
    HOT,
    ecal_table,
    hcal_table,
    hot_tower,
    missing_module,
    simulate_barrel,
    standardised,
)
from hcal_root_ad.evaluate.protocol import Truth
from hcal_root_ad.learn.series import Series
from hcal_root_ad.networks.rivals.image_classifiers import ecal_autoencoder, ecal_classifier, logistic, pooled, strided


@pytest.fixture(scope="module")
def runs() -> list[Series]:
    channels = channel_table().select("HB")
    draw = np.random.default_rng(1)
    ring = 0.3 + 0.3 * draw.random(int(channels.ring.max()) + 1)[channels.ring]
    counts = draw.binomial(1500, np.broadcast_to(ring, (8, len(channels)))).astype(np.int32)
    whole = Series(channels, counts, np.full(8, 1500.0), np.arange(1, 9, dtype=np.int32), np.arange(8))
    return [whole.part(slice(0, 4)), whole.part(slice(4, 8))]


@dataclass
class Deviation:
    """A system that knows the rates: distance of the occupancy from its mean."""

    mean: np.ndarray
    threshold: float = 0.2

    def score(self, series: Series, truth: Truth) -> np.ndarray:  # noqa: ARG002
        return np.abs(series.counts / series.trials - self.mean)


def test_networks_take_the_images_they_are_for() -> None:
    for classifier in (pooled(), strided(), logistic()):
        assert classifier(torch.zeros(2, 1, 32, 72)).shape == (2, 3)
    assert ecal_classifier()(torch.zeros(2, 1, 170, 360)).shape == (2, 2)
    assert ecal_autoencoder()(torch.zeros(2, 1, 170, 360)).shape == (2, 1, 170, 360)


@pytest.mark.parametrize(("region", "cells"), [("5×5 fixed", 25), ("5×5 random", 25), ("one channel", 1)])
def test_regions_of_images(runs: list[Series], region: str, cells: int) -> None:
    images, classes = classifiers._hcal_images(runs[:1], region, np.random.default_rng(3))
    assert classes.tolist() == [GOOD] * 4 + [HOT] * 4 + [DEAD] * 4
    assert [s.stop - s.start for s in images.stretches()] == [1] * 12
    pixels = classifiers._occupancy_image(images)[:, 0].numpy()
    assert ((pixels[4:8] == 1).sum(axis=(1, 2)) == cells).all()
    assert ((pixels[8:] == 0).sum(axis=(1, 2)) == cells).all()
    assert np.array_equal(pixels[0], classifiers._occupancy_image(runs[0])[0, 0])
    places = {tuple(np.argwhere(image == 0)[0]) for image in pixels[8:]}
    assert len(places) == (1 if region == "5×5 fixed" else 4)


def test_hcal_table_has_every_architecture_and_ours(runs: list[Series]) -> None:
    channels: ChannelTable = runs[0].channels
    ours = Deviation((runs[0].counts / runs[0].trials).mean(axis=0))
    rows = hcal_table(runs[:1], runs[1:], seed=1, ours=ours, epochs=1)
    assert len(channels) == 9072
    assert len(rows) == 3 * 4
    assert all(row.accuracy == row.auc == row.recall == 1 for row in rows if row.system == "ours")
    assert all(0 <= row.accuracy <= 1 and 0 <= row.auc <= 1 for row in rows)
    assert rows == hcal_table(runs[:1], runs[1:], seed=1, ours=ours, epochs=1)


def test_a_hot_tower_and_a_missing_module_by_hand() -> None:
    image = np.full((170, 360), 2.0, dtype=np.float32)
    hot = hot_tower(image, np.random.default_rng(1))
    assert (hot == 2e4).sum() == 25
    row, column = np.argwhere(hot == 2e4)[0]
    assert row % 5 == 0
    assert column % 5 == 0
    missing = {int((missing_module(image, np.random.default_rng(seed)) == 0).sum()) for seed in range(30)}
    assert missing == {1700, 3400}
    assert (image == 2).all()


def test_standardised_images_have_mean_0_and_variance_1() -> None:
    images = standardised(simulate_barrel(2, np.random.default_rng(1), detector=1))
    assert images.mean(dim=(1, 2, 3)).abs().max() < 1e-4
    assert torch.allclose(images.std(dim=(1, 2, 3)), torch.ones(2), atol=1e-3)


def test_ecal_table_has_both_systems_on_both_faults() -> None:
    rows = ecal_table(seed=2, runs=3, per_run=4, epochs=1)
    assert [(row.task, row.system) for row in rows] == [
        ("EB hot tower", "supervised CNN"),
        ("EB missing module", "supervised CNN"),
        ("EB hot tower", "autoencoder"),
        ("EB missing module", "autoencoder"),
    ]
    assert all(np.isnan(row.accuracy) == (row.system == "autoencoder") for row in rows)
    assert all(0 <= row.auc <= 1 and 0 <= row.recall <= 1 for row in rows)


def test_judged_by_hand() -> None:
    truth, said = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1])
    row = classifiers._judged("t", "s", said, np.array([0.1, 0.6, 0.5, 0.9]), truth)
    assert (row.accuracy, row.auc, row.recall) == (0.5, 0.75, 0.5)
