"""Writing monitor elements for both DQM GUIs: as a new ROOT file, or as folders in a copy of a harvested one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import uproot

from hcal_root_ad.errors import OutputError
from hcal_root_ad.files import whole_file
from hcal_root_ad.publish.check import check_file
from hcal_root_ad.publish.elements import MonitorElements
from hcal_root_ad.publish.object_text import efficiency_text, quality_text, scalar_text
from hcal_root_ad.publish.root_layout import mark_gaps, read_container, refuse_scattered
from hcal_root_ad.publish.root_objects import root_object
from hcal_root_ad.publish.uproot_directory import add_objects, identities, without_time

_COMPRESSION = uproot.ZLIB(4)
"""The newer GUI decodes zlib only."""


def write_root_file(elements: MonitorElements, path: Path) -> None:
    """Write a new file at ``path``, or raise OutputError and leave nothing behind."""

    def fill(temporary: Path) -> None:
        options = {"compression": _COMPRESSION, "uuid_function": _identities(elements)}
        with without_time(), uproot.recreate(temporary, **options) as file:
            add_objects(file, _objects(elements))

    _publish(path, fill)


def attach_to_file(elements: MonitorElements, source: Path, path: Path) -> None:
    """Write at ``path`` a copy of the harvested file ``source`` with our folders added, everything else untouched.

    Raises OutputError if the file holds a tree or already has our folders.
    """
    container = read_container(source)
    refuse_scattered(container)
    for folder in sorted({file_folder(elements.run, task_folder(element.path)) for element in elements.elements}):
        if folder in container.folders:
            raise OutputError(
                f"{source}: expected a file without our folders, found {folder!r} (attached before, or CMSSW's own ML"
                " task); attach to the original file, or publish without --attach."
            )

    def fill(temporary: Path) -> None:
        shutil.copyfile(source, temporary)
        try:
            with without_time(), uproot.update(temporary, uuid_function=_identities(elements)) as file:
                file.file.compression = _COMPRESSION
                add_objects(file, _objects(elements))
        except Exception as error:  # uproot's updating of foreign files fails in its own many ways
            raise OutputError(
                f"{source}: cannot be added to ({error}); publish into a file of its own, without --attach."
            ) from error

    _publish(path, fill)


def _identities(elements: MonitorElements) -> Callable[[], UUID]:
    """UUIDs that follow from the run and where it comes from, which the texts say."""
    return identities([str(elements.run), *map(scalar_text, elements.scalars)])


def file_folder(run: int, folder: str) -> str:
    """Folder in the file of a GUI folder: ``Hcal/HcalADTask`` is ``DQMData/Run 1/Hcal/Run summary/HcalADTask``."""
    subsystem, _, rest = folder.partition("/")
    return f"DQMData/Run {run}/{subsystem}/Run summary/{rest}".rstrip("/")


def task_folder(path: str) -> str:
    """Subsystem and task of an element's path."""
    return "/".join(path.split("/")[:2])


def _objects(elements: MonitorElements) -> Iterator[tuple[str, str, Any]]:
    """(folder, key name, object) of everything; texts come after the histograms that they speak of."""

    def place(path: str) -> str:
        return file_folder(elements.run, path.rpartition("/")[0])

    for element in elements.elements:
        yield place(element.path), element.path.rpartition("/")[2], root_object(element)
    texts = [(element.path, efficiency_text(element.path)) for element in elements.elements if element.efficiency]
    texts += [(scalar.path, scalar_text(scalar)) for scalar in elements.scalars]
    texts += [(result.path, quality_text(result)) for result in elements.quality]
    for path, text in texts:
        yield place(path), text, text


def _publish(path: Path, fill: Callable[[Path], None]) -> None:
    """Write beside the target, mark the gaps, check, and only then take the target's name."""
    with whole_file(path) as temporary:  # under its own name, which ``check`` looks at
        fill(temporary)
        mark_gaps(temporary)
        if sentences := check_file(temporary):
            raise OutputError(
                f"{path}: the DQM GUIs would refuse this file, nothing was written: {' '.join(sentences)}"
            )
