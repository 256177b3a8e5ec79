"""``read_lumi_maps``: from DQM files of any known kind to one :class:`LumiMaps` per run.

What kind of file it is, and which definition fits it, is found out; a long file can come in pieces.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from enum import IntEnum
from typing import Any, NamedTuple

from hcal_root_ad.detector import era_of_run
from hcal_root_ad.errors import DefinitionError, EmptyFileError, InputError, NoHcalError
from hcal_root_ad.harvest.definition import Definition, FileContent, Reader, choose_definitions, fitting_subsystem
from hcal_root_ad.harvest.harvested import DqmFile
from hcal_root_ad.harvest.inputs import (
    PARQUET_MAGIC,
    ROOT_MAGIC,
    InputFile,
    RemoteFile,
    expand_paths,
    magic,
    open_root,
    source_beside,
)
from hcal_root_ad.harvest.lumisection import needed_depths
from hcal_root_ad.harvest.merge import merge
from hcal_root_ad.harvest.snapshots import sections_of
from hcal_root_ad.lumi_maps import CoarseMaps, LumiMaps, Source


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
def open_reader(path: InputFile) -> Iterator[Reader]:
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


def _root_container(root: Any, path: InputFile) -> Reader:
    top = root.keys(recursive=False, cycle=False)
    if "Indices" in top:
        from hcal_root_ad.harvest.dqmio import DqmioFile  # of the kinds of files, one run has one

        return DqmioFile(root, path)
    if "DQMData" in top:
        return DqmFile(root, path)
    from hcal_root_ad.harvest.analysis_files import FlatFile, HcalAnalyzerFile, is_flat

    if is_flat(top):
        return FlatFile(root, path)
    if any(kind.startswith("TH3") for kind in root.classnames().values()):
        return HcalAnalyzerFile(root, path)
    names = ", ".join(top[:5]) or "nothing"
    raise NoHcalError(
        f"{path} is a ROOT file, but no DQM file: DQMData, the trees of DQMIO or HcalAnalyzer's TH3 were expected at "
        f"its top, {names} was found."
    )


def fit(container: Reader, definition: Definition) -> Fit:
    """How well a definition fits an open file."""
    if definition.container is not container.kind:
        return Fit.NONE
    subsystem = fitting_subsystem(container, definition)
    if subsystem is not None:
        depths = {depth for run in container.runs for depth in needed_depths(era_of_run(run))}
        maps = [container.element(definition.map_element(subsystem, depth)) for depth in depths]
        return Fit.PER_LS if all(element.lumisections for element in maps if element) else Fit.TOTALS
    strips = (definition.strips.format(subsystem=name, half="HBM") for name in definition.subsystems)
    return Fit.STRIPS if definition.strips and any(container.element(name) for name in strips) else Fit.NONE


def choose(container: Reader, allowed: tuple[Definition, ...], request: str | None) -> Definition:
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


def _nothing_fits(container: Reader, definition: Definition) -> str:
    eras = {era_of_run(run) for run in container.runs}
    if not eras <= set(definition.eras):
        of_run, served = ", ".join(sorted(eras)), ", ".join(definition.eras)
        return f"{container.path} holds a run of era {of_run}, but the definition {definition.name} is for {served}."
    depths = sorted({depth for run in container.runs for depth in needed_depths(era_of_run(run))})
    elements = [definition.map_element(definition.subsystems[0], depth) for depth in depths]
    lacking = [name for name in elements if name not in container.elements]
    names = list(container.elements)
    if 0 < len(lacking) < len(elements):
        return f"{container.path} lacks {', '.join(lacking)}, without which HB and HE cannot be judged."
    nearest = difflib.get_close_matches((lacking or elements)[0], names, n=3, cutoff=0.0)
    has = f"the nearest monitor elements that it has are {', '.join(nearest)}" if nearest else "it has no elements"
    return f"{container.path} holds no HCAL maps such as {(lacking or elements)[0]}; {has}."


def stream_lumi_maps(
    path: str | InputFile, definition: str | None = None, lumisections: int = 200
) -> Iterator[LumiMaps]:
    """Read one file, ``lumisections`` at a time and ascending; otherwise as ``read_lumi_maps``.

    Rows of a lumisection that lie apart in the file are summed all the same. Where nothing counts the events, they are
    estimated from the piece alone. A file without maps per lumisection comes in one piece.

    Raises:
        InputError, NoHcalError, DefinitionError: as ``read_lumi_maps`` does.
    """
    (file,) = expand_paths(path)
    with source_beside(file) as source, open_reader(file) as container:
        chosen = choose(container, choose_definitions(definition), definition)
        per_lumisection = fit(container, chosen) is Fit.PER_LS
        if per_lumisection:
            for first in range(1, container.last_lumisection(chosen) + 1, lumisections):
                content = container.content(chosen, range(first, first + lumisections))
                yield from _pieces(content, source.result())
    if not per_lumisection:
        yield from read_lumi_maps(file, definition)


def _pieces(content: FileContent, source: Source) -> Iterator[LumiMaps]:
    """One piece of each run that has lumisections in it."""
    for run in sorted({section.run for section in content.sections}):
        sections = [section for section in content.sections if section.run == run]
        versus_ls = content.events_versus_ls.get(run, {})
        for section in sections:
            section.origin = str(content.path)
        yield merge(run, sections, {str(content.path): versus_ls}, content.definition, (source,), content.notes)


Progress = Callable[[int, int], None]
"""Called after each file with the number of files done and the number of all."""
_VERSION = re.compile(r"^((?:DQM|Playback)_V)(\d+)(_.*)$")
_DATASET = re.compile(r"_V\d+_R\d+__([-\w]+?)__([-\w]+?)__([-A-Za-z0-9]+)(?:_L\d+)?\.root$")
_STORE = re.compile(r"/store/\w+/(?P<era>[^/]+)/(?P<primary>[^/]+)/(?P<tier>[^/]+)/(?P<processing>[^/]+)/")


class LeftOut(NamedTuple):
    """A file among others that was not read, and why."""

    path: InputFile
    error: InputError


def read_lumi_maps(
    paths: str | InputFile | Iterable[str | InputFile],
    definition: str | None = None,
    progress: Progress | None = None,
    left_out: list[LeftOut] | None = None,
) -> tuple[LumiMaps, ...]:
    """Read the HCAL maps of DQM files.

    Args:
        paths: files, folders, glob patterns, or addresses (``root://…``, ``https://…``); all files of a run
            make one :class:`LumiMaps`.
        definition: name of a harvester definition, or of its quantity (``OccupancyCut``); found out if None.
        progress: called with (done, total) after each file.
        left_out: where it is given, a file among others that cannot be read is added here, and the runs are read from
            the others; their notes say so. A file without any lumisection is left out in any case.

    Returns:
        One :class:`LumiMaps` per run, by run number. Lumisections are ascending; those that come
        more than once are summed, those without HCAL maps are kept with ``present`` False.

    Raises:
        InputError: a file that is missing, damaged, of another kind, or contradicts another.
        NoHcalError: a file without HCAL maps that could be judged.
        DefinitionError: the definition is unknown or wrong.
    """
    files = expand_paths(paths)
    allowed = choose_definitions(definition)
    contents, sources = [], {}
    without: list[LeftOut] = []
    for done, path in enumerate(files, start=1):
        try:
            content, sources[path] = read_content(path, allowed, definition)
            contents.append(content)
        except InputError as error:
            if len(files) == 1 or (left_out is None and not isinstance(error, EmptyFileError)):
                raise
            without.append(LeftOut(path, error))
        if progress is not None:
            progress(done, len(files))
    if not contents:
        raise without[0].error
    if left_out is not None:
        left_out += [file for file in without if not isinstance(file.error, EmptyFileError)]
    notes = tuple(f"{file.path.name} was left out: {file.error}" for file in without)
    return lumi_maps_of(contents, sources, keep=False, notes=notes)


def read_content(
    path: InputFile, allowed: tuple[Definition, ...], request: str | None = None
) -> tuple[FileContent, Source]:
    """What the definition that fits best finds in one file, and the file itself; raises as ``read_lumi_maps`` does."""
    with source_beside(path) as source, open_reader(path) as container:
        return container.content(choose(container, allowed, request)), source.result()


def lumi_maps_of(
    contents: list[FileContent], sources: Mapping[InputFile, Source], *, keep: bool = True, notes: tuple[str, ...] = ()
) -> tuple[LumiMaps, ...]:
    """One :class:`LumiMaps` per run from what was found in each file; without ``keep``, its counts are used up."""
    empty = [content for content in contents if not content.sections and not content.totals]
    contents = [content for content in contents if content.sections or content.totals]
    if not contents:
        raise EmptyFileError(f"{empty[0].path} holds no HCAL maps per lumisection.")
    notes = (*notes, *(f"{one.path.name} was left out: it holds no HCAL maps per lumisection." for one in empty))
    alike = Counter(source.size for source in sources.values())
    same = {path: (alike[source.size] > 1 and source.sha256) or str(path) for path, source in sources.items()}
    unique = {same[content.path]: content for content in reversed(contents)}
    kept = [content for content in contents if unique[same[content.path]] is content]
    notes += tuple(
        f"{content.path} is the same file as {unique[same[content.path]].path} and was read once."
        for content in contents
        if unique[same[content.path]] is not content
    )
    runs = {s.run for c in kept for s in (*c.sections, *(total.section for total in c.totals))}
    return tuple(_run_maps(run, [c for c in kept if _holds(c, run)], sources, notes, keep) for run in sorted(runs))


def _holds(content: FileContent, run: int) -> bool:
    return any(s.run == run for s in (*content.sections, *(total.section for total in content.totals)))


def _run_maps(
    run: int, contents: list[FileContent], sources_of: Mapping[InputFile, Source], notes: tuple[str, ...], keep: bool
) -> LumiMaps:
    contents, older = _newest(contents)
    notes = (*notes, *older)
    _check_datasets(run, contents)
    definition = _common_definition(run, contents)
    for content in contents:
        for section in (*content.sections, *(total.section for total in content.totals)):
            section.origin = str(content.path)
    totals = [total for content in contents for total in content.totals if total.section.run == run]
    sections = [section for content in contents for section in content.sections if section.run == run]
    if totals and sections:
        raise InputError(
            f"Run {run} comes as maps per LS in one file and as totals in {totals[0].path}; give one kind only."
        )
    versus_ls = {str(content.path): content.events_versus_ls.get(run, {}) for content in contents}
    if totals:
        resolved = sections_of(totals, definition.cumulative)
        if resolved is None:
            return _coarse_maps(run, contents[0], sources_of[contents[0].path], notes)
        sections, more_notes = resolved
        notes = (*notes, *more_notes)
        versus_ls = {"": _largest(versus_ls.values())}
    if not any(section.counts is not None for section in sections):
        raise NoHcalError(f"{contents[0].path} holds no HCAL maps per lumisection of run {run}.")
    sources = tuple(sources_of[content.path] for content in contents)
    all_notes = (*notes, *(note for content in contents for note in content.notes))
    sections = [replace(section) for section in sections] if keep else sections
    return merge(run, sections, versus_ls, definition, sources, all_notes)


def _newest(contents: list[FileContent]) -> tuple[list[FileContent], list[str]]:
    """Of files whose names differ in the version only (``DQM_V0002_…``), the newest; sentences on the others."""
    newest: dict[tuple[str, ...], tuple[int, FileContent]] = {}
    kept, notes = [], []
    for content in contents:
        if name := _VERSION.match(content.path.name):
            key, version = (name[1], name[3]), int(name[2])
            newest[key] = max(newest.get(key, (version, content)), (version, content), key=lambda pair: pair[0])
    for content in contents:
        name = _VERSION.match(content.path.name)
        best = newest[name[1], name[3]] if name else None
        if name and best and best[0] > int(name[2]):
            notes.append(f"{content.path.name} was left out: {best[1].path.name} is a newer version of it.")
        else:
            kept.append(content)
    return kept, notes


def _check_datasets(run: int, contents: list[FileContent]) -> None:
    """Raises InputError for a run of two datasets: they may hold the same events, reconstructed in two ways."""
    datasets: dict[str, FileContent] = {}
    for content in contents:
        if dataset := content.datasets.get(run) or _dataset(content.path):
            datasets.setdefault(dataset, content)
    if len(datasets) > 1:
        (a, in_a), (b, in_b) = sorted(datasets.items())[:2]
        raise InputError(
            f"Run {run} comes from {len(datasets)} datasets, {a} ({in_a.path}) and {b} ({in_b.path}); they may hold "
            "the same events, so give files of one dataset."
        )


def _dataset(path: InputFile) -> str:
    """The dataset that a file's name, or its place in CMS's storage, tells; "" where neither does."""
    if name := _DATASET.search(path.name):
        return "/" + "/".join(name.groups())
    if place := _STORE.search(str(path)):
        return "/{primary}/{era}-{processing}/{tier}".format(**place.groupdict())
    return ""


def _common_definition(run: int, contents: list[FileContent]) -> Definition:
    first = contents[0]
    for other in contents[1:]:
        if other.definition != first.definition:
            raise InputError(
                f"Run {run} comes by the definition {first.definition.name} from {first.path} and by "
                f"{other.definition.name} from {other.path}; give files of one kind, or pick a definition."
            )
    return first.definition


def _largest(counters: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """HCAL's counter against the LS, of files that each hold the run so far."""
    largest: dict[int, int] = {}
    for counter in counters:
        largest.update({ls: max(events, largest.get(ls, 0)) for ls, events in counter.items()})
    return largest


def _coarse_maps(run: int, content: FileContent, source: Source, notes: tuple[str, ...]) -> LumiMaps:
    """Strips and totals of a file that holds no maps per lumisection."""
    with open_root(content.path) as root:
        coarse, sections, more_notes = DqmFile(root, content.path).coarse(run, content.definition)
    if coarse.strips is None and coarse.totals is None:
        raise NoHcalError(f"{content.path} holds nothing of run {run} that can be judged. {' '.join(more_notes)}")
    says = (f"{content.path.name} holds no depth maps per LS: judged as {granularity(coarse)}.", *notes, *more_notes)
    versus_ls = content.events_versus_ls.get(run, {})
    return merge(run, sections, {"": versus_ls}, content.definition, (source,), says, coarse)


def granularity(coarse: CoarseMaps | None) -> str:
    """At what granularity maps are judged, in words."""
    if coarse is None:
        return "channels per LS"
    parts = (coarse.strips is not None and "strips per LS", coarse.totals is not None and "channels per run")
    return " and ".join(kind for kind in parts if kind)
