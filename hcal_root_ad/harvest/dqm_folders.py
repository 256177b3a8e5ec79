"""Folders of a harvested file: which element is where, by run, subsystem and scope, and their histograms as a stock.

Layout: CMSSW ``DQMServices/Core/src/LegacyIOHelper.cc``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.input_file import InputFile
from hcal_root_ad.harvest.section import check_numbers
from hcal_root_ad.root_io.histograms import HistogramReader
from hcal_root_ad.root_io.layout import DIRECTORY_CLASSES, Key, walk_folders
from hcal_root_ad.root_io.records import LARGEST_ELEMENT, LARGEST_MAP, Objects, Record, check_size, fetch, key_object

_SCALAR = re.compile(r"<(?P<name>[^>]*)>(?P<kind>[ifs])=(?P<text>.*)</(?P=name)>$", re.DOTALL)
_KINDS = {"i": "int", "f": "float", "s": "string"}
_LS_FOLDER = re.compile(r"By Lumi Section (\d+)-(\d+)$")


@dataclass(frozen=True)
class Scope:
    """A run summary (``first`` and ``last`` 0) or the lumisections of a folder."""

    run: int
    first: int = 0
    last: int = 0


@dataclass(frozen=True)
class Stored:
    """Where an element is: its path in the file and its key, or the text of a scalar."""

    classname: str
    path: str = ""
    key: Key | None = None
    text: str = ""


Scopes = Mapping[Scope, Mapping[str, Stored]]
"""Elements by scope and full name."""


class DqmFolders:
    """The folders of an open file; each subsystem is listed once, when it is asked for."""

    def __init__(self, root: Any, path: InputFile) -> None:
        self._root, self._path = root, path
        data = root["DQMData"]
        runs = [name for name in data.keys(recursive=False, cycle=False) if re.fullmatch(r"Run \d+", name)]
        self._subsystems = {int(name.removeprefix("Run ")): _folders(data[name]) for name in runs}
        self.runs = tuple(sorted(self._subsystems))
        for run in self.runs:
            check_numbers(path, run)
        self._listed: dict[tuple[int, str], Scopes] = {}

    def subsystems(self, run: int) -> tuple[str, ...]:
        """Subsystem folders of a run."""
        return tuple(self._subsystems[run])

    def scopes(self, run: int, subsystem: str) -> Scopes:
        """A subsystem's elements."""
        if (run, subsystem) not in self._listed:
            self._listed[run, subsystem] = self._list(run, subsystem) if subsystem in self._subsystems[run] else {}
        return self._listed[run, subsystem]

    def _list(self, run: int, subsystem: str) -> Scopes:
        scopes: dict[Scope, dict[str, Stored]] = {}
        folders: dict[Scope, str] = {}
        place = f"DQMData/Run {run}/{subsystem}"
        for path, key in walk_folders(self._root.file.source, self._subsystems[run][subsystem]):
            folder, _, inside = (path or key.name).partition("/")
            match = _LS_FOLDER.fullmatch(folder)
            if match or folder == "Run summary":
                scope = Scope(run, int(match[1]), int(match[2])) if match else Scope(run)
                check_numbers(self._path, run, scope.last)
                self._check_folder(scope, folder, folders)
                stored = scopes.setdefault(scope, {})
                if path and key.class_name not in DIRECTORY_CLASSES:
                    stored |= _stored(key, f"{subsystem}/{inside}".rstrip("/"), f"{place}/{path}")
        return scopes

    def _check_folder(self, scope: Scope, folder: str, folders: dict[Scope, str]) -> None:
        """Raises InputError for a folder whose name stands for no lumisections, or for those of another one."""
        other = folders.setdefault(scope, folder)
        if folder != "Run summary" and not 0 < scope.first <= scope.last:
            raise InputError(f"{self._path} has the folder {folder}, which stands for no lumisections.")
        if other != folder:
            raise InputError(f"{self._path} has the folders {other} and {folder} of the same lumisections.")

    def histogram(self, stored: Stored) -> Any:
        """One histogram, as uproot decodes it."""
        size = stored.key.object_size if stored.key else 0
        check_size(size, f"The {stored.classname} {stored.path}", LARGEST_ELEMENT)
        return self._root[stored.path]

    def stock(self, elements: Sequence[Stored]) -> KeyStock:
        """Histograms of one class to be read together; record n is the n-th of them."""
        return KeyStock(self._root, elements)

    def _number(self, text: str) -> int:
        """What a scalar says. Raises InputError for what is no whole number."""
        number = float(text) if re.fullmatch(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?", text) else np.nan
        if not np.isfinite(number) or number != np.rint(number):
            raise InputError(f"{self._path} has an event counter that says {text[:40]!r}; a whole number was expected.")
        return int(number)

    def counts(self, elements: Sequence[Stored]) -> list[int]:
        """What elements count: the number that a scalar tells, the sum over the bins of a histogram."""
        counts = [0 if element.key else self._number(element.text) for element in elements]
        for classname in {element.classname for element in elements if element.key}:
            places = [n for n, element in enumerate(elements) if element.key and element.classname == classname]
            reader = HistogramReader(self.stock([elements[n] for n in places]))
            read = reader.read(range(len(places)), [np.zeros(1, dtype=np.int64)] * len(places))
            for n, (bins,) in zip(places, read, strict=True):
                counts[n] = round(float(bins.inside().sum()))
        return counts


class KeyStock:
    """Histograms of one class, each behind a key of its own."""

    def __init__(self, root: Any, elements: Sequence[Stored]) -> None:
        self._root, self._elements = root, elements
        self.classname = elements[0].classname
        self.place = str(root.file.file_path)

    def size(self, record: int) -> int:
        """Compressed bytes of a record."""
        return self._key(record).size

    def open(self, records: Sequence[int]) -> Iterator[Objects]:
        """The one object of each key."""
        keys = [self._key(record) for record in records]
        for key in keys:
            check_size(key.object_size, f"The {self.classname} {key.name}", LARGEST_MAP)
        for raw, key in zip(fetch(self._root.file.source, [Record(k.seek, k.size) for k in keys]), keys, strict=True):
            yield key_object(raw, key.key_size, key.object_size)

    def decode(self, record: int, objects: Objects, number: int) -> Any:  # noqa: ARG002
        """The object of a key, fetched anew."""
        return self._root[self._elements[record].path]

    def _key(self, record: int) -> Key:
        key = self._elements[record].key
        assert key is not None
        return key


def _folders(directory: Any) -> dict[str, Key]:
    """Keys of the folders in a folder, by name."""
    names = directory.keys(recursive=False, cycle=False, filter_classname="TDirectory*")
    return {name: _key(directory.key(name)) for name in names}


def _key(key: Any) -> Key:
    """A key that uproot read."""
    place = (key.fSeekKey, key.fNbytes, key.fKeylen, key.fObjlen, key.fCycle, key.fSeekPdir)
    return Key(*place, key.fClassName, key.fName)


def _stored(key: Key, folder: str, place: str) -> dict[str, Stored]:
    """An element by its full name; none for a text that is no scalar."""
    if key.class_name != "TObjString":
        return {f"{folder}/{key.name}": Stored(key.class_name, f"{place}/{key.name};{key.cycle}", key)}
    scalar = _SCALAR.match(key.name)
    return {f"{folder}/{scalar['name']}": Stored(_KINDS[scalar["kind"]], text=scalar["text"])} if scalar else {}
