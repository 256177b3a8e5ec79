"""What the network sees: each channel's count against its own reference, in units of what it can say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.occupancy import Floats, Numbers, information, pull

CLIP = 4.0
"""Pulls are cut here: beyond it a count is a fault's, and says nothing about drifts."""
WEIGHT_SCALE = 1000.0
"""Typical information of a channel on its log rate in one LS of 1,500 events."""


def network_input(counts: Numbers, events: Floats, p: Floats, live: NDArray[np.bool_]) -> Floats:
    """(LS, channels, 3) float32 features; 0 for channels that are not live.

    The first is the clipped pull, the last the information on log λ, the middle one their product:
    averaged over a module or a box, middle / last is the maximum-likelihood estimate of its shift.
    """
    z = np.clip(pull(counts, events, p), -CLIP, CLIP)
    weight = information(events, p) / WEIGHT_SCALE
    features = np.stack([z / 2, z * np.sqrt(weight), weight], axis=-1)
    features[:, ~live] = 0
    return features.astype(np.float32)


def ring_shift(
    counts: NDArray[np.integer], events: Floats, p: Floats, live: NDArray[np.bool_], ring_side: NDArray[np.intp]
) -> Floats:
    """RIN (ring normalisation): (LS, channels) common shift of log λ of each ring and side, to be added to it.

    It removes whatever a ring does as a whole: an event count that is off, a pileup response that is
    not known. It is therefore blind to a fault that a whole ring shares. After the option RIN of the
    public GraphSTAD code, but with clipped pulls in place of a mean, so that one hot cell moves nothing.
    """
    info = information(events, p) * live
    score = np.clip(pull(counts, events, p), -CLIP, CLIP) * np.sqrt(info)
    labels = int(ring_side.max()) + 1
    shift = np.empty_like(score)
    for row in range(len(score)):
        total = np.bincount(ring_side, info[row], labels)
        shift[row] = (np.bincount(ring_side, score[row], labels) / np.maximum(total, 1e-9))[ring_side]
    return shift
