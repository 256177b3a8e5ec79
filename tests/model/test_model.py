"""A model comes back as it was saved, and nothing damaged or foreign is taken."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.errors import ModelError, OutputError
from hcal_root_ad.model.graphstad import GraphSTAD, network_of
from hcal_root_ad.model.model import HEAD, REFERENCE, WEIGHTS, Model, load_model, model_names
from hcal_root_ad.model.reference import Widths


@pytest.fixture
def folder(model: Model, tmp_path: Path) -> Path:
    model.save(tmp_path / "copy")
    return tmp_path / "copy"


def test_round_trip(model: Model, tmp_path: Path) -> None:
    saved = replace(model, reference=replace(model.reference, widths=Widths(box=0.02))).save(tmp_path / "copy")
    loaded = load_model(tmp_path / "copy")
    assert (loaded.name, loaded.digest) == ("copy", saved.digest)
    assert loaded.story == model.story
    assert loaded.metrics == model.metrics
    assert loaded.reference.widths == Widths(box=0.02)
    assert loaded.reference.clean == "370001 (0123456789ab)"
    assert np.allclose(loaded.reference.level, model.reference.level, atol=1e-6)
    assert np.array_equal(loaded.reference.live, model.reference.live)
    assert all(np.array_equal(loaded.weights[name], weight) for name, weight in model.weights.items())


def test_a_model_without_a_network(model: Model, tmp_path: Path) -> None:
    replace(model, architecture={}, weights={}).save(tmp_path / "bare")
    loaded = load_model(tmp_path / "bare")
    assert (loaded.architecture, loaded.weights) == ({}, {})
    assert not (tmp_path / "bare" / WEIGHTS).exists()
    with pytest.raises(ModelError, match=r"the model bare \(HE\) has no network"):
        network_of(loaded)


def test_the_network_of_a_model_is_the_one_it_was_made_of(model: Model, folder: Path) -> None:
    network = network_of(load_model(folder))
    assert isinstance(network, GraphSTAD)
    assert not network.training
    for name, weight in network.state_dict().items():
        assert np.array_equal(weight.numpy(), model.weights[name])
    features = torch.randn(1, 2, len(model.channels), 3)
    assert network(features, network.start())[0].shape == (1, 2, len(model.channels))


@pytest.mark.parametrize(
    ("change", "says"),
    [({"kind": "Oracle"}, "kind 'Oracle', expected 'GraphSTAD'"), ({"hidden": 31}, "cannot be built"),
     ({"surprise": 1}, "cannot be built"), ({"maps": 3}, "cannot be built")],
)  # fmt: skip
def test_a_network_of_another_kind_or_shape_is_one_sentence(model: Model, change: dict[str, object], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        network_of(replace(model, architecture={**model.architecture, **change}))


def test_reading_a_model_needs_no_torch(folder: Path) -> None:
    load = f"from hcal_root_ad.model.model import load_model; load_model({str(folder)!r})"
    code = f"import sys; {load}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_saving_the_same_gives_the_same_bytes(model: Model, tmp_path: Path) -> None:
    for name in ("a", "b"):
        model.save(tmp_path / name / "x")
    for file in (WEIGHTS, REFERENCE, HEAD, "README.md", "metrics.json"):
        assert (tmp_path / "a" / "x" / file).read_bytes() == (tmp_path / "b" / "x" / file).read_bytes()


def test_the_digest_is_of_what_a_judgement_depends_on(model: Model, tmp_path: Path) -> None:
    digest = model.save(tmp_path / "a").digest
    assert replace(model, story={"data": "other words"}, version="2").save(tmp_path / "b").digest == digest
    moved = replace(model.reference, level=model.reference.level + 0.01)
    assert replace(model, reference=moved).save(tmp_path / "c").digest != digest


def test_a_saved_model_can_be_read_by_people(folder: Path) -> None:
    head = tomllib.loads((folder / HEAD).read_text())
    assert (head["subdetector"], head["clean"]) == ("HE", "370001 (0123456789ab)")
    assert json.loads((folder / "metrics.json").read_text()) == {"clean_lumisections": 60.0}
    card = (folder / "README.md").read_text()
    assert "made by hand" in card
    assert "Channels live: 6767 of 6768." in card


def test_it_serves_the_channels_of_its_era(model: Model) -> None:
    assert model.serves(channel_table())
    assert not model.serves(channel_table(Era.RUN2_2017))


@pytest.mark.parametrize("name", [WEIGHTS, REFERENCE])
def test_a_flipped_bit_is_noticed(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match="does not match the digest"):
        load_model(folder)


@pytest.mark.parametrize("name", [WEIGHTS, REFERENCE, HEAD])
def test_a_missing_file_is_one_sentence(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match="expected a model with"):
        load_model(folder)


def test_an_unknown_name_lists_the_known_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = folder.parent / "models"
    shutil.copytree(folder, models / "mine")
    monkeypatch.setenv("HCAL_ROOT_AD_PATH", str(folder.parent))
    assert "mine" in model_names()
    assert load_model("mine").subdetector == "HE"
    with pytest.raises(ModelError, match="mine"):
        load_model("yours")


def test_another_format_is_refused(folder: Path) -> None:
    head = folder / HEAD
    head.write_text(head.read_text().replace("format = 4", "format = 99"))
    with pytest.raises(ModelError, match="format 4, found 99"):
        load_model(folder)


def test_weights_that_are_not_numbers_are_refused(model: Model, tmp_path: Path) -> None:
    weights = {name: weight.copy() for name, weight in model.weights.items()}
    next(iter(weights.values())).fill(np.nan)
    replace(model, weights=weights).save(tmp_path / "b")
    with pytest.raises(ModelError, match="NaN"):
        load_model(tmp_path / "b")


def test_a_full_disk_leaves_the_old_model(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "b")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"b: cannot be written \(.*\); choose another place"):
            replace(model, version="2").save(tmp_path / "b")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert load_model(tmp_path / "b").version == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
