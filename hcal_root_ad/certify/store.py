"""Work items of a campaign, what came of them, and the folder that keeps it.

An item is the files that share runs, known by the digest of all that its verdict depends on. A run's files appear
under their own names once they are complete, and the item's marker last. Whatever is killed in between is done again,
and gives the same.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hcal_root_ad.conditions import RunConditions, conditions_of_table
from hcal_root_ad.content import structure
from hcal_root_ad.errors import InputError, OutputError
from hcal_root_ad.files import folder_lock, write_text
from hcal_root_ad.harvest.inputs import InputFile, RemoteFile, input_file
from hcal_root_ad.mask import Mask
from hcal_root_ad.publish.saved_verdict import SUFFIX, record_name
from hcal_root_ad.state.history import StateStore
from hcal_root_ad.tables import read_json

ROOT, RECORDS = "root", "records"
_MARKER, _FAILED = ".item.json", "failed-"
ConditionsOf = Callable[[int], RunConditions]


@dataclass(frozen=True)
class SurveyedFile:
    """A file and its runs, or the sentence why it cannot be used.

    ``digest`` is the SHA-256 of the content; of a file elsewhere, which is never fetched whole, its address and size.
    ``empty``: it is whole, but holds no lumisection.
    ``size`` in bytes and ``changed`` (time of the last change, ns) tell whether it is still the same.
    """

    path: str
    size: int
    changed: int
    digest: str = ""
    runs: tuple[int, ...] = ()
    problem: str = ""
    empty: bool = False

    @property
    def file(self) -> InputFile:
        return input_file(self.path)


def stat_of(path: InputFile) -> tuple[str, int, int]:
    """Name, size and time of the last change (ns) of a file; 0 where it is elsewhere or gone."""
    if isinstance(path, RemoteFile):
        return str(path), 0, 0
    with suppress(OSError):
        stat = path.stat()
        return str(path.absolute()), stat.st_size, stat.st_mtime_ns
    return str(path.absolute()), 0, 0


class Survey:
    """What the files of a campaign hold, kept as JSON: a file that did not change is not read again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[str, SurveyedFile] = {}
        if path.is_file():
            with suppress(InputError):  # damaged, it says nothing: the files are looked at again
                rows = structure(read_json(path, "list of files"), list[SurveyedFile], str(path))
                self._files = {row.path: row for row in rows}

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(self._files)

    def find(self, path: InputFile, retry_failed: bool = False) -> SurveyedFile | None:
        """What a file holds, if it is still the same or gone; None if it must be looked at.

        ``retry_failed``: look again at a file that could not be used.
        """
        name, *state = stat_of(path)
        file = self._files.get(name)
        if file is None or (retry_failed and file.problem):
            return None
        if isinstance(path, RemoteFile) or not path.exists():
            return file
        return file if [file.size, file.changed] == state else None

    def add(self, files: Sequence[SurveyedFile]) -> None:
        """Remember, also after a sudden end."""
        self._files |= {file.path: file for file in files}
        rows = [asdict(self._files[path]) for path in sorted(self._files)]
        write_text(self._path, json.dumps(rows, indent=0) + "\n")


@dataclass(frozen=True)
class ModelPlace:
    """Where a model lies, and what it must be."""

    folder: str
    digest: str


@dataclass(frozen=True)
class StatePlace:
    """Where a detector state lies; ``luminosity``: what OMS says was delivered before its clean runs (1/fb)."""

    folder: str
    luminosity: float | None = None

    @property
    def store(self) -> StateStore:
        return StateStore(Path(self.folder))


@dataclass(frozen=True)
class CampaignJudging:
    """What the runs of a campaign are judged with, on every worker alike; policies do not belong to it.

    ``references``: digest of the catalogue of reference runs for detectors that no model knows.
    ``mask``: channels that are not judged. ``definition``: harvester definition (or quantity) that reads the files.
    ``states``: detector states that judge, the first that fits a run. ``taken``: numbers of runs that were taken, as
    far as they are known. ``adapt``: whether the (one) state learns from the runs, which then are judged in order.
    """

    models: tuple[ModelPlace, ...]
    false_alarms: float | None = None
    references: str = ""
    without_reference: bool = False
    mask: Mask | None = None
    states: tuple[StatePlace, ...] = ()
    taken: frozenset[int] = frozenset()
    adapt: bool = False
    definition: str | None = None


