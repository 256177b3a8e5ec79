"""Files that lie in the folder are taken when they are whole; the others are waited for, and said once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hcal_root_ad.errors import DefinitionError, HcalRootAdError, NoHcalError
from hcal_root_ad.harvest.container import FileContent
from hcal_root_ad.harvest.definition import choose_definitions
from hcal_root_ad.harvest.read import read_content
from hcal_root_ad.lumi_maps import Source
from hcal_root_ad.watch.folder import Stamp, lying_in, unfinished
from hcal_root_ad.watch.taken import Taken, taken_by_run

Read = Callable[[Path], tuple[FileContent, Source]]
Say = Callable[[str], None]
FIRST_PAUSE = 0.2
"""Seconds after which an unchanged file that was not whole is looked at again; each pause is twice the one before."""


def reader() -> Read:
    """Reads a file by the definition that fits best."""
    allowed = choose_definitions(None)
    return lambda path: read_content(path, allowed)


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

    def look(self, now: float) -> Iterator[Taken]:
        """Take what is whole. Raises OSError where the folder is gone."""
        begun = time.monotonic()
        self.lying = lying_in(self._folder)
        self.effort = time.monotonic() - begun
        self._waiting = {path: one for path, one in self._waiting.items() if path in self.lying}
        for path, stamp in self.lying.items():
            if self._settled.get(path) != stamp:
                yield from self._try(path, stamp, now)

    def settle(self, stamps: Mapping[Path, Stamp]) -> None:
        """Know files that were taken before."""
        self._settled.update(stamps)

    def again(self, paths: Iterable[Path]) -> None:
        """Take files once more."""
        for path in paths:
            self._settled.pop(path, None)

    def _try(self, path: Path, stamp: Stamp, now: float) -> list[Taken]:
        waiting = self._waiting.setdefault(path, _Waiting(now))
        if not waiting.due(stamp, now):
            return []
        try:
            reason = unfinished(path)
            taken = [] if reason else self._taken(path, stamp, now)
        except (NoHcalError, DefinitionError) as error:
            self._pass_over(path, str(error))
            taken, reason = [], ""
        except HcalRootAdError as error:
            taken, reason = [], str(error)
        except Exception as error:  # a file that others wrote may break a reader in any way
            taken, reason = [], f"{type(error).__name__}: {error}"
        if reason:
            self._wait(path, waiting, stamp, reason, now)
        else:
            del self._waiting[path]
            self._settled[path] = stamp
        return taken

    def _wait(self, path: Path, waiting: _Waiting, stamp: Stamp, reason: str, now: float) -> None:
        waiting.failed(stamp, reason, now)
        if not waiting.said and now - waiting.since >= self._patience:
            waiting.said = True
            self._say(f"{path.name} is not whole ({reason}); passed over until it changes.")

    def _taken(self, path: Path, stamp: Stamp, now: float) -> list[Taken]:
        content, source = self._read(path)
        if not content.sections and not content.totals:
            raise NoHcalError(f"{path} holds no HCAL maps per lumisection.")
        return list(taken_by_run(content, source, stamp, now))

    def _pass_over(self, path: Path, sentence: str) -> None:
        """A file of another kind; of many that differ by numbers only, the first is said."""
        kind = re.sub(r"\d+", "#", path.name)
        if kind not in self._foreign:
            self._foreign.add(kind)
            self._say(f"{sentence} Files of such names are passed over.")
