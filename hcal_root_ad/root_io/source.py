"""A file here as a source of uproot's: each read is made at once, where it is asked for, into memory that is there.

uproot's own sources hand every read to another thread, which costs more than reading from the system's cache.
A memory map would be as quick, but a file that shrinks while it is mapped ends the whole process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from queue import Queue
from typing import Any

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
