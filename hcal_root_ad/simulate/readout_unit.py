"""Readout units by name, from one channel to a crate half: what fails together.

=========  ======================  ==================================================
scale      name                    channels
=========  ======================  ==================================================
channel    ``HE +20/5/3``          ieta / iphi / depth
card       ``HEP07-RM2-card3``     one QIE card: 16 channels in HB, 12 (11) in HE
RM         ``HEP07-RM2``           one readout module
RBX        ``HEP07``               one readout box
sector     ``HEP-crate24``         the neighbouring boxes of one half on one uTCA crate
=========  ======================  ==================================================

The contents of HE cards follow no known rule (only the official map lists them), so HE cards here are
a fixed irregular choice, the same in all boxes as the real ones are; nothing else may rest on it.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import SUBDET_PM, ChannelTable, Subdetector, box_name

UNIT_FORMS = "'HE +20/5/3', 'HEP07-RM2-card3', 'HEP07-RM2', 'HEP07' or 'HEP-crate24'"
_CHANNEL = re.compile(r"(HB|HE) ([+-]\d+)/(\d+)/(\d+)")
_SECTOR = re.compile(r"(H[BE][MP])-crate(\d+)")
_BOX = re.compile(r"(H[BE][MP])(\d\d)(?:-RM([1-4]))?(?:-card([1-4]))?")
_HE_CARD_SEED = 11


def scale_of_unit(unit: str) -> str:
    """``channel``, ``card``, ``RM``, ``RBX`` or ``sector``, by the form of the name."""
    return (
        "channel" if "/" in unit else "sector" if "crate" in unit else "card" if "card" in unit
        else "RM" if "RM" in unit else "RBX"
    )  # fmt: skip


def rows_of_unit(channels: ChannelTable, unit: str) -> NDArray[np.intp]:
    """Rows of the channels that belong to a unit; none if the name fits no unit of this era."""
    if match := _CHANNEL.fullmatch(unit):
        sub, ieta, iphi, depth = Subdetector[match[1]], int(match[2]), int(match[3]), int(match[4])
        inside = (channels.subdetector == sub) & (channels.ieta == ieta)
        return np.flatnonzero(inside & (channels.iphi == iphi) & (channels.depth == depth))
    if match := _SECTOR.fullmatch(unit):
        half = SUBDET_PM.index(match[1])
        return np.flatnonzero((channels.half == half) & (channels.crate == int(match[2])) & (channels.crate > 0))
    if match := _BOX.fullmatch(unit):
        inside = (channels.half == SUBDET_PM.index(match[1])) & (channels.rbx == int(match[2]))
        if match[3]:
            inside &= channels.rm == int(match[3])
        if match[4]:
            inside &= qie_card(channels) == int(match[4])
        return np.flatnonzero(inside)
    return np.empty(0, dtype=np.intp)


def unit_names(channels: ChannelTable, scale: str) -> list[str]:
    """Names of all units of a scale that the era has, sorted; those of unknown modules are left out."""
    if scale == "channel":
        columns = (channels.names, channels.ieta, channels.iphi, channels.depth)
        return [f"{name} {ieta:+d}/{iphi}/{depth}" for name, ieta, iphi, depth in zip(*columns, strict=True)]
    if scale == "sector":
        pairs = {(int(h), int(c)) for h, c in zip(channels.half, channels.crate, strict=True) if c}
        return sorted(f"{SUBDET_PM[half]}-crate{crate}" for half, crate in pairs)
    boxes = [(box_name(int(b)), int(rm)) for b, rm in np.unique(np.stack([channels.box, channels.rm]), axis=1).T]
    if scale == "RBX":
        return sorted({box for box, _ in boxes})
    modules = [f"{box}-RM{rm}" for box, rm in boxes if rm]
    return modules if scale == "RM" else [f"{module}-card{card}" for module in modules for card in range(1, 5)]


def qie_card(channels: ChannelTable) -> NDArray[np.int16]:
    """QIE card 1…4 of each channel within its module, 0 where no module is known (HE: see above)."""
    card = channels.card.copy()
    he = np.flatnonzero((channels.subdetector == Subdetector.HE) & (channels.rm > 0))
    # Position inside the module, the same cells at the same place in every box once sides are reflected.
    offset = (channels.iphi[he] + 1) % 4
    reflected = np.where(channels.ieta[he] > 0, offset, np.where(np.abs(channels.ieta[he]) <= 20, 3, 2) - offset)
    keys = (channels.depth[he], reflected, np.abs(channels.ieta[he]), channels.rm[he], channels.box[he])
    order = he[np.lexsort(keys)]
    module = channels.box[order].astype(np.int64) * 5 + channels.rm[order]
    first = np.flatnonzero(np.r_[True, module[1:] != module[:-1]])
    position = np.arange(len(order)) - np.repeat(first, np.diff(np.r_[first, len(order)]))
    for rm in range(1, 5):
        here = channels.rm[order] == rm
        card[order[here]] = _he_cards(rm)[position[here]]
    return card


@cache
def _he_cards(rm: int) -> NDArray[np.int16]:
    """Card of each position in HE module ``rm``: 48 positions shuffled once and for all."""
    shuffled = np.random.default_rng([_HE_CARD_SEED, rm]).permutation(48)
    return (shuffled // 12 + 1).astype(np.int16)
