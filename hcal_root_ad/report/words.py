"""Verdicts in words: lumisections as ranges, readout units by their full names, faults as sentences."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_RBX, SUBDET_PM, rbx_of
from hcal_root_ad.judge.verdict import Kind

_UNIT = re.compile(r"(?P<half>H[BEOF](?P<side>[MP]))(?P<box>\d\d)?(-RM(?P<module>\d))?(-card(?P<card>\d))?")
_CHANNEL = re.compile(r"(?P<name>H[BEOF]) (?P<ieta>[+-]\d+)/(?P<iphi>\d+)/(?P<depth>\d)")
_HO_BOX = re.compile(r"HO[012][MP]?\d\d")
_UHTR = re.compile(r"crate(?P<crate>\d+)-slot(?P<slot>\d+)")
_FED = re.compile(r"FED ?(?P<number>\d+)")
_RING = re.compile(r"(?P<name>H[BEOF]) \|ieta\| (?P<ieta>\d+)( depth (?P<depth>\d))?")
_STRIP = re.compile(r"(?P<half>H[BE][MP]) iphi (?P<iphi>\d+)")


def place(unit: str) -> str:
    """The full name of a finding's unit; a name of a form that is not known stays as it is.

    >>> place("HEP07-RM2"), place("HE +20/5/3")
    ('readout module 2 of HEP07', 'channel HE ieta +20, iphi 5, depth 3')
    """
    if match := _CHANNEL.fullmatch(unit):
        ieta = match["ieta"].replace("-", "−")
        return f"channel {match['name']} ieta {ieta}, iphi {match['iphi']}, depth {match['depth']}"
    if match := _STRIP.fullmatch(unit):
        return f"strip iphi {match['iphi']} of {match['half']}"
    match = _UNIT.fullmatch(unit)
    if match is None:
        return _larger_place(unit)
    if match["box"] is None:
        return f"the {'minus' if match['side'] == 'M' else 'plus'} side of {unit[:2]}"
    box = f"{match['half']}{match['box']}"
    if match["module"] is None:
        return f"readout box {box}"
    module = f"readout module {match['module']} of {box}"
    return f"QIE card {match['card']} of {module}" if match["card"] else module


def _larger_place(unit: str) -> str:
    """As :func:`place`, of units that are no part of a readout box of HB or HE."""
    if unit in ("HB", "HE", "HO", "HF"):
        return f"the whole of {unit}"
    if _HO_BOX.fullmatch(unit):
        return f"readout box {unit}"
    if match := _UHTR.fullmatch(unit):
        return f"the uHTR in crate {match['crate']}, slot {int(match['slot'])}"
    if match := _FED.fullmatch(unit):
        return f"FED {match['number']}"
    if match := _RING.fullmatch(unit):
        return f"ring |ieta| {match['ieta']} of {match['name']}" + (
            f", depth {match['depth']}" if match["depth"] else ""
        )
    return unit


def box_of_unit(unit: str) -> int | None:
    """Readout box 0…71 in which a finding's unit lies, None if it is larger than a box or not of HB and HE."""
    if (match := _CHANNEL.fullmatch(unit)) and match["name"] in ("HB", "HE"):
        half, rbx = match["name"] + ("P" if match["ieta"][0] == "+" else "M"), _rbx(match["iphi"])
    elif match := _STRIP.fullmatch(unit):
        half, rbx = match["half"], _rbx(match["iphi"])
    elif (match := _UNIT.fullmatch(unit)) and match["box"] and match["half"] in SUBDET_PM:
        half, rbx = match["half"], int(match["box"])
    else:
        return None
    return SUBDET_PM.index(half) * N_RBX + rbx - 1


def count(number: float) -> str:
    """A number of digis for people: exact below ten thousand, then three figures."""
    for size, word in ((1e9, " billion"), (1e6, " million")):
        if number >= size:
            return f"{number / size:.3g}{word}"
    return f"{round(number):,}"


def spread(values: NDArray[np.float64]) -> str:
    """From where to where numbers go that are known (finite), such as ``40–51``."""
    known = values[np.isfinite(values)]
    return f"{known.min():.0f}–{known.max():.0f}" if len(known) else "not known"


def quantity(number: int, one: str) -> str:
    """``1 channel``, ``2 channels``."""
    return f"{number:,} {one}" if number == 1 else f"{number:,} {one}s"


def happened(kind: Kind, observed: float, expected: float) -> str:
    """What the channels gave, against what was expected of them."""
    if observed == 0:
        return f"no digi at all where {count(expected)} were expected"
    if expected <= 0:
        return f"{count(observed)} digis where none was expected"
    ratio = observed / expected
    share = f"{100 * ratio:.0f} %" if ratio >= 0.01 else "less than 1 %"
    if kind is Kind.DEAD:
        return f"{count(observed)} digis where {count(expected)} were expected ({share})"
    if kind is Kind.DEGRADED:
        return f"{share} of the {count(expected)} digis that were expected"
    bursts = ", coming and going" if kind is Kind.NOISY else ""
    return f"{ratio:.2f} times the {count(expected)} digis that were expected{bursts}"


def _rbx(iphi: str) -> int:
    return int(rbx_of(np.array(int(iphi))))
