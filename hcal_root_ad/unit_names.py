"""Readout units by name, from one channel to a sub-detector: what fails together.

=============  =======================  ==================================================
scale          name                     channels
=============  =======================  ==================================================
channel        ``HE +20/5/3``           ieta / iphi / depth
card           ``HEP07-RM2-card3``      one QIE card: 16 channels in HB, 12 (11) in HE
RM             ``HEP07-RM2``            one readout module
RBX            ``HEP07``, ``HO1M02``    one readout box; those of HF are not known
uHTR           ``crate24-slot3``        what one back-end board receives: a third of two boxes' channels of a side
sector         ``HEP-crate24``          the neighbouring boxes of one half on one uTCA crate
FED            ``FED1102``              one side of a crate
ring           ``HE |ieta| 26``         all phi of both sides, all depths; ``HE |ieta| 26 depth 3``: one of them
one side       ``HE ieta +26``          the same of one side
half           ``HEP``                  one side of a sub-detector
sub-detector   ``HE``                   both sides
=============  =======================  ==================================================

The contents of HE cards follow no known rule (only the official map lists them), so HE cards here are
a fixed irregular choice, the same in all boxes as the real ones are; nothing else may rest on it.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import (
    HALVES,
    HO_WHEELS,
    N_HO_BOX_FIRST,
    N_HO_RBX,
    SUBDET_PM,
    ChannelTable,
    Subdetector,
    box_name,
)

UNIT_FORMS = (
    "'HE +20/5/3', 'HEP07-RM2-card3', 'HEP07-RM2', 'HEP07', 'crate24-slot3', 'HEP-crate24', 'FED1102', "
    "'HE |ieta| 26', 'HE ieta +26', 'HEP' or 'HE'"
)
_FORMS = {
    "channel": re.compile(r"(H[BEOF]) ([+-]\d+)/(\d+)/(\d+)"),
    "card": re.compile(r"(H[BE][MP])(\d\d)-RM([1-4])-card([1-4])"),
    "RM": re.compile(r"(H[BE][MP])(\d\d)-RM([1-4])"),
    "RBX": re.compile(r"(H[BE][MP]|HO0|HO[12][MP])(\d\d)"),
    "uHTR": re.compile(r"crate([1-9]\d*)-slot(\d+)"),
    "sector": re.compile(r"(H[BE][MP])-crate([1-9]\d*)"),
    "FED": re.compile(r"FED([1-9]\d*)"),
    "ring": re.compile(r"(H[BEOF]) (?:\|ieta\| (\d+)|ieta ([+-]\d+))(?: depth (\d))?"),
    "half": re.compile(r"H[BEOF][MP]"),
    "sub-detector": re.compile(r"H[BEOF]"),
}
_HE_CARD_SEED = 11


def scale_of_unit(unit: str) -> str:
    """``channel``, ``card``, ``RM`` and so on, by the form of the name; "" if it has none of these forms."""
    return next((scale for scale, form in _FORMS.items() if form.fullmatch(unit)), "")


def rows_of_unit(channels: ChannelTable, unit: str) -> NDArray[np.intp]:
    """Rows of the channels that belong to a unit; none if the name fits no unit of this era."""
    scale = scale_of_unit(unit)
    match = _FORMS[scale].fullmatch(unit) if scale else None
    inside = np.full(len(channels), match is not None)
    for column, value in _coordinates(scale, unit, match.groups()).items() if match else ():
        if column == "card":
            inside &= qie_card(channels) == value
        else:
            inside &= (np.abs(channels.ieta) if column == "abs ieta" else getattr(channels, column)) == value
    return np.flatnonzero(inside)


def _coordinates(scale: str, unit: str, parts: tuple[str | None, ...]) -> dict[str, int]:
    """Columns of the channel table, and the value that the unit's channels have in each."""
    numbers = [int(text) if text and text.lstrip("+-").isdigit() else 0 for text in parts]
    if scale == "channel":
        return {"subdetector": Subdetector[unit[:2]], "ieta": numbers[1], "iphi": numbers[2], "depth": numbers[3]}
    if scale == "uHTR":
        return dict(zip(("crate", "slot"), numbers, strict=True))
    if scale == "FED":
        return {"fed": numbers[0]}
    if scale == "ring":
        place = {"abs ieta": numbers[1]} if parts[1] else {"ieta": numbers[2]}
        return {"subdetector": int(Subdetector[unit[:2]])} | place | ({"depth": numbers[3]} if parts[3] else {})
    if scale == "sub-detector":
        return {"subdetector": Subdetector[unit]}
    if parts and parts[0] in HO_WHEELS:
        return {"box": N_HO_BOX_FIRST + N_HO_RBX * HO_WHEELS.index(parts[0]) + numbers[1] - 1}
    half = {"half": HALVES.index(unit[:3])}
    if scale == "sector":
        return half | {"crate": numbers[1]}
    return half | dict(zip(("rbx", "rm", "card"), numbers[1:], strict=False))


def unit_names(channels: ChannelTable, scale: str) -> list[str]:
    """Names of all units of a scale that the era has, sorted; those of unknown modules are left out."""
    if scale == "channel":
        columns = (channels.names, channels.ieta, channels.iphi, channels.depth)
        return [f"{name} {ieta:+d}/{iphi}/{depth}" for name, ieta, iphi, depth in zip(*columns, strict=True)]
    if scale == "sector":
        sectors = {(int(h), int(c)) for h, c in zip(channels.half, channels.crate, strict=True) if c}
        return sorted(f"{SUBDET_PM[half]}-crate{crate}" for half, crate in sectors)
    pairs = np.unique(np.stack([channels.box, channels.rm])[:, channels.rbx > 0], axis=1)
    boxes = [(box_name(int(box)), int(rm)) for box, rm in pairs.T]
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
        in_module = channels.rm[order] == rm
        card[order[in_module]] = _he_cards(rm)[position[in_module]]
    return card


@cache
def _he_cards(rm: int) -> NDArray[np.int16]:
    """Card of each position in HE module ``rm``: 48 positions shuffled once and for all."""
    shuffled = np.random.default_rng([_HE_CARD_SEED, rm]).permutation(48)
    return (shuffled // 12 + 1).astype(np.int16)
