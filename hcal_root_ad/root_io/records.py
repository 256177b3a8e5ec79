"""Records of a ROOT file as bytes: fetched many at once, decompressed, and cut into their objects.

Layout: ROOT ``io/doc/TFile/README.md`` (keys), ``core/zip/inc/RZip.h`` (blocks), ``tree/tree/src/TBasket.cxx``
(baskets). All codecs work without Python's global lock, so records are decompressed in several threads at once.
uproot's own sources hand every read to another thread, which costs more than reading from the system's cache: a file
here is a source that reads at once, where it is asked for, into memory that is there. A memory map would be as quick,
but a file that shrinks while it is mapped ends the whole process.
"""

from __future__ import annotations

import lzma
import os
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple

import cramjam
import deflate
import numpy as np
import xxhash
from numpy.typing import NDArray
from uproot.compression import decompress
from uproot.source.chunk import Chunk, Source
from uproot.source.futures import TrivialFuture


class LocalSource(Source):  # type: ignore[misc]
    """Bytes of one open file; any number of threads may read it together."""

    def __init__(self, file_path: str, **_: Any) -> None:
        super().__init__()
        self._file_path = file_path
        self._file = Path(file_path).open("rb", buffering=0)  # noqa: SIM115 (closed in __exit__)
        self._num_bytes = os.fstat(self._file.fileno()).st_size

    def chunk(self, start: int, stop: int) -> Chunk:
        stop = min(stop, self._num_bytes)  # a damaged length must not become memory
        self._num_requests += 1
        self._num_requested_chunks += 1
        self._num_requested_bytes += stop - start
        return Chunk(self, start, stop, TrivialFuture(self._read(start, stop)))

    def _read(self, start: int, stop: int) -> bytes:
        if not 0 <= start <= stop:
            raise OSError(f"bytes from {start} on, but the file has {self._num_bytes}")
        return os.pread(self._file.fileno(), stop - start, start)

    def chunks(self, ranges: Sequence[tuple[int, int]], notifications: Queue[Chunk]) -> list[Chunk]:
        chunks = [self.chunk(start, stop) for start, stop in ranges]
        for chunk in chunks:
            notifications.put(chunk)
        return chunks

    def read_into(self, start: int, room: memoryview) -> None:
        """Fill a buffer from byte ``start`` on.

        Raises:
            OSError: the file ends before.
        """
        read = os.preadv(self._file.fileno(), [room], start)
        if read != len(room):
            raise OSError(f"{len(room)} bytes at {start}, of which the file has {read}")

    @property
    def closed(self) -> bool:
        return self._file.closed

    def __enter__(self) -> LocalSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


_KEY = struct.Struct(">iHIIHH")
_BASKET = struct.Struct(">HIIII")
_FLAG = 1
"""Bytes of ``fHeaderOnly``/flag behind the basket's header."""
_BLOCK_HEADER, _CHECKSUM = 9, struct.Struct(">Q")


