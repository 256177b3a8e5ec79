"""What a published file holds, before it is ROOT: histograms, and the texts that stand for scalars and quality results.

Axes are those of CMSSW ``DQM/HcalCommon/src/DetectorQuantity.cc`` and ``ValueQuantity.cc``: ieta 84 bins from 0 to 84,
iphi 72 bins from 0.5 to 72.5, one bin of a lumisection from its number to the next. Each text is a ``TObjString`` whose
key name is the full text (CMSSW ``DQMServices/Core/src/LegacyIOHelper.cc``). The newer GUI aborts the import of the
whole file at a text that it cannot parse, so nothing else may be written; and both GUIs read back unharmed what is in
ASCII alone.
"""

from __future__ import annotations

import math
import re
import unicodedata
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
    axes = (Regular(len(SUBDET_PM), 0, len(SUBDET_PM), label="side"), Regular(N_RBX, 0.5, N_RBX + 0.5, label="RBX"))
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


_SPELLED = str.maketrans({
    "‐": "-", "‑": "-", "–": "-", "—": "-", "−": "-", "·": ".", "×": "x", "±": "+-", "≈": "~", "√": "sqrt",
    "≤": "at most", "≥": "at least", "→": "to", "∞": "infinity", "°": " deg", "‘": "'", "’": "'", "“": '"', "”": '"',
})  # fmt: skip
"""What no rule of Unicode gives; comparisons and arrows in words, because angle brackets would end a text."""
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_GREEK = re.compile(r"GREEK (?P<case>SMALL|CAPITAL) LETTER (?:FINAL )?(?P<name>\w+)")


def in_ascii(text: str) -> str:
    """The text with Greek letters by name, accents dropped, signs spelled out, and ? for what is left."""
    raised = _RAISED.sub(lambda match: f"^{match[0]}", text)
    decomposed = unicodedata.normalize("NFKD", raised).translate(_SPELLED)
    letters = (_letter(character) for character in decomposed if not unicodedata.combining(character))
    return "".join(letters).encode("ascii", "replace").decode()


def _letter(character: str) -> str:
    match = _GREEK.match(unicodedata.name(character, ""))
    if match is None:
        return character
    return match["name"].lower() if match["case"] == "SMALL" else match["name"].capitalize()


_FORM = re.compile(r"<(?P<name>.*?)>(?P<kind>i|f|s|e|t|qr)=(?P<value>.*)</(?P<closing>.*?)>", re.DOTALL)
_QUALITY = re.compile(r"st:(?P<status>\d+):(?P<result>[^:]*):(?P<algorithm>[^:]*):(?P<message>.*)", re.DOTALL)


def plain(text: str) -> str:
    """The text in ASCII, angle brackets as round ones and on one line: what both GUIs read back unharmed."""
    return " ".join(in_ascii(text).translate(str.maketrans("<>", "()")).split())


def scalar_text(scalar: Scalar) -> str:
    """Text of a scalar, for example ``<reportSummary>f=0.98</reportSummary>``."""
    name = scalar.path.rpartition("/")[2]
    match scalar.value:
        case str(value):
            content = f"s={plain(value)}"
        case int(value):
            content = f"i={value}"
        case float(value):
            content = f"f={value:.17g}"
    return f"<{name}>{content}</{name}>"


def efficiency_text(path: str) -> str:
    """Text that keeps the GUIs from scaling a reference to the run's integral: ``<HE>e=1</HE>``."""
    name = path.rpartition("/")[2]
    return f"<{name}>e=1</{name}>"


def quality_text(result: QualityResult) -> str:
    """Text of a quality result: ``<name.qtest>qr=st:STATUS:RESULT:ALGORITHM:MESSAGE</name.qtest>``."""
    name = f"{result.path.rpartition('/')[2]}.{result.qtest}"
    message = plain(result.message).replace(";", ",")
    value = f"st:{int(result.status)}:{result.result:.17g}:{plain(result.algorithm)}:{message}"
    return f"<{name}>qr={value}</{name}>"


def complaint(text: str, names: set[str]) -> str | None:
    """What a GUI would stumble over in a text, or None; ``names`` are the histograms of the same folder."""
    form = _FORM.fullmatch(text)
    if form is None or form["name"] != form["closing"]:
        return "is not one of <name>i=, f=, s=, e=, t= or qr=…</name>"
    name, kind, value = form["name"], form["kind"], form["value"]
    if "<" in value or ">" in value:
        return "holds < or > in its value, where the newer GUI cuts it"
    if kind == "qr":
        return _quality_complaint(name, value, names)
    if "." in name:
        return "has a '.' in its name, which the GUIs take for the name of a quality test"
    if kind in ("e", "t") and name not in names:
        return f"marks the monitor element {name!r}, which is not in the same folder"
    return _value_complaint(kind, value)


def _value_complaint(kind: str, value: str) -> str | None:
    if kind == "i" and not re.fullmatch(r"[-+]?\d+", value):
        return f"should hold an integer, not {value!r}"
    if kind == "f" and not _finite(value):
        return f"should hold a finite number, not {value!r}"
    if kind == "e" and value != "1":
        return f"is an efficiency flag and should hold 1, not {value!r}"
    if kind == "t" and not value.isdecimal():
        return f"is a tag and should hold a number, not {value!r}"
    return None


def _quality_complaint(name: str, value: str, names: set[str]) -> str | None:
    element, dot, _ = name.partition(".")
    parts = _QUALITY.fullmatch(value)
    if parts is None or not dot:
        return "is not a quality result <name.test>qr=st:STATUS:RESULT:ALGORITHM:MESSAGE</name.test>"
    if int(parts["status"]) not in [*QualityStatus]:
        return f"has the unknown status {parts['status']}"
    if not _finite(parts["result"]):
        return f"has the result {parts['result']!r}, which is not a finite number"
    if element not in names:
        return f"judges the monitor element {element!r}, which is not in the same folder"
    if ";" in parts["message"]:
        return "holds a ';' in its message, which JSROOT takes for the number of a cycle"
    return None


def _finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def scalar_of_text(text: str) -> tuple[str, int | float | str] | None:
    """Name and value of a scalar; None for a flag, a quality result, or another text."""
    form = _FORM.fullmatch(text)
    if form is None or form["kind"] not in ("i", "f", "s"):
        return None
    value = form["value"]
    return form["name"], {"i": int, "f": float, "s": str}[form["kind"]](value)
