"""Genuine ROOT objects as the DQM writes them: ieta × iphi maps, elements vs LS, scalars."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_DQM_IETA, N_IPHI
from hcal_root_ad.errors import OutputError
from hcal_root_ad.files import whole_file

IETA_LABELS = [str(e) for e in (*range(-41, -28), *range(-29, 0), *range(1, 30), *range(29, 42))]
"""Labels of the 84 bins; 29 is printed twice per side (inner HE, outer HF)."""
ZLIB = 101
"""ROOT's number of zlib, level 1, with which CMS writes DQM files."""
LS_AXIS_BIT = 1 << 22
"""Object bit with which hcaldqm marks an x axis of lumisections (``DQM/HcalCommon``)."""


def root() -> Any:
    """The ROOT module in batch mode.

    Raises:
        OutputError: ROOT is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # The wheel says on import that it is an alpha release.
            import ROOT
    except ImportError:
        raise OutputError(
            "Simulated ROOT files are written by genuine ROOT, which is not installed: "
            "install the test extra (pip install 'hcal-root-ad[test]'), or choose the container 'dials'."
        ) from None
    ROOT.gROOT.SetBatch(True)
    return ROOT


@contextmanager
def root_file(path: Path, title: str = "", compression: int = ZLIB) -> Iterator[Any]:
    """A new ROOT file, complete or not there at all; ``compression`` is ROOT's number of codec and level."""
    with whole_file(path) as partial:
        file = root().TFile(str(partial), "RECREATE", title, compression)
        if file.IsZombie():
            raise OutputError(f"{path} cannot be written: ROOT could not create it there.")
        try:
            yield file
        finally:
            file.Close()


def occupancy_map(name: str, counts: NDArray[np.int64]) -> Any:
    """TH2F of counts (84, 72) on the DQM's ieta and iphi axes (``DQM/HcalCommon/src/DetectorQuantity.cc``)."""
    hist = ours(root().TH2F(name, name, N_DQM_IETA, 0.0, N_DQM_IETA, N_IPHI, 0.5, N_IPHI + 0.5))
    for number, label in enumerate(IETA_LABELS, start=1):
        hist.GetXaxis().SetBinLabel(number, label)
    hist.GetXaxis().SetTitle("ieta")
    hist.GetYaxis().SetTitle("iphi")
    fill_map(hist, counts)
    return hist


def fill_map(hist: Any, counts: NDArray[np.int64]) -> None:
    """Put counts (x, y) into a TH2F, with the entries and statistics that filling one by one would leave."""
    padded = np.zeros((counts.shape[1] + 2, counts.shape[0] + 2), dtype=np.float32)
    padded[1:-1, 1:-1] = counts.T
    contents(hist, np.float32)[:] = padded.ravel()
    hist.ResetStats()
    hist.SetEntries(float(counts.sum()))


def strips(name: str, counts: NDArray[np.int64], lumisections: NDArray[np.int32]) -> Any:
    """TH2F of counts (LS, 72) on LS × iphi axes, bin = LS; 4000 LS as online, more where needed."""
    n = max(4000, int(lumisections[-1]))
    hist = ours(root().TH2F(name, name, n, 1.0, n + 1.0, N_IPHI, 0.5, N_IPHI + 0.5))
    hist.GetXaxis().SetTitle("LS")
    hist.GetYaxis().SetTitle("iphi")
    hist.SetBit(LS_AXIS_BIT)
    cells = np.zeros((n, N_IPHI), dtype=np.int64)
    cells[lumisections - 1] = counts
    fill_map(hist, cells)
    return hist


def digis_vs_ls(
    name: str, lumisections: NDArray[np.int32], events: NDArray[np.int64],
    digis: NDArray[np.int64], variance: NDArray[np.float64],
) -> Any:  # fmt: skip
    """TProfile vs LS as if filled once per event with its number of digis; bin entries are events.

    ``digis``: (LS,) sum over the events; ``variance``: (LS,) of the digis of one event.
    """
    n = max(1000, int(lumisections[-1]))
    hist = ours(root().TProfile(name, name, n, 1.0, n + 1.0))
    hist.GetXaxis().SetTitle("LS")
    hist.SetBit(LS_AXIS_BIT)
    squares = np.where(events > 0, digis.astype(np.float64) ** 2 / np.maximum(events, 1) + events * variance, 0.0)
    for ls, entries, total, square in zip(lumisections, events, digis, squares, strict=True):
        hist.SetBinEntries(int(ls), float(entries))
        hist.SetBinContent(int(ls), float(total))
        hist.GetSumw2()[int(ls)] = float(square)
    hist.ResetStats()
    hist.SetEntries(float(events.sum()))
    return hist


def number_of_events(events: int) -> Any:
    """TH1D with one bin that holds the events of an LS, as ``Hcal/RunInfo/NumberOfEvents``."""
    hist = ours(root().TH1D("NumberOfEvents", "NumberOfEvents", 1, 0.0, 1.0))
    hist.SetBinContent(1, float(events))
    hist.SetEntries(1.0)
    return hist


def write_at(file: Any, folder: str, *objects: Any) -> None:
    """Write objects into a folder, made where it is not there yet."""
    directory = file.GetDirectory(folder) or file.mkdir(folder, "", True)
    for item in objects:
        directory.WriteTObject(item)


def write_scalar(file: Any, folder: str, name: str, value: int) -> None:
    """An integer as the DQM stores it: a TObjString whose key name is its whole text."""
    text = f"<{name}>i={value}</{name}>"
    directory = file.GetDirectory(folder) or file.mkdir(folder, "", True)
    directory.WriteTObject(root().TObjString(text), text)


def contents(hist: Any, dtype: type[np.generic]) -> NDArray[Any]:
    """The bin array of a histogram, under- and overflow included, as a view that can be written."""
    return np.frombuffer(hist.GetArray(), dtype=dtype, count=hist.GetNcells())


def ours(hist: Any) -> Any:
    """Take a histogram out of ROOT's current directory, so that only we write it and it is freed with its name."""
    hist.SetDirectory(root().nullptr)
    root().SetOwnership(hist, True)
    return hist