class Record(NamedTuple):
    """Place of a record: a key, and the object or basket behind it."""

    seek: int
    size: int


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of a record, uncompressed: object n lies from ``offsets[n]`` to ``offsets[n + 1]`` in ``data``.

    ``data`` is overwritten when the same thread unpacks the next record. ``key_size`` is how far the
    file's references to classes within the record are off.
    """

    data: memoryview
    offsets: NDArray[np.int64]
    key_size: int

    def __getitem__(self, number: int) -> memoryview:
        return self.data[self.offsets[number] : self.offsets[number + 1]]


class _Scratch(threading.local):
    """Room for one record per thread: fresh memory for each would cost as much as the quicker codecs."""

    def __init__(self) -> None:
        self._room = memoryview(b"")

    def take(self, size: int) -> memoryview:
        if len(self._room) < size:
            self._room = np.empty(size, dtype=np.uint8).data
        return self._room[:size]


_compressed, _uncompressed = _Scratch(), _Scratch()


def fetch(source: Any, records: Sequence[Record]) -> Iterator[memoryview]:
    """Bytes of records; each holds until the same thread fetches the next.

    From elsewhere, all come in one request, in which uproot's sources join neighbours.
    """
    if any(record.size <= 0 for record in records):
        raise ValueError("a record without a size")
    if isinstance(source, LocalSource):
        for record in records:
            if record.seek + record.size > source.num_bytes:  # a damaged length must not become memory
                raise OSError(f"a record of {record.size} bytes at {record.seek}, beyond the end of the file")
            room = _compressed.take(record.size)
            source.read_into(record.seek, room)
            yield room
        return
    chunks = source.chunks([(record.seek, record.seek + record.size) for record in records], notifications=Queue())
    try:
        yield from (memoryview(chunk.raw_data) for chunk in chunks)
    except TypeError as error:  # uproot takes what fsspec could not read, an exception, for bytes
        raise OSError("bytes that cannot be read") from error


def key_object(raw: memoryview, key_size: int, object_size: int) -> Objects:
    """The one object behind a key, of the sizes that its folder's list of keys tells: ROOT goes by these."""
    data = _content(raw, key_size, object_size)
    return Objects(data, np.array([0, len(data)]), key_size)