@dataclass(frozen=True, eq=False)
class Item:
    """Files that belong together because they share runs; usually the files of one run.

    ``identity``: digest of the files' content, the models, the false findings asked for, the reference runs, the
    detector states as they were before it, the lumisections left out, and the program's version. Neither the files'
    places nor their order matter.
    """

    identity: str
    files: tuple[SurveyedFile, ...]
    runs: tuple[int, ...]
    conditions: Mapping[int, RunConditions]

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.size for file in self.files)


def items_of(files: Sequence[SurveyedFile], judging: CampaignJudging, conditions_of: ConditionsOf) -> tuple[Item, ...]:
    """Items by run number; files with the same content count once, those that cannot be used not at all."""
    by_digest = {file.digest: file for file in sorted(files, key=lambda file: file.path, reverse=True) if file.runs}
    groups = _sharing_runs([by_digest[digest] for digest in sorted(by_digest)])
    items = [_item(group, judging, conditions_of) for group in groups]
    return tuple(sorted(items, key=lambda item: item.runs))


def _sharing_runs(files: Sequence[SurveyedFile]) -> list[list[SurveyedFile]]:
    groups: dict[int, list[SurveyedFile]] = {}  # by run; the runs of one group share one list
    for file in files:
        touching = {id(groups[run]): groups[run] for run in file.runs if run in groups}
        group, *others = touching.values() or [[]]
        moved = [file, *(member for other in others for member in other)]
        group.extend(moved)
        groups |= {run: group for member in moved for run in member.runs}
    distinct = {id(group): group for group in groups.values()}
    return [sorted(group, key=lambda file: file.digest) for group in distinct.values()]


def _item(files: list[SurveyedFile], judging: CampaignJudging, conditions_of: ConditionsOf) -> Item:
    runs = tuple(sorted({run for file in files for run in file.runs}))
    conditions = {run: conditions_of(run) for run in runs}
    depends: dict[str, Any] = {
        "files": [file.digest for file in files],
        "models": [model.digest for model in judging.models],
        "false_alarms": judging.false_alarms,
        "without_reference": judging.without_reference,
        "references": judging.references,
        "conditions": {str(run): conditions[run].judging for run in runs},
        "program": version("hcal-root-ad"),
    }
    if judging.mask:
        depends["mask"] = judging.mask.sha256
    if judging.definition:
        depends["definition"] = judging.definition
    if judging.states:
        depends["states"] = [_before(place, runs, conditions, judging) for place in judging.states]
    text = json.dumps(depends, sort_keys=True)
    return Item(hashlib.sha256(text.encode()).hexdigest(), tuple(files), runs, conditions)


def _before(
    place: StatePlace, runs: Sequence[int], conditions: Mapping[int, RunConditions], judging: CampaignJudging
) -> list[Any]:
    """What of a state a judgement depends on: its version before the first of the runs in order, and its age."""
    history = place.store.history()
    first = min(runs, key=history.order)
    version = next(history.before(first))
    missed = history.missed(version, first, judging.taken)
    own = {str(run): asdict(conditions[run].for_state(place.luminosity)) for run in runs}
    return [version.version, missed, own, judging.adapt and len(runs) > 1]


@dataclass(frozen=True)
class Failure:
    """A file, or a run of a file, that could not be judged, and why."""

    file: str
    sentence: str


@dataclass(frozen=True)
class JudgedRun:
    """What is stored of a run: lumisections, flagged intervals, and the name of its ROOT file ("" without one)."""

    run: int
    lumisections: int
    flags: int
    root: str


@dataclass(frozen=True)
class ItemResult:
    """What came of an item: runs that were judged, and what failed."""

    identity: str
    files: tuple[SurveyedFile, ...]
    runs: tuple[JudgedRun, ...] = ()
    failures: tuple[Failure, ...] = ()


