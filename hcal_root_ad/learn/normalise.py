"""What the network sees: each channel's count against its own reference, in units of what it can say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.stats.binomial import Binomial, Floats, Numbers

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


def ring_shift(
    counts: Numbers, expected: Binomial, live: NDArray[np.bool_], ring: NDArray[np.intp], width: Floats | None
) -> Floats:
    """(LS, rings) common shift of log λ of each ring, to be added to it.

    With a ``width`` (LS, rings; prior standard deviation) it is the most probable shift, at most three widths: what
    an imperfectly known pileup power may do. Without one it is RIN, the
    ring normalisation of the public GraphSTAD code, which removes whatever a ring does as a whole and
    is therefore blind to a fault that a whole ring shares; clipped pulls in place of a mean keep one
    hot cell from moving its ring.
    """
    weight = expected.steepness * live
    deviation = np.sqrt(expected.variance)
    score = np.clip((counts - expected.mean) / deviation, -CLIP, CLIP) * deviation * weight
    information = expected.variance * weight**2
    labels = int(ring.max()) + 1
    shift = np.stack([np.bincount(ring, row, labels) for row in score])
    total = np.stack([np.bincount(ring, row, labels) for row in information])
    if width is None:
        return shift / np.maximum(total, 1e-9)
    spread = np.maximum(width, 1e-9)
    return np.asarray(np.clip(shift / (total + spread**-2), -3 * spread, 3 * spread))
