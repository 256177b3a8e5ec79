"""Will both DQM GUIs take this file, and show it right? One sentence for each thing that they would not.

The classic GUI reads with ROOT (``dqmgui_prod`` ``src/cpp/DQM/{index,DQMStore}.cc``), the newer one with its own
sequential reader (``dqmgui`` ``python/importing/dqmclassic_importer.py``), and HCAL's maps are drawn by a plugin
(``dqmgui`` ``plugins/HcalRenderPlugin.cc``). Both know a file by its name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import uproot

from hcal_root_ad.detector import N_DQM_IETA, era_of_run
from hcal_root_ad.errors import InputError, OutputError
from hcal_root_ad.harvest.inputs import open_root
from hcal_root_ad.publish.elements import AXIS_LIMIT, TITLE_LIMIT, complaint
from hcal_root_ad.root_io.layout import FileLayout, Key, read_layout, walk

_OFFLINE = re.compile(r"DQM_V\d+_R(?P<run>\d+)(?P<dataset>(?:__[-A-Za-z0-9_]+){3})\.root")
_ONLINE = re.compile(r"DQM_V\d+(?:_[A-Za-z0-9]+)?_R(?P<run>\d+)\.root")
_RELVAL = re.compile(r"/RelVal[^/]+/CMSSW(?:_[0-9]+)+(?:_pre[0-9]+)?[-_].*")
_LUMISECTION_SUFFIX = re.compile(r"_L\d{9}$")
_LAST_TEST_RUN = 10_000
ONLINE_TAG = "HcalAD"
"""Subsystem tag of online files: letters and digits, as the classic GUI demands."""


def offline_name(run: int, source: str = "", mark: str = "HcalAD") -> str:
    """``DQM_V0001_R<run>__<primary>__<processed>__DQMIO.root``, the dataset taken from the source's name if it has one.

    The processing string is marked, so that an upload never takes the place of the dataset's own file.
    """
    if match := _OFFLINE.fullmatch(source):
        _, primary, processed, tier = match["dataset"].split("__", 3)
        tier = _LUMISECTION_SUFFIX.sub("", tier)
    else:
        primary, processed, tier = mark, f"Run{era_of_run(run).removeprefix('Run')}-HcalRootAd-v1", "DQMIO"
    if primary != mark and mark not in processed:
        stem, version = re.fullmatch(r"(.*?)(-v\d+)?", processed).groups(default="")  # type: ignore[union-attr]
        processed = f"{stem}_{mark}{version}"
    return _valid(f"DQM_V0001_R{run:09d}__{primary}__{processed}__{tier}.root")


def online_name(run: int, tag: str = ONLINE_TAG) -> str:
    """``DQM_V0001_<tag>_R<run>.root``.

    >>> online_name(370101)
    'DQM_V0001_HcalAD_R000370101.root'
    """
    return _valid(f"DQM_V0001_{tag}_R{run:09d}.root")


def with_version(name: str, version: int) -> str:
    """The name with another version: the classic GUI shows the highest of a run.

    >>> with_version("DQM_V0001_HcalAD_R000370101.root", 12)
    'DQM_V0012_HcalAD_R000370101.root'
    """
    return re.sub(r"^DQM_V\d+_", f"DQM_V{version:04d}_", name)


def dataset_of_name(name: str) -> str:
    """The dataset that a GUI files a name under.

    >>> dataset_of_name("DQM_V0001_R000370101__ZeroBias__Run2023C-v1__DQMIO.root")
    '/ZeroBias/Run2023C-v1/DQMIO'
    >>> dataset_of_name("DQM_V0002_HcalAD_R000370101.root")
    '/Global/Online/ALL'
    """
    match = _OFFLINE.fullmatch(name)
    return match["dataset"].replace("__", "/") if match else "/Global/Online/ALL"


def run_of_name(name: str) -> int | None:
    """The run that a GUI reads from a file name, or None where neither form fits."""
    match = _OFFLINE.fullmatch(name) or _ONLINE.fullmatch(name)
    return int(match["run"]) if match else None


def name_complaints(name: str) -> Iterator[str]:
    """What the GUIs and the upload would refuse in a file name, one sentence each.

    Rules: ``dqmgui_prod`` ``src/cpp/DQM/index.cc`` and ``bin/visDQMReceiveDaemon``, ``dqmgui`` ``python/importing``.
    """
    offline, online = _OFFLINE.fullmatch(name), _ONLINE.fullmatch(name)
    match = offline or online
    if match is None:
        yield (
            f"The file name {name!r} is neither DQM_V0001_R#########__primary__processed__tier.root"
            " nor DQM_V0001_Tag_R#########.root with a tag of letters and digits."
        )
        return
    if not re.match(r"DQM_V(?!0000)\d{4}_", name):
        yield f"The file name {name!r} has a version that is none of 0001 to 9999; an upload must have 0001."
    if len(match["run"]) != 9:
        yield f"The file name {name!r} has a run of {len(match['run'])} digits; the newer GUI reads exactly nine."
    if online and int(match["run"]) <= _LAST_TEST_RUN:
        yield f"The file name {name!r} is of run {int(match['run'])}; the online GUI takes runs above {_LAST_TEST_RUN}."
    if offline:
        dataset = offline["dataset"].replace("__", "/")
        if "CMSSW" in dataset and not _RELVAL.fullmatch(dataset):
            yield f"The dataset {dataset} has a CMSSW release in its name, which only RelVal datasets may have."


def _valid(name: str) -> str:
    if sentences := list(name_complaints(name)):
        raise OutputError(" ".join(sentences))
    return name


_CLASSES = {"TH1F", "TH1S", "TH1D", "TH2F", "TH2S", "TH2D", "TH3F", "TProfile", "TProfile2D", "TObjString"}
_DROPPED = {"TH1I", "TH2I", "TH3D", "TH3I", "TH2Poly"}
_READABLE = ("", "ZL")
"""Codecs that the newer GUI decodes: none and zlib."""
_NAME = re.compile(r"[-A-Za-z0-9/+=_()# ]+")
_RUN_FOLDER = re.compile(r"Run (?P<run>[1-9]\d*)")
_LUMI_FOLDER = re.compile(r"By Lumi Section \d+-\d+")
_OURS = re.compile(r"DQMData/Run [^/]*/Hcal/[^/]*/HcalAD(Task|Client)(/|$)")
_PRODUCTION = re.compile(r"DQMData/Run [^/]*/Hcal/[^/]*/HcalML(Task|Client)(/|$)")
_SUMMARY_FOLDER = re.compile(r"DQMData/Run [^/]*/[^/]*/[^/]*/EventInfo")
_COUNTS = re.compile(r"(Events|Occupancy|Expected\w*)vsLS")
"""Plain counts against lumisections, of which overlays may be scaled to the run."""
_HIGHEST_STATE = 6


def check_file(path: Path, *, labels: bool = True) -> tuple[str, ...]:
    """Sentences on what a GUI would refuse or show wrong; empty if both take the file.

    Rules on the container, the folders and the texts hold for everything in the file. Rules on classes and contents
    hold for our own folders, or for all elements of a file that has none of ours. ``labels``: decode those of bins,
    too, of which no rule speaks, so that damage in them is found; it takes most of the time. Raises InputError if the
    file is missing, truncated or not a ROOT file.
    """
    path = Path(path)
    container = read_layout(path)
    ours = _ours(container)
    shown = ours or list(container.objects)
    return (
        *name_complaints(path.name),
        *_sequence(container),
        *_layout(container, run_of_name(path.name)),
        *_duplicates(container.objects),
        *_texts(container),
        *_summaries(container.objects),
        *_collision(ours),
        *_classes(container, shown),
        *_contents(path, shown, ours, labels),
    )


@dataclass(frozen=True)
class Content:
    """How much of ours (or of all, where there is nothing of ours) a file holds: ``bins`` without flow bins."""

    histograms: int
    bins: int
    texts: int
    size: int

    def __str__(self) -> str:
        return f"{self.histograms} histograms with {self.bins:,} bins, {self.texts} texts, {self.size:,} bytes"


def content_of(path: Path) -> Content:
    """What reviewers ask of new monitor elements: how many, how many bins, how large a file."""
    path = Path(path)
    container = read_layout(path)
    shown = _ours(container) or list(container.objects)
    histograms = [record for record in shown if record.class_name in _CLASSES - {"TObjString"}]
    with open_root(path) as file:
        read = _reader(file, path)
        bins = sum(int(np.prod(np.shape(read(record).values()))) for record in histograms)
    return Content(len(histograms), bins, len(shown) - len(histograms), path.stat().st_size)


def _sequence(container: FileLayout) -> Iterator[str]:
    """The newer GUI's way through the file must end at its end and meet what the directories list, no more, no less."""
    met, stopped = walk(container)
    if stopped:
        yield f"The newer GUI, which reads all records in sequence, stops early: {stopped}."
        return
    listed = {record.seek: record for record in container.objects}
    if missed := [listed[seek] for seek in sorted(listed.keys() - met.keys())]:
        yield f"The newer GUI would not meet {_some(missed)}, because the record is not in sequence."
    moved = [record for seek, record in listed.items() if seek in met  # and says otherwise than the directory's list
             and (met[seek].parent, met[seek].class_name, met[seek].name)
             != (container.folders[record.directory], record.class_name, record.name)]  # fmt: skip
    if moved:
        yield f"The newer GUI would show {_some(moved)} elsewhere: the record names another folder, class or name."
    listed_places = listed.keys() | {start for start, _ in container.bookkeeping}
    if ghosts := sorted(seek for seek in met.keys() - listed_places if met[seek].class_name in _CLASSES):
        yield f"The newer GUI would show the records at bytes {ghosts[:5]}, which no directory lists (deleted objects)."


