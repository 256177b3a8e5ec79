"""The layout of a ROOT file as bytes: its records, what the directories list, and the gaps between.

ROOT and uproot find objects through the lists of keys in the directories. The newer DQM GUI instead
walks all records in sequence from byte 100, and takes a gap only if it begins with a negative length,
as ROOT marks it; uproot does not mark gaps. So a file written by uproot is marked here, and both ways
of reading are compared. Layout: ROOT ``io/doc/TFile``; reader: ``DQMServices/DQMGUI/python/nanoroot.py``.
"""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hcal_root_ad.errors import InputError, OutputError
from hcal_root_ad.harvest.inputs import refuse_pipe
from hcal_root_ad.root_io.layout import DIRECTORY_CLASSES, key_list_of, keys_of, read_header, read_key, read_string

_BEGIN = 100
_LENGTH = struct.Struct(">i")
_BLOCK_HEADER = 9
"""Bytes of a compressed block before its zlib stream."""
_STRING_IN_OBJECT = 16
"""Bytes of a TObjString before its text: byte count and version, and the TObject."""
_SCATTERED = ("TTree", "TNtuple", "TNtupleD", "TChain", "ROOT::RNTuple", "ROOT::Experimental::RNTuple")
"""Classes whose data lie in records that no directory lists."""


@dataclass(frozen=True)
class LayoutRecord:
    """One key and the object behind it.

    ``directory`` is the path of the folder that lists it, ``parent`` the place of the folder that it names itself.
    """

    seek: int
    size: int
    key_size: int
    object_size: int
    cycle: int
    parent: int
    class_name: str
    name: str
    directory: str = ""

    @property
    def end(self) -> int:
        return self.seek + self.size

    @property
    def path(self) -> str:
        return f"{self.directory}/{self.name}" if self.directory else self.name


@dataclass(frozen=True, eq=False)
class FileLayout:
    """A ROOT file as its directories describe it.

    ``objects`` are all listed objects, ``folders`` the places of the directories by path, and
    ``bookkeeping`` the (start, stop) of the records that hold directories, key lists, streamers and free segments.
    """

    path: Path
    data: bytes
    end: int
    objects: tuple[LayoutRecord, ...]
    folders: dict[str, int]
    bookkeeping: tuple[tuple[int, int], ...]

    def compression(self, record: LayoutRecord) -> str:
        """Codec tag of a record, for example ``ZL`` for zlib; empty if not compressed."""
        if record.size - record.key_size == record.object_size:
            return ""
        start = record.seek + record.key_size
        return self.data[start : start + 2].decode("latin-1")

    def text(self, record: LayoutRecord) -> str:
        """Text of a TObjString; raises InputError if it cannot be decoded."""
        payload = self.data[record.seek + record.key_size : record.end]
        try:
            if self.compression(record):
                payload = zlib.decompress(payload[_BLOCK_HEADER:])
            return read_string(payload, _STRING_IN_OBJECT)[0]
        except (zlib.error, struct.error, IndexError) as error:
            raise InputError(
                f"{self.path}: expected a text at {record.path!r}, found other bytes; write the file anew."
            ) from error

    def gaps(self) -> list[tuple[int, int]]:
        """(start, stop) of the bytes that belong to no record."""
        gaps, reached = [], _BEGIN
        spans = (*self.bookkeeping, *((record.seek, record.end) for record in self.objects), (self.end, self.end))
        for start, stop in sorted(spans):
            if start > reached:
                gaps.append((reached, start))
            reached = max(reached, stop)
        return gaps


def read_layout(path: Path) -> FileLayout:
    """Parse the header and all directories; raises InputError for anything that is not a whole ROOT file."""
    refuse_pipe(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give an existing ROOT file.") from error
    if data[:4] != b"root":
        raise InputError(
            f"{path}: expected a ROOT file (first bytes 'root'), found {data[:4]!r}; give a DQM ROOT file."
        )
    try:
        return _parse(path, data)
    except (struct.error, IndexError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{path}: expected whole ROOT directories, found a damaged one; the file is broken, get it anew."
        ) from error


def _parse(path: Path, data: bytes) -> FileLayout:
    header = read_header(data)
    begin, end = header.begin, header.end
    if end > len(data):
        raise InputError(f"{path}: expected {end} bytes, found {len(data)}; the file is truncated, copy it again.")
    objects: list[LayoutRecord] = []
    folders = {"": begin}
    lists = (header.free_seek, header.free_size), (header.info_seek, header.info_size)
    bookkeeping = [(seek, seek + size) for seek, size in lists if size]
    pending = [(begin, begin + header.name_size, "")]
    visited: set[int] = set()
    while pending:
        seek, directory, folder = pending.pop()
        if seek in visited:
            raise InputError(
                f"{path}: expected a tree of directories, found a cycle at {folder!r}; the file is broken."
            )
        visited.add(seek)
        place = key_list_of(data, directory)
        key_list = read_record(data, place.seek) if place else None
        bookkeeping += [(record.seek, record.end) for record in (read_record(data, seek), key_list) if record]
        for record in (LayoutRecord(*key, folder) for key in keys_of(data, key_list.seek)) if key_list else ():
            if record.class_name in DIRECTORY_CLASSES:
                folders[record.path] = record.seek
                pending.append((record.seek, record.seek + record.key_size, record.path))
            else:
                objects.append(record)
    return FileLayout(path, data, end, tuple(objects), folders, tuple(bookkeeping))


def read_record(data: bytes, position: int) -> LayoutRecord:
    """The record whose key's bytes begin at ``position``."""
    return LayoutRecord(*read_key(data, position))


def walk(container: FileLayout) -> tuple[dict[int, LayoutRecord], str | None]:
    """All records met in sequence from byte 100, by place, and what stopped the walk before fEND, if anything."""
    met: dict[int, LayoutRecord] = {}
    position = _BEGIN
    while position < container.end:
        record = None
        with suppress(struct.error, IndexError):
            (size,) = _LENGTH.unpack_from(container.data, position)
            if size < 0:
                position -= size
                continue
            record = read_record(container.data, position)
        if record is None or record.seek != position or not 0 < record.key_size <= size:
            return met, f"byte {position} begins neither a record nor a marked gap"
        met[position] = record
        position += size
    if position > container.end:
        return met, f"the last record ends at byte {position}, behind the file's end {container.end}"
    return met, None


def refuse_scattered(container: FileLayout) -> None:
    """Raise OutputError if the file holds a tree, whose baskets would be taken for gaps and damaged."""
    for record in container.objects:
        if record.class_name in _SCATTERED:
            raise OutputError(
                f"{container.path}: expected a harvested file of histograms, found the {record.class_name}"
                f" {record.path!r}; publish into a file of its own, without --attach."
            )


def mark_gaps(path: Path) -> None:
    """Write −length at the start of every gap of a finished file, so that it can be walked in sequence."""
    container = read_layout(path)
    refuse_scattered(container)
    gaps = container.gaps()
    if any(stop - start < _LENGTH.size for start, stop in gaps):
        raise OutputError(
            f"{path}: a gap shorter than four bytes cannot be marked for the newer GUI; nothing was kept."
        )
    with path.open("r+b") as file:
        for start, stop in gaps:
            file.seek(start)
            file.write(_LENGTH.pack(start - stop))
