"""What a published file holds, before it is ROOT: histograms, scalars and quality results of one run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from hist import Hist

TASK = "Hcal/HcalMLTask"
"""Folder of what the network saw and said, named as in CMSSW ``DQM/HcalTasks/plugins/HcalMLTask.cc``."""
CLIENT = "Hcal/HcalMLClient"
"""Folder of what follows from it: states, counts of faults, summary, provenance."""


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

    ``path`` begins with the subsystem (``Hcal/HcalMLTask/Occupancy/depth/depth1``). Axis titles are
    the labels of the ``hist`` axes, and the histogram's own label is the title of the axis of its
    contents. ``bin_labels`` holds one tuple per axis, empty where bins are not named.
    """

    path: str
    histogram: Hist[Any]
    title: str
    bin_labels: tuple[tuple[str, ...], ...] = ()
    entries: float | None = None
    """Number of fills; None counts the bins that are not empty."""

    @property
    def root_class(self) -> str:
        return {1: "TH1F", 2: "TH2F"}[self.histogram.ndim]


@dataclass(frozen=True)
class Scalar:
    """A number or a text of its own."""

    path: str
    value: int | float | str


@dataclass(frozen=True)
class QualityResult:
    """Result of one quality test of the monitor element at ``path``.

    ``result`` is the number that was tested; ``algorithm`` holds no colon, ``message`` no angle brackets.
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
