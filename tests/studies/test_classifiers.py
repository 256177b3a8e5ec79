"""The image classifiers: regions and modules by hand, likelihoods that name what is plain, and a study that resumes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hcal_root_ad.detector import channel_table
from hcal_root_ad.errors import InputError, UsageError
from hcal_root_ad.model.counts import SubdetectorCounts
from studies.__main__ import main
from studies.baselines.image_classifiers import ecal_autoencoder, ecal_classifier, logistic, pooled, strided
from studies.classifiers import ecal, hcal, study
from studies.classifiers.ecal import Barrel, hot_tower, missing_module, simulate_barrel, standardised
from studies.classifiers.hcal import DEAD, HOT, images_of, learned, verdicts
from studies.classifiers.networks_on_images import GOOD, judged


@pytest.fixture(scope="module")
def runs() -> list[SubdetectorCounts]:
    channels = channel_table().select("HB")
    draw = np.random.default_rng(1)
    ring = 0.3 + 0.3 * draw.random(int(channels.ring.max()) + 1)[channels.ring]
    counts = draw.binomial(1500, np.broadcast_to(ring, (8, len(channels)))).astype(np.int32)
    whole = SubdetectorCounts(channels, counts, np.full(8, 1500.0), np.arange(1, 9, dtype=np.int32), np.arange(8))
    return [whole.rows(slice(0, 4)), whole.rows(slice(4, 8))]


def test_networks_take_the_images_they_are_for() -> None:
    for classifier in (pooled(), strided(), logistic()):
        assert classifier(torch.zeros(2, 1, 32, 72)).shape == (2, 3)
    assert ecal_classifier()(torch.zeros(2, 1, 170, 360)).shape == (2, 2)
    assert ecal_autoencoder()(torch.zeros(2, 1, 170, 360)).shape == (2, 1, 170, 360)


@pytest.mark.parametrize(("region", "cells"), [("5×5 fixed", 25), ("5×5 random", 25), ("one channel", 1)])
def test_regions_of_images(runs: list[SubdetectorCounts], region: str, cells: int) -> None:
    images = images_of(runs[:1], region, np.random.default_rng(3))
    assert images.truth.tolist() == [GOOD] * 4 + [HOT] * 4 + [DEAD] * 4
    assert [s.stop - s.start for s in images.series.stretches()] == [1] * 12
    pixels = images.pixels[:, 0].numpy()
    assert ((pixels[4:8] == 1).sum(axis=(1, 2)) == cells).all()
    assert ((pixels[8:] == 0).sum(axis=(1, 2)) == cells).all()
    places = {tuple(np.argwhere(image == 0)[0]) for image in pixels[8:]}
    assert len(places) == (1 if region == "5×5 fixed" else 4)


def test_pixels_are_where_the_channels_are(runs: list[SubdetectorCounts]) -> None:
    image = images_of(runs[:1], "one channel", np.random.default_rng(3)).pixels[0, 0].numpy()
    channels, series = runs[0].channels, runs[0]
    (row,) = np.flatnonzero((channels.ieta == -16) & (channels.iphi == 72) & (channels.depth == 1))
    assert image[0, 71] == np.float32(series.counts[0, row] / series.events[0])
    (row,) = np.flatnonzero((channels.ieta == 1) & (channels.iphi == 1) & (channels.depth == 1))
    assert image[16, 0] == np.float32(series.counts[0, row] / series.events[0])


@pytest.mark.parametrize("region", hcal.REGIONS)
def test_likelihoods_name_every_class(runs: list[SubdetectorCounts], region: str) -> None:
    draw = np.random.default_rng(1)
    training, exam = (images_of(part, region, draw) for part in (runs[:1], runs[1:]))
    said, badness = verdicts(training, exam)
    assert np.array_equal(said, exam.truth)
    assert badness[exam.truth != GOOD].min() > badness[exam.truth == GOOD].max()


def test_a_network_learns_what_is_always_at_one_place(runs: list[SubdetectorCounts]) -> None:
    row = learned("logistic", "5×5 fixed", runs[:1], runs[1:], seed=1, epochs=40)
    assert (row.task, row.system, row.learned, row.tested) == ("HB 5×5 fixed", "logistic", 12, 12)
    assert row.accuracy is not None
    assert row.accuracy > 0.5
    assert row.auc == 1
    assert row == learned("logistic", "5×5 fixed", runs[:1], runs[1:], seed=1, epochs=40)


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


def test_the_barrel_pair_on_both_faults() -> None:
    barrel = Barrel(seed=2, runs=3, per_run=4)
    rows = [row for task in ecal.TASKS for row in ecal.supervised(barrel, task, epochs=1)]
    rows += ecal.autoencoder(barrel, epochs=1)
    assert [(row.task, row.system) for row in rows] == [
        ("EB hot tower", "supervised CNN"),
        ("EB missing module", "supervised CNN"),
        ("EB hot tower", "autoencoder"),
        ("EB missing module", "autoencoder"),
    ]
    assert all((row.accuracy is None) == (row.system == "autoencoder") for row in rows)
    assert all(0 <= row.auc <= 1 and 0 <= row.recall <= 1 and row.tested == 8 for row in rows)


def test_the_barrel_is_tested_on_other_images_than_it_is_learned_from() -> None:
    barrel = Barrel(seed=2, runs=3, per_run=2)
    assert len(barrel.learn) == 4
    assert len(barrel.test) == 2
    assert not any(np.array_equal(one, other) for one in barrel.learn for other in barrel.test)


def test_judged_by_hand() -> None:
    truth, said = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1])
    row = judged("t", "s", said, np.array([0.1, 0.6, 0.5, 0.9]), truth, learned=7)
    assert (row.accuracy, row.auc, row.recall, row.learned, row.tested) == (0.5, 0.75, 0.5, 7, 4)


# --- the command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifiers") / "out"
    assert main(["classifiers", "--grid", "quick", "-o", str(folder)]) == 0
    return folder


def test_the_study_writes_numbers_and_table(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())["results"]
    assert len(results) == 3 * 4 + 4
    text = (folder / "table.md").read_text()
    assert all(f"| {result['task']} | {result['system']} |" in text for result in results)
    assert "--grid quick" in text
    assert "seed 2022" in text


def test_resuming_measures_only_what_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = json.loads((folder / "results.json").read_text())
    autoencoder = f"EB {ecal.AUTOENCODER}"
    (folder / "points" / f"{study._digest(study.SIZES['quick'], autoencoder)}.json").unlink()
    measured: list[str] = []

    def instead(*_: object) -> list[study.Judged]:
        measured.append(autoencoder)
        return [study.Judged(**row) for row in before["results"] if row["system"] == ecal.AUTOENCODER]

    monkeypatch.setattr(ecal, "autoencoder", instead)
    told: list[tuple[int, int]] = []
    study.run_classifiers("quick", folder, resume=True, progress=lambda done, total: told.append((done, total)))
    assert measured == [autoencoder]
    assert told[-1] == (15, 15)
    assert json.loads((folder / "results.json").read_text()) == before


def test_wrong_use_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="add --resume"):
        study.run_classifiers("quick", folder)
    with pytest.raises(UsageError, match="no grid 'blocks'; there are presets, quick"):
        study.run_classifiers("blocks", tmp_path / "new")
    (tmp_path / "a.json").write_text('[{"task": 1}]')
    with pytest.raises(InputError, match=r"a\.json: expected rows"):
        study.read_rows(tmp_path / "a.json")
