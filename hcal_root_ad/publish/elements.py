"""What a published file holds, before it is ROOT: histograms, scalars and quality results of one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
from hist import Hist
from numpy.typing import NDArray

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