def basket_objects(raw: memoryview) -> Objects:
    """The entries of a basket.

    Raises:
        ValueError: bytes that are no basket of entries of their own sizes, or damaged.
    """
    _, _, object_size, _, key_size, _ = _KEY.unpack_from(raw)
    data = _content(raw, key_size, object_size)
    *_, last = _BASKET.unpack_from(raw, key_size - _BASKET.size - _FLAG)
    border = last - key_size
    if not 0 <= border <= len(data):
        raise ValueError("a basket whose entries end outside of it")
    places = np.frombuffer(data, dtype=">i4", offset=border, count=(len(data) - border) // 4)
    if len(places) < 2 or not 0 < places[0] < len(places):
        raise ValueError("a basket without the offsets of its entries")
    offsets = np.append(places[1 : places[0]].astype(np.int64) - key_size, border)
    if offsets[0] != 0 or np.any(np.diff(offsets) < 0):
        raise ValueError("offsets of a basket's entries that do not rise")
    return Objects(data[:border], offsets, key_size)


def _content(raw: memoryview, key_size: int, object_size: int) -> memoryview:
    """What is behind a record's key, uncompressed.

    Raises:
        TooLargeError: more than anything in a DQM file takes. ValueError: sizes that contradict the content.
    """
    if not _KEY.size < key_size <= len(raw):
        raise ValueError(f"a record of {len(raw)} bytes with a key of {key_size}")
    check_size(object_size, "A record")
    payload = raw[key_size:]
    return payload if len(payload) == object_size else _decompress(payload, object_size)


LARGEST_RECORD = 2**28
"""Bytes, uncompressed: a TH3 of all lumisections takes some 200 MB, a basket of histograms 1 to 30."""
LARGEST_MAP, LARGEST_ELEMENT = 2**20, 2**26
"""Bytes of a depth map (it needs some 50 kB), and of an element against the LS."""


class TooLargeError(ValueError):
    """Something that would take more memory than anything in a DQM file needs."""


def check_size(size: int, what: str, most: int = LARGEST_RECORD) -> None:
    """Make sure that bytes may become memory, before they do.

    Raises:
        TooLargeError: there are more than can be right.
    """
    if size > most:
        raise TooLargeError(
            f"{what} would take {size / 1e6:.0f} MB of memory; {most / 1e6:.0f} MB are the most there can be."
        )


class _Bounds:
    """How many files of ours are open, whose records uproot may decompress as well."""

    def __init__(self) -> None:
        self.users, self.lock, self.before = 0, threading.Lock(), decompress.hook_before_block

    def use(self, more: int) -> None:
        with self.lock:
            self.users += more
            decompress.hook_before_block = check_blocks if self.users else self.before


_bounds = _Bounds()


@contextmanager
def bounded_records() -> Iterator[None]:
    """While this lasts, what uproot decompresses is checked by :func:`check_blocks`; then its hook is as before."""
    _bounds.use(1)
    try:
        yield
    finally:
        _bounds.use(-1)


def check_blocks(chunk: Any, cursor: Any, context: Any, compressed_bytes: int, uncompressed_bytes: int,
                 num_blocks: int, **_: Any) -> None:  # fmt: skip
    """Hook for uproot's decompression, which takes as much memory as a key says, were it damaged or not.

    Raises:
        ValueError: the blocks behind the key are of another size.
    """
    check_size(uncompressed_bytes, "A record")
    if num_blocks == 0:
        payload = chunk.get(cursor.index, cursor.index + compressed_bytes, cursor, context)
        _blocks_of(memoryview(payload), uncompressed_bytes)


def _blocks_of(payload: memoryview, size: int) -> list[tuple[bytes, memoryview, int]]:
    blocks = list(_blocks(payload))
    if sum(block_size for _, _, block_size in blocks) != size:
        raise ValueError(f"compressed blocks that do not add up to the {size} bytes of their record")
    return blocks


def _decompress(payload: memoryview, size: int) -> memoryview:
    blocks = _blocks_of(payload, size)
    out, filled = _uncompressed.take(size), 0
    for codec, block, block_size in blocks:
        written = _decompress_block(codec, block, out[filled : filled + block_size])
        if written != block_size:
            raise ValueError(f"a compressed block of {written} bytes that speaks of {block_size}")
        filled += block_size
    return out


def _blocks(payload: memoryview) -> Iterator[tuple[bytes, memoryview, int]]:
    """Codec, compressed bytes and uncompressed size of each block (at most 16 MB)."""
    start = 0
    while start < len(payload):
        header = payload[start : start + _BLOCK_HEADER].tobytes()
        compressed, uncompressed = (int.from_bytes(header[n : n + 3], "little") for n in (3, 6))
        start += _BLOCK_HEADER
        if len(header) < _BLOCK_HEADER or start + compressed > len(payload):
            raise ValueError("a compressed block that is cut short")
        yield header[:2], payload[start : start + compressed], uncompressed
        start += compressed


def _decompress_block(codec: bytes, block: memoryview, out: memoryview) -> int:
    if codec not in _CODECS:
        raise ValueError(f"the unknown compression {codec!r}")
    if codec == _LZ4:
        (checksum,) = _CHECKSUM.unpack_from(block)
        block = block[_CHECKSUM.size :]
        if xxhash.xxh64(block).intdigest() != checksum:
            raise ValueError("a compressed block whose checksum does not fit")
    try:
        return _CODECS[codec](block, out)
    except (deflate.DeflateError, lzma.LZMAError, cramjam.DecompressionError, OverflowError) as error:
        raise ValueError(f"a compressed block that is damaged ({error})") from error


_LZ4 = b"L4"


def _zlib(block: memoryview, out: memoryview) -> int:
    content = deflate.zlib_decompress(block, len(out))
    out[: len(content)] = content
    return len(content)


def _lzma(block: memoryview, out: memoryview) -> int:
    stream = lzma.LZMADecompressor()
    content = stream.decompress(block, len(out) + 1)
    if not stream.eof or len(content) > len(out):
        raise lzma.LZMAError("it does not end where it should")
    out[: len(content)] = content
    return len(content)


def _lz4(block: memoryview, out: memoryview) -> int:
    return int(cramjam.lz4.decompress_block_into(block, out, output_len=len(out)))


def _zstd(block: memoryview, out: memoryview) -> int:
    return int(cramjam.zstd.decompress_into(block, out))


_CODECS: dict[bytes, Callable[[memoryview, memoryview], int]] = {b"ZL": _zlib, b"XZ": _lzma, _LZ4: _lz4, b"ZS": _zstd}
"""Quickest of what is small: libdeflate, Python's own lzma, and cramjam, which uproot needs as well."""
