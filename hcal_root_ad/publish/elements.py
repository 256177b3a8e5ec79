"""What a published file holds, before it is ROOT: histograms, scalars and quality results of one run.

Axes are those of CMSSW ``DQM/HcalCommon/src/DetectorQuantity.cc`` and ``ValueQuantity.cc``: ieta 84 bins from 0 to 84,
iphi 72 bins from 0.5 to 72.5, one bin of a lumisection from its number to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from hist import Hist
from hist.axis import Regular
from numpy.typing import ArrayLike, NDArray

from hcal_root_ad.detector import IETA_LABELS, N_DQM_IETA, N_IPHI, N_RBX, SUBDET_PM
from hcal_root_ad.judge.aggregate import Array, on_axis
from hcal_root_ad.lumi_maps import LumiMaps

TASK = "Hcal/HcalADTask"
"""Folder of what was seen and expected."""
CLIENT = "Hcal/HcalADClient"
"""Folder of what follows from it: states, faults, summary, provenance."""
PRODUCTION = {TASK: "Hcal/HcalMLTask", CLIENT: "Hcal/HcalMLClient"}
"""Folders under CMSSW's own names (``DQM/HcalTasks/plugins/HcalMLTask.cc``), for a site where we take its place."""
TITLE_LIMIT, AXIS_LIMIT = 38, 28
"""Characters of a title, and of an axis title, that a picture of 480 × 360 pixels shows whole and in full size."""


class QualityStatus(IntEnum):
    """Status codes of quality tests (CMSSW ``DataFormats/Histograms/interface/DQMToken.h``, ``dqm::qstatus``)."""

    OTHER = 30
    DISABLED = 50
    INVALID = 60
    INSUFFICIENT_STATISTICS = 70
    DID_NOT_RUN = 90
    OK = 100
    WARNING = 200
    ERROR = 300


@dataclass(frozen=True, eq=False)
class MonitorElement:
    """A histogram and the place where the GUI shows it.

    ``path`` begins with the subsystem (``Hcal/HcalADTask/EventsvsLS/EventsvsLS``). Axis titles are the labels of the
    ``hist`` axes, and the label of a histogram of one dimension is the title of its y axis (that of contents of two
    is cut off in the GUIs: the unit stands in the title). ``bin_labels`` holds one tuple per axis, empty where bins are
    not named.

    ``efficiency``: overlays of a reference are not scaled to the run's integral. ``errors``: (bins,) of a histogram
    of one dimension; a bin of content 0 and error 0 is then no point at all.
    """

    path: str
    histogram: Hist[Any]
    title: str
    bin_labels: tuple[tuple[str, ...], ...] = ()
    entries: float | None = None
    """Number of fills; None counts the bins that are not empty."""
    efficiency: bool = False
    errors: NDArray[np.float64] | None = None
    log_z: bool = False
    """Colours of a map by order of magnitude."""

    @property
    def root_class(self) -> str:
        return {1: "TH1F", 2: "TH2F"}[self.histogram.ndim]

    @property
    def against_lumisections(self) -> bool:
        return bool(self.histogram.axes[0].label == "LS")


@dataclass(frozen=True)
class Scalar:
    """A number or a text of its own."""

    path: str
    value: int | float | str


@dataclass(frozen=True)
class QualityResult:
    """Result of one quality test of the monitor element at ``path``.

    ``result`` is the number that was tested; ``algorithm`` holds no colon, ``message`` no angle brackets and no
    semicolon, which JSROOT takes for the number of a cycle.
    """

    path: str
    qtest: str
    status: QualityStatus
    result: float
    algorithm: str
    message: str


@dataclass(frozen=True, eq=False)
class MonitorElements:
    """All monitor elements of one run."""

    run: int
    elements: tuple[MonitorElement, ...]
    scalars: tuple[Scalar, ...] = ()
    quality: tuple[QualityResult, ...] = ()

    def __getitem__(self, path: str) -> MonitorElement:
        return next(element for element in self.elements if element.path == path)

    def under(self, folders: Mapping[str, str]) -> MonitorElements:
        """The same with other names for the folders of :data:`TASK` and :data:`CLIENT`."""

        def moved(path: str) -> str:
            subsystem, task, rest = path.split("/", 2)
            return f"{folders.get(f'{subsystem}/{task}', f'{subsystem}/{task}')}/{rest}"

        return MonitorElements(
            self.run,
            tuple(replace(element, path=moved(element.path)) for element in self.elements),
            tuple(replace(scalar, path=moved(scalar.path)) for scalar in self.scalars),
            tuple(replace(result, path=moved(result.path)) for result in self.quality),
        )


RBX_LABELS = {half: tuple(f"{half}{rbx:02d}" for rbx in range(1, N_RBX + 1)) for half in SUBDET_PM}
_UNTITLED = " "
"""Title of an axis that needs none: ``hist`` would number it."""
JUDGED_ERROR = 1e-6
"""Error of a value that has none: with it, a judged 0 is a point, and what was not judged is none."""


class LumiAxis(NamedTuple):
    """An axis of lumisections: the first one, and how many."""

    first: int
    length: int

    def spread(self, values: ArrayLike, lumisections: NDArray[np.int32], missing: float = 0) -> Array:
        """Rows of (LS, …) values on the axis; LS that are not there are ``missing``."""
        return on_axis(values, lumisections - (self.first - 1), self.length, missing)


