"""``hist`` histograms as the ROOT objects that a DQM file holds: TH1F and TH2F with entries, statistics and labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from hist import Hist
from numpy.typing import NDArray
from uproot.models.TObject import Model_TObject
from uproot.writing import identify

from hcal_root_ad.publish.elements import MonitorElement

Doubles = NDArray[np.float64]

LOG_Z_BIT, LS_AXIS_BIT = 1 << 21, 1 << 22
"""Object bits of hcaldqm: colours by order of magnitude, and an axis of lumisections, of which the GUIs show the range
that is filled."""


def root_object(element: MonitorElement) -> Any:
    """The element as an uproot model of TH1F or TH2F, in single precision, flow bins included."""
    histogram = element.histogram
    contents = np.asarray(histogram.values(flow=True), dtype=">f4")
    inside = np.asarray(contents[(slice(1, -1),) * histogram.ndim], dtype=np.float64)
    entries = float(np.count_nonzero(inside)) if element.entries is None else element.entries
    axes = _axes(element)
    common = {"fName": None, "fTitle": element.title, "fEntries": entries, "fSumw2": _squares(element), **axes}
    if element.root_class == "TH1F":
        trend = identify.to_TH1x(data=contents, **_statistics_1d(inside, histogram), **common)
        return _marked(trend, LS_AXIS_BIT) if element.against_lumisections else trend
    statistics = _statistics_2d(inside, histogram)
    chart = identify.to_TH2x(data=contents.T.ravel(), fOption="colz", **statistics, **common)
    return _marked(chart, LOG_Z_BIT) if element.log_z else chart


def _squares(element: MonitorElement) -> Doubles | None:
    """Squares of the errors, flow bins included; without them the GUIs take square roots of the contents."""
    return None if element.errors is None else np.pad(element.errors.astype(np.float64) ** 2, 1)


class _MarkedObject(Model_TObject):  # type: ignore[misc]
    """A ``TObject`` with bits of its own, which uproot leaves away."""

    bits = 0

    def _serialize(self, out: Any, header: Any, name: Any, tobject_flags: Any) -> None:
        super()._serialize(out, header, name, tobject_flags | np.uint32(self.bits))


def _marked(histogram: Any, bits: int) -> Any:
    """The histogram with bits set in its ``TObject``."""
    named = histogram
    while named._bases[0]._bases:
        named = named._bases[0]
    marked = _MarkedObject.empty()
    marked.bits = bits
    named._bases[0] = marked
    return histogram


def _axes(element: MonitorElement) -> dict[str, Any]:
    histogram = element.histogram
    labels = (*element.bin_labels, *((),) * (histogram.ndim - len(element.bin_labels)))
    axes = {
        f"f{name.upper()}axis": identify.to_TAxis(
            fName=f"{name}axis", fTitle=axis.label.strip(), fNbins=axis.size, fXmin=axis.edges[0], fXmax=axis.edges[-1],
            fLabels=_labels(texts) if texts else None,
        )
        for name, axis, texts in zip("xy", histogram.axes, labels, strict=False)
    }  # fmt: skip
    contents = "yz"[histogram.ndim - 1]
    title = histogram.label or ""
    unit = {"fNbins": 1, "fXmin": 0.0, "fXmax": 1.0}
    return axes | {f"f{contents.upper()}axis": identify.to_TAxis(fName=f"{contents}axis", fTitle=title, **unit)}


def _labels(texts: tuple[str, ...]) -> Any:
    named = [(bin_number, identify.to_TObjString(text)) for bin_number, text in enumerate(texts, start=1) if text]
    for bin_number, entry in named:
        # TAxis::SetBinLabel keeps the bin number in the label's unique id.
        entry._bases[0]._members["@fUniqueID"] = bin_number
    return identify.to_THashList([entry for _, entry in named])


def _statistics_1d(inside: Doubles, histogram: Hist[Any]) -> dict[str, float]:
    """Sums over the bins inside the axis, as ``TH1::GetStats`` gives them for set contents."""
    x = histogram.axes[0].centers
    return {
        "fTsumw": inside.sum(),
        "fTsumw2": np.abs(inside).sum(),
        "fTsumwx": (inside * x).sum(),
        "fTsumwx2": (inside * x**2).sum(),
    }


def _statistics_2d(inside: Doubles, histogram: Hist[Any]) -> dict[str, float]:
    """Sums over the bins inside the axes, as ``TH2::GetStats`` gives them for set contents."""
    x, y = (axis.centers for axis in histogram.axes)
    return {
        "fTsumw": inside.sum(),
        "fTsumw2": np.abs(inside).sum(),
        "fTsumwx": x @ inside.sum(axis=1),
        "fTsumwx2": x**2 @ inside.sum(axis=1),
        "fTsumwy": y @ inside.sum(axis=0),
        "fTsumwy2": y**2 @ inside.sum(axis=0),
        "fTsumwxy": x @ inside @ y,
    }
