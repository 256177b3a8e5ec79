"""What the network sees, by hand."""

import numpy as np
import pytest

from hcal_root_ad.model.network_input import CLIP, WEIGHT_SCALE, network_input, ring_shift
from hcal_root_ad.stats.binomial import Binomial, information, log_rate, probability

EVENTS = np.array([[1000.0]])
LIVE = np.array([True, True, False])
HALF = Binomial(EVENTS, log_rate(np.full((1, 3), 0.5)))


def test_features_by_hand() -> None:
    counts = np.array([[500, 421, 500]])  # 421 is 5 σ below: cut to 4
    features = network_input(counts, HALF, LIVE)
    weight = information(1000.0, np.array(0.5)) / WEIGHT_SCALE
    assert features[0, :, 0] == pytest.approx([0.0, 0.0, weight])
    assert features[0, :, 1] == pytest.approx([-CLIP / 2, -CLIP * np.sqrt(weight), weight])
    assert features[0, :, 2].tolist() == [0, 0, 0]


def test_what_is_plainly_a_fault_is_hidden() -> None:
    features = network_input(np.array([[0, 1000, 500]]), HALF, LIVE)
    assert features[0, :, :2].tolist() == [[0, 0]] * 3


def test_a_ring_that_moves_as_a_whole_is_followed_without_width() -> None:
    ring, eta = np.zeros(200, dtype=np.intp), np.full((1, 200), -1.0)
    counts = np.round(1000 * probability(eta + 0.02)).astype(int)
    shift = ring_shift(counts, Binomial(EVENTS, eta), np.ones(200, dtype=bool), ring, None)
    assert shift[0] == pytest.approx(0.02, abs=0.002)


def test_with_a_width_it_moves_three_widths_at_most() -> None:
    ring, eta = np.zeros(200, dtype=np.intp), np.full((1, 200), -1.0)
    live, expected = np.ones(200, dtype=bool), Binomial(EVENTS, eta)
    dead = ring_shift(np.zeros((1, 200), dtype=int), expected, live, ring, np.array([[0.01]]))
    assert dead[0] == pytest.approx(-0.03)
    still = ring_shift(np.zeros((1, 200), dtype=int), expected, live, ring, np.zeros((1, 1)))
    assert np.abs(still).max() < 1e-6


def test_one_hot_channel_moves_its_ring_by_little() -> None:
    ring, eta = np.zeros(144, dtype=np.intp), np.full((1, 144), -1.0)
    counts = np.round(1000 * probability(eta)).astype(int)
    counts[0, 7] = 1000
    shift = ring_shift(counts, Binomial(EVENTS, eta), np.ones(144, dtype=bool), ring, None)
    assert 0 < shift[0, 0] < 0.004
