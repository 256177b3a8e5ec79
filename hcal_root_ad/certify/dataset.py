"""The files of a campaign: as named, as listed in text or JSON files, what each holds, and what is known of them.

A first look gives the runs of each file and the digest of its content. It is kept, so that a file that did not change
is not read again, and one that is gone keeps its runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from hcal_root_ad.content import structure
from hcal_root_ad.errors import HcalRootAdError, InputError
from hcal_root_ad.files import write_text
from hcal_root_ad.harvest.inputs import InputFile, RemoteFile, expand_paths, input_file, source_beside
from hcal_root_ad.harvest.read import open_reader
from hcal_root_ad.tables import read_json, read_lines, shown

_ADDRESS = re.compile(r"\w+://|dials:")
LISTS = (".txt", ".list", ".json")
"""Ends of the names of dataset lists."""


def campaign_files(
    names: Sequence[str],
    surveyed: Sequence[str],
    resolve: Callable[[str], Iterable[InputFile]],
    output: Path | None = None,
) -> tuple[InputFile, ...]:
    """Files that are meant by names of files, folders, patterns, addresses, and dataset lists.

    Args:
        surveyed: paths from an earlier campaign; a file, folder or pattern that matches nothing any more stands for
            those of them that it names.
        resolve: gives the paths or addresses of a name (InputError if there is none).
        output: what lies in this folder is left out: a campaign may be kept inside the folder of its inputs.

    Raises:
        InputError: a name that stands for nothing, a list that cannot be read.
    """
    listed = (entry for name in names for entry in _listed(name))
    return tuple(sorted({file for entry in listed for file in _files(entry, surveyed, resolve, output)}, key=str))


def _files(
    name: str, surveyed: Sequence[str], resolve: Callable[[str], Iterable[InputFile]], output: Path | None
) -> Sequence[InputFile]:
    try:
        named = list(resolve(name))
        return [file for file in expand_paths(named) if file in named or not _inside(file, output)]
    except InputError:
        absolute = str(Path(name).absolute())
        gone = [path for path in surveyed
                if path == absolute or fnmatch(path, absolute) or path.startswith(f"{absolute}/")]  # fmt: skip
        if not gone:
            raise
        return [Path(path) for path in gone]


def _inside(file: InputFile, folder: Path | None) -> bool:
    return isinstance(file, Path) and folder is not None and file.absolute().is_relative_to(folder)


def _listed(name: str) -> Iterator[str]:
    """The names in a dataset list, those that are relative from its folder; any other name as it is."""
    path = Path(name)
    if path.suffix not in LISTS or not path.is_file():
        yield name
        return
    entries = list(_entries(path))
    if not entries:
        raise InputError(f"The dataset list {path} names no file.")
    for entry in entries:
        if not entry.strip() or "\0" in entry:
            raise InputError(f"The dataset list {path} holds {shown(entry)} where a file's name was expected.")
        yield entry if _ADDRESS.match(entry) else str(path.parent / entry)


def _entries(path: Path) -> Iterable[str]:
    if path.suffix == ".json":
        return _strings(read_json(path, "dataset list"), path)
    return read_lines(path, "dataset list")


def _strings(table: Any, path: Path) -> Iterator[str]:
    """Names in JSON: a list, or lists by dataset."""
    if isinstance(table, str):
        yield table
    elif isinstance(table, dict | list):
        for entry in table.values() if isinstance(table, dict) else table:
            yield from _strings(entry, path)
    else:
        raise InputError(f"The dataset list {path} holds {shown(table)} where a file's name was expected.")


@dataclass(frozen=True)
class SurveyedFile:
    """A file and its runs, or the sentence why it cannot be used.

    ``digest`` is the SHA-256 of the content; of a file elsewhere, which is never fetched whole, its address and size.
    ``empty``: it is whole, but holds no lumisection.
    ``size`` in bytes and ``changed`` (time of the last change, ns) tell whether it is still the same.
    """

    path: str
    size: int
    changed: int
    digest: str = ""
    runs: tuple[int, ...] = ()
    problem: str = ""
    empty: bool = False

    @property
    def file(self) -> InputFile:
        return input_file(self.path)


def survey(path: InputFile) -> SurveyedFile:
    """Look at a file; damage and other mistakes come back as a sentence, so that one file never stops the others."""
    name, size, changed = _stat(path)
    try:
        with source_beside(path) as source, open_reader(path) as reader:
            runs, content = reader.runs, source.result()
    except HcalRootAdError as error:
        return SurveyedFile(name, size, changed, problem=str(error))
    except OSError as error:
        return SurveyedFile(name, size, changed, problem=f"The file {path} cannot be read: {error.strerror}.")
    if not runs:
        return SurveyedFile(name, size, changed, empty=True)
    digest = content.sha256 or f"{path} {content.size}"
    return SurveyedFile(name, content.size, changed, digest, tuple(sorted(runs)))


def _stat(path: InputFile) -> tuple[str, int, int]:
    """Name, size and time of the last change (ns); 0 where the file is elsewhere or gone."""
    if isinstance(path, Path):
        with suppress(OSError):
            stat = path.stat()
            return _name(path), stat.st_size, stat.st_mtime_ns
    return _name(path), 0, 0


def _name(path: InputFile) -> str:
    return str(path if isinstance(path, RemoteFile) else path.absolute())


class Survey:
    """What the files of a campaign hold, kept as JSON: a file that did not change is not read again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[str, SurveyedFile] = {}
        if path.is_file():
            with suppress(InputError):  # damaged, it says nothing: the files are looked at again
                rows = structure(read_json(path, "list of files"), list[SurveyedFile], str(path))
                self._files = {row.path: row for row in rows}

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(self._files)

    def find(self, path: InputFile, retry_failed: bool = False) -> SurveyedFile | None:
        """What a file holds, if it is still the same or gone; None if it must be looked at.

        ``retry_failed``: look again at a file that could not be used.
        """
        file = self._files.get(_name(path))
        if file is None or (retry_failed and file.problem):
            return None
        if isinstance(path, RemoteFile) or not path.exists():
            return file
        return file if (file.size, file.changed) == _stat(path)[1:] else None

    def add(self, files: Sequence[SurveyedFile]) -> None:
        """Remember, also after a sudden end."""
        self._files |= {file.path: file for file in files}
        rows = [asdict(self._files[path]) for path in sorted(self._files)]
        write_text(self._path, json.dumps(rows, indent=0) + "\n")
