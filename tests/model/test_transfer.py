"""train, transfer and calibrate: what they make, and what they refuse."""

from pathlib import Path

import numpy as np
import pytest
from hcal_root_ad.model.model import Bundle, load_bundle

from hcal_root_ad.errors import InputError, UsageError
from hcal_root_ad.learn.calibrate import calibrate
from hcal_root_ad.model.training import Schedule
from hcal_root_ad.model.reconstruction import reconstruct
from hcal_root_ad.model.counts import clean_series, series_of
from hcal_root_ad.model.transfer import train
from hcal_root_ad.model.transfer import transfer
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.simulate.conditions import simulate_conditions
from hcal_root_ad.simulate.detector import SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.run import simulate_run

QUICK = Schedule(epochs=1)


def test_a_trained_bundle_knows_its_detector(bundle: Bundle, detector: SimulatedDetector) -> None:
    rows = detector.channels.rows_of("HE")
    assert np.array_equal(bundle.reference.live, detector.live[rows])
    assert 0.004 < np.median(bundle.model_error) < 0.05
    assert bundle.metrics["pull_spread"] < bundle.metrics["pull_spread_reference_only"] + 0.01


def test_transfer_to_the_other_subdetector_starts_from_the_weights(
    bundle: Bundle, clean_runs: list[LumiMaps], tmp_path: Path
) -> None:
    made = transfer(bundle, clean_runs[:2], tmp_path / "hb", to="HB", schedule=Schedule(epochs=1, rate=1e-9))
    assert made.subdetector == "HB"
    assert len(made.channels) == 9072
    assert made.story["training"].startswith("weights of he-small (HE")
    for name, weight in bundle.network.state_dict().items():
        assert np.allclose(made.network.state_dict()[name], weight, atol=1e-5)


def test_transfer_to_a_detector_never_seen_from_a_single_run(bundle: Bundle, tmp_path: Path) -> None:
    other = simulate_detector(77)
    clean = simulate_run(other, simulate_conditions(50, seed=8), seed=8).maps
    made = transfer(bundle, [clean], tmp_path / "new", schedule=QUICK)
    assert np.array_equal(made.reference.live, other.live[other.channels.rows_of("HE")])
    assert (made.model_error >= bundle.model_error).all()
    assert load_bundle(tmp_path / "new").digest == made.digest


def test_calibrate_keeps_reference_and_weights(bundle: Bundle, clean_runs: list[LumiMaps], tmp_path: Path) -> None:
    made = calibrate(bundle, clean_runs[:1], tmp_path / "again")
    assert np.allclose(made.reference.level, bundle.reference.level)
    assert made.story["calibration"] == f"runs {clean_runs[0].run}"


def test_reconstruction_does_not_depend_on_the_blocks(
    bundle: Bundle, clean_runs: list[LumiMaps], monkeypatch: pytest.MonkeyPatch
) -> None:
    series = series_of(clean_runs[0], "HE")
    whole = reconstruct(bundle.network, bundle.reference, series, False)
    monkeypatch.setattr("hcal_root_ad.model.counts.BLOCK", 7)
    assert np.allclose(reconstruct(bundle.network, bundle.reference, series, False).log_rate, whole.log_rate, atol=1e-6)


def test_ring_normalisation_hides_what_a_whole_ring_does(bundle: Bundle, clean_runs: list[LumiMaps]) -> None:
    series = series_of(clean_runs[0], "HE")
    ring = (np.abs(series.channels.ieta) == 20) & (series.channels.depth == 2)
    series.counts[:, ring] = (0.9 * series.counts[:, ring]).astype(np.int32)
    share = {}
    for blind in (False, True):
        found = reconstruct(bundle.network, bundle.reference, series, blind)
        live = ring & bundle.reference.live
        share[blind] = (series.counts[:, live] / (series.trials * found.expected[:, live])).mean()
    assert share[True] == pytest.approx(1.0, abs=0.03)
    assert share[False] < 0.95


def test_a_single_run_is_cut_in_halves(clean_runs: list[LumiMaps]) -> None:
    series = clean_series(clean_runs[:1], "HE")
    assert len(series) == 2
    assert sum(map(len, series)) == len(series_of(clean_runs[0], "HE"))


def test_too_few_lumisections_are_refused(detector: SimulatedDetector, tmp_path: Path) -> None:
    short = simulate_run(detector, simulate_conditions(10, seed=1), seed=1).maps
    with pytest.raises(InputError, match="at least 20"):
        train([short], "HE", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_runs_of_different_eras_are_refused(clean_runs: list[LumiMaps]) -> None:
    old = simulate_run(simulate_detector(1, "2018"), simulate_conditions(5, seed=1), seed=1).maps
    with pytest.raises(UsageError, match="eras"):
        clean_series([clean_runs[0], old], "HE")
