"""What the network sees: each channel's count against what the reference expects, in units of what it can say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.stats.binomial import Binomial, Numbers

CLIP = 4.0
"""Pulls are cut here, so that no single count moves its neighbours by much."""
REJECT = 6.0
"""Counts with larger pulls are a fault's, say nothing about drifts, and are hidden from the network."""
WEIGHT_SCALE = 1000.0
"""Typical information of a channel on its log rate in one LS of 1,500 events."""


def network_input(counts: Numbers, expected: Binomial, live: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(LS, 3, channels) features; 0 for channels that are not live, or plainly at fault.

    The first is the clipped pull, the last the information on log λ, the middle one their product:
    averaged over a module or a box, middle / last is the maximum-likelihood estimate of its shift.
    """
    pull = expected.pull(counts)
    z = np.clip(pull, -CLIP, CLIP)
    weight = expected.information / WEIGHT_SCALE
    features = np.stack([z / 2, z * np.sqrt(weight), weight], axis=1).astype(np.float32, copy=False)
    features.transpose(0, 2, 1)[(np.abs(pull) > REJECT) | ~live] = 0
    return features
