"""One work item from files to its record, flags and ROOT file; runs in this process or on a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hcal_root_ad.certify.conditions import RunConditions
from hcal_root_ad.certify.flags import write_flags_part
from hcal_root_ad.certify.items import CampaignJudging, Failure, Item, ItemResult, JudgedRun, ModelPlace
from hcal_root_ad.certify.store import ROOT, Store
from hcal_root_ad.certify.survey import Surveyed
from hcal_root_ad.errors import CatalogueError, HcalRootAdError, ModelError, NoHcalError
from hcal_root_ad.fault_report import fault_sentence
from hcal_root_ad.harvest.read import LeftOut, read_lumi_maps
from hcal_root_ad.judge.verdict import RunVerdict
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model, load_model
from hcal_root_ad.pipeline import Fitting, Judging
from hcal_root_ad.provenance import Provenance
from hcal_root_ad.publish.publish import publish
from hcal_root_ad.publish.saved_verdict import RunRecord, record_of, save_record
from hcal_root_ad.references.catalogue import NamedReference, catalogue_digest, fitting_reference


def do_item(item: Item, judging: CampaignJudging, folder: Path) -> ItemResult:
    """Judge an item and store what came of it in the campaign's folder, but for the marker that it is done.

    Whatever goes wrong with its files comes back as a sentence.
    """
    try:
        runs, failures = _read(item.files)
    except Exception as error:
        return ItemResult(item.identity, item.files, failures=(Failure(_names(item.files), _sentence(error)),))
    judged = []
    for maps in runs:
        try:
            judged.append(_do_run(maps, item.conditions.get(maps.run), judging, Store(folder)))
        except Exception as error:
            failures.append(Failure(_names(item.files), f"Run {maps.run}: {_sentence(error)}"))
    return ItemResult(item.identity, item.files, tuple(judged), tuple(failures))


def _sentence(error: Exception) -> str:
    if isinstance(error, HcalRootAdError):
        return str(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}."
    return fault_sentence(error)


def _names(files: Sequence[Surveyed]) -> str:
    return ", ".join(file.path for file in files)


def _read(files: Sequence[Surveyed]) -> tuple[Sequence[LumiMaps], list[Failure]]:
    """Runs of the files; where one of several is bad, the runs of the others."""
    left_out: list[LeftOut] = []
    in_order = sorted(files, key=lambda file: file.path)  # as every other verb reads them
    runs = read_lumi_maps([file.file for file in in_order], left_out=left_out)
    return runs, [Failure(str(one.path), str(one.error)) for one in left_out]


def _do_run(maps: LumiMaps, conditions: RunConditions | None, judging: CampaignJudging, store: Store) -> JudgedRun:
    if conditions is not None:
        maps = _without_standby(maps, conditions)
    verdict, record, provenance = _judge(maps, judging, conditions.pileup if conditions else {})
    (store.folder / ROOT).mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".partial-", dir=store.records) as private:
        # Written apart first: a worker that was given up by its scheduler may still be at the same item.
        written, flags = Path(private) / "record", Path(private) / "flags.parquet"
        save_record(record, written)
        write_flags_part(verdict, flags)
        root = publish(verdict, Path(private), provenance=provenance) if verdict else None
        if root:
            root.replace(store.folder / ROOT / root.name)
        flags.replace(store.flags(maps.run))
        written.replace(store.record(maps.run))
    flagged = sum(len(one.intervals) for one in (*verdict.verdicts, verdict.strips) if one) if verdict else 0
    return JudgedRun(maps.run, len(maps), flagged, root.name if root else "")


def _without_standby(maps: LumiMaps, conditions: RunConditions) -> LumiMaps:
    """Lumisections on standby are not judged; nor do they move what is expected of the others."""
    fit = np.array([not cause for cause in conditions.standby(maps.lumisections)], dtype=np.bool_)
    return replace(maps, present=maps.present & fit)


def _judge(
    maps: LumiMaps, judging: CampaignJudging, pileup: Mapping[int, float]
) -> tuple[RunVerdict | None, RunRecord, Provenance]:
    """The verdict and its record; a run in which nothing can be judged has a record that says so, and no verdict."""
    judge = Judging(
        tuple(_model(place) for place in judging.models), judging.false_alarms, judging.without_reference,
        judging.mask, _fitting_as_at_first(judging.references),
    )  # fmt: skip
    try:
        verdict = judge.judge(maps, pileup=pileup)
    except NoHcalError as error:
        program, made = f"hcal-root-ad {version('hcal-root-ad')}", judge.provenance_of([maps], "certify")
        notes = (*maps.notes, str(error))
        record = RunRecord(
            maps.run, maps.definition, maps.lumisections, maps.events, maps.sources, notes, program, (), made
        )
        return None, record, made
    made = judge.provenance("certify", [verdict])
    return verdict, record_of(verdict, made), made


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
