"""Input files: paths, folders and addresses; ROOT files opened with limits on memory; damage as one sentence."""

from __future__ import annotations

import hashlib
import re
import struct
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from threading import Thread
from typing import Any

import fsspec
import uproot

import hcal_root_ad
from hcal_root_ad.errors import HcalRootAdError, InputError
from hcal_root_ad.files import plain_name, refuse_pipe
from hcal_root_ad.lumi_maps import Source
from hcal_root_ad.root_io.layout import HEADER_BYTES, NotClosedError, check_folders, read_header
from hcal_root_ad.root_io.records import LocalSource, TooLargeError, bounded_records

_DATA_FILE = re.compile(r"\.(root|parquet)$|\.root\.ls\d+_host.+_pid\d+$")
ROOT_MAGIC, PARQUET_MAGIC = b"root", b"PAR1"


@dataclass(frozen=True)
class RemoteFile:
    """A file that is read through the network, for example ``root://…`` or ``https://…``."""

    url: str

    @property
    def name(self) -> str:
        """Last part of the address, without what may follow a question mark."""
        return self.url.partition("?")[0].rpartition("/")[2]

    def __str__(self) -> str:
        return self.url


InputFile = Path | RemoteFile

# What our own code meets in damaged content. What uproot, pyarrow and the codecs raise is theirs to choose: anything.
DAMAGE = (
    struct.error,  # a cut record
    OSError,  # a cut file
    ValueError,  # a wrong magic word or codec, text that is not UTF-8
    KeyError,  # a damaged name of a key
    IndexError,
    AttributeError,  # an object whose class the damaged streamers no longer describe
    MemoryError,  # an absurd length
    OverflowError,
)
_OURS = Path(hcal_root_ad.__file__).parent


def expand_paths(paths: str | InputFile | Iterable[str | InputFile]) -> tuple[InputFile, ...]:
    """Files that are meant: each path is a file, a folder (searched through), a glob pattern or an address.

    Raises:
        InputError: a path that does not exist, a folder or pattern without files.
    """
    given = [paths] if isinstance(paths, str | Path | RemoteFile) else list(paths)
    files = [file for path in given for file in _files_of(input_file(path))]
    if not files:
        raise InputError("No input was given; name a DQM file, a folder of them, or a glob pattern.")
    return tuple(dict.fromkeys(files))


def input_file(path: str | InputFile) -> InputFile:
    """What a path or an address (``scheme://…``) stands for."""
    if isinstance(path, str):
        return RemoteFile(path) if "://" in path else Path(path)
    return path


def _files_of(path: InputFile) -> Sequence[InputFile]:
    if isinstance(path, RemoteFile):
        return [path]
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if is_data_file(p.name) and not p.is_dir())
        if not files:
            raise InputError(f"The folder {path} holds no .root or .parquet file.")
        return files
    if path.exists():
        return [path]
    matches = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    if matches:
        return [file for match in matches for file in _files_of(match)]
    raise InputError(f"There is no file {path}; check the path.")


def is_data_file(name: str) -> bool:
    """Whether a file of that name is meant where its folder is: ROOT, parquet or a snapshot, and not hidden."""
    return bool(_DATA_FILE.search(name)) and not name.startswith(".")


def magic(path: InputFile) -> bytes:
    """The first four bytes.

    Raises:
        InputError: the file cannot be read, or is empty.
    """
    try:
        if isinstance(path, RemoteFile):
            with damage_as_input_error(path):
                system, place = fsspec.core.url_to_fs(path.url)
                start = bytes(system.cat_file(place, 0, len(ROOT_MAGIC)))
        else:
            refuse_pipe(path)
            with path.open("rb") as file:
                start = file.read(len(ROOT_MAGIC))
    except OSError as error:
        raise InputError(f"The file {path} cannot be read: {error.strerror}.") from error
    if not start:
        raise InputError(f"The file {path} is empty.")
    return start


def source_of(path: InputFile) -> Source:
    """Name, size and digest of a file; one that is elsewhere would have to be fetched whole and has no digest."""
    if isinstance(path, RemoteFile):
        system, place = fsspec.core.url_to_fs(path.url)
        return Source(name=plain_name(path.name), size=int(system.size(place) or 0), sha256="")
    return _SourceHere(path)


