"""What a campaign keeps in its folder: the records of its runs, and of every item whether it is done.

A run's files appear under their own names once they are complete, and the item's marker last. Whatever is killed in
between is done again, and gives the same.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hcal_root_ad.certify.conditions import RunConditions, conditions_of_table
from hcal_root_ad.certify.items import Item, ItemResult, JudgedRun, result_of_table
from hcal_root_ad.errors import InputError, OutputError
from hcal_root_ad.files import folder_lock, write_text
from hcal_root_ad.publish.saved_verdict import SUFFIX, record_name
from hcal_root_ad.tables import read_json

ROOT, RECORDS = "root", "records"
_MARKER, _FAILED = ".item.json", "failed-"


class Store:
    """The folder of a campaign."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records = folder / RECORDS

    @property
    def files(self) -> Path:
        """Where it is kept what was found in the files."""
        return self.records / "files.json"

    def record(self, run: int) -> Path:
        return self.records / record_name(run)

    def flags(self, run: int) -> Path:
        return self.records / record_name(run).replace(SUFFIX, ".flags.parquet")

    @contextmanager
    def alone(self, say: Callable[[str], None]) -> Iterator[None]:
        """Work in the folder while no other campaign does; what a killed one left half-written is removed.

        ``say`` is told where the file system has no locks, so that nothing keeps two apart.

        Raises:
            OutputError: another campaign works there.
        """
        self.records.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(folder_lock(self.records / ".lock", "certify", say))
            except BlockingIOError:
                raise OutputError(f"Another certify works in {self.folder}; wait for it, or choose another.") from None
            for left in (*self.folder.glob(".partial-*"), *self.records.glob(".partial-*")):
                shutil.rmtree(left, ignore_errors=True)
            yield

    def result(self, item: Item, retry_failed: bool = False) -> ItemResult | None:
        """What came of an item, None if it is not done (or is to be tried again because something failed)."""
        for marker in (*map(self._marker, item.runs), self._failed(item.identity)):
            found = _read(marker)
            if found is not None and found.identity == item.identity and self._complete(found):
                return None if retry_failed and found.failures else found
        return None

    def results(self) -> tuple[ItemResult, ...]:
        """All items that are done, by run."""
        found = [result for path in self.records.glob(f"*{_MARKER}") if (result := _read(path)) is not None]
        unique = {one.identity: one for one in found if self._complete(one)}
        return tuple(sorted(unique.values(), key=lambda one: [run.run for run in one.runs]))

    def keep(self, result: ItemResult) -> None:
        """Mark an item as done: a marker for each of its runs, or one of its own where all failed."""
        self._failed(result.identity).unlink(missing_ok=True)
        for run in result.runs:
            self._forget(run)
        text = json.dumps(result.as_table(), indent=1) + "\n"
        for marker in [self._marker(one.run) for one in result.runs] or [self._failed(result.identity)]:
            write_text(marker, text)

    def _forget(self, run: JudgedRun) -> None:
        """Remove the ROOT file that the same run had under another name."""
        earlier = _read(self._marker(run.run))
        names = {one.root for one in earlier.runs if one.run == run.run} if earlier else set()
        for name in names - {run.root, ""}:
            (self.folder / ROOT / name).unlink(missing_ok=True)

    def conditions(self, run: int) -> RunConditions:
        """The conditions under which a run was certified last; unknown ones if it never was."""
        path = self._conditions(run)
        if not path.is_file():
            return RunConditions()
        try:
            return conditions_of_table(read_json(path, "conditions"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"The conditions {path} are damaged; give --oms or --dcs again.") from error

    def keep_conditions(self, run: int, conditions: RunConditions) -> None:
        text = json.dumps(conditions.as_table()) + "\n"
        path = self._conditions(run)
        if path.is_file() or conditions.given:
            write_text(path, text)

    def judge_anew(self, run: int) -> None:
        """Forget that a run is done."""
        self._marker(run).unlink(missing_ok=True)

    def _complete(self, result: ItemResult) -> bool:
        """Whether all files of a result are there, and no other item has written its runs since."""
        needed = [place for one in result.runs for place in (self.record(one.run), self.flags(one.run))]
        needed += [self.folder / ROOT / one.root for one in result.runs if one.root]
        latest = (_read(self._marker(one.run)) for one in result.runs)
        return all(path.is_file() for path in needed) and all(one and one.identity == result.identity for one in latest)

    def _marker(self, run: int) -> Path:
        return self.records / record_name(run).replace(SUFFIX, _MARKER)

    def _failed(self, identity: str) -> Path:
        return self.records / f"{_FAILED}{identity[:16]}.json"

    def _conditions(self, run: int) -> Path:
        return self.records / record_name(run).replace(SUFFIX, ".conditions.json")


def _read(marker: Path) -> ItemResult | None:
    """What a marker says; a damaged one says nothing, so that its item is done again."""
    if not marker.is_file():
        return None
    try:
        return result_of_table(read_json(marker, "marker"))
    except (InputError, KeyError, TypeError, ValueError, AttributeError):
        return None


def known_run(store: Store, run: int) -> Path:
    """The record of a run.

    Raises:
        InputError: the campaign has none.
    """
    path = store.record(run)
    if not path.is_file():
        have = sorted(one.name.removesuffix(SUFFIX) for one in store.records.glob(f"*{SUFFIX}"))
        raise InputError(f"{store.folder} holds no record of run {run}; it has {', '.join(have[:8]) or 'none'}.")
    return path
