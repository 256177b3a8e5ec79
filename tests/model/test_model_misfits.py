"""Bundles whose digests are right, but whose contents do not fit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hcal_root_ad.model.model import CALIBRATION, HEAD, WEIGHTS, Bundle, load_bundle
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from hcal_root_ad.errors import BundleError

Arrays = dict[str, NDArray[np.generic]]


@pytest.fixture
def folder(bundle: Bundle, tmp_path: Path) -> Path:
    bundle.save(tmp_path / "copy")
    return tmp_path / "copy"


def change(folder: Path, name: str, how: Callable[[Arrays], object]) -> None:
    """Change arrays of a bundle and sign them anew, as its maker would."""
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
@pytest.mark.parametrize("name", [WEIGHTS, CALIBRATION])
def test_arrays_of_another_shape(folder: Path, name: str, how: Callable[[Arrays], object]) -> None:
    change(folder, name, how)
    with pytest.raises(
        BundleError,
        match=r"found it unreadable|its channels are not those of|found others; retrain it|expected the arrays",
    ):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('era = "Run3"', 'era = "Run9"'),
        ('subdetector = "HE"', 'subdetector = "HX"'),
        ("activity = [", "activity = 3 # ["),
        ("[tails.slant]", "[tails.slope]"),
        ("format = 3", "form = 2"),
        ("[sha256]", "[sha]"),
        ("[network]", "[network]\nnonsense = 1"),
        ("format = 3", "format = = 2"),
    ],
)
def test_what_does_not_fit_is_one_sentence(folder: Path, old: str, new: str) -> None:
    head = folder / HEAD
    assert old in head.read_text()
    head.write_text(head.read_text().replace(old, new))
    with pytest.raises(BundleError, match=r"expected a bundle with .*, found it unreadable"):
        load_bundle(folder)


def test_channels_of_another_era(folder: Path) -> None:
    head = folder / HEAD
    head.write_text(head.read_text().replace('era = "Run3"', 'era = "2017"'))
    with pytest.raises(BundleError, match="its channels are not those of HE in 2017; retrain it"):
        load_bundle(folder)


def test_a_calibration_with_nan(folder: Path) -> None:
    def break_one(arrays: Arrays) -> None:
        arrays["level"][3] = np.nan

    change(folder, CALIBRATION, break_one)
    with pytest.raises(BundleError, match="expected finite numbers, found NaN or infinite ones; retrain it"):
        load_bundle(folder)
