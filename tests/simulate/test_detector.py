"""A simulated detector: what the seed fixes, and what the eras have."""

import numpy as np
import pytest

from hcal_root_ad.detector import Era, Subdetector, channel_table
from hcal_root_ad.simulate.simulated_detector import DetectorSpread, has_scintillator, ring_intensity, simulate_detector


def test_the_seed_is_the_detector() -> None:
    first, again, other = simulate_detector(3), simulate_detector(3), simulate_detector(4)
    for name in ("response", "power", "noise", "cut_share", "masked"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert (getattr(first, name) != getattr(other, name)).any(), name


def test_masks_are_rare_and_uninstrumented_channels_answer_nothing() -> None:
    detector = simulate_detector(1)
    assert 30 <= detector.select("HB", "HE").masked.sum() <= 100  # 63 are expected of 15840
    assert 3 <= detector.select("HF").masked.sum() <= 30  # 14 of 3456
    assert 4 <= detector.select("HO").masked.sum() <= 35  # 15 of 2160
    ring_18_1 = (
        (detector.channels.subdetector == Subdetector.HE)
        & (np.abs(detector.channels.ieta) == 18)
        & (detector.channels.depth == 1)
    )
    assert ring_18_1.sum() == 144
    assert not detector.live[ring_18_1].any()
    assert not detector.response[ring_18_1].any()


@pytest.mark.parametrize("era", list(Era))
def test_the_ring_profile_reaches_every_instrumented_channel(era: Era) -> None:
    channels = channel_table(era).select("HB", "HE")
    p = 1 - np.exp(-ring_intensity(channels))
    assert p[has_scintillator(channels)].min() > 0.02
    assert p.max() < 0.98
    assert p.mean() == pytest.approx(0.39, abs=0.03)


def test_profile_of_2017_is_the_measured_one() -> None:
    channels = channel_table(Era.RUN2_2017).select("HB", "HE")
    p = 1 - np.exp(-ring_intensity(channels))

    def ring(sub: Subdetector, ieta: int, depth: int) -> float:
        hep17 = (channels.iphi >= 63) & (channels.iphi <= 66) & (channels.ieta > 0)
        inside = (channels.subdetector == sub) & (np.abs(channels.ieta) == ieta) & (channels.depth == depth)
        return float(p[inside & ~hep17].mean())

    assert ring(Subdetector.HB, 15, 1) == pytest.approx(0.65, abs=0.01)
    assert ring(Subdetector.HB, 16, 2) == pytest.approx(0.55, abs=0.01)
    assert ring(Subdetector.HE, 18, 1) == pytest.approx(0.28, abs=0.01)
    assert ring(Subdetector.HE, 17, 1) == pytest.approx(0.13, abs=0.01)
    assert ring(Subdetector.HE, 26, 1) == pytest.approx(0.94, abs=0.01)
    assert ring(Subdetector.HE, 29, 2) == pytest.approx(0.39, abs=0.03)


def test_pileup_powers_differ_by_ring_and_a_little_by_channel() -> None:
    detector = simulate_detector(5).select("HB", "HE")
    ring = detector.channels.ring
    mean = np.bincount(ring, detector.power) / np.bincount(ring)
    assert 0.5 <= detector.power.min() < 0.75
    assert 1.0 < detector.power.max() <= 1.3
    assert mean.std() > 0.05
    assert np.std(detector.power - mean[ring]) == pytest.approx(0.02, abs=0.002)


def test_without_spread_the_response_is_the_profile() -> None:
    flat = DetectorSpread(channel_sipm=0, channel_ho=0, box=0, module=0, phi_wave=0, side=0, ring=0)
    detector = simulate_detector(1, spread=flat)
    np.testing.assert_allclose(detector.response, ring_intensity(detector.channels))


def test_ho_of_2017_is_the_measured_one_and_hf_always_answers() -> None:
    p = 1 - np.exp(-ring_intensity(channel_table(Era.RUN2_2017)))
    channels = channel_table(Era.RUN2_2017)
    for ieta, measured in ((1, 0.124), (4, 0.124), (-5, 0.314), (10, 0.314), (-11, 0.506), (15, 0.506)):
        ring = (channels.subdetector == Subdetector.HO) & (channels.ieta == ieta)
        np.testing.assert_allclose(p[ring], measured)
    assert (p[channels.rows_of("HF")] == 1).all()


def test_ho_spreads_as_it_does_and_has_powers_of_its_own() -> None:
    ho = simulate_detector(5, Era.RUN2_2017).select("HO")
    wheel = np.abs(ho.channels.ieta) > 10
    assert np.std(np.log(ho.response[wheel])) == pytest.approx(0.13, abs=0.04)
    assert 0.3 <= ho.power.min() < ho.power.mean() < 0.75