def _layout(container: FileLayout, run: int | None) -> Iterator[str]:
    """Folders must be DQMData/Run N/Subsystem/Run summary/…, N the run of the file name, in legal characters."""
    if not container.objects:
        yield "The file holds no monitor elements."
    for folder in sorted({record.directory for record in container.objects}):
        parts = folder.split("/")
        if len(parts) < 4 or parts[0] != "DQMData":
            yield f"The folder {folder!r} is not below DQMData/Run N/Subsystem/Run summary, so no GUI shows it."
            continue
        match = _RUN_FOLDER.fullmatch(parts[1])
        if match is None or (run is not None and int(match["run"]) != run):
            yield f"The folder {folder!r} is of {parts[1]!r}, but the file name is of run {run}."
        elif parts[3] != "Run summary" and (_OURS.match(folder) or not _LUMI_FOLDER.fullmatch(parts[3])):
            yield f"The folder {folder!r} has {parts[3]!r} where the newer GUI accepts only 'Run summary'."
        if not _NAME.fullmatch(folder):
            yield f"The folder {folder!r} has characters that the classic GUI refuses: {_illegal(folder)}."


def _duplicates(objects: Iterable[Key]) -> Iterator[str]:
    for path, times in Counter(record.path for record in objects).items():
        if times > 1:
            yield f"{path!r} is there {times} times; the newer GUI shows every cycle."