def result_of_table(table: object) -> ItemResult:
    """What an item's marker says.

    Raises:
        InputError: it is of another form, or its path would lead out of the campaign's folder.
    """
    result = structure(table, ItemResult, "The campaign")
    for run in result.runs:
        if run.root == ".." or run.root != Path(run.root).name:
            raise InputError(f"The campaign says that run {run.run} is in {run.root!r}, which is no file of its.")
    return result


@dataclass(frozen=True)
class Campaign:
    """Items that were judged, now or before, and files that could not even be opened.

    ``judged_now`` counts the lumisections that were judged in this call.
    """

    items: tuple[ItemResult, ...]
    failures: tuple[Failure, ...] = ()
    judged_now: int = 0

    @property
    def runs(self) -> tuple[int, ...]:
        return tuple(sorted(run.run for item in self.items for run in item.runs))

    @property
    def every_failure(self) -> tuple[Failure, ...]:
        of_items = (failure for item in self.items for failure in item.failures)
        return tuple(sorted({*self.failures, *of_items}, key=lambda failure: (failure.file, failure.sentence)))


class Store:
    """The folder of a campaign: records of its runs, and a marker for every item that is done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records = folder / RECORDS
        self.survey = self.records / "files.json"

    def record(self, run: int) -> Path:
        return self.records / record_name(run)

    def stored_record(self, run: int) -> Path:
        """The record of a run.

        Raises:
            InputError: the campaign has none.
        """
        path = self.record(run)
        if not path.is_file():
            others = sorted(record.name.removesuffix(SUFFIX) for record in self.records.glob(f"*{SUFFIX}"))
            raise InputError(f"{self.folder} holds no record of run {run}; it has {', '.join(others[:8]) or 'none'}.")
        return path

    def flags(self, run: int) -> Path:
        return self.records / record_name(run).replace(SUFFIX, ".flags.parquet")

    @contextmanager
    def alone(self, say: Callable[[str], None]) -> Iterator[None]:
        """Work in the folder while no other campaign does; what a killed one left half-written is removed.

        ``say`` is called where the file system has no locks, so that nothing keeps two apart.

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
            result = _read(marker)
            if result is not None and result.identity == item.identity and self._complete(result):
                return None if retry_failed and result.failures else result
        return None

    def campaign(self) -> Campaign:
        """All items that are done, by run."""
        results = [result for path in self.records.glob(f"*{_MARKER}") if (result := _read(path)) is not None]
        complete = {result.identity: result for result in results if self._complete(result)}
        return Campaign(tuple(sorted(complete.values(), key=lambda result: [run.run for run in result.runs])))

    def keep(self, result: ItemResult) -> None:
        """Mark an item as done: a marker for each of its runs, or one of its own where all failed."""
        self._failed(result.identity).unlink(missing_ok=True)
        for run in result.runs:
            self._remove_renamed(run)
        text = json.dumps(asdict(result), indent=1) + "\n"
        for marker in [self._marker(run.run) for run in result.runs] or [self._failed(result.identity)]:
            write_text(marker, text)

    def _remove_renamed(self, run: JudgedRun) -> None:
        """Remove the ROOT file that the same run had under another name."""
        earlier = _read(self._marker(run.run))
        names = {stored.root for stored in earlier.runs if stored.run == run.run} if earlier else set()
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
        path = self._conditions(run)
        if path.is_file() or conditions.exist:
            write_text(path, json.dumps(conditions.as_table()))

    def judge_anew(self, run: int) -> None:
        """Forget that a run is done."""
        self._marker(run).unlink(missing_ok=True)

    def _complete(self, result: ItemResult) -> bool:
        """Whether all files of a result exist, and no other item has written its runs since."""
        needed = [path for run in result.runs for path in (self.record(run.run), self.flags(run.run))]
        needed += [self.folder / ROOT / run.root for run in result.runs if run.root]
        latest = (_read(self._marker(run.run)) for run in result.runs)
        return all(path.is_file() for path in needed) and all(
            marked and marked.identity == result.identity for marked in latest
        )

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
    except InputError:
        return None
