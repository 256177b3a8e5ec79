"""A campaign: files to items, items to records on an engine, resumed where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hcal_root_ad.certify.conditions import Conditions
from hcal_root_ad.certify.engine import Engine
from hcal_root_ad.certify.items import CampaignJudging, ConditionsOf, Failure, Item, ItemResult, items_of
from hcal_root_ad.certify.store import Store
from hcal_root_ad.certify.survey import KnownFiles, Surveyed, survey
from hcal_root_ad.harvest.inputs import InputFile

_SAVED_TIMES = 20
"""While files are looked at, what was found is written so often."""

Progress = Callable[[int, int, int], None]
"""Called with items done, items in all, and lumisections judged so far."""


@dataclass(frozen=True)
class Campaign:
    """What there is of a campaign: items that were judged, now or before, and files that could not even be opened.

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
        return tuple(sorted({*self.failures, *of_items}, key=lambda one: (one.file, one.sentence)))


def look_at(
    files: Sequence[InputFile],
    store: Store,
    engine: Engine,
    retry_failed: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Surveyed, ...]:
    """What each file holds; those that did not change since an earlier call are not read again."""
    known = KnownFiles(store.files)
    found = {file: known.find(file, again=retry_failed) for file in files}
    new = [file for file, one in found.items() if one is None]
    fresh: list[Surveyed] = []
    for done, (file, result) in enumerate(engine.results(survey, new), start=1):
        one = Surveyed(str(file), 0, 0, problem=_lost(result)) if isinstance(result, Exception) else result
        found[file] = one
        fresh.append(one)
        if done == len(new) or len(fresh) >= len(new) / _SAVED_TIMES:
            known.add(fresh)
            fresh = []
        if progress:
            progress(done, len(new))
    return tuple(one for one in found.values() if one is not None)


def judge_all(
    files: Sequence[Surveyed],
    judging: CampaignJudging,
    conditions_of: ConditionsOf,
    store: Store,
    engine: Engine,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> Campaign:
    """Judge what the files hold and is not judged yet; each item is kept as soon as it is done."""
    items = items_of(files, judging, conditions_of)
    found = {item.identity: store.result(item, retry_failed) for item in items}
    new = [item for item in items if found[item.identity] is None]
    lumisections = 0
    work = partial(_do, judging=judging, folder=store.folder)
    for done, (item, outcome) in enumerate(engine.results(work, new), start=1):
        result = _failed(item, outcome) if isinstance(outcome, Exception) else outcome
        store.keep(result)
        found[item.identity] = result
        lumisections += sum(run.lumisections for run in result.runs)
        if progress:
            progress(done, len(new), lumisections)
    unusable = tuple(Failure(file.path, file.problem) for file in files if file.problem)
    if not items and not unusable:
        unusable = tuple(Failure(file.path, "It holds no lumisection.") for file in files)
    return Campaign(tuple(result for result in found.values() if result), unusable, lumisections)


def stored(store: Store) -> Campaign:
    """What an earlier campaign left in its folder."""
    return Campaign(store.results())


def conditions_for(given: Conditions | None, store: Store) -> ConditionsOf:
    """The conditions given now, or else those under which a run was certified last."""
    return store.conditions if given is None else given.of


def _do(item: Item, *, judging: CampaignJudging, folder: Path) -> ItemResult:
    from hcal_root_ad.certify.work import do_item  # brings the judge, which a campaign that is done does not need

    return do_item(item, judging, folder)


def _failed(item: Item, error: Exception) -> ItemResult:
    files = ", ".join(file.path for file in item.files)
    return ItemResult(item.identity, item.files, failures=(Failure(files, _lost(error)),))


def _lost(error: Exception) -> str:
    return f"The worker was lost ({type(error).__name__}): out of memory, or killed; try again with --retry-failed."
