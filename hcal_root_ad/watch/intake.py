"""Files that lie in the folder are received when they are whole; the others are waited for, and said once.

The online DQM writes under ``….tmp`` and renames (CMSSW ``DQMFileSaverOnline.cc``), which needs nothing but the name.
Copies and slow disks show files that still grow; a ROOT file says in its header how long it will be, and in
``….root.origin…`` the DQM leaves its size and MD5.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hcal_root_ad.errors import DefinitionError, HcalRootAdError, NoHcalError
from hcal_root_ad.harvest.harvester import FileContent, choose_definitions
from hcal_root_ad.harvest.inputs import PARQUET_MAGIC, ROOT_MAGIC, is_data_file
from hcal_root_ad.harvest.read import read_content
from hcal_root_ad.lumi_maps import Source
from hcal_root_ad.root_io.layout import HEADER_BYTES, read_header
from hcal_root_ad.watch.received import Received, Stamp, received_by_run

_ORIGIN = re.compile(r"md5:([0-9a-f]{32}) (\d+) \S+")


def lying_in(folder: Path) -> dict[Path, Stamp]:
    """Data files below a folder, by path; hidden files and folders are left out. Raises OSError where it is gone."""
    return dict(sorted(_walk(folder)))


def _walk(folder: Path) -> Iterator[tuple[Path, Stamp]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                if entry.is_dir():
                    yield from _walk(Path(entry))
                elif is_data_file(entry.name) and entry.is_file():  # a pipe would be waited for
                    status = entry.stat()
                    yield Path(entry), Stamp(status.st_size, status.st_mtime_ns)
            except FileNotFoundError:  # gone since it was listed
                continue


def unfinished(path: Path) -> str:
    """Why a file cannot be whole, in words; empty where nothing speaks against it. Raises OSError."""
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
        size = os.fstat(file.fileno()).st_size
        if start[:4] == PARQUET_MAGIC:
            file.seek(max(size - 4, 0))
            return "" if size > 8 and file.read(4) == PARQUET_MAGIC else "the end of a parquet file is missing"
    if not start:
        return "it is empty"
    reason = _root_unfinished(start, size) if ROOT_MAGIC.startswith(start[:4]) else ""
    return reason or _unlike_origin(path, size)


def _root_unfinished(start: bytes, size: int) -> str:
    if len(start) < HEADER_BYTES:
        return "the header of a ROOT file is cut"
    header = read_header(start)
    if header.end > size:
        return f"it has {size} of {header.end} bytes"
    return "" if header.end == size and header.closed else "ROOT has not closed it"


def _unlike_origin(path: Path, size: int) -> str:
    """What speaks against it in the ``.origin`` beside it, which the DQM writes for the GUI's daemon."""
    try:
        text = path.with_name(path.name.replace(".root", ".root.origin", 1)).read_text(encoding="ascii")
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
    origin = _ORIGIN.fullmatch(text.strip())
    if origin is None:
        return ""
    if int(origin[2]) != size:
        return f"it has {size} of the {origin[2]} bytes that its .origin says"
    with path.open("rb") as file:
        same = hashlib.file_digest(file, "md5").hexdigest() == origin[1]
    return "" if same else "its MD5 is not the one that its .origin says"


Read = Callable[[Path], tuple[FileContent, Source]]
Say = Callable[[str], None]
FIRST_PAUSE = 0.2
"""Seconds after which an unchanged file that was not whole is looked at again; each pause is twice the one before."""


def reader(definition: str | None = None) -> Read:
    """Reads a file by the definition (name or quantity) that is given, else by the one that fits best.

    Raises:
        DefinitionError: there is none of that name.
    """
    allowed = choose_definitions(definition)
    return lambda path: read_content(path, allowed, definition)


@dataclass
class _Waiting:
    """A file that is not whole yet: since when, why, and when it is looked at again."""

    since: float
    stamp: Stamp | None = None
    again: float = 0.0
    pause: float = FIRST_PAUSE
    reason: str = ""
    said: bool = False

    def due(self, stamp: Stamp, now: float) -> bool:
        """Whether to look again: after each change; without one, until it was said that the file does not change."""
        return stamp != self.stamp or (now >= self.again and not self.said)

    def failed(self, stamp: Stamp, reason: str, now: float) -> None:
        self.pause = FIRST_PAUSE if stamp != self.stamp else 2 * self.pause
        self.stamp, self.reason, self.again = stamp, reason, now + self.pause


class Intake:
    """Gives each file of a folder once, and once more whenever it changes.

    Args:
        patience: seconds after which a file that is not whole is said.

    Attributes:
        lying: what lay in the folder at the last look.
        effort: seconds that it took to list it.
    """

    def __init__(self, folder: Path, patience: float, say: Say, read: Read) -> None:
        self._folder, self._patience = folder, patience
        self._say, self._read = say, read
        self._settled: dict[Path, Stamp] = {}
        self._waiting: dict[Path, _Waiting] = {}
        self._foreign: set[str] = set()
        self.lying: dict[Path, Stamp] = {}
        self.effort = 0.0

    def look(self, now: float) -> Iterator[Received]:
        """Take what is whole. Raises OSError where the folder is gone."""
        begun = time.monotonic()
        self.lying = lying_in(self._folder)
        self.effort = time.monotonic() - begun
        self._waiting = {path: waiting for path, waiting in self._waiting.items() if path in self.lying}
        for path, stamp in self.lying.items():
            if self._settled.get(path) != stamp:
                yield from self._try(path, stamp, now)

    def settle(self, stamps: Mapping[Path, Stamp]) -> None:
        """Know files that were received before."""
        self._settled.update(stamps)

    def again(self, paths: Iterable[Path]) -> None:
        """Take files once more."""
        for path in paths:
            self._settled.pop(path, None)

    def _try(self, path: Path, stamp: Stamp, now: float) -> list[Received]:
        waiting = self._waiting.setdefault(path, _Waiting(now))
        if not waiting.due(stamp, now):
            return []
        try:
            reason = unfinished(path)
            received = [] if reason else self._received(path, stamp, now)
        except (NoHcalError, DefinitionError) as error:
            self._pass_over(path, str(error))
            received, reason = [], ""
        except HcalRootAdError as error:
            received, reason = [], str(error)
        except Exception as error:  # a file that others wrote may break a reader in any way
            received, reason = [], f"{type(error).__name__}: {error}"
        if reason:
            self._wait(path, waiting, stamp, reason, now)
        else:
            del self._waiting[path]
            self._settled[path] = stamp
        return received

    def _wait(self, path: Path, waiting: _Waiting, stamp: Stamp, reason: str, now: float) -> None:
        waiting.failed(stamp, reason, now)
        if not waiting.said and now - waiting.since >= self._patience:
            waiting.said = True
            self._say(f"{path.name} is not whole ({reason}); passed over until it changes.")

    def _received(self, path: Path, stamp: Stamp, now: float) -> list[Received]:
        content, source = self._read(path)
        if not content.sections and not content.totals:
            raise NoHcalError(f"{path} holds no HCAL maps per lumisection.")
        return list(received_by_run(content, source, stamp, now))

    def _pass_over(self, path: Path, sentence: str) -> None:
        """A file of another kind; of many that differ by numbers only, the first is said."""
        kind = re.sub(r"\d+", "#", path.name)
        if kind not in self._foreign:
            self._foreign.add(kind)
            self._say(f"{sentence} Files of such names are passed over.")
