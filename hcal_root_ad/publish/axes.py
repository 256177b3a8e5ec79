"""HCAL's DQM axes and the few shapes of histogram that are published on them.

Axes are those of CMSSW ``DQM/HcalCommon/src/DetectorQuantity.cc`` and ``ValueQuantity.cc``: ieta 84 bins from 0 to 84,
iphi 72 bins from 0.5 to 72.5, lumisection n bins from 1 to n + 1.
"""

from __future__ import annotations

from typing import Any

from hist import Hist
from hist.axis import Regular
from numpy.typing import ArrayLike

from hcal_root_ad.detector import IETA_LABELS, N_DQM_IETA, N_IPHI, N_RBX, SUBDET_PM
from hcal_root_ad.publish.elements import MonitorElement
from hcal_root_ad.publish.reductions import Array

RBX_LABELS = {half: tuple(f"{half}{rbx:02d}" for rbx in range(1, N_RBX + 1)) for half in SUBDET_PM}


def lumisections(n: int) -> Regular:
    """Axis of n lumisections, bin = LS."""
    return Regular(n, 1, n + 1, label="LS")


def depth_map(path: str, values: ArrayLike, title: str, contents: str, entries: float | None = None) -> MonitorElement:
    """ieta × iphi map of (84, 72) values."""
    axes = (Regular(N_DQM_IETA, 0, N_DQM_IETA, label="ieta"), Regular(N_IPHI, 0.5, N_IPHI + 0.5, label="iphi"))
    return MonitorElement(path, _filled(*axes, values=values, contents=contents), title, (IETA_LABELS, ()), entries)


def ieta_projection(
    path: str, values: Array, title: str, contents: str, entries: float | None = None
) -> MonitorElement:
    """(84,) values against ieta."""
    axis = Regular(N_DQM_IETA, 0, N_DQM_IETA, label="ieta")
    return MonitorElement(path, _filled(axis, values=values, contents=contents), title, (IETA_LABELS,), entries)


def iphi_projection(
    path: str, values: Array, title: str, contents: str, entries: float | None = None
) -> MonitorElement:
    """(72,) values against iphi."""
    axis = Regular(N_IPHI, 0.5, N_IPHI + 0.5, label="iphi")
    return MonitorElement(path, _filled(axis, values=values, contents=contents), title, entries=entries)


def box_projection(
    path: str, values: Array, title: str, contents: str, half: str, entries: float | None = None
) -> MonitorElement:
    """(18,) values against the readout boxes of a half."""
    axis = Regular(N_RBX, 0.5, N_RBX + 0.5, label="RBX")
    return MonitorElement(path, _filled(axis, values=values, contents=contents), title, (RBX_LABELS[half],), entries)


def trend(path: str, values: Array, title: str, contents: str, entries: float | None = None) -> MonitorElement:
    """(LS,) values against LS, LS 1 first."""
    histogram = _filled(lumisections(len(values)), values=values, contents=contents)
    return MonitorElement(path, histogram, title, entries=entries)


def lumi_map(
    path: str,
    values: Array,
    title: str,
    contents: str,
    rows: tuple[str, ...],
    row_title: str,
) -> MonitorElement:
    """(LS, rows) values as LS × named rows."""
    axes = (lumisections(len(values)), Regular(len(rows), 0.5, len(rows) + 0.5, label=row_title))
    return MonitorElement(path, _filled(*axes, values=values, contents=contents), title, ((), rows))


def strip_map(path: str, values: Array, title: str, contents: str) -> MonitorElement:
    """(LS, 72) values as LS × iphi."""
    axes = (lumisections(len(values)), Regular(N_IPHI, 0.5, N_IPHI + 0.5, label="iphi"))
    return MonitorElement(path, _filled(*axes, values=values, contents=contents), title)


def box_summary(path: str, values: ArrayLike, title: str) -> MonitorElement:
    """(4, 18) states as HBM, HBP, HEM, HEP × RBX."""
    axes = (
        Regular(len(SUBDET_PM), 0, len(SUBDET_PM), label="sub-detector side"),
        Regular(N_RBX, 0.5, N_RBX + 0.5, label="RBX"),
    )
    return MonitorElement(path, _filled(*axes, values=values, contents="state"), title, (SUBDET_PM, ()))


def _filled(*axes: Regular, values: ArrayLike, contents: str) -> Hist[Any]:
    histogram: Hist[Any] = Hist(*axes, label=contents)
    histogram.values()[...] = values
    return histogram
