"""A folder takes the place of another in one step, so that a kill finds the old one or the new one."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def replace_folder(folder: Path, new: Path) -> None:
    """Put ``new``, a folder beside it, in the place of ``folder``; files that only the old one has are kept.

    Where the system cannot exchange two names (Linux can, since 3.15, on local disks), the old folder is out of its
    place for a moment, as ``.<name>.before``; after a kill just then it is put back first. Raises OSError.
    """
    folder = folder.resolve()  # a link stays one
    before = folder.with_name(f".{folder.name}.before")
    if before.exists() and not folder.exists():
        before.rename(folder)
    if not folder.exists():
        new.rename(folder)
        return
    for path in folder.iterdir():
        if not (new / path.name).exists():
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, new / path.name)
    if not _exchanged(folder, new):
        shutil.rmtree(before, ignore_errors=True)
        folder.rename(before)
        new.rename(folder)
        new = before
    shutil.rmtree(new)


def _exchanged(one: Path, other: Path) -> bool:
    """Whether the two have each other's name now."""
    exchange = getattr(ctypes.CDLL(None), "renameat2", None)
    if exchange is None:
        return False
    return bool(exchange(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)
