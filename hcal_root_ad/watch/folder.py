"""What lies in the folder, and what of it can be whole.

The online DQM writes under ``….tmp`` and renames (CMSSW ``DQMFileSaverOnline.cc``), which needs nothing but the name.
Copies and slow disks show files that still grow; a ROOT file says in its header how long it will be, and in
``….root.origin…`` the DQM leaves its size and MD5.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hcal_root_ad.harvest.input_file import PARQUET_MAGIC, ROOT_MAGIC, is_data_file

_SMALL, _LARGE = struct.Struct(">4sIIIII"), struct.Struct(">4sIIQQI")
"""Start of a ROOT file: magic, version, begin, fEND, place and length of the list of free places (``TFile.cxx``)."""
_LARGE_VERSION = 1_000_000
_ORIGIN = re.compile(r"md5:([0-9a-f]{32}) (\d+) \S+")


class Stamp(NamedTuple):
    """Size and time of change (ns) of a file: another stamp is another content."""

    size: int
    modified: int


def lying_in(folder: Path) -> dict[Path, Stamp]:
    """Data files below a folder, by path; hidden files and folders are left out. Raises OSError where it is gone."""
    return dict(sorted(_walk(folder)))


def _walk(folder: Path) -> Iterator[tuple[Path, Stamp]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                if entry.is_dir():
                    yield from _walk(Path(entry))
                elif is_data_file(entry.name) and entry.is_file():  # a pipe would be waited for
                    status = entry.stat()
                    yield Path(entry), Stamp(status.st_size, status.st_mtime_ns)
            except FileNotFoundError:  # gone since it was listed
                continue


def unfinished(path: Path) -> str:
    """Why a file cannot be whole, in words; empty where nothing speaks against it. Raises OSError."""
    with path.open("rb") as file:
        start = file.read(_LARGE.size)
        size = os.fstat(file.fileno()).st_size
        if start[:4] == PARQUET_MAGIC:
            file.seek(max(size - 4, 0))
            return "" if size > 8 and file.read(4) == PARQUET_MAGIC else "the end of a parquet file is missing"
    if not start:
        return "it is empty"
    reason = _root_unfinished(start, size) if ROOT_MAGIC.startswith(start[:4]) else ""
    return reason or _unlike_origin(path, size)


def _root_unfinished(start: bytes, size: int) -> str:
    if len(start) < _LARGE.size:
        return "the header of a ROOT file is cut"
    version = int.from_bytes(start[4:8], "big")
    _, _, _, end, _, free = (_LARGE if version >= _LARGE_VERSION else _SMALL).unpack_from(start)
    if end > size:
        return f"it has {size} of {end} bytes"
    return "" if end == size and free else "ROOT has not closed it"


def _unlike_origin(path: Path, size: int) -> str:
    """What speaks against it in the ``.origin`` beside it, which the DQM writes for the GUI's daemon."""
    try:
        text = path.with_name(path.name.replace(".root", ".root.origin", 1)).read_text(encoding="ascii")
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
    said = _ORIGIN.fullmatch(text.strip())
    if said is None:
        return ""
    if int(said[2]) != size:
        return f"it has {size} of the {said[2]} bytes that its .origin says"
    with path.open("rb") as file:
        same = hashlib.file_digest(file, "md5").hexdigest() == said[1]
    return "" if same else "its MD5 is not the one that its .origin says"
