"""Keys and directories of a ROOT file as bytes (ROOT ``io/doc/TFile``): thousands of folders listed at once, and files
whole, with all records and the gaps between.

uproot makes an object of each folder, with several reads; a harvested file has some five folders per lumisection.

ROOT and uproot find objects through the lists of keys in the directories. The newer DQM GUI instead walks all records
in sequence from byte 100, and takes a gap only if it begins with a negative length, as ROOT marks it; uproot does not
mark gaps. So a file written by uproot is marked here, and both ways of reading are compared
(``DQMServices/DQMGUI/python/nanoroot.py``).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hcal_root_ad.errors import InputError, OutputError
from hcal_root_ad.files import refuse_pipe
from hcal_root_ad.root_io.records import Record, fetch

DIRECTORY_CLASSES = ("TDirectory", "TDirectoryFile")
_KEY = (struct.Struct(">iHIIHHII"), struct.Struct(">iHIIHHQQ"))
_DIRECTORY = (struct.Struct(">HIIIIIII"), struct.Struct(">HIIIIQQQ"))
_COUNT = struct.Struct(">i")
_CLASS_NAME = re.compile(r"[A-Za-z_][\w:<>,*& ]*")
_HEADER = (struct.Struct(">4sIIIIIIIBIII"), struct.Struct(">4sIIQQIIIBIQI"))
_BIG = 1_000_000
"""From this version of the file's header on, places in it take eight bytes."""
HEADER_BYTES, _FOLDER_BYTES = _HEADER[1].size, 54
"""Of a file's header at most; of a folder's header."""


class NotClosedError(Exception):
    """A file whose top folder has no list of keys: that is written when the file is closed."""


class FileHeader(NamedTuple):
    """Start of a ROOT file (``TFile.cxx``): where records begin and the file ends, and where the lists of free places
    and of streamers are; ``name_size`` are the bytes of the key and name before the top folder's header."""

    begin: int
    end: int
    free_seek: int
    free_size: int
    name_size: int
    info_seek: int
    info_size: int

    @property
    def closed(self) -> bool:
        """Whether the job that wrote the file closed it: then it tells where free space is."""
        return bool(self.free_seek and self.free_size)


def read_header(start: bytes) -> FileHeader:
    """The header in the first :data:`HEADER_BYTES` of a file. Raises struct.error where they are cut."""
    (version,) = _COUNT.unpack_from(start, 4)
    _, _, begin, end, free, free_size, _, name_size, _, _, info, info_size = _HEADER[version >= _BIG].unpack_from(start)
    return FileHeader(begin, end, free, free_size, name_size, info, info_size)


