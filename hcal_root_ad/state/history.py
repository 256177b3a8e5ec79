"""``StateStore``: a detector's state on disk, a folder in which every update is kept and can be undone.

``update-000012.json`` says what an update did, ``version-000012.npz`` is the state after it. The JSON file appears last
and in one step, so an update happened once its JSON file is there: a kill at any point leaves the state before it or
after it. Updates are only ever added; each names the digest of its version and of the update before it.

From the clean runs that a state was begun with, updates go forwards, and backwards for runs that were taken before.
Each stands on an earlier version (``based_on``): undoing is an update that stands on the version gone back to.
Versions are 3 MB, so of the older ones only some are kept whole (:func:`kept_whole`).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from io import BytesIO
from itertools import takewhile
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.content import structure
from hcal_root_ad.errors import OutputError, StateError
from hcal_root_ad.files import clear_left, whole_file, write_text
from hcal_root_ad.tables import read_json

FORMAT = 1
WHOLE = 8
"""So many of the last versions are kept whole."""
_LOCK, _UPDATE, _VERSION = ".lock", "update-{:06d}.json", "version-{:06d}.npz"
FIRST = _UPDATE.format(0)
"""A file that every state has."""
Arrays = Mapping[str, NDArray[Any]]


class Action(StrEnum):
    """What an update did."""

    BEGUN = "begun"
    LEARNED = "learned"
    ACCEPTED = "accepted"
    CLOSED = "closed"
    UNDONE = "undone"


@dataclass(frozen=True)
class Input:
    """A file that an update was made of; ``sha256`` is "" where it was read in parts."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Update:
    """One update of a state.

    Attributes:
        number: 0 for the first, then one more each.
        based_on: the version that it stands on; -1 for the first.
        backwards: whether it goes back in time from the clean runs.
        action: what it did. runs: about which runs. finding: about which open finding ("" for none).
        reason: a person's words. record: what was learned, frozen, opened and closed, as a table.
        inputs: files of the runs.
        version, previous: SHA-256 of its version, and of the JSON file of the update before it ("" for the first).
    """

    number: int
    based_on: int
    backwards: bool
    action: Action
    runs: tuple[int, ...] = ()
    finding: str = ""
    reason: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Input, ...] = ()
    version: str = ""
    previous: str = ""

    def text(self) -> str:
        """As the JSON file has it."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True, allow_nan=False) + "\n"


def kept_whole(number: int, last: int) -> bool:
    """Whether a version is kept: the last 8, every 8th of the last 64, every 64th of the last 512 …, and the first.

    >>> [number for number in range(101) if kept_whole(number, 100)]
    [0, 40, 48, 56, 64, 72, 80, 88, 93, 94, 95, 96, 97, 98, 99, 100]
    """
    step = 1
    while last - number >= WHOLE * step:
        step *= WHOLE
    return number % step == 0


@dataclass(frozen=True)
class History:
    """All updates of a state, in their order; ``whole``: numbers of the versions that are kept."""

    updates: tuple[Update, ...]
    whole: frozenset[int]

    @property
    def start(self) -> int:
        """The last of the clean runs with which the state was begun; 0 if it was begun with models alone."""
        return max(self.updates[0].runs, default=0)

    def last(self, backwards: bool = False) -> Update:
        """The newest update in a direction; the first one of all where there is none."""
        return next((one for one in reversed(self.updates) if one.backwards == backwards), self.updates[0])

    def behind(self, update: Update) -> Iterator[Update]:
        """An update and those that it stands on, the newest first; what was undone is not among them."""
        while True:
            yield update
            if update.based_on < 0:
                return
            update = self.updates[update.based_on]

    def learned(self, update: Update) -> tuple[int, ...]:
        """The runs that the state after an update has learned, in the order in which it did."""
        chain = reversed(tuple(self.behind(update)))
        return tuple(run for one in chain if one.action in (Action.BEGUN, Action.LEARNED) for run in one.runs)

    def reached(self, update: Update) -> int:
        """The run up to which the state after an update has learned; 0 where it has learned none."""
        learned = (one for one in self.behind(update) if one.action is Action.LEARNED)
        return max(next(learned, self.updates[0]).runs, default=0)

    def before(self, run: int) -> Iterator[Update]:
        """Updates after which the state knew nothing of a run or of later ones, the newest first.

        Of runs taken before the clean runs, time goes backwards; for the clean runs themselves it is the first update.
        """
        if run in self.updates[0].runs:
            yield self.updates[0]
            return
        backwards = run < self.start
        for one in self.behind(self.last(backwards)):
            reached = self.reached(one)
            if (run < reached) if backwards else (run > reached):
                yield one

    def latest(self, what: str) -> Update | None:
        """The latest update, of those that count, that learned a run or took a person's word on a finding."""
        chains = (self.behind(self.last(backwards)) for backwards in (False, True))
        counted = (one for chain in chains for one in chain if one.based_on >= 0 and one.action is not Action.UNDONE)
        return next((one for one in counted if what in (one.finding, *map(str, one.runs))), None)

    def between(self, back: Update, last: Update) -> tuple[Update, ...]:
        """The updates after one of them up to the last, in their order, that no longer count if one goes back."""
        after = takewhile(lambda one: one.number != back.number, self.behind(last))
        return tuple(reversed([one for one in after if one.action is not Action.UNDONE]))

    def order(self, run: int) -> tuple[bool, int]:
        """Sorts runs as they are learned: forwards from the clean ones, and then backwards."""
        return run < self.start, abs(run - self.start)

    def missed(self, update: Update, run: int, taken: Collection[int]) -> int | None:
        """How many of the runs that were taken lie between a run and those that the state had learned.

        None where it cannot be said, because the run itself is not among those that are known.
        """
        reached = self.reached(update)
        low, high = sorted((reached, run))
        return sum(low < other < high for other in taken) if reached and run in taken else None

    def newest_whole(self, updates: Iterable[Update]) -> Update:
        """The first of some updates whose version is kept; the very first version always is."""
        return next((one for one in updates if one.number in self.whole), self.updates[0])