def _texts(container: FileLayout) -> Iterator[str]:
    histograms: dict[str, set[str]] = {}
    for record in container.objects:
        if record.class_name != "TObjString":
            histograms.setdefault(record.directory, set()).add(record.name)
    for record in container.objects:
        if record.class_name != "TObjString":
            continue
        if wrong := complaint(record.name, histograms.get(record.directory, set())):
            yield f"The text {record.name!r} in {record.directory!r} {wrong}."
        if container.compression(record) in _READABLE and container.text(record) != record.name:
            yield f"The text {record.name!r} in {record.directory!r} is another one inside; the GUIs would disagree."


def _classes(container: FileLayout, shown: Iterable[Key]) -> Iterator[str]:
    for record in shown:
        if record.class_name in _DROPPED:
            yield f"{record.path!r} is a {record.class_name}, which the newer GUI silently drops."
        elif record.class_name not in _CLASSES:
            yield f"{record.path!r} is a {record.class_name}, which is not a class of DQM."
        codec = container.compression(record)
        if codec not in _READABLE:
            yield f"{record.path!r} is compressed with {codec!r}; the newer GUI decodes zlib only."
        if record.class_name == "TObjString":
            continue
        if "." in record.name:
            yield f"{record.path!r} has a '.' in its name, which the GUIs take for the name of a quality test."
        elif not _NAME.fullmatch(record.name):
            yield f"{record.path!r} has characters in its name that the classic GUI refuses: {_illegal(record.name)}."


def _ours(container: FileLayout) -> list[Key]:
    """What is in our folders; those of production are ours where the record of what we made them of is in them."""
    replaced = any(
        _PRODUCTION.match(record.directory) and record.name.startswith("<record>") for record in container.objects
    )
    folders = (_OURS, _PRODUCTION) if replaced else (_OURS,)
    return [record for record in container.objects if any(folder.match(record.directory) for folder in folders)]


def _summaries(objects: Iterable[Key]) -> Iterator[str]:
    """The classic GUI makes a tile of every ``reportSummaryMap``: only a subsystem's own EventInfo may hold one."""
    for record in objects:
        if record.name == "reportSummaryMap" and not _SUMMARY_FOLDER.fullmatch(record.directory):
            yield f"{record.path!r} is not in the subsystem's own EventInfo; the classic GUI would show a dead tile."


def _collision(ours: Iterable[Key]) -> Iterator[str]:
    """Under production's names, production's own task would be replaced: only where that was asked for."""
    texts = [record for record in ours if _PRODUCTION.match(record.directory) and record.class_name == "TObjString"]
    records = [record.name for record in texts if record.name.startswith("<record>")]
    if any('"as_hcalmltask": true' not in record for record in records):
        folder = next(record.directory for record in texts if record.name.startswith("<record>"))
        yield f"{folder!r} takes the place of CMSSW's own HcalMLTask; only --as-hcalmltask asks for that."


