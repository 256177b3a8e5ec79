"""The files of a campaign: as named, as listed in a text or JSON file, and as known from before where they are gone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.inputs import InputFile, expand_paths
from hcal_root_ad.tables import read_json, read_lines, shown

_ADDRESS = re.compile(r"\w+://|dials:")
LISTS = (".txt", ".list", ".json")
"""Ends of the names of dataset lists."""


def campaign_files(
    names: Sequence[str],
    known: Sequence[str],
    resolve: Callable[[str], Iterable[InputFile]],
    output: Path | None = None,
) -> tuple[InputFile, ...]:
    """Files that are meant by names of files, folders, patterns, addresses, and dataset lists.

    Args:
        known: paths from an earlier campaign; a file, folder or pattern that matches nothing any more stands for those
            of them that it names.
        resolve: gives the paths or addresses of a name (InputError if there is none).
        output: what is found in this folder is left out: a campaign may be kept inside the folder of its inputs.

    Raises:
        InputError: a name that stands for nothing, a list that cannot be read.
    """
    found = (file for name in names for one in _listed(name) for file in _files(one, known, resolve, output))
    return tuple(sorted(set(found), key=str))


def _files(
    name: str, known: Sequence[str], resolve: Callable[[str], Iterable[InputFile]], output: Path | None
) -> Sequence[InputFile]:
    try:
        named = list(resolve(name))
        return [file for file in expand_paths(named) if file in named or not _inside(file, output)]
    except InputError:
        asked = str(Path(name).absolute())
        gone = [path for path in known if path == asked or fnmatch(path, asked) or path.startswith(f"{asked}/")]
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
    names = list(_names(path))
    if not names:
        raise InputError(f"The dataset list {path} names no file.")
    for line in names:
        if not line.strip() or "\0" in line:
            raise InputError(f"The dataset list {path} holds {shown(line)} where a file's name was expected.")
        yield line if _ADDRESS.match(line) else str(path.parent / line)


def _names(path: Path) -> Iterable[str]:
    if path.suffix == ".json":
        return list(_strings(read_json(path, "dataset list"), path))
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
