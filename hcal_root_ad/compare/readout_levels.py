"""The levels of the readout of one sub-detector, from the largest unit to the smallest."""

from __future__ import annotations

import numpy as np

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.model.units import Units, unit_tree

SMALLEST = 4
"""Fewer channels than this make no unit."""


def readout_levels(channels: ChannelTable) -> tuple[Units, ...]:
    """Sub-detector, halves, readout boxes, readout modules and (in HB) QIE cards."""
    tree = unit_tree(channels)
    levels = (tree.subdetector, tree.half, tree.box, tree.module)
    if not (channels.card > 0).all():
        return levels
    labels = [f"{tree.module.names[m]}-card{card}" for m, card in zip(tree.module.of, channels.card, strict=True)]
    names, of = np.unique(labels, return_inverse=True)
    return (*levels, Units(of.astype(np.intp), tuple(map(str, names))))
