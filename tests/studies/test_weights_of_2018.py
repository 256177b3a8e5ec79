"""Networks that Keras wrote, by hand and as the studies of 2018 left them; images and faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.errors import InputError
from hcal_root_ad.model.counts import SubdetectorCounts
from studies.weights_of_2018.images import FAULTS, HOT, Fault, faulty, images
from studies.weights_of_2018.systems import AUTOENCODER, largest_error

h5py = pytest.importorskip("h5py", reason="h5py is not installed")
from studies.weights_of_2018.keras_file import read_network, untrained  # noqa: E402

FILES = Path(__file__).parents[3] / "shared" / "data" / "seed_models"
KERNEL = np.arange(9, dtype=np.float32).reshape(3, 3, 1, 1)


def layer(kind: str, name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": name, **config}}


def write(path: Path, layers: list[dict[str, Any]], weights: dict[str, dict[str, np.ndarray]]) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": layers})
        stored = file.create_group("model_weights")
        for one in layers:
            name = one["config"]["name"]
            group, mine = stored.create_group(name), weights.get(name, {})
            group.attrs["weight_names"] = [f"{name}/{key}:0".encode() for key in mine]
            for key, value in mine.items():
                group[f"{name}/{key}:0"] = value
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A convolution with bias 1, batch normalisation that halves, pooling, and a dense layer on four numbers."""
    layers = [
        layer("Conv2D", "c", padding="same", activation="relu"),
        layer("BatchNormalization", "b", epsilon=0.0),
        layer("MaxPooling2D", "p", pool_size=[2, 2], strides=[2, 2]),
        layer("Flatten", "f"),
        layer("Dense", "d", activation="linear"),
    ]
    one = np.ones(1, np.float32)
    return write(
        tmp_path / "small.hdf5",
        layers,
        {
            "c": {"kernel": KERNEL, "bias": one},
            "b": {"gamma": one, "beta": 0 * one, "moving_mean": 0 * one, "moving_variance": 4 * one},
            "d": {"kernel": np.array([[1.0], [10.0], [100.0], [1000.0]], np.float32), "bias": one},
        },
    )


def test_a_network_by_hand(small: Path) -> None:
    """A lone 2 at row 1, column 1 of 4 × 4: the convolution turns the kernel about it, 2·k + 1; half of it is left."""
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 1, 1] = 2
    turned = np.full((4, 4), 1.0)
    turned[:3, :3] += 2 * KERNEL[::-1, ::-1, 0, 0]
    pooled = turned.reshape(2, 2, 2, 2).max(axis=(1, 3)) / 2
    expected = 1 + pooled.ravel() @ [1, 10, 100, 1000]
    assert float(read_network(small)(image)) == pytest.approx(expected)


def test_untrained_layers_are_the_same_with_other_weights(small: Path) -> None:
    one, other = read_network(small), untrained(small)
    assert [type(module) for module in one] == [type(module) for module in other]
    assert not torch.equal(one[0].weight, other[0].weight)  # type: ignore[arg-type]


def test_what_is_no_network_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.hdf5").write_text("no network")
    with pytest.raises(InputError, match="expected a network of Keras 2"):
        read_network(tmp_path / "text.hdf5")
    strange = write(tmp_path / "strange.hdf5", [layer("GRU", "g")], {})
    with pytest.raises(InputError, match="kind GRU"):
        read_network(strange)


@pytest.fixture(scope="module")
def ten() -> SubdetectorCounts:
    channels = channel_table(Era.RUN2_2017).select("HB")
    counts = np.random.default_rng(0).binomial(1500, 0.4, (10, len(channels))).astype(np.int32)
    return SubdetectorCounts(channels, counts, np.full(10, 1500.0), np.arange(1, 11, dtype=np.int32), np.arange(10))


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.factor in (0.0, 2.0, None)], ids=str)
def test_faults_are_where_and_what_they_say(ten: SubdetectorCounts, fault: Fault) -> None:
    sizes = {"5×5": range(5, 26), "channel": range(1, 2), "RM": range(1, 80), "RBX": range(30, 200)}
    for number, one in faulty(ten, fault, 1, seed=1):
        changed = (one.counts != ten.counts[number])[0]
        assert changed.sum() in sizes[fault.shape]
        mean = one.counts[0, changed].mean()
        assert {0.0: mean == 0, 2.0: mean > 900, None: mean == HOT}[fault.factor]


def test_an_image_is_over_its_largest(ten: SubdetectorCounts) -> None:
    pixels = images(ten)
    assert pixels.shape == (10, 1, 72, 32)
    assert torch.equal(pixels.amax(dim=(1, 2, 3)), torch.ones(10))


def test_the_autoencoder_of_2018_does_what_its_study_says() -> None:
    """Good lumisections stay below its cut of 0.4, dead and hot regions are above it."""
    data = FILES.parent / "run306138_real"
    if not (FILES / AUTOENCODER).exists() or not data.exists():
        pytest.skip("the weights of 2018, or the real run, are not here")
    from hcal_root_ad.cli.settings import read_runs
    from hcal_root_ad.model.counts import subdetector_counts

    (maps,) = read_runs([str(data)])
    real, network = subdetector_counts(maps, "HB"), read_network(FILES / AUTOENCODER)
    assert max(largest_error(network, images(real))) < 0.35
    for fault in (Fault("5×5", 0.0), Fault("5×5", None)):
        assert all(largest_error(network, images(one))[0] > 0.4 for _, one in faulty(real, fault, 1, seed=3000))
