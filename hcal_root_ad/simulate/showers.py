"""Counts of neighbours that move together, as in real lumisections, while each channel stays binomial.

Showers hit several channels at once. Ten real LS (run 306138) show it: the variance from LS to LS over the binomial
one is 1.0 for single channels, 1.23 for readout modules, 1.25 for rings and 1.75 for readout boxes; the next iphi
shares 4 %, the next ieta 1 %.

Each event belongs to one of three layers. In a layer of regions, a region is active in a share ACTIVE of the events,
and its channels then fire more often by d = √(ρ·p·(1 − p)/(ACTIVE·(1 − ACTIVE))), in the other events less often, so
that each channel's count stays binomial with p and any two channels of a region have the correlation ρ. It is lower
where a probability would leave 0…1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable

ACTIVE = 0.2
"""Share of the events in which a region is active."""
_LAYERS = ((6, 1, True, 0.16), (1, 2, False, 0.06), (4, 30, False, 0.0075))
"""Regions of each layer: width in iphi and |ieta|, whether each depth has its own, and correlation ρ in its events."""


def shower_counts(
    channels: ChannelTable, events: NDArray[np.int64], rates: NDArray[np.float32], draw: np.random.Generator
) -> NDArray[np.int32]:
    """(LS, channels) counts of ``events`` (LS,) at digi probabilities ``rates`` (LS, channels), with showers."""
    layers = [_regions(channels, *layer[:3]) for layer in _LAYERS]
    counts = np.zeros(rates.shape, dtype=np.int32)
    for ls, n in enumerate(events):
        p = rates[ls].astype(np.float64)
        shares = draw.multinomial(n, [1 / len(layers)] * len(layers))
        for share, region, (*_, correlation) in zip(shares, layers, _LAYERS, strict=True):
            active = draw.binomial(share, ACTIVE, int(region.max()) + 1)[region]
            lift = np.sqrt(correlation * p * (1 - p) / (ACTIVE * (1 - ACTIVE)))
            lift = np.minimum(lift, np.minimum(p / ACTIVE, (1 - p) / (1 - ACTIVE)))
            counts[ls] += draw.binomial(active, np.minimum(p + (1 - ACTIVE) * lift, 1.0)).astype(np.int32)
            counts[ls] += draw.binomial(share - active, np.maximum(p - ACTIVE * lift, 0.0)).astype(np.int32)
    return counts


def _regions(channels: ChannelTable, iphi: int, ieta: int, by_depth: bool) -> NDArray[np.intp]:
    """(channels,) number of each channel's region: blocks of iphi as the boxes have them, and of |ieta|, by half."""
    around = (channels.iphi.astype(np.intp) + 1) % 72 // iphi
    along = (np.abs(channels.ieta).astype(np.intp) - 1) // ieta
    key = ((channels.half.astype(np.intp) * 30 + along) * 72 + around) * 8 + (channels.depth if by_depth else 0)
    regions: NDArray[np.intp] = np.unique(key, return_inverse=True)[1].astype(np.intp)
    return regions