class _SourceHere(Source):
    """A file here. Its digest is worked out when it is asked for: that takes the whole file, reading a part of it."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, _state(path)
        object.__setattr__(self, "name", plain_name(path.name))
        object.__setattr__(self, "size", path.stat().st_size)

    @cached_property
    def sha256(self) -> str:
        """Digest of the file that was read; empty if it is no longer there, or another."""
        try:
            with self._path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            return digest if _state(self._path) == self._read else ""
        except OSError:
            return ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source) and astuple(self) == astuple(other)

    def __hash__(self) -> int:
        return hash(astuple(self))


def _state(path: Path) -> tuple[int, ...]:
    """What changes when a file is written again."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def digest_ahead(sources: Iterable[Source]) -> Thread:
    """Start working out digests that will be needed, beside other work."""
    thread = Thread(target=lambda: [source.sha256 for source in sources])
    thread.start()
    return thread


@contextmanager
def source_beside(path: InputFile) -> Iterator[Future[Source]]:
    """:func:`source_of`, worked out while the file is read."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(source_of, path)


_NOT_CLOSED = (
    "The file {} was not closed by the job that wrote it, so what is in it cannot be found; fetch it again once it is "
    "complete, or have ROOT recover it."
)


def _not_closed(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    return start.startswith(ROOT_MAGIC) and len(start) == HEADER_BYTES and not read_header(start).closed


@contextmanager
def damage_as_input_error(path: InputFile) -> Iterator[None]:
    """Turn what readers raise on a damaged file into an :class:`InputError` with one sentence."""
    try:
        yield
    except HcalRootAdError:
        raise
    except TooLargeError as error:
        raise InputError(f"{path}: {error}") from error
    except NotClosedError as error:
        raise InputError(_NOT_CLOSED.format(path)) from error
    except Exception as error:
        if isinstance(path, RemoteFile):
            raise InputError(_unreachable(path, error)) from error
        if isinstance(error, DAMAGE) or _of_a_library(error):
            if _not_closed(path):
                raise InputError(_NOT_CLOSED.format(path)) from error
            message = f"The file {path} is damaged or cut short ({_reason(error)}); fetch it again."
            raise InputError(message) from error
        raise


def _of_a_library(error: Exception) -> bool:
    """Whether it was raised outside our own code: then it is the file that a library cannot make sense of."""
    *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
    return not Path(innermost.f_code.co_filename).is_relative_to(_OURS)


def _unreachable(path: RemoteFile, error: Exception) -> str:
    """A sentence on a file elsewhere: whatever fails may be the address, the network, the server, or the file."""
    scheme = path.url.partition("://")[0]
    if isinstance(error, ImportError) or "Protocol not known" in str(error):
        return f"{path} needs what reads {scheme}://, which is not installed: pip install 'hcal-root-ad[remote]'."
    return f"{path} cannot be read ({_reason(error)}); check the address, or copy the file here."


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:120].encode("ascii", "backslashreplace").decode()
    return f"{type(error).__name__}: {text}"


@contextmanager
def open_root(path: InputFile, classes: Mapping[str, Any] | None = None) -> Iterator[Any]:
    """Open a ROOT file; anything that breaks while it is read ends in an :class:`InputError`.

    ``classes``: what objects are decoded by, instead of uproot's own.
    """
    # As a key, the path is not searched for a colon with the name of an object behind it.
    opened = {str(path): None}
    options = {"custom_classes": classes} | ({} if isinstance(path, RemoteFile) else {"handler": LocalSource})
    with damage_as_input_error(path), bounded_records():
        if isinstance(path, Path):  # elsewhere it would take requests of their own
            with LocalSource(str(path)) as source:
                check_folders(source)
        with uproot.open(opened, object_cache=None, array_cache=None, **options) as directory:
            promised, size = directory.file.fEND, directory.file.source.num_bytes
            if promised > size:
                raise InputError(
                    f"The file {path} is cut short: it should have {promised} bytes, but has {size}; fetch it again."
                )
            yield directory
