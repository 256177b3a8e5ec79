"""Writing monitor elements for both DQM GUIs: as a new ROOT file, or as folders in a copy of a harvested one."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from uuid import UUID

import numpy as np
import uproot
from hist import Hist
from numpy.typing import NDArray
from uproot.models import THashList
from uproot.models.TObject import Model_TObject
from uproot.writing import WritableDirectory, _cascade, identify

from hcal_root_ad.errors import OutputError
from hcal_root_ad.files import whole_file
from hcal_root_ad.publish.elements import MonitorElement, MonitorElements, efficiency_text, quality_text, scalar_text
from hcal_root_ad.publish.gui_rules import check_file
from hcal_root_ad.root_io.layout import mark_gaps, read_layout, refuse_scattered

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


@lru_cache(maxsize=16)
def _labels(texts: tuple[str, ...]) -> Any:
    named = [(bin_number, identify.to_TObjString(text)) for bin_number, text in enumerate(texts, start=1) if text]
    for bin_number, entry in named:
        # TAxis::SetBinLabel keeps the bin number in the label's unique id.
        entry._bases[0]._members["@fUniqueID"] = bin_number
    labels = Model_THashList.empty()
    labels._bases.append(identify.to_TList([entry for _, entry in named], ""))
    return labels


class Model_THashList(THashList.Model_THashList):  # type: ignore[misc]
    """Labels of an axis, which many axes have: they become bytes once, as those do not depend on where they are.

    uproot takes the name of ROOT's class from that of ours.
    """

    _bytes = b""

    def _serialize(self, out: Any, header: Any, name: Any, tobject_flags: Any) -> None:
        if not self._bytes:
            parts: list[bytes] = []
            super()._serialize(parts, header, name, tobject_flags)
            self._bytes = b"".join(parts)
        out.append(self._bytes)


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


_ALWAYS = datetime(1995, 1, 1)
"""The first day that ROOT can write: whatever is published from the same inputs is the same to the byte."""


def add_objects(root: WritableDirectory, objects: Iterable[tuple[str, str, Any]]) -> None:
    """Add (folder, key name, object) to an open file, each once, in the order given.

    These calls into uproot are not its public API, and the reason why it is pinned to one version. The public
    ``directory[name] = object`` splits names at ``/``, so it cannot write a ``TObjString`` whose key name is
    ``<name>i=1</name>``; ``update`` reuses freed space, leaving remainders too short to be marked; and
    ``identify.add_to_directory`` asks first whether an object is an array of awkward, which would load awkward.
    """
    streamers: dict[Any, None] = {}
    folders: dict[str, WritableDirectory] = {}
    for folder, name, content in objects:
        if folder not in folders:
            folders[folder] = _folder(root, folder)
        _append_only(root)
        writable = identify.to_writable(content)
        streamers |= dict.fromkeys(writable.class_rawstreamers)
        title = writable.fTitle if hasattr(writable, "fTitle") else writable.member("fTitle")
        data = writable.serialize(name=name)
        packed = uproot.compression.compress(data, root.file.compression)
        folders[folder]._cascading.add_object(root.file.sink, writable.classname, name, title, packed, len(data))
    _append_only(root)
    root.file.update_streamers([_cascade.RawStreamerInfo(*streamer) for streamer in streamers])


@contextmanager
def without_time() -> Iterator[None]:
    """Let uproot write a date of ours instead of the time."""

    class Always(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Always:
            return cls(*_ALWAYS.timetuple()[:6], tzinfo=tz)

    with patch.object(_cascade, "datetime", SimpleNamespace(datetime=Always)):
        yield


def identities(texts: Iterable[str]) -> Callable[[], uuid.UUID]:
    """Gives one UUID after the other (of the file, and of each folder), which follow from the texts."""
    first, number = uuid.uuid5(uuid.NAMESPACE_OID, "\n".join(texts)), count()
    return lambda: uuid.uuid5(first, str(next(number)))


def _folder(root: WritableDirectory, path: str) -> WritableDirectory:
    directory = root
    for name in path.split("/"):
        _append_only(root)
        directory = directory.mkdir(name)
    return directory


def _append_only(root: WritableDirectory) -> None:
    """Forget freed space, so that new records go behind the old ones and every gap stays a whole former record."""
    root._cascading.freesegments.data.slices = ()


_COMPRESSION = uproot.ZLIB(4)
"""The newer GUI decodes zlib only."""


def write_root_file(elements: MonitorElements, path: Path) -> None:
    """Write a new file at ``path``, or raise OutputError and leave nothing behind."""

    def fill(temporary: Path) -> None:
        options = {"compression": _COMPRESSION, "uuid_function": _identities(elements)}
        with without_time(), uproot.recreate(temporary, **options) as file:
            add_objects(file, _objects(elements))

    _publish(path, fill)


def attach_to_file(elements: MonitorElements, source: Path, path: Path) -> None:
    """Write at ``path`` a copy of the harvested file ``source`` with our folders added, everything else untouched.

    Raises OutputError if the file holds a tree or already has our folders.
    """
    container = read_layout(source)
    refuse_scattered(container)
    for folder in sorted({file_folder(elements.run, task_folder(element.path)) for element in elements.elements}):
        if folder in container.folders:
            raise OutputError(
                f"{source}: expected a file without our folders, found {folder!r} (attached before, or CMSSW's own ML"
                " task); attach to the original file, or publish without --attach."
            )

    def fill(temporary: Path) -> None:
        shutil.copyfile(source, temporary)
        try:
            with without_time(), uproot.update(temporary, uuid_function=_identities(elements)) as file:
                file.file.compression = _COMPRESSION
                add_objects(file, _objects(elements))
        except Exception as error:  # uproot's updating of foreign files fails in its own many ways
            raise OutputError(
                f"{source}: cannot be added to ({error}); publish into a file of its own, without --attach."
            ) from error

    _publish(path, fill)


def _identities(elements: MonitorElements) -> Callable[[], UUID]:
    """UUIDs that follow from the run and where it comes from, which the texts say."""
    return identities([str(elements.run), *map(scalar_text, elements.scalars)])


def file_folder(run: int, folder: str) -> str:
    """Folder in the file of a GUI folder: ``Hcal/HcalADTask`` is ``DQMData/Run 1/Hcal/Run summary/HcalADTask``."""
    subsystem, _, rest = folder.partition("/")
    return f"DQMData/Run {run}/{subsystem}/Run summary/{rest}".rstrip("/")


def task_folder(path: str) -> str:
    """Subsystem and task of an element's path."""
    return "/".join(path.split("/")[:2])


def _objects(elements: MonitorElements) -> Iterator[tuple[str, str, Any]]:
    """(folder, key name, object) of everything; texts come after the histograms that they speak of."""

    def place(path: str) -> str:
        return file_folder(elements.run, path.rpartition("/")[0])

    for element in elements.elements:
        yield place(element.path), element.path.rpartition("/")[2], root_object(element)
    texts = [(element.path, efficiency_text(element.path)) for element in elements.elements if element.efficiency]
    texts += [(scalar.path, scalar_text(scalar)) for scalar in elements.scalars]
    texts += [(result.path, quality_text(result)) for result in elements.quality]
    for path, text in texts:
        yield place(path), text, text


def _publish(path: Path, fill: Callable[[Path], None]) -> None:
    """Write beside the target, mark the gaps, check, and only then take the target's name."""
    with whole_file(path) as temporary:  # under its own name, which ``check`` looks at
        fill(temporary)
        mark_gaps(temporary)
        if sentences := check_file(temporary, labels=False):  # they were written a moment ago
            raise OutputError(
                f"{path}: the DQM GUIs would refuse this file, nothing was written: {' '.join(sentences)}"
            )