class Key(NamedTuple):
    """A key: where its record is, how large, of which class and name; ``parent`` is the place of its folder.

    ``directory``: path of the folder that lists it, where a whole file was read.
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


def read_key(data: bytes, position: int) -> Key:
    """The key whose bytes begin at ``position`` (in a key list, the object is elsewhere: see ``seek``)."""
    return _key_and_title(data, position)[0]


def _key_and_title(data: bytes, position: int) -> tuple[Key, int]:
    """A key, and where its title begins."""
    big = struct.unpack_from(">H", data, position + 4)[0] > 1000
    layout = _KEY[big]
    size, _, object_size, _, key_size, cycle, seek, parent = layout.unpack_from(data, position)
    class_name, offset = read_string(data, position + layout.size)
    name, offset = read_string(data, offset)
    return Key(seek, size, key_size, object_size, cycle, parent, class_name, name), offset


def read_string(data: bytes, position: int) -> tuple[str, int]:
    """A string behind its length, and the place behind it."""
    length, position = data[position], position + 1
    if length == 255:
        (length,), position = struct.unpack_from(">I", data, position), position + 4
    if position + length > len(data):
        raise IndexError(position)
    return data[position : position + length].decode("utf-8", "surrogateescape"), position + length


def key_list_of(data: bytes, header: int, folder: Key | None = None) -> Record | None:
    """Place of the key list of the directory whose header is at ``header``; None for a directory without one.

    Raises:
        ValueError: the record, which says again where it is and of what name, is not that of the ``folder``.
    """
    big = struct.unpack_from(">H", data, header)[0] > 1000
    _, _, _, size, _, place, _, seek = _DIRECTORY[big].unpack_from(data, header)
    if folder and (place != folder.seek or (folder.name and read_key(data, 0).name != folder.name)):
        raise ValueError(f"the folder {folder.name} is not where, or what, it is said to be")
    return Record(seek, size) if size else None


def keys_of(data: bytes, position: int) -> Iterator[Key]:
    """Keys in the key list whose record begins at ``position``.

    One follows the other where its last text ends, as ROOT reads them (``TKey::ReadKeyBuffer``): a text that was set
    after the key was made may be longer than the key's own size tells.

    Raises:
        ValueError, IndexError, struct.error: bytes that are no keys.
    """
    head = read_key(data, position)
    end = position + head.key_size + head.object_size
    position += head.key_size
    (count,) = _COUNT.unpack_from(data, position)
    position += _COUNT.size
    for _ in range(count):
        key, title = _key_and_title(data, position)
        _, position = read_string(data, title)
        if position > end or not _CLASS_NAME.fullmatch(key.class_name) or not 0 < key.key_size <= key.size:
            raise ValueError("a list of keys with a hole in it")
        yield key


def top_folder(source: Any) -> Key:
    """The folder that holds all others, as a key."""
    header = read_header(bytes(*fetch(source, [Record(0, HEADER_BYTES)])))
    return Key(header.begin, header.name_size + _FOLDER_BYTES, header.name_size, 0, 0, 0, "TFile", "")


def check_folders(source: Any, levels: int = 3) -> None:
    """Read the lists of keys of the first levels of folders, before uproot makes objects of all that looks like keys.

    Raises:
        NotClosedError: there is no list, as in a file whose job died.
        ValueError, IndexError, OSError, struct.error: lists that are damaged.
    """
    top = top_folder(source)
    (record,) = fetch(source, [Record(top.seek, top.size)])
    if key_list_of(bytes(record), top.key_size) is None:
        raise NotClosedError
    for _ in walk_folders(source, top, levels):
        pass


def walk_folders(source: Any, top: Key, levels: int | None = None) -> Iterator[tuple[str, Key]]:
    """All that is below a folder, level by level: path of the folder that holds it (from ``top``), and its newest key.

    Raises:
        ValueError: a folder within itself.
    """
    level, visited, depth = [("", top)], {top.seek}, 0
    while level and depth != levels:
        depth += 1
        below = []
        for (path, _), keys in zip(level, _list_folders(source, [key for _, key in level]), strict=True):
            for key in {key.name: key for key in sorted(keys, key=lambda key: key.cycle)}.values():
                yield path, key
                if key.class_name in DIRECTORY_CLASSES:
                    if key.seek in visited:
                        raise ValueError(f"the folder {key.name} within itself")
                    visited.add(key.seek)
                    below.append((f"{path}/{key.name}".lstrip("/"), key))
        level = below


def _list_folders(source: Any, folders: Sequence[Key]) -> Iterator[list[Key]]:
    """Keys in each of the folders."""
    raws = map(bytes, fetch(source, [Record(folder.seek, folder.size) for folder in folders]))
    lists = [key_list_of(raw, folder.key_size, folder) for raw, folder in zip(raws, folders, strict=True)]
    listed = iter(fetch(source, [place for place in lists if place]))
    for place in lists:
        raw = bytes(next(listed)) if place else b""
        if place and read_key(raw, 0).size > len(raw):  # its own size is the better one
            (raw,) = map(bytes, fetch(source, [Record(place.seek, read_key(raw, 0).size)]))
        yield list(keys_of(raw, 0)) if place else []


_BEGIN = 100
_BLOCK_HEADER = 9
"""Bytes of a compressed block before its zlib stream."""
_STRING_IN_OBJECT = 16
"""Bytes of a TObjString before its text: byte count and version, and the TObject."""
_SCATTERED = ("TTree", "TNtuple", "TNtupleD", "TChain", "ROOT::RNTuple", "ROOT::Experimental::RNTuple")
"""Classes whose data lie in records that no directory lists."""


@dataclass(frozen=True, eq=False)
class FileLayout:
    """A ROOT file as its directories describe it.

    ``objects`` are all listed objects, ``folders`` the places of the directories by path, and
    ``bookkeeping`` the (start, stop) of the records that hold directories, key lists, streamers and free segments.
    """

    path: Path
    data: bytes
    end: int
    objects: tuple[Key, ...]
    folders: dict[str, int]
    bookkeeping: tuple[tuple[int, int], ...]

    def compression(self, record: Key) -> str:
        """Codec tag of a record, for example ``ZL`` for zlib; empty if not compressed."""
        if record.size - record.key_size == record.object_size:
            return ""
        start = record.seek + record.key_size
        return self.data[start : start + 2].decode("latin-1")

    def text(self, record: Key) -> str:
        """Text of a TObjString; raises InputError if it cannot be decoded."""
        payload = self.data[record.seek + record.key_size : record.end]
        try:
            if self.compression(record):
                payload = zlib.decompress(payload[_BLOCK_HEADER:])
            return read_string(payload, _STRING_IN_OBJECT)[0]
        except (zlib.error, struct.error, IndexError) as error:
            raise InputError(
                f"{self.path}: expected a text at {record.path!r}, found other bytes; write the file again."
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
            f"{path}: expected whole ROOT directories, found a damaged one; the file is broken, get it again."
        ) from error


def _parse(path: Path, data: bytes) -> FileLayout:
    header = read_header(data)
    begin, end, objects, folders = header.begin, header.end, list[Key](), {"": header.begin}
    if end > len(data):
        raise InputError(f"{path}: expected {end} bytes, found {len(data)}; the file is truncated, copy it again.")
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
        key_list = read_key(data, place.seek) if place else None
        bookkeeping += [(record.seek, record.end) for record in (read_key(data, seek), key_list) if record]
        for record in (key._replace(directory=folder) for key in keys_of(data, key_list.seek)) if key_list else ():
            if record.class_name in DIRECTORY_CLASSES:
                folders[record.path] = record.seek
                pending.append((record.seek, record.seek + record.key_size, record.path))
            else:
                objects.append(record)
    return FileLayout(path, data, end, tuple(objects), folders, tuple(bookkeeping))


def walk(container: FileLayout) -> tuple[dict[int, Key], str | None]:
    """All records met in sequence from byte 100, by place, and what stopped the walk before fEND, if anything."""
    met: dict[int, Key] = {}
    position = _BEGIN
    while position < container.end:
        record = None
        with suppress(struct.error, IndexError):
            (size,) = _COUNT.unpack_from(container.data, position)
            if size < 0:
                position -= size
                continue
            record = read_key(container.data, position)
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
    if any(stop - start < _COUNT.size for start, stop in gaps):
        raise OutputError(
            f"{path}: a gap shorter than four bytes cannot be marked for the newer GUI; nothing was kept."
        )
    with path.open("r+b") as file:
        for start, stop in gaps:
            file.seek(start)
            file.write(_COUNT.pack(start - stop))
