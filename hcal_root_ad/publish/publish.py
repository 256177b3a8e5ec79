"""The verdict on a run as a ROOT file for the DQM GUIs: built, written, checked."""

from __future__ import annotations

from pathlib import Path

from hcal_root_ad.errors import OutputError
from hcal_root_ad.judge.verdict import RunVerdict
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.publish.file_name import name_complaints, offline_name, online_name, with_version
from hcal_root_ad.publish.monitor_elements import monitor_elements
from hcal_root_ad.publish.provenance import Provenance
from hcal_root_ad.publish.root_file import attach_to_file, write_root_file


def publish(
    verdict: RunVerdict,
    folder: Path,
    *,
    online: bool = False,
    attach_to: Path | None = None,
    provenance: Provenance | None = None,
    as_production: bool = False,
    version: int = 1,
) -> Path:
    """Write the file of one run into ``folder`` and return its path.

    With ``attach_to``, the folders are added to a copy of that harvested file, which keeps its name where the GUIs
    take it. Without ``provenance`` the verdict itself tells what it was made of. ``as_production``: under the names of
    CMSSW's ``HcalMLTask``, whose place the file then takes in a GUI. ``version``: of the file's name.

    Raises:
        OutputError: a GUI would refuse the file, or it cannot be written; nothing is left behind.
    """
    target = target_path(verdict.maps, folder, online=online, attach_to=attach_to)
    target = target.with_name(with_version(target.name, version)) if version > 1 else target
    _refuse_input(target, attach_to)
    elements = monitor_elements(
        verdict, provenance, beside_digi_task=attach_to is not None, as_production=as_production
    )
    if attach_to is None:
        write_root_file(elements, target)
    else:
        attach_to_file(elements, Path(attach_to), target)
    return target


def target_path(maps: LumiMaps, folder: Path, *, online: bool = False, attach_to: Path | None = None) -> Path:
    """Where :func:`publish` puts the file of that run."""
    name = online_name(maps.run) if online else offline_name(maps.run, maps.sources[0].name if maps.sources else "")
    if attach_to is not None and not list(name_complaints(attach_to.name)):
        name = attach_to.name
    return Path(folder) / name


def _refuse_input(target: Path, attach_to: Path | None) -> None:
    if attach_to is not None and target.exists() and target.samefile(attach_to):
        raise OutputError(f"{target}: the output would replace the input; choose another folder with -o.")