@dataclass(frozen=True, eq=False)
class Version:
    """A version that was read: its arrays, the update that wrote it, and the history at that moment."""

    arrays: Arrays
    update: Update
    history: History


class StateStore:
    """The folder of a state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def exists(self) -> bool:
        return self._update(0).is_file()

    def history(self) -> History:
        """All updates, as they are now.

        Raises:
            StateError: there is no state, one of its files is damaged, or one of another state is among them.
        """
        if not self.exists:
            raise StateError(
                f"{self.folder} holds no detector state; make one with `hcal-root-ad adapt STATE --from CLEAN_RUN…`."
            )
        count = len(list(self.folder.glob("update-*.json")))
        updates: list[Update] = []
        previous = ""
        for number in range(count):
            update, digest = _read_update(self._update(number))
            if (update.number, update.previous) != (number, previous) or not -1 <= update.based_on < max(number, 1):
                raise StateError(f"{self._update(number)} does not follow the update before it; {_MEND}")
            updates.append(update)
            previous = digest
        return History(tuple(updates), frozenset(n for n in range(count) if self._version(n).is_file()))

    def read(self, choose: Callable[[History], Update]) -> Version:
        """A version, for example the last: ``read(History.last)``; whatever is written meanwhile, it is whole.

        Raises:
            StateError: there is no state, or it is damaged.
        """
        history = self.history()
        update = choose(history)
        path = self._version(update.number)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            now = self.history()
            if len(now.updates) > len(history.updates):  # it went while we looked: a newer one is there
                return self.read(choose)
            raise StateError(f"{path} is not there any more; {_MEND}") from None
        except OSError as error:
            raise StateError(f"{path} cannot be read ({error.strerror}); {_MEND}") from error
        if hashlib.sha256(content).hexdigest() != update.version:
            raise StateError(f"{path} does not match the digest in {self._update(update.number).name}; {_MEND}")
        return Version(_unpacked(content, path), update, history)

    @contextmanager
    def alone(self, say: Callable[[str], None]) -> Iterator[None]:
        """Update while no other process does; one that works is waited for. ``say`` gets a sentence on either.

        Raises:
            OutputError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / _LOCK).open("a+b")
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written ({error.strerror}); choose another place.") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"Another process updates {self.folder}: waiting for it.")
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError:
                say(f"{self.folder} is on a file system without locks: make sure that nobody else updates it.")
            clear_left(self.folder)
            try:
                yield
            finally:
                with suppress(OSError):
                    fcntl.flock(lock, fcntl.LOCK_UN)  # also where a process that we started has the file open

    def add(self, arrays: Arrays, update: Update) -> Update:
        """Write an update and its version, within :meth:`alone`; numbers and digests are filled in.

        Raises:
            OutputError: they cannot be written. StateError: the state is damaged.
        """
        updates = self.history().updates if self.exists else ()
        content = _packed(arrays)
        previous = hashlib.sha256(self._update(len(updates) - 1).read_bytes()).hexdigest() if updates else ""
        version = hashlib.sha256(content).hexdigest()
        done = replace(update, number=len(updates), version=version, previous=previous)
        with whole_file(self._version(done.number)) as partial:
            partial.write_bytes(content)
        write_text(self._update(done.number), done.text())
        for number in range(done.number):
            if not kept_whole(number, done.number):
                self._version(number).unlink(missing_ok=True)
        return done

    def undo(self, what: str, reason: str = "") -> tuple[Update, Update]:
        """Go back to before a run was learned, or before a person's word on a finding, within :meth:`alone`.

        Returns:
            The new update, and the one whose version the state is now again: the newest that is kept whole.

        Raises:
            StateError: the state knows nothing of it, or is damaged.
        """
        history = self.history()
        update = history.latest(what)
        if update is None:
            known = ", ".join(map(str, history.learned(history.last()))) or "none"
            raise StateError(f"{self.folder} has learned nothing of {what} that could be undone; its runs are {known}.")
        back = history.newest_whole(history.behind(history.updates[update.based_on]))
        lost = history.between(back, history.last(update.backwards))
        runs = tuple(run for one in lost for run in one.runs if one.action is Action.LEARNED)
        undone = Update(
            0, back.number, update.backwards, Action.UNDONE, runs, update.finding, reason,
            {"undone": [one.number for one in lost]},
        )  # fmt: skip
        return self.add(self.read(lambda _: back).arrays, undone), back

    def _update(self, number: int) -> Path:
        return self.folder / _UPDATE.format(number)

    def _version(self, number: int) -> Path:
        return self.folder / _VERSION.format(number)


_MEND = "put the folder back from a copy, or begin a new state."


def _read_update(path: Path) -> tuple[Update, str]:
    """An update, and the digest of its file."""
    try:
        stat = path.stat()
    except OSError as error:
        raise StateError(f"{path} cannot be read ({error.strerror}); {_MEND}") from error
    return _same_update(path, (stat.st_ino, stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=8192)
def _same_update(path: Path, _: tuple[int, int, int]) -> tuple[Update, str]:
    """An update never changes, so it is read once."""
    table = read_json(path, "update", StateError)
    if not isinstance(table, dict) or table.pop("format", None) != FORMAT:
        raise StateError(f"{path} is no update of a state in format {FORMAT}; {_MEND}")
    update = structure(table, Update, f"The update {path}", StateError)
    return update, hashlib.sha256(path.read_bytes()).hexdigest()


def _packed(arrays: Arrays) -> bytes:
    """Equal arrays give equal bytes."""
    buffer = BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})
    return buffer.getvalue()


def _unpacked(content: bytes, path: Path) -> Arrays:
    try:
        with np.load(BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise StateError(f"{path} is damaged ({error}); {_MEND}") from error
