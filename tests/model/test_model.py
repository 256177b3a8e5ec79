"""A bundle comes back as it was saved, and nothing damaged or foreign is taken."""

import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from hcal_root_ad.model.model import CALIBRATION, HEAD, WEIGHTS, Bundle, bundle_names, load_bundle

from hcal_root_ad.errors import BundleError


@pytest.fixture
def folder(bundle: Bundle, tmp_path: Path) -> Path:
    bundle.save(tmp_path / "copy")
    return tmp_path / "copy"


def test_round_trip(bundle: Bundle, folder: Path) -> None:
    loaded = load_bundle(folder)
    assert loaded.name == "copy"
    assert loaded.digest == bundle.digest
    assert loaded.tails == bundle.tails
    assert loaded.story == bundle.story
    assert loaded.metrics == pytest.approx(bundle.metrics)
    assert np.allclose(loaded.reference.level, bundle.reference.level, atol=1e-6)
    assert np.array_equal(loaded.reference.live, bundle.reference.live)
    for name, weight in bundle.network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], weight)


def test_saving_the_same_gives_the_same_bytes(bundle: Bundle, tmp_path: Path) -> None:
    for name in ("a", "b"):
        bundle.save(tmp_path / name / "x")
    for file in (WEIGHTS, CALIBRATION, HEAD, "README.md", "metrics.json"):
        assert (tmp_path / "a" / "x" / file).read_bytes() == (tmp_path / "b" / "x" / file).read_bytes()


def test_a_saved_bundle_can_be_read_by_people(folder: Path) -> None:
    head = tomllib.loads((folder / HEAD).read_text())
    assert head["subdetector"] == "HE"
    assert json.loads((folder / "metrics.json").read_text())["clean_lumisections"] > 60
    assert "three simulated runs" in (folder / "README.md").read_text()


@pytest.mark.parametrize("name", [WEIGHTS, CALIBRATION])
def test_a_flipped_bit_is_noticed(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match="does not match the digest"):
        load_bundle(folder)


@pytest.mark.parametrize("name", [WEIGHTS, CALIBRATION, HEAD])
def test_a_missing_file_is_one_sentence(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match="expected a bundle with"):
        load_bundle(folder)


def test_an_unknown_name_lists_the_known_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = folder.parent / "models"
    shutil.copytree(folder, models / "mine")
    monkeypatch.setenv("HCAL_ROOT_AD_PATH", str(folder.parent))
    assert "mine" in bundle_names()
    assert load_bundle("mine").subdetector == "HE"
    with pytest.raises(BundleError, match="mine"):
        load_bundle("yours")


def test_another_format_is_refused(folder: Path) -> None:
    head = folder / HEAD
    head.write_text(head.read_text().replace("format = 3", "format = 99"))
    with pytest.raises(BundleError, match="format 3, found 99"):
        load_bundle(folder)


def test_weights_that_are_not_numbers_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    bundle.save(tmp_path / "b")
    broken = load_bundle(tmp_path / "b")
    with torch.no_grad():
        next(iter(broken.network.parameters())).fill_(float("nan"))
    broken.save(tmp_path / "b")
    with pytest.raises(BundleError, match="NaN"):
        load_bundle(tmp_path / "b")
