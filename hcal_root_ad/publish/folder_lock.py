"""One process at a time in an output folder."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def folder_lock(path: Path, verb: str, say: Callable[[str], None]) -> Iterator[TextIO]:
    """Hold the lock file at ``path``, open to be read and appended to.

    Where the file system has no locks, ``say`` is told so, and nothing keeps two apart.

    Raises:
        BlockingIOError: another process holds it. OSError: it cannot be made.
    """
    with path.open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            say(f"{path.parent} is on a file system without locks: make sure that no other {verb} works there.")
        yield lock
