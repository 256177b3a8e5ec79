"""Work items of a campaign: files that share runs, known by the digest of all that the judgement depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hcal_root_ad import content
from hcal_root_ad.certify.conditions import RunConditions
from hcal_root_ad.certify.survey import Surveyed
from hcal_root_ad.errors import InputError
from hcal_root_ad.mask import Mask
from hcal_root_ad.model.thresholds import check_asked
from hcal_root_ad.pipeline import SHIPPED_MODELS, load_models
from hcal_root_ad.references.catalogue import catalogue_digest

ConditionsOf = Callable[[int], RunConditions]


@dataclass(frozen=True)
class ModelPlace:
    """Where a model lies, and what it must be."""

    folder: str
    digest: str


@dataclass(frozen=True)
class CampaignJudging:
    """What the runs of a campaign are judged with, on every worker alike; policies are no part of it.

    ``references``: digest of the reference runs that detectors unknown to the models may be held against.
    ``mask``: channels that are not judged.
    """

    models: tuple[ModelPlace, ...]
    false_alarms: float | None = None
    references: str = ""
    without_reference: bool = False
    mask: Mask | None = None


@dataclass(frozen=True, eq=False)
class Item:
    """Files that belong together because they share runs; usually the files of one run.

    ``identity``: digest of the files' content, the models, the false findings asked for, the reference runs, the
    lumisections left out, and the program's version. Neither the files' places nor their order matter.
    """

    identity: str
    files: tuple[Surveyed, ...]
    runs: tuple[int, ...]
    conditions: Mapping[int, RunConditions]


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
    files: tuple[Surveyed, ...]
    runs: tuple[JudgedRun, ...] = ()
    failures: tuple[Failure, ...] = ()

    def as_table(self) -> dict[str, Any]:
        return asdict(self)


def result_of_table(table: Mapping[str, Any]) -> ItemResult:
    """The inverse of :meth:`ItemResult.as_table`.

    Raises:
        InputError: a run or its file is named so that its path would lead out of the campaign's folder.
    """
    for one in table["runs"]:
        if type(one["run"]) is not int or one["root"] == ".." or one["root"] != Path(one["root"]).name:
            raise InputError(
                f"The campaign says that run {one['run']!r} is in {one['root']!r}, which is no file of its."
            )
    return ItemResult(
        identity=table["identity"],
        files=tuple(Surveyed(**{**one, "runs": tuple(one["runs"])}) for one in table["files"]),
        runs=tuple(JudgedRun(**one) for one in table["runs"]),
        failures=tuple(Failure(**one) for one in table["failures"]),
    )


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


def items_of(files: Sequence[Surveyed], judging: CampaignJudging, conditions_of: ConditionsOf) -> tuple[Item, ...]:
    """Items by run number; files with the same content count once, those that cannot be used not at all."""
    unique = {one.digest: one for one in sorted(files, key=lambda one: one.path, reverse=True) if one.runs}
    groups = _sharing_runs([unique[digest] for digest in sorted(unique)])
    items = [_item(group, judging, conditions_of) for group in groups]
    return tuple(sorted(items, key=lambda item: item.runs))


def _sharing_runs(files: Sequence[Surveyed]) -> list[list[Surveyed]]:
    groups: list[tuple[set[int], list[Surveyed]]] = []
    for file in files:
        touching = [group for group in groups if group[0] & set(file.runs)]
        runs = set(file.runs).union(*(group[0] for group in touching))
        members = [member for group in touching for member in group[1]]
        groups = [group for group in groups if group not in touching] + [(runs, [*members, file])]
    return [sorted(members, key=lambda one: one.digest) for _, members in groups]


def _item(files: list[Surveyed], judging: CampaignJudging, conditions_of: ConditionsOf) -> Item:
    runs = tuple(sorted({run for file in files for run in file.runs}))
    conditions = {run: conditions_of(run) for run in runs}
    text = json.dumps(
        {
            "files": [file.digest for file in files],
            "models": [model.digest for model in judging.models],
            "false_alarms": judging.false_alarms,
            "without_reference": judging.without_reference,
            "references": judging.references,
            "conditions": {str(run): conditions[run].judging for run in runs},
            "program": version("hcal-root-ad"),
        }
        | ({"mask": judging.mask.sha256} if judging.mask else {}),
        sort_keys=True,
    )
    return Item(hashlib.sha256(text.encode()).hexdigest(), tuple(files), runs, conditions)
