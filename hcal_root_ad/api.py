"""What Python users call: models, reference runs and policies by name, by path, or as they are; one, or several.

Each of these takes the same way as the verb of the command line, so both give the same verdict. Arrays that come out
are read-only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from hcal_root_ad.errors import NoHcalError
from hcal_root_ad.harvest.inputs import InputFile, RemoteFile
from hcal_root_ad.harvest.read import LeftOut, Progress
from hcal_root_ad.harvest.read import read_lumi_maps as read
from hcal_root_ad.lumi_maps import LumiMaps, read_only

if TYPE_CHECKING:
    from hcal_root_ad.certify.certification import RunCertification
    from hcal_root_ad.certify.policy import Policy
    from hcal_root_ad.compare.comparison import Comparison
    from hcal_root_ad.harvest.read import Inspection
    from hcal_root_ad.judge.run_verdict import RunVerdict
    from hcal_root_ad.mask import Mask
    from hcal_root_ad.model.model import Model
    from hcal_root_ad.publish.published_run import PublishedRun
    from hcal_root_ad.publish.saved_verdict import RunRecord
    from hcal_root_ad.references import NamedReference

Name = str | PathLike[str]


def read_lumi_maps(
    paths: Name | Iterable[Name],
    definition: str | None = None,
    progress: Progress | None = None,
    left_out: list[LeftOut] | None = None,
) -> tuple[LumiMaps, ...]:
    """Read the HCAL maps of DQM files: one :class:`LumiMaps` per run, by run number.

    Args:
        paths: files, folders, glob patterns, addresses (``root://…``, ``https://…``), or names of reference runs, one
            or several.
        definition: name of a harvester definition, or of its quantity (``OccupancyCut``); found out if None.
        progress: called with (done, total) after each file.
        left_out: where it is given, a file among others that cannot be read is added here.

    Raises:
        InputError: a file is missing, damaged, of another kind, or contradicts another. NoHcalError: it holds no HCAL
            maps that could be judged. DefinitionError: the definition is unknown or wrong.
    """
    from hcal_root_ad.references import input_paths

    names = [paths] if isinstance(paths, str | PathLike) else paths
    files = [file for name in names for file in (input_paths(name) if isinstance(name, str) else (Path(name),))]
    return tuple(map(read_only, read(files, definition, progress, left_out)))


def inspect_file(path: Name | InputFile) -> Inspection | PublishedRun:
    """What is in a file, and how it would be judged; of a file that we published, what it says.

    Raises:
        InputError, NoHcalError, DefinitionError: as :func:`read_lumi_maps` does.
    """
    from hcal_root_ad.harvest.read import inspect_file as inspect_input
    from hcal_root_ad.publish.published_run import is_published, read_published

    try:
        return inspect_input(path if isinstance(path, str | RemoteFile) else Path(path))
    except NoHcalError:
        if not isinstance(path, RemoteFile) and is_published(Path(path)):
            return read_published(Path(path))
        raise


def judge_run(
    maps: LumiMaps,
    models: Model | Name | Iterable[Model | Name] | None = None,
    *,
    false_alarms: float | None = None,
    without_reference: bool = False,
    mask: Mask | Name | None = None,
    pileup: Mapping[int, float] | None = None,
    progress: Progress | None = None,
) -> RunVerdict:
    """Judge a run, as the verb ``run`` does.

    Args:
        models: who judges: a model, its name or folder, or several, one per sub-detector; by default the shipped ones.
        false_alarms: false findings per 100 LS and sub-detector that are asked for; the models' own if not given.
        without_reference: judge the run against itself; nothing of it is then trusted.
        mask: channels that are known to be broken, or the file that lists them.
        pileup: mean interactions per crossing by LS, from OMS.
        progress: called with (done, total) lumisections.

    Raises:
        ModelError: no model serves what the run holds, or two are for the same sub-detector. NoHcalError: no
            lumisection can be judged. UsageError: so many false findings cannot be asked for.
    """
    from hcal_root_ad.pipeline import Judging, load_models

    judging = Judging(load_models(models), false_alarms, without_reference, _mask(mask))
    verdict = judging.judge(maps, progress, pileup)
    for part in (*verdict.verdicts, *filter(None, (verdict.strips, verdict.common))):
        read_only(part)
    return verdict


def compare_run(maps: LumiMaps, reference: NamedReference | str, mask: Mask | Name | None = None) -> Comparison:
    """Compare a run with a reference run of the catalogue, at the run's own pileup; masked channels are left out.

    Raises:
        CatalogueError: the reference is unknown, of another era, or counts something else. NoHcalError: there is no
            lumisection, or no run total, that can be compared.
    """
    from hcal_root_ad.compare.comparison import compare
    from hcal_root_ad.references import load_reference

    return compare(maps, load_reference(reference) if isinstance(reference, str) else reference, _mask(mask))


def certify_run(run: RunVerdict | RunRecord, policy: Policy | Name = "standard") -> RunCertification:
    """Which lumisections of a run are good by a policy, or by the one of that name or file.

    Raises:
        PolicyError: the policy is unknown or wrong.
    """
    from hcal_root_ad.certify.certification import certify_run as certify
    from hcal_root_ad.certify.policy import load_policy
    from hcal_root_ad.judge.run_verdict import RunVerdict
    from hcal_root_ad.publish.saved_verdict import record_of

    record = record_of(run) if isinstance(run, RunVerdict) else run
    return certify(record, load_policy(Path(policy)) if isinstance(policy, str | PathLike) else policy)


def train(runs: LumiMaps | Sequence[LumiMaps], subdetector: str, folder: Name, *, data: str = "") -> Model:
    """Make a model of clean runs alone and save it into a folder; ``data`` says in words what the runs are.

    Raises:
        InputError: the runs hold too little. UsageError: they are of several eras. OutputError: not writable.
    """
    from hcal_root_ad.model.transfer import train as train_model

    return train_model(_runs(runs), subdetector, Path(folder), data=data)


def transfer(
    source: Model | Name, runs: LumiMaps | Sequence[LumiMaps], folder: Name, *, to: str | None = None, data: str = ""
) -> Model:
    """Adapt a model to the detector of clean runs, or to another sub-detector (``to``), and save it into a folder.

    Raises:
        InputError: the runs hold too little. UsageError: they are of several eras. OutputError: not writable.
    """
    from hcal_root_ad.model.model import load_model
    from hcal_root_ad.model.transfer import transfer as transfer_model

    model = load_model(Path(source)) if isinstance(source, str | PathLike) else source
    return transfer_model(model, _runs(runs), Path(folder), to=to, data=data)


def _mask(mask: Mask | Name | None) -> Mask | None:
    from hcal_root_ad.mask import read_mask

    return read_mask(Path(mask)) if isinstance(mask, str | PathLike) else mask


def _runs(runs: LumiMaps | Sequence[LumiMaps]) -> Sequence[LumiMaps]:
    return [runs] if isinstance(runs, LumiMaps) else runs
