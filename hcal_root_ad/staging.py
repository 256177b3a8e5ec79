"""Hidden folders to write in before a file takes its place; what a killed process left of its own is cleared."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

PREFIX = ".publishing-"


@contextmanager
def staging_folder(parent: Path) -> Iterator[Path]:
    """A new folder in ``parent``, which is made where it lacks; it goes at the end.

    It is locked as long as the process that writes in it lives, on whatever host, so that nobody else clears it. On a
    file system without locks nothing is cleared. Raises OSError.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with _locked(parent, wait=True):  # so that no other clears the new folder before it is locked
        clear_left(parent)
        folder = Path(mkdtemp(prefix=PREFIX, dir=parent))
        handle = os.open(folder, os.O_RDONLY)
        _lock(handle)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def clear_left(parent: Path) -> None:
    """Remove what killed processes left in a folder."""
    for folder in parent.glob(f"{PREFIX}*"):
        with _locked(folder) as free:
            if free:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Lock a folder; tells whether it is locked, which it is not where another holds it, or there are no locks."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # gone meanwhile
        yield False
        return
    try:
        yield _lock(handle, wait=wait)
    finally:
        os.close(handle)


def _lock(handle: int, *, wait: bool = False) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
