"""``train`` and ``transfer``: what they learn from clean runs, what they say, and what they refuse."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from hcal_root_ad.errors import InputError, ModelError, UsageError
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model, load_model
from hcal_root_ad.model.reference import Widths
from hcal_root_ad.model.training import Schedule
from hcal_root_ad.model.transfer import read_widths, train, transfer
from hcal_root_ad.simulate.scenario import simulate_conditions
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run

QUICK = Schedule(epochs=1)


@pytest.fixture(scope="module")
def trained(clean_maps: list[LumiMaps], tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("models") / "he-small"
    return train(clean_maps, "HE", folder, schedule=Schedule(epochs=2), data="two simulated runs")


def test_a_trained_model_knows_its_detector(trained: Model, detector: SimulatedDetector) -> None:
    mine = detector.channels.rows_of("HE")
    assert np.array_equal(trained.reference.live, detector.live[mine])
    assert trained.story["data"] == "two simulated runs"
    assert trained.story["learned from"].startswith("44 LS with ")
    assert trained.story["learned from"].endswith(" events of runs 370001, 370002")
    assert trained.reference.clean.startswith("370001, 370002 (")
    assert trained.metrics["clean_lumisections"] == 44
    assert trained.metrics["pull_spread"] < trained.metrics["pull_spread_reference_only"] + 0.01


def test_models_of_the_same_clean_runs_share_the_pileup(
    trained: Model, clean_maps: list[LumiMaps], tmp_path: Path
) -> None:
    made = transfer(trained, clean_maps, tmp_path / "hb", to="HB", schedule=Schedule(epochs=1, rate=1e-9))
    assert made.reference.clean == trained.reference.clean
    assert made.reference.pileup_range == trained.reference.pileup_range
    assert (made.subdetector, len(made.channels)) == ("HB", 9072)
    assert made.story["adapted from"].startswith("he-small (HE, digest ")
    for name, weight in trained.weights.items():
        assert np.allclose(made.weights[name], weight, atol=1e-5)


def test_three_lumisections_are_enough_and_leave_the_network_alone(trained: Model, tmp_path: Path) -> None:
    other = simulate_detector(77)
    clean = simulate_run(other, simulate_conditions(6, seed=8), seed=8).maps.rows(slice(0, 3))
    source = replace(trained, reference=replace(trained.reference, widths=Widths(box=0.02)))
    made = transfer(source, [clean], tmp_path / "new", schedule=QUICK)
    assert (made.reference.live == other.live[other.channels.rows_of("HE")]).mean() > 0.999
    assert made.story["network"].startswith("that of he-small as it is: 3 LS teach it nothing")
    assert all(np.array_equal(made.weights[name], weight) for name, weight in trained.weights.items())
    assert made.reference.widths == Widths(box=0.02)
    assert load_model(tmp_path / "new").digest == made.digest


def test_powers_of_rings_stay_near_those_of_the_source(
    trained: Model, clean_maps: list[LumiMaps], tmp_path: Path
) -> None:
    short = clean_maps[0].rows(slice(0, 3))
    steep = replace(trained, weights={}, architecture={},
                    reference=replace(trained.reference, power=trained.reference.power + 0.3))  # fmt: skip
    made = transfer(steep, [short], tmp_path / "steep")
    live = made.reference.live
    assert np.median((made.reference.power - trained.reference.power)[live]) == pytest.approx(0.3, abs=0.1)


def test_a_fault_of_the_clean_runs_is_not_learned_as_health(
    trained: Model, clean_maps: list[LumiMaps], tmp_path: Path
) -> None:
    maps = replace(clean_maps[0], counts=clean_maps[0].counts.copy())
    channels = maps.channels
    rbx7 = (channels.half == 3) & (channels.rbx == 7)
    weak, dead = np.flatnonzero(rbx7 & (channels.rm == 2)), np.flatnonzero(rbx7 & (channels.rm == 4))
    maps.counts[:, weak] //= 2
    maps.counts[:, dead] = 0
    passing = np.flatnonzero((channels.half == 2) & (channels.rbx == 3))
    maps.counts[18:, passing] = 0
    made = transfer(replace(trained, weights={}, architecture={}), [maps], tmp_path / "m")
    assert "HEP07-RM4 without a digi in the clean runs although instrumented: dead" in made.story["dead units"]
    assert made.story["odd units"].startswith("HEP07-RM2 at × 0.")
    row = {int(channel): k for k, channel in enumerate(channels.rows_of("HE"))}
    reference = made.reference
    assert all(reference.live[row[column]] for column in dead if channels.instrumented[column])
    for columns, tolerance in ((weak, 0.1), (dead, 0.25), (passing, 0.1)):
        healthy = trained.reference.level[[row[c] for c in columns]]
        learned = reference.level[[row[c] for c in columns]]
        shift = np.median((reference.level - trained.reference.level)[reference.live])
        known = trained.reference.live[[row[c] for c in columns]]
        assert abs(np.median((learned - healthy)[known]) - shift) < tolerance


def test_ho_and_hf_have_no_network(
    trained: Model, clean_maps: list[LumiMaps], detector: SimulatedDetector, tmp_path: Path
) -> None:
    for name in ("HO", "HF"):
        made = transfer(trained, clean_maps, tmp_path / name.lower(), to=name)
        mine = detector.channels.rows_of(name)
        assert np.array_equal(made.reference.live, detector.live[mine])
        assert (made.architecture, made.weights) == ({}, {})
        assert load_model(tmp_path / name.lower()).digest == made.digest
    assert (made.reference.level > 2).all()
    assert (made.reference.power == 0).all()


def test_hf_that_was_not_read_out_is_refused(trained: Model, clean_maps: list[LumiMaps], tmp_path: Path) -> None:
    maps = replace(clean_maps[0], counts=clean_maps[0].counts.copy())
    maps.counts[:, maps.channels.rows_of("HF")] //= 3
    with pytest.raises(InputError, match=r"0 of 3456 channels of HF have a digi in most events"):
        transfer(trained, [maps], tmp_path / "hf", to="HF")
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize(
    ("chosen", "says"),
    [(slice(0, 0), "hold no lumisection with HCAL maps per channel"), (slice(0, 1), r"at least 2000 are needed")],
)
def test_too_little_is_refused(clean_maps: list[LumiMaps], tmp_path: Path, chosen: slice, says: str) -> None:
    short = clean_maps[0].rows(chosen)
    short = replace(short, events=np.minimum(short.events, 1500), counts=np.minimum(short.counts, 1500))
    with pytest.raises(InputError, match=says):
        train([short], "HE", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_subdetector_that_the_runs_do_not_hold_is_refused(clean_maps: list[LumiMaps], tmp_path: Path) -> None:
    maps = replace(clean_maps[0], counts=clean_maps[0].counts.copy())
    maps.counts[:, maps.channels.rows_of("HO")] = 0
    with pytest.raises(InputError, match=r"no digi of HO in the clean runs \(found: HB, HE\)"):
        train([maps], "HO", tmp_path / "b")


def test_runs_of_different_eras_are_refused(clean_maps: list[LumiMaps], tmp_path: Path) -> None:
    old = simulate_run(simulate_detector(1, "2018"), simulate_conditions(5, seed=1), seed=1).maps
    with pytest.raises(UsageError, match="eras"):
        train([clean_maps[0], old], "HE", tmp_path / "b")


def test_widths_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "widths.toml"
    path.write_text(tomli_w.dumps(asdict(Widths(box=0.02))))
    assert read_widths(path) == Widths(box=0.02)


@pytest.mark.parametrize(
    ("text", "says"),
    [("box = 0.02\nbok = 1.0", "has the unknown key bok; the nearest known one is box"),
     ('box = "wide"', "says box = 'wide'; a number was expected"),
     ("box = -0.1", "says box = -0.1; a number between 0 and 1 was expected")],
)  # fmt: skip
def test_widths_that_make_no_sense_are_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "widths.toml"
    path.write_text(text)
    with pytest.raises(ModelError, match=says):
        read_widths(path)
