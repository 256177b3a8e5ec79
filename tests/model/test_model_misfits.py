"""Models whose digests are right, but whose contents do not fit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from hcal_root_ad.errors import ModelError
from hcal_root_ad.model.graphstad import network_of
from hcal_root_ad.model.model import HEAD, REFERENCE, WEIGHTS, Model, load_model

Arrays = dict[str, NDArray[np.generic]]


@pytest.fixture
def folder(model: Model, tmp_path: Path) -> Path:
    model.save(tmp_path / "copy")
    return tmp_path / "copy"


def change(folder: Path, name: str, how: Callable[[Arrays], object]) -> None:
    """Change arrays of a model and sign them again, as its maker would."""
    path, head = folder / name, folder / HEAD
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    arrays = {key: np.array(array) for key, array in load_file(path).items()}
    how(arrays)
    save_file(arrays, path)
    head.write_text(head.read_text().replace(before, hashlib.sha256(path.read_bytes()).hexdigest()))


def cut(arrays: Arrays) -> None:
    name = next(name for name, array in arrays.items() if array.ndim)
    arrays[name] = arrays[name][:-1]


def lose(arrays: Arrays) -> None:
    del arrays[min(arrays)]


@pytest.mark.parametrize("how", [cut, lose])
def test_arrays_of_another_shape(folder: Path, how: Callable[[Arrays], object]) -> None:
    change(folder, REFERENCE, how)
    with pytest.raises(ModelError, match=r"expected \d+ channels in every array|expected the arrays"):
        load_model(folder)


@pytest.mark.parametrize("how", [cut, lose])
def test_weights_of_another_shape(folder: Path, how: Callable[[Arrays], object]) -> None:
    change(folder, WEIGHTS, how)
    with pytest.raises(ModelError, match="the network of the model copy cannot be built"):
        network_of(load_model(folder))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('era = "Run3"', 'era = "Run9"'),
        ('subdetector = "HE"', 'subdetector = "HX"'),
        ("pileup_range = [", "pileup_range = 3 # ["),
        ("[widths]", "[width]"),
        ("format = 4", "form = 2"),
        ("[sha256]", "[sha]"),
        ("ring = 0.005", "ring = 0.005\nnonsense = 1"),
        ("format = 4", "format = = 2"),
    ],
)
def test_what_does_not_fit_is_one_sentence(folder: Path, old: str, new: str) -> None:
    head = folder / HEAD
    assert old in head.read_text()
    head.write_text(head.read_text().replace(old, new))
    with pytest.raises(ModelError, match=r"expected a model with .*, found it unreadable"):
        load_model(folder)


def test_channels_of_another_era(folder: Path) -> None:
    head = folder / HEAD
    head.write_text(head.read_text().replace('era = "Run3"', 'era = "2017"'))
    with pytest.raises(ModelError, match=r"expected \d+ channels in every array, found others; make it again"):
        load_model(folder)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [("level", np.nan, "level between -20 and 5"), ("power", 99.0, "power between -1 and 5"),
     ("level_error", -1.0, "level_error between 0 and 20"), ("live", 7, "0 or 1 in 'live'")],
)  # fmt: skip
def test_numbers_that_make_no_sense(folder: Path, name: str, value: float, says: str) -> None:
    def damage(arrays: Arrays) -> None:
        arrays[name][3] = value

    change(folder, REFERENCE, damage)
    with pytest.raises(ModelError, match=f"expected {says}"):
        load_model(folder)


def test_widths_that_make_no_sense(folder: Path) -> None:
    head = folder / HEAD
    head.write_text(head.read_text().replace("box = 0.018", "box = -3.0"))
    with pytest.raises(ModelError, match="widths or overdispersion make no sense"):
        load_model(folder)