class _LabelsPassedOver(uproot.model.Model):  # type: ignore[misc]
    """Labels of bins that are not read."""

    def read_members(self, _: Any, cursor: Any, *__: Any) -> None:
        cursor.skip_after(self)


_LabelsPassedOver.__name__ = "Model_THashList"  # uproot takes the name of ROOT's class from that of ours


def _contents(path: Path, shown: Iterable[Key], ours: Iterable[Key], labels: bool) -> Iterator[str]:
    """What the HCAL render plugin and HCAL's axes ask of our histograms."""
    own = {record.path for record in ours}
    efficiencies = {(record.directory, record.name) for record in ours if ">e=1</" in record.name}
    histograms = _CLASSES - {"TObjString"}
    drawn = [r for r in shown if r.class_name in histograms and "/Hcal/" in r.path and _NAME.fullmatch(r.path)]
    with open_root(path, None if labels else uproot.classes | {"THashList": _LabelsPassedOver}) as file:
        read = _reader(file, path)
        for record in drawn:
            histogram = read(record)
            if "Summary" in _gui_path(record):
                yield from _summary(record, histogram)
            yield from _ieta_axis(record, histogram)
            if record.path in own:
                marked = (record.directory, f"<{record.name}>e=1</{record.name}>") in efficiencies
                yield from _drawn(record, histogram, marked)


def _reader(file: Any, path: Path) -> Callable[[Key], Any]:
    """Reads objects of an open file; each folder is looked up once."""
    folder = cache(file.__getitem__)

    def read(record: Key) -> Any:
        try:
            return folder(record.directory)[f"{record.name};{record.cycle}"]
        except Exception as error:  # a damaged object can break uproot in any way
            raise InputError(
                f"{path}: expected a readable {record.class_name} at {record.path!r}, found damage; write it again."
            ) from error

    return read


def _summary(record: Key, histogram: Any) -> Iterator[str]:
    if not record.class_name.startswith("TH2"):
        yield f"{record.path!r} has 'Summary' in its path but is a {record.class_name}; HCAL draws 2-D states there."
        return
    values = np.asarray(histogram.values())
    if not np.isin(values, range(_HIGHEST_STATE + 1)).all():
        yield f"{record.path!r} has 'Summary' in its path but holds other values than the states 0 to {_HIGHEST_STATE}."


def _drawn(record: Key, histogram: Any, efficiency: bool) -> Iterator[str]:
    """Our own elements must read at once in a picture of the GUI."""
    values = np.asarray(histogram.values())
    if values.ndim == 2 and (values < 0).any() and "Summary" not in _gui_path(record):
        yield f"{record.path!r} is a map with a sign: the GUIs would paint what is sound; write losses and gains apart."
    trend = values.ndim == 1 and histogram.axis(0).member("fTitle") == "LS"
    if trend and not efficiency and not _COUNTS.search(record.path):
        yield f"{record.path!r} is no plain count against LS but lacks e=1: references would be scaled to the run."
    yield from _titles(record, histogram, values.ndim)


def _titles(record: Key, histogram: Any, ndim: int) -> Iterator[str]:
    axes = [histogram.member(f"f{name}axis").member("fTitle") for name in "XYZ"[: ndim + 1]]
    if ndim == 2 and axes[2]:
        yield f"{record.path!r} has the z title {axes[2]!r}, which the GUIs cut off; say it in the title."
    for title, limit in ((histogram.title, TITLE_LIMIT), *((title, AXIS_LIMIT) for title in axes)):
        if len(title) > limit:
            yield f"{record.path!r} has the title {title!r}, cut in the GUIs' pictures from {limit} characters on."


def _ieta_axis(record: Key, histogram: Any) -> Iterator[str]:
    axis = histogram.axis(0)
    if axis.member("fTitle") != "ieta":
        return
    bins = (axis.member("fNbins"), axis.member("fXmin"), axis.member("fXmax"))
    if bins != (N_DQM_IETA, 0, N_DQM_IETA):
        count, low, high = bins
        yield f"{record.path!r} has an ieta axis of {count} bins from {low:g} to {high:g}; HCAL's has 84 from 0 to 84."


def _gui_path(record: Key) -> str:
    """The path as shown, without DQMData/Run N and 'Run summary'."""
    parts = record.path.split("/")
    return "/".join((parts[2], *parts[4:])) if len(parts) > 4 else record.path


def _illegal(name: str) -> str:
    return " ".join(sorted({repr(character) for character in name if not _NAME.fullmatch(character)}))


def _some(records: list[Key]) -> str:
    first = f"{records[0].path!r}"
    return first if len(records) == 1 else f"{first} and {len(records) - 1} more"
