"""One work item from files to its record, flags and ROOT file; runs in this process or on a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hcal_root_ad.certify.conditions import RunConditions
from hcal_root_ad.certify.flags import write_flags_part
from hcal_root_ad.certify.items import BundleReference, Failure, Item, ItemResult, JudgedRun, Judging
from hcal_root_ad.certify.store import ROOT, Store
from hcal_root_ad.certify.survey import Surveyed
from hcal_root_ad.errors import BundleError, CatalogueError, HcalRootAdError, NoHcalError
from hcal_root_ad.fault_report import fault_sentence
from hcal_root_ad.harvest.read import LeftOut, read_lumi_maps
from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.judge.verdict import RunVerdict
from hcal_root_ad.learn.bundle import Bundle, load_bundle
from hcal_root_ad.learn.catalogue import NamedReference, catalogue_digest, fitting_reference
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.mask import masked
from hcal_root_ad.publish.provenance import (
    Material,
    Provenance,
    bundle_material,
    provenance_of_maps,
    reference_material,
    trust_in,
)
from hcal_root_ad.publish.publish import publish
from hcal_root_ad.publish.record import RunRecord, record_of, save_record


def do_item(item: Item, judging: Judging, folder: Path) -> ItemResult:
    """Judge an item and store what came of it in the campaign's folder, but for the marker that it is done.

    Whatever goes wrong with its files comes back as a sentence.
    """
    import torch

    # Sums in another order differ in the last digits: one thread everywhere, so that every worker writes the same.
    torch.set_num_threads(1)
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
    runs = read_lumi_maps([file.file for file in files], left_out=left_out)
    return runs, [Failure(str(one.path), str(one.error)) for one in left_out]


def _do_run(maps: LumiMaps, conditions: RunConditions | None, judging: Judging, store: Store) -> JudgedRun:
    if conditions is not None:
        maps = _without_standby(maps, conditions)
    verdict, record, provenance = _judge(maps, judging)
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


def _judge(maps: LumiMaps, judging: Judging) -> tuple[RunVerdict | None, RunRecord, Provenance]:
    """The verdict and its record; a run in which nothing can be judged has a record that says so, and no verdict."""
    bundles = [_bundle(reference) for reference in judging.bundles]
    materials = [bundle_material(bundle) for bundle in bundles]
    if judging.mask:
        materials.append(Material("mask", judging.mask.name, judging.mask.sha256))

    def find_reference(maps: LumiMaps) -> NamedReference | None:
        if catalogue_digest() != judging.references:
            raise CatalogueError("The reference runs here are others than where the campaign began.")
        found = fitting_reference(maps)
        if found:
            materials.append(reference_material(found.entry))
        return found

    def provenance(*verdicts: RunVerdict) -> Provenance:
        used = tuple(dict.fromkeys(materials))
        options = {"false_alarms": judging.false_alarms}
        return provenance_of_maps("certify", [maps], used, options, trust_in(verdicts))

    try:
        verdict = judge_run(maps, bundles, false_alarms=judging.false_alarms, find_reference=find_reference)
    except NoHcalError as error:
        program, made = f"hcal-root-ad {version('hcal-root-ad')}", provenance()
        notes = (*maps.notes, str(error))
        record = RunRecord(
            maps.run, maps.definition, maps.lumisections, maps.events, maps.sources, notes, program, (), made
        )
        return None, record, made
    if judging.mask:
        verdict = masked(verdict, judging.mask)
    made = provenance(verdict)
    return verdict, record_of(verdict, made), made


@cache
def _bundle(reference: BundleReference) -> Bundle:
    bundle = load_bundle(reference.folder)
    if bundle.digest != reference.digest:
        raise BundleError(f"The bundle {reference.folder} is another one here than where the campaign began.")
    return bundle
