"""What kind of file this is, and which definition fits it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

from hcal_root_ad.detector import era_of_run
from hcal_root_ad.errors import DefinitionError, EmptyFileError, InputError, NoHcalError
from hcal_root_ad.harvest.container import Container, fitting_subsystem
from hcal_root_ad.harvest.definition import Definition
from hcal_root_ad.harvest.dqm_file import DqmFile
from hcal_root_ad.harvest.dqmio import DqmioFile
from hcal_root_ad.harvest.flat import FlatFile, is_flat
from hcal_root_ad.harvest.hcalanalyzer import HcalAnalyzerFile
from hcal_root_ad.harvest.input_file import PARQUET_MAGIC, ROOT_MAGIC, InputFile, RemoteFile, magic, open_root
from hcal_root_ad.harvest.section import needed_depths


class Fit(IntEnum):
    """How well a definition fits a file."""

    NONE = 0
    STRIPS = 1
    """LS × iphi strips, but no depth maps."""
    TOTALS = 2
    """Depth maps for the run (or the one LS that the file is for)."""
    PER_LS = 3
    """Depth maps per lumisection."""


@contextmanager
def open_container(path: InputFile) -> Iterator[Container]:
    """Open an input file as what it is.

    Raises:
        InputError: neither ROOT nor parquet, empty, or damaged.
        NoHcalError: a ROOT file of another kind.
    """
    start = magic(path)
    if start == ROOT_MAGIC:
        with open_root(path) as root:
            yield _root_container(root, path)
    elif start == PARQUET_MAGIC:
        if isinstance(path, RemoteFile):
            raise InputError(
                f"{path} is a parquet file, and only ROOT files are read through the network; copy it here."
            )
        from hcal_root_ad.harvest.dials import open_table  # pyarrow is slow to import

        with open_table(path) as parquet:
            yield parquet
    else:
        raise InputError(f"{path} is neither a ROOT nor a parquet file; it begins with {start!r}.")


def _root_container(root: Any, path: InputFile) -> Container:
    top = root.keys(recursive=False, cycle=False)
    if "Indices" in top:
        return DqmioFile(root, path)
    if "DQMData" in top:
        return DqmFile(root, path)
    if is_flat(top):
        return FlatFile(root, path)
    if any(kind.startswith("TH3") for kind in root.classnames().values()):
        return HcalAnalyzerFile(root, path)
    found = ", ".join(top[:5]) or "nothing"
    raise NoHcalError(
        f"{path} is a ROOT file, but no DQM file: DQMData, the trees of DQMIO or HcalAnalyzer's TH3 were expected at "
        f"its top, {found} was found."
    )


def fit(container: Container, definition: Definition) -> Fit:
    """How well a definition fits an open file."""
    if definition.container is not container.kind:
        return Fit.NONE
    subsystem = fitting_subsystem(container, definition)
    if subsystem is not None:
        depths = {depth for run in container.runs for depth in needed_depths(era_of_run(run))}
        maps = [container.element(definition.map_element(subsystem, depth)) for depth in depths]
        return Fit.PER_LS if all(found.lumisections for found in maps if found) else Fit.TOTALS
    strips = (definition.strips.format(subsystem=name, half="HBM") for name in definition.subsystems)
    return Fit.STRIPS if definition.strips and any(container.element(name) for name in strips) else Fit.NONE


def choose(container: Container, allowed: tuple[Definition, ...], request: str | None) -> Definition:
    """The definition that fits best; among equals, the one of lowest rank.

    Raises:
        DefinitionError: the request is for another kind of file.
        NoHcalError: no definition fits; the message names the nearest elements that the file has.
    """
    of_kind = [definition for definition in allowed if definition.container is container.kind]
    if not of_kind:
        wish = f"The definition {request!r} is" if request else "No definition is"
        raise DefinitionError(f"{wish} for a {container.format}, which {container.path} is.")
    fits = {definition: fit(container, definition) for definition in of_kind}
    best = max(of_kind, key=lambda definition: (fits[definition], -definition.rank))
    if fits[best] is Fit.NONE:
        if not container.runs:
            raise EmptyFileError(f"{container.path} holds no run at all, so no HCAL maps either.")
        raise NoHcalError(_nothing_fits(container, best))
    return best


def _nothing_fits(container: Container, definition: Definition) -> str:
    eras = {era_of_run(run) for run in container.runs}
    if not eras <= set(definition.eras):
        found, known = ", ".join(sorted(eras)), ", ".join(definition.eras)
        return f"{container.path} holds a run of era {found}, but the definition {definition.name} is for {known}."
    depths = sorted({depth for run in container.runs for depth in needed_depths(era_of_run(run))})
    wanted = [definition.map_element(definition.subsystems[0], depth) for depth in depths]
    lacking = [name for name in wanted if name not in container.elements]
    names = list(container.elements)
    if 0 < len(lacking) < len(wanted):
        return f"{container.path} lacks {', '.join(lacking)}, without which HB and HE cannot be judged."
    nearest = difflib.get_close_matches((lacking or wanted)[0], names, n=3, cutoff=0.0)
    has = f"the nearest monitor elements that it has are {', '.join(nearest)}" if nearest else "it has no elements"
    return f"{container.path} holds no HCAL maps such as {(lacking or wanted)[0]}; {has}."
