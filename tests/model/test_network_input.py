"""What the network sees, by hand."""

import numpy as np
import pytest

from hcal_root_ad.model.graphstad import CLIP, WEIGHT_SCALE, network_input
from hcal_root_ad.stats.binomial import Binomial, information, log_rate

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
