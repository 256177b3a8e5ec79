"""Input files: from what the user typed to paths, what each file is, and errors of broken files as sentences."""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uproot

from hcal_root_ad.errors import InputError
from hcal_root_ad.lumi_maps import Source

_DATA_FILE = re.compile(r"\.(root|parquet)$|\.root\.ls\d+_\w+$")
ROOT_MAGIC, PARQUET_MAGIC = b"root", b"PAR1"

# What uproot and pyarrow raise on damaged content, found by overwriting bytes of good files.
DAMAGE = (
    uproot.DeserializationError,
    struct.error,  # a cut record
    zlib.error,
    OSError,  # a cut file; pyarrow's broken pages
    ValueError,  # a wrong magic word or codec, text that is not UTF-8, pyarrow's ArrowInvalid
    KeyError,  # a damaged name of a key
    IndexError,
    AssertionError,  # uproot checks lengths by assertions
    NotImplementedError,  # a damaged class version
    AttributeError,  # an object whose class the damaged streamers no longer describe
    MemoryError,  # an absurd length
    OverflowError,
)


def expand_paths(paths: str | Path | Iterable[str | Path]) -> tuple[Path, ...]:
    """Files that are meant: each path is a file, a folder (searched through) or a glob pattern.

    Raises:
        InputError: a path that does not exist, a folder or pattern without files.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    found = [file for path in given for file in _files_of(Path(path))]
    if not found:
        raise InputError("No input was given; name a DQM file, a folder of them, or a glob pattern.")
    return tuple(dict.fromkeys(found))


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if _DATA_FILE.search(p.name) and not p.name.startswith("."))
        if not files:
            raise InputError(f"The folder {path} holds no .root or .parquet file.")
        return files
    if path.exists():
        return [path]
    matches = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    if matches:
        return [file for match in matches for file in _files_of(match)]
    raise InputError(f"There is no file {path}; check the path.")


def magic(path: Path) -> bytes:
    """The first four bytes.

    Raises:
        InputError: the file cannot be read, or is empty.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise InputError(f"The file {path} cannot be read: {error.strerror}.") from error
    if not start:
        raise InputError(f"The file {path} is empty.")
    return start


def source_of(path: Path) -> Source:
    """Name, size and digest of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Source(name=path.name, size=path.stat().st_size, sha256=digest)


@contextmanager
def damage_as_input_error(path: Path) -> Iterator[None]:
    """Turn what readers raise on a damaged file into an :class:`InputError` with one sentence."""
    try:
        yield
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:120].encode("ascii", "backslashreplace").decode()
        message = f"The file {path} is damaged or cut short ({type(error).__name__}: {reason}); fetch it again."
        raise InputError(message) from error


@contextmanager
def open_root(path: Path) -> Iterator[Any]:
    """Open a ROOT file; anything that breaks while it is read ends in an :class:`InputError`."""
    with damage_as_input_error(path), uproot.open(path, object_cache=None, array_cache=None) as directory:
        promised, size = directory.file.fEND, path.stat().st_size
        if promised > size:
            raise InputError(
                f"The file {path} is cut short: it should have {promised} bytes, but has {size}; fetch it again."
            )
        yield directory