def lumi_axis(maps: LumiMaps) -> LumiAxis:
    """From the first lumisection of the run to its last."""
    if not len(maps.lumisections):
        return LumiAxis(1, 1)
    first, last = int(maps.lumisections.min()), int(maps.lumisections.max())
    return LumiAxis(first, last - first + 1)


def depth_map(path: str, values: ArrayLike, title: str) -> MonitorElement:
    """ieta × iphi map of (84, 72) values."""
    axes = (Regular(N_DQM_IETA, 0, N_DQM_IETA, label="ieta"), Regular(N_IPHI, 0.5, N_IPHI + 0.5, label="iphi"))
    return MonitorElement(path, _filled(*axes, values=values), title, (IETA_LABELS, ()))


def ring_map(path: str, values: Array, title: str, rows: tuple[str, ...]) -> MonitorElement:
    """(84, depths) values as ieta × named depths."""
    axes = (Regular(N_DQM_IETA, 0, N_DQM_IETA, label="ieta"), Regular(len(rows), 0.5, len(rows) + 0.5, label="depth"))
    return MonitorElement(path, _filled(*axes, values=values), title, (IETA_LABELS, rows))


def ieta_projection(path: str, values: Array, title: str, contents: str, entries: float) -> MonitorElement:
    """(84,) counts against ieta."""
    axis = Regular(N_DQM_IETA, 0, N_DQM_IETA, label="ieta")
    return MonitorElement(path, _filled(axis, values=values, contents=contents), title, (IETA_LABELS,), entries)


def iphi_projection(path: str, values: Array, title: str, contents: str, entries: float) -> MonitorElement:
    """(72,) counts against iphi."""
    axis = Regular(N_IPHI, 0.5, N_IPHI + 0.5, label="iphi")
    return MonitorElement(path, _filled(axis, values=values, contents=contents), title, entries=entries)


def box_projection(path: str, values: Array, title: str, contents: str, half: str, entries: float) -> MonitorElement:
    """(18,) counts against the readout boxes of a half."""
    axis = Regular(N_RBX, 0.5, N_RBX + 0.5, label="RBX")
    return MonitorElement(path, _filled(axis, values=values, contents=contents), title, (RBX_LABELS[half],), entries)


def counts_vs_ls(path: str, axis: LumiAxis, counts: Array, title: str, contents: str) -> MonitorElement:
    """(LS,) plain counts against LS: the one kind of trend whose overlays are scaled to the run."""
    histogram = _filled(_lumisections(axis), values=counts, contents=contents)
    return MonitorElement(path, histogram, title, entries=float(counts.sum()))


def points_vs_ls(
    path: str, axis: LumiAxis, values: Array, errors: Array, title: str, contents: str
) -> MonitorElement:  # fmt: skip
    """(LS,) values with their errors against LS; NaN where an LS was not assessed, which is no point."""
    judged = np.isfinite(values)
    histogram = _filled(_lumisections(axis), values=np.where(judged, values, 0), contents=contents)
    shown = np.where(judged, np.maximum(np.nan_to_num(errors), JUDGED_ERROR), 0.0)
    return MonitorElement(path, histogram, title, entries=float(judged.sum()), efficiency=True, errors=shown)


def lumi_map(
    path: str, axis: LumiAxis, values: Array, title: str, rows: Sequence[str], row_title: str = _UNTITLED,
    log_z: bool = False,
) -> MonitorElement:  # fmt: skip
    """(LS, rows) values as LS × rows, named where there is a name."""
    axes = (_lumisections(axis), Regular(len(rows), 0.5, len(rows) + 0.5, label=row_title))
    return MonitorElement(path, _filled(*axes, values=values), title, ((), tuple(rows)), log_z=log_z)


def strip_map(path: str, axis: LumiAxis, values: Array, title: str) -> MonitorElement:
    """(LS, 72) values as LS × iphi."""
    axes = (_lumisections(axis), Regular(N_IPHI, 0.5, N_IPHI + 0.5, label="iphi"))
    return MonitorElement(path, _filled(*axes, values=values), title)


def box_summary(path: str, values: ArrayLike, title: str) -> MonitorElement:
    """(4, 18) states as HBM, HBP, HEM, HEP × RBX."""
    axes = (
        Regular(len(SUBDET_PM), 0, len(SUBDET_PM), label="side"),
        Regular(N_RBX, 0.5, N_RBX + 0.5, label="RBX"),
    )
    numbers = tuple(str(rbx) for rbx in range(1, N_RBX + 1))
    return MonitorElement(path, _filled(*axes, values=values), title, (SUBDET_PM, numbers))


def cells(path: str, values: Sequence[int], title: str, names: tuple[str, ...]) -> MonitorElement:
    """States in a row of named cells."""
    axes = (Regular(len(values), 0, len(values), label=_UNTITLED), Regular(1, 0, 1, label=_UNTITLED))
    return MonitorElement(path, _filled(*axes, values=np.array(values)[:, None]), title, (names, (_UNTITLED,)))


def _lumisections(axis: LumiAxis) -> Regular:
    return Regular(axis.length, axis.first, axis.first + axis.length, label="LS")


def _filled(*axes: Regular, values: ArrayLike, contents: str = "") -> Hist[Any]:
    histogram: Hist[Any] = Hist(*axes, label=contents)
    histogram.values()[...] = values
    return histogram
