"""Places to write: files that appear whole or not at all, locks, folders that are swapped, and checks beforehand.

A file is written in a hidden folder beside its place and then renamed. The folder is locked as long as the process that
writes in it lives, so that what a killed process left can be told from what is at work, and is cleared.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp
from typing import TextIO

from hcal_root_ad.errors import InputError, OutputError

PREFIX = ".publishing-"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def plain_name(name: str) -> str:
    r"""A file's name as outputs have it: a backslash, and what cannot be printed or is no text, by its bytes.

    >>> plain_name("a\tb.root")
    'a%09b.root'
    """

    def spelled(letter: str) -> str:
        if letter.isprintable() and letter != "\\":
            return letter
        return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogateescape"))

    return "".join(map(spelled, name))


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A place to write ``path`` at, under its own name; it appears in its folder, which is made, once it is complete.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with staging_folder(path.parent) as folder:
            yield folder / path.name
            (folder / path.name).replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); choose another place.") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file; it ends with one line break."""
    with whole_file(path) as partial:
        partial.write_text(text.rstrip("\n") + "\n", encoding="utf-8")


@contextmanager
def staging_folder(parent: Path) -> Iterator[Path]:
    """A new hidden folder in ``parent``, which is made where it lacks; it goes at the end.

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
    """Lock a folder; gives whether it is locked, which it is not where another holds it, or there are no locks."""
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


@contextmanager
def folder_lock(path: Path, verb: str, say: Callable[[str], None]) -> Iterator[TextIO]:
    """Hold the lock file at ``path``, open to be read and appended to: one process at a time in its folder.

    Where the file system has no locks, ``say`` gets a sentence, and nothing keeps two apart.

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


def replace_folder(folder: Path, new: Path) -> None:
    """Put ``new``, a folder beside it, in the place of ``folder``; files that only the old one has are kept.

    It happens in one step, so that a kill finds the old one or the new one. Where the system cannot exchange two names
    (Linux can, since 3.15, on local disks), the old folder is out of its place for a moment, as ``.<name>.before``;
    after a kill just then it is put back first. Raises OSError.
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


def _exchanged(a: Path, b: Path) -> bool:
    """Whether the two have each other's name now."""
    exchange = getattr(ctypes.CDLL(None), "renameat2", None)
    if exchange is None:
        return False
    return bool(exchange(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE) == 0)


def check_places(files: Sequence[Path], folders: Sequence[Path] = (), inputs: Sequence[Path] = ()) -> None:
    """Make sure, before the long work, that files, and folders with files in them, can be written.

    Raises:
        OutputError: a place that cannot be made or written, or that is another output's or an input.
    """
    all_folders = [*folders, *(file.parent for file in files)]
    made = {above for folder in all_folders for above in (folder.resolve(), *folder.resolve().parents)}
    for number, file in enumerate(files):
        if file.is_dir() or file.resolve() in made:
            raise OutputError(f"{file} is a folder; name a file to write.")
        if file.exists() and not file.is_file():
            raise OutputError(f"{file} is a pipe or a device; name a file to write.")
        if file.exists() and any(file.samefile(path) for path in inputs):
            raise OutputError(f"The input {file} would be replaced; choose another place.")
        if file.resolve() in [earlier.resolve() for earlier in files[:number]]:
            raise OutputError(f"{file} would be written twice; give each output a place of its own.")
    for folder in dict.fromkeys(all_folders):  # or the nearest above that is there, with a file that goes at once
        nearest = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
        if not nearest.is_dir():
            raise OutputError(f"{nearest} is a file, but a folder is needed; choose another place.")
        try:
            TemporaryFile(dir=nearest).close()
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written ({error.strerror}); choose another folder.") from error


def refuse_pipe(path: Path) -> None:
    """Raises InputError for what would be waited for, perhaps for ever, and cannot be read here and there."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{path} is a pipe or a device; save what comes from it as a file first.")
