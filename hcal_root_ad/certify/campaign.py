"""A campaign: names to files, files to items, items on workers to records, flags and ROOT files, resumed at any time.

A first look gives the runs of each file and the digest of its content. It is kept, so that a file that did not change
is not read again, and one that is gone keeps its runs. An item is judged in this process or on any worker; whatever
goes wrong with its files comes back as a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatch
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hcal_root_ad import content
from hcal_root_ad.certify.executors import Executor
from hcal_root_ad.certify.outputs import write_run_flags
from hcal_root_ad.certify.store import (
    ROOT,
    Campaign,
    CampaignJudging,
    ConditionsOf,
    Failure,
    Item,
    ItemResult,
    JudgedRun,
    ModelPlace,
    Store,
    Survey,
    SurveyedFile,
    items_of,
    stat_of,
)
from hcal_root_ad.conditions import RunConditions
from hcal_root_ad.errors import CatalogueError, HcalRootAdError, InputError, ModelError, NoHcalError, fault_sentence
from hcal_root_ad.harvest.inputs import InputFile, expand_paths, source_beside
from hcal_root_ad.harvest.read import LeftOut, open_reader, read_lumi_maps
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.mask import Mask
from hcal_root_ad.model.model import Model, check_asked, load_model
from hcal_root_ad.pipeline import SHIPPED_MODELS, Fitting, Judging, load_models
from hcal_root_ad.provenance import Provenance
from hcal_root_ad.publish.publish import publish
from hcal_root_ad.publish.saved_verdict import RunRecord, record_of, save_record
from hcal_root_ad.references import NamedReference, catalogue_digest, fitting_reference
from hcal_root_ad.state.era import learn
from hcal_root_ad.tables import read_json, read_lines, shown

_ADDRESS = re.compile(r"\w+://|dials:")
LISTS = (".txt", ".list", ".json")
"""Ends of the names of dataset lists."""


def campaign_files(
    names: Sequence[str],
    surveyed: Sequence[str],
    resolve: Callable[[str], Iterable[InputFile]],
    output: Path | None = None,
) -> tuple[InputFile, ...]:
    """Files that are meant by names of files, folders, patterns, addresses, and dataset lists.

    Args:
        surveyed: paths from an earlier campaign; a file, folder or pattern that matches nothing any more stands for
            those of them that it names.
        resolve: gives the paths or addresses of a name (InputError if there is none).
        output: what lies in this folder is left out: a campaign may be kept inside the folder of its inputs.

    Raises:
        InputError: a name that stands for nothing, a list that cannot be read.
    """
    listed = (entry for name in names for entry in _listed(name))
    return tuple(sorted({file for entry in listed for file in _files(entry, surveyed, resolve, output)}, key=str))


def _files(
    name: str, surveyed: Sequence[str], resolve: Callable[[str], Iterable[InputFile]], output: Path | None
) -> Sequence[InputFile]:
    try:
        named = list(resolve(name))
        files = expand_paths(named)
        inside = [file for file in files if output and isinstance(file, Path)
                  and file.absolute().is_relative_to(output)]  # fmt: skip
        return [file for file in files if file in named or file not in inside]
    except InputError:
        absolute = str(Path(name).absolute())
        gone = [path for path in surveyed
                if path == absolute or fnmatch(path, absolute) or path.startswith(f"{absolute}/")]  # fmt: skip
        if not gone:
            raise
        return [Path(path) for path in gone]


def _listed(name: str) -> Iterator[str]:
    """The names in a dataset list, those that are relative from its folder; any other name as it is."""
    path = Path(name)
    if path.suffix not in LISTS or not path.is_file():
        yield name
        return
    lines = path.suffix != ".json"
    entries = [*(read_lines(path, "dataset list") if lines else _strings(read_json(path, "dataset list"), path))]
    if not entries:
        raise InputError(f"The dataset list {path} names no file.")
    for entry in entries:
        if not entry.strip() or "\0" in entry:
            raise InputError(f"The dataset list {path} holds {shown(entry)} where a file's name was expected.")
        yield entry if _ADDRESS.match(entry) else str(path.parent / entry)


def _strings(table: Any, path: Path) -> Iterator[str]:
    """Names in JSON: a list, or lists by dataset."""
    if isinstance(table, str):
        yield table
    elif isinstance(table, dict | list):
        for entry in table.values() if isinstance(table, dict) else table:
            yield from _strings(entry, path)
    else:
        raise InputError(f"The dataset list {path} holds {shown(table)} where a file's name was expected.")


def survey(path: InputFile) -> SurveyedFile:
    """Look at a file; damage and other mistakes come back as a sentence, so that one file never stops the others."""
    name, size, changed = stat_of(path)
    try:
        with source_beside(path) as source, open_reader(path) as reader:
            runs, content = reader.runs, source.result()
    except HcalRootAdError as error:
        return SurveyedFile(name, size, changed, problem=str(error))
    except OSError as error:
        return SurveyedFile(name, size, changed, problem=f"The file {path} cannot be read: {error.strerror}.")
    if not runs:
        return SurveyedFile(name, size, changed, empty=True)
    digest = content.sha256 or f"{path} {content.size}"
    return SurveyedFile(name, content.size, changed, digest, tuple(sorted(runs)))


_SAVED_TIMES = 20
"""While files are looked at, the survey is written so often."""

Progress = Callable[[int, int, int], None]
"""Called with items done, items in all, and lumisections judged so far."""


def judging_with(
    names: Sequence[str] | None, false_alarms: float | None, without_reference: bool = False, mask: Mask | None = None
) -> CampaignJudging:
    """Models by name or folder; the shipped ones if none is named.

    Raises:
        ModelError: one is missing or damaged, or two serve the same sub-detector.
        UsageError: so many false findings cannot be asked for.
    """
    if false_alarms is not None:
        check_asked(false_alarms)
    names = names or SHIPPED_MODELS
    places = {
        model.subdetector: ModelPlace(str(_folder(name).absolute()), model.digest)
        for name, model in zip(names, load_models(names), strict=True)
    }
    ordered = tuple(places[subdetector] for subdetector in sorted(places))
    return CampaignJudging(ordered, false_alarms, catalogue_digest(), without_reference, mask)


def _folder(name: str) -> Path:
    return Path(name) if Path(name).is_dir() else content.find("models", name) or Path(name)


def survey_all(
    files: Sequence[InputFile],
    store: Store,
    executor: Executor,
    retry_failed: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[SurveyedFile, ...]:
    """What each file holds; those that did not change since an earlier call are not read again."""
    kept = Survey(store.survey)
    surveyed = {file: kept.find(file, retry_failed) for file in files}
    new = [file for file, earlier in surveyed.items() if earlier is None]
    unsaved: list[SurveyedFile] = []
    for done, (file, outcome) in enumerate(executor.results(survey, new), start=1):
        look = SurveyedFile(str(file), 0, 0, problem=_lost(outcome)) if isinstance(outcome, Exception) else outcome
        surveyed[file] = look
        unsaved.append(look)
        if done == len(new) or len(unsaved) >= len(new) / _SAVED_TIMES:
            kept.add(unsaved)
            unsaved = []
        if progress:
            progress(done, len(new))
    return tuple(file for file in surveyed.values() if file is not None)


def judge_all(
    files: Sequence[SurveyedFile],
    judging: CampaignJudging,
    conditions_of: ConditionsOf,
    store: Store,
    executor: Executor,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> Campaign:
    """Judge what the files hold and is not judged yet; each item is kept as soon as it is done."""
    items = items_of(files, judging, conditions_of)
    results = {item.identity: store.result(item, retry_failed) for item in items}
    new = [item for item in items if results[item.identity] is None]
    new.sort(key=lambda item: item.size, reverse=True)  # the longest first, so that no worker waits for a last long one
    lumisections = 0
    work = partial(judge_item, judging=judging, folder=store.folder)
    for done, (item, outcome) in enumerate(executor.results(work, new), start=1):
        result = _failed(item, _lost(outcome)) if isinstance(outcome, Exception) else outcome
        store.keep(result)
        results[item.identity] = result
        lumisections += sum(run.lumisections for run in result.runs)
        if progress:
            progress(done, len(new), lumisections)
    return Campaign(tuple(result for result in results.values() if result), _unusable(files, items), lumisections)


def judge_in_order(
    files: Sequence[SurveyedFile],
    judging: CampaignJudging,
    conditions_of: ConditionsOf,
    store: Store,
    say: Callable[[str], None],
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> Campaign:
    """As :func:`judge_all`, one run after the other, each by what the detector state has learned from those before it.

    Forwards from the clean runs of the state, then backwards. What each run teaches is kept before it counts as done.
    """
    (state,) = judging.states
    history = state.store.history()
    items = sorted(items_of(files, judging, conditions_of), key=lambda item: min(map(history.order, item.runs)))
    results: list[ItemResult] = []
    lumisections = 0
    for done, item in enumerate(items, start=1):
        with state.store.alone(say):
            (now,) = items_of(item.files, judging, conditions_of)  # known by the state that it has now
            result = store.result(now, retry_failed)
            if result is None:
                result = judge_item(now, judging, store.folder)
                store.keep(result)
                lumisections += sum(run.lumisections for run in result.runs)
        results.append(result)
        if progress:
            progress(done, len(items), lumisections)
    return Campaign(tuple(results), _unusable(files, items), lumisections)


def _unusable(files: Sequence[SurveyedFile], items: Sequence[Item]) -> tuple[Failure, ...]:
    unusable = tuple(Failure(file.path, file.problem) for file in files if file.problem)
    if not items and not unusable:
        unusable = tuple(Failure(file.path, "It holds no lumisection.") for file in files)
    return unusable


def _failed(item: Item, sentence: str) -> ItemResult:
    return ItemResult(item.identity, item.files, failures=(Failure(_names(item.files), sentence),))


def _lost(error: Exception) -> str:
    return f"The worker was lost ({type(error).__name__}): out of memory, or killed; try again with --retry-failed."


def judge_item(item: Item, judging: CampaignJudging, folder: Path) -> ItemResult:
    """Judge an item and store what came of it in the campaign's folder, but for the marker that it is done.

    Whatever goes wrong with its files comes back as a sentence.
    """
    try:
        runs, failures = _read(item.files, judging.definition)
    except Exception as error:
        return _failed(item, _sentence(error))
    judged = []
    if judging.states:
        history = judging.states[0].store.history()
        runs = sorted(runs, key=lambda maps: history.order(maps.run))
    for maps in runs:
        try:
            judged.append(_judge_run(maps, item.conditions.get(maps.run), judging, Store(folder)))
        except Exception as error:
            failures.append(Failure(_names(item.files), f"Run {maps.run}: {_sentence(error)}"))
    return ItemResult(item.identity, item.files, tuple(judged), tuple(failures))


def _sentence(error: Exception) -> str:
    if isinstance(error, HcalRootAdError):
        return str(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}."
    return fault_sentence(error)


def _names(files: Sequence[SurveyedFile]) -> str:
    return ", ".join(file.path for file in files)


def _read(files: Sequence[SurveyedFile], definition: str | None) -> tuple[Sequence[LumiMaps], list[Failure]]:
    """Runs of the files; where one of several is bad, the runs of the others."""
    left_out: list[LeftOut] = []
    in_order = sorted(files, key=lambda file: file.path)  # as every other verb reads them
    runs = read_lumi_maps([file.file for file in in_order], definition, left_out=left_out)
    return runs, [Failure(str(bad.path), str(bad.error)) for bad in left_out]


def _judge_run(maps: LumiMaps, conditions: RunConditions | None, judging: CampaignJudging, store: Store) -> JudgedRun:
    if conditions is not None:
        maps = conditions.without_standby(maps)
    verdict, record, provenance, learn = _judge(maps, judging, conditions or RunConditions())
    (store.folder / ROOT).mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".partial-", dir=store.records) as private:
        # Written apart first: a worker that was given up by its scheduler may still be at the same item.
        record_file, flags = Path(private) / "record", Path(private) / "flags.parquet"
        save_record(record, record_file)
        write_run_flags(verdict, flags)
        root = publish(verdict, Path(private), provenance=provenance) if verdict else None
        if root:
            root.replace(store.folder / ROOT / root.name)
        flags.replace(store.flags(maps.run))
        record_file.replace(store.record(maps.run))
    learn()  # after all is written, and before the marker: a kill in between finds the state as it was before the run
    judged = (*verdict.verdicts, verdict.strips) if verdict else ()
    flagged = sum(len(subdetector.intervals) for subdetector in judged if subdetector)
    return JudgedRun(maps.run, len(maps), flagged, root.name if root else "")


def _judge(
    maps: LumiMaps, judging: CampaignJudging, conditions: RunConditions
) -> tuple[RunVerdict | None, RunRecord, Provenance, Callable[[], object]]:
    """The verdict, its record, and what teaches it to the state.

    A run in which nothing can be judged has a record that says so, and no verdict.
    """
    judge = Judging(
        tuple(_model(place) for place in judging.models), judging.false_alarms, judging.without_reference,
        judging.mask, _fitting_as_at_first(judging.references), states=tuple(place.store for place in judging.states),
        taken=judging.taken,
    )  # fmt: skip
    options = {"definition": judging.definition}
    luminosity = {place.store.history().start: place.luminosity for place in judging.states}
    try:
        own = judge.for_run(maps, lambda start: conditions.for_state(luminosity[start]))
        untold = own.judge_run(maps, pileup=conditions.pileup)
        verdict = own.finished(untold)
    except NoHcalError as error:
        program, made = f"hcal-root-ad {version('hcal-root-ad')}", judge.provenance_of([maps], "certify", options)
        words = (*maps.notes, str(error)), program, (), made
        record = RunRecord(maps.run, maps.definition, maps.lumisections, maps.events, maps.sources, *words)
        return None, record, made, lambda: None
    made = judge.provenance("certify", [verdict], options)
    chosen = own.chosen if judging.adapt else None
    teach = partial(learn, chosen, untold) if chosen and chosen.may_learn else lambda: None
    return verdict, record_of(verdict, made), made, teach


def _fitting_as_at_first(digest: str) -> Fitting:
    """Finds reference runs as long as the catalogue is that with which the campaign began."""

    def fitting(maps: LumiMaps) -> NamedReference | None:
        if catalogue_digest() != digest:
            raise CatalogueError("The reference runs here are others than where the campaign began.")
        return fitting_reference(maps)

    return fitting


@cache
def _model(place: ModelPlace) -> Model:
    model = load_model(place.folder)
    if model.digest != place.digest:
        raise ModelError(f"The model {place.folder} is another one here than where the campaign began.")
    return model
