"""``hist`` histograms as the ROOT objects that a DQM file holds: TH1F and TH2F with entries, statistics and labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from hist import Hist
from numpy.typing import NDArray
from uproot.writing import identify

from hcal_root_ad.publish.elements import MonitorElement

Doubles = NDArray[np.float64]


def root_object(element: MonitorElement) -> Any:
    """The element as an uproot model of TH1F or TH2F, in single precision, flow bins included."""
    histogram = element.histogram
    contents = np.asarray(histogram.values(flow=True), dtype=">f4")
    inside = np.asarray(contents[(slice(1, -1),) * histogram.ndim], dtype=np.float64)
    entries = float(np.count_nonzero(inside)) if element.entries is None else element.entries
    axes = _axes(element)
    common = {"fName": None, "fTitle": element.title, "fEntries": entries, "fSumw2": None, **axes}
    if element.root_class == "TH1F":
        return identify.to_TH1x(data=contents, **_statistics_1d(inside, histogram), **common)
    return identify.to_TH2x(data=contents.T.ravel(), fOption="colz", **_statistics_2d(inside, histogram), **common)


def _axes(element: MonitorElement) -> dict[str, Any]:
    histogram = element.histogram
    labels = (*element.bin_labels, *((),) * (histogram.ndim - len(element.bin_labels)))
    axes = {
        f"f{name.upper()}axis": identify.to_TAxis(
            fName=f"{name}axis", fTitle=axis.label, fNbins=axis.size, fXmin=axis.edges[0], fXmax=axis.edges[-1],
            fLabels=_labels(texts) if texts else None,
        )
        for name, axis, texts in zip("xy", histogram.axes, labels, strict=False)
    }  # fmt: skip
    contents = "yz"[histogram.ndim - 1]
    title = histogram.label or ""
    unit = {"fNbins": 1, "fXmin": 0.0, "fXmax": 1.0}
    return axes | {f"f{contents.upper()}axis": identify.to_TAxis(fName=f"{contents}axis", fTitle=title, **unit)}


def _labels(texts: tuple[str, ...]) -> Any:
    objects = [identify.to_TObjString(text) for text in texts]
    for bin_number, entry in enumerate(objects, start=1):
        # TAxis::SetBinLabel keeps the bin number in the label's unique id.
        entry._bases[0]._members["@fUniqueID"] = bin_number
    return identify.to_THashList(objects)


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
