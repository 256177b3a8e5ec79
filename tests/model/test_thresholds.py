from __future__ import annotations

import pytest
from scipy.stats import norm

from hcal_root_ad.errors import UsageError
from hcal_root_ad.model.model import SHARES, TRIALS, thresholds

SERIES = {"channel": 6_600, "card": 576, "module": 144, "box": 36, "half": 2, "ring": 70, "subdetector": 1}


def test_thresholds_are_normal_quantiles_of_the_shares() -> None:
    limits = thresholds(0.5, SERIES)
    looks = 100 * TRIALS * 6_600
    assert 2 * norm.sf(limits.channel) * looks == pytest.approx(0.5 * SHARES["channel"])
    assert sum(SHARES.values()) == pytest.approx(1.0)
    assert limits.channel > limits.module > limits.half


def test_more_false_findings_lower_the_thresholds() -> None:
    assert thresholds(5.0, SERIES).channel < thresholds(0.05, SERIES).channel


@pytest.mark.parametrize("asked", [0.0, -1.0, 1e4, float("nan")])
def test_what_cannot_be_is_refused(asked: float) -> None:
    with pytest.raises(UsageError):
        thresholds(asked, SERIES)
