"""What the network sees: each channel's count against its own reference, in units of what it can say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.occupancy import Floats, Numbers, information, pull

CLIP = 4.0
"""Pulls are cut here, so that no single count moves its neighbours by much."""
REJECT = 6.0
"""Counts with larger pulls are a fault's, say nothing about drifts, and are hidden from the network."""
WEIGHT_SCALE = 1000.0
"""Typical information of a channel on its log rate in one LS of 1,500 events."""


def network_input(counts: Numbers, events: Floats, p: Floats, live: NDArray[np.bool_]) -> Floats:
    """(LS, channels, 3) float32 features; 0 for channels that are not live, or plainly at fault.

    The first is the clipped pull, the last the information on log λ, the middle one their product:
    averaged over a module or a box, middle / last is the maximum-likelihood estimate of its shift.
    """
    whole = pull(counts, events, p)
    z = np.clip(whole, -CLIP, CLIP)
    weight = information(events, p) / WEIGHT_SCALE
    features = np.stack([z / 2, z * np.sqrt(weight), weight], axis=-1)
    features[(np.abs(whole) > REJECT) | ~live] = 0
    return features.astype(np.float32)


def ring_shift(
    counts: Numbers, events: Floats, p: Floats, live: NDArray[np.bool_], ring: NDArray[np.intp], width: Floats | None
) -> Floats:
    """(LS, channels) common shift of log λ of each ring, to be added to it.

    With a ``width`` (LS, channels; prior standard deviation, equal within a ring) it is the most probable
    shift, at most three widths: what an imperfectly known pileup power may do. Without one it is RIN, the
    ring normalisation of the public GraphSTAD code, which removes whatever a ring does as a whole and
    is therefore blind to a fault that a whole ring shares; clipped pulls in place of a mean keep one
    hot cell from moving its ring.
    """
    info = information(events, p) * live
    score = np.clip(pull(counts, events, p), -CLIP, CLIP) * np.sqrt(info)
    labels = int(ring.max()) + 1
    first = np.zeros(labels, dtype=np.intp)
    first[ring] = np.arange(len(ring))
    total = np.stack([np.bincount(ring, row, labels) for row in info])
    shift = np.stack([np.bincount(ring, row, labels) for row in score])
    if width is None:
        return (shift / np.maximum(total, 1e-9))[:, ring]
    spread = np.maximum(width[:, first], 1e-9)
    shift = np.clip(shift / (total + spread**-2), -3 * spread, 3 * spread)
    return np.asarray(shift[:, ring])
