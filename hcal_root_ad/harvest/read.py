"""From DQM files of any known kind to one :class:`LumiMaps` per run, and what is in a file.

What kind of file it is, and which definition fits it, is found out; a long file can come in pieces.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from hcal_root_ad.detector import era_of_run
from hcal_root_ad.errors import DefinitionError, EmptyFileError, InputError, NoHcalError
from hcal_root_ad.harvest.gathering import needed_depths
from hcal_root_ad.harvest.harvested import DqmFile
from hcal_root_ad.harvest.harvester import Definition, Element, FileContent, Reader, choose_definitions, fitting
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
from hcal_root_ad.harvest.merge import check_datasets, common_definition, largest, merge, newest
from hcal_root_ad.lumi_maps import CoarseMaps, EventSource, LumiMaps, Source, ls_ranges


class Fit(IntEnum):
    """How well a definition fits: strips per LS, depth maps of the run (or the one LS that it is for), maps per LS."""

    NONE, STRIPS, TOTALS, PER_LS = range(4)


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
    if chosen := fitting(container, definition):
        depths = {depth for run in container.runs for depth in needed_depths(era_of_run(run))}
        maps = [container.element(chosen.map_element(depth)) for depth in depths]
        return Fit.PER_LS if all(element.lumisections for element in maps if element) else Fit.TOTALS
    strips = (definition.strips.format(subsystem=name, half="HBM") for name in definition.subsystems)
    return Fit.STRIPS if definition.strips and any(container.element(name) for name in strips) else Fit.NONE


def choose(container: Reader, allowed: tuple[Definition, ...], request: str | None) -> Definition:
    """The definition that fits best; among equals, the one of lowest rank.

    Raises:
        DefinitionError: the request is for another kind of file.
        NoHcalError: no definition fits; the message names the nearest elements that the file has.
    """
    fits = {definition: fit(container, definition) for definition in allowed if definition.container is container.kind}
    if not fits:
        wish = f"The definition {request!r} is" if request else "No definition is"
        raise DefinitionError(f"{wish} for a {container.format}, which {container.path} is.")
    best = max(fits, key=lambda definition: (fits[definition], -definition.rank))
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
    elements = [definition.map_element(depth) for depth in depths]
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
    """Read one file, ``lumisections`` at a time and ascending; otherwise as :func:`read_lumi_maps`.

    Rows of a lumisection that lie apart in the file are summed all the same. Where nothing counts the events, they are
    estimated from the piece alone. A file without maps per lumisection comes in one piece. Errors are those of it.
    """
    (file,) = expand_paths(path)
    with source_beside(file) as source, open_reader(file) as container:
        chosen = choose(container, choose_definitions(definition), definition)
        per_lumisection = fit(container, chosen) is Fit.PER_LS
        last = container.last_lumisection(chosen) if per_lumisection else 0
        for first in range(1, last + 1, lumisections):
            content = container.content(chosen, range(first, first + lumisections))
            name = str(content.path)
            for run in sorted({section.run for section in content.sections}):
                sections = [section for section in content.sections if section.run == run]
                for section in sections:
                    section.origin = name
                versus_ls = {name: content.events_versus_ls.get(run, {})}
                yield merge(run, sections, versus_ls, chosen, (source.result(),), content.notes)
    if not per_lumisection:
        yield from read_lumi_maps(file, definition)


Progress = Callable[[int, int], None]
"""Called after each file with the number of files done and the number of all."""


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
    empty = [content for content in contents if not content.all_sections]
    contents = [content for content in contents if content.all_sections]
    if not contents:
        raise EmptyFileError(f"{empty[0].path} holds no HCAL maps per lumisection.")
    notes += tuple(f"{file.path.name} was left out: it holds no HCAL maps per lumisection." for file in empty)
    alike = Counter(source.size for source in sources.values())
    same = {path: (alike[source.size] > 1 and source.sha256) or str(path) for path, source in sources.items()}
    unique = {same[content.path]: content for content in reversed(contents)}
    kept = [content for content in contents if unique[same[content.path]] is content]
    notes += tuple(
        f"{content.path} is the same file as {unique[same[content.path]].path} and was read once."
        for content in contents
        if unique[same[content.path]] is not content
    )
    runs = {content.path: {section.run for section in content.all_sections} for content in kept}
    return tuple(
        _run_maps(run, [content for content in kept if run in runs[content.path]], sources, notes, keep)
        for run in sorted(set[int]().union(*runs.values()))
    )


def _run_maps(
    run: int, contents: list[FileContent], sources_of: Mapping[InputFile, Source], notes: tuple[str, ...], keep: bool
) -> LumiMaps:
    contents, older = newest(contents)
    notes = (*notes, *older)
    check_datasets(run, contents)
    definition = common_definition(run, contents)
    for content in contents:
        for section in content.all_sections:
            section.origin = str(content.path)
    totals = [total for content in contents for total in content.totals if total.section.run == run]
    sections = [section for content in contents for section in content.sections if section.run == run]
    if totals and sections:
        raise InputError(
            f"Run {run} comes as maps per LS in one file and as totals in {totals[0].path}; give one kind only."
        )
    versus_ls = {str(content.path): content.events_versus_ls.get(run, {}) for content in contents}
    if totals:
        from hcal_root_ad.harvest.snapshots import sections_of  # maps per LS, which most files have, need none of it

        resolved = sections_of(totals, definition.cumulative)
        if resolved is None:
            return _coarse_maps(run, contents[0], sources_of[contents[0].path], notes)
        sections, more_notes = resolved
        notes = (*notes, *more_notes)
        versus_ls = {"": largest(versus_ls.values())}
    if not any(section.counts is not None for section in sections):
        raise NoHcalError(f"{contents[0].path} holds no HCAL maps per lumisection of run {run}.")
    sources = tuple(sources_of[content.path] for content in contents)
    sections = [replace(section) for section in sections] if keep else sections
    all_notes = (*notes, *(note for content in contents for note in content.notes))
    return merge(run, sections, versus_ls, definition, sources, all_notes)


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
    kinds = {"strips per LS": coarse.strips, "channels per run": coarse.totals} if coarse else {"channels per LS": ""}
    return " and ".join(kind for kind, counts in kinds.items() if counts is not None)


@dataclass(frozen=True, eq=False)
class Inspection:
    """What a file holds.

    Attributes:
        path: the file.
        format: kind of file, in words.
        runs: the maps of each run.
        elements: HCAL's monitor elements, with class and number of LS (0: for the run only).
        definitions: names of the definitions that fit, the one that would be taken first.
    """

    path: InputFile
    format: str
    runs: tuple[LumiMaps, ...]
    elements: tuple[Element, ...]
    definitions: tuple[str, ...]

    @property
    def granularity(self) -> str:
        """At what granularity the file would be judged, in words."""
        return ", ".join(dict.fromkeys(granularity(maps.coarse) for maps in self.runs))

    def __str__(self) -> str:
        lines = [f"{self.path}", f"  format        {self.format}"]
        for maps in self.runs:
            numbers = f"{len(maps)} ({ls_ranges(maps.lumisections)})"
            sources = ", ".join(source.name.lower().replace("_", " ") for source in event_sources(maps))
            lines += [
                f"  run           {maps.run}",
                f"  lumisections  {numbers}, {maps.present.sum()} with depth maps",
                f"  events        {maps.run_events} (from: {sources})",
                f"  digis in      {', '.join(maps.found) or 'no depth map'}",
            ]
        notes = dict.fromkeys(note for maps in self.runs for note in maps.notes)
        lines += [f"  judged as     {self.granularity}", f"  definitions   {', '.join(self.definitions)}"]
        lines += [f"  note          {note}" for note in notes]
        lines += ["  HCAL elements"]
        lines += [f"    {e.classname:<10} {e.lumisections or 'run':>5}  {e.name}" for e in self.elements]
        return "\n".join(lines)


def inspect_file(path: str | InputFile) -> Inspection:
    """Look into one file; it is read as :func:`read_lumi_maps` would read it, and raises as that does."""
    files = expand_paths(path)
    if len(files) > 1:
        raise InputError(f"{path} stands for {len(files)} files; name one of them, for example {files[0]}.")
    (file,) = files
    allowed = choose_definitions(None)
    with source_beside(file) as source, open_reader(file) as container:
        chosen = choose(container, allowed, None)
        others = [d.name for d in allowed if d != chosen and fit(container, d) is not Fit.NONE]
        elements = tuple(container.elements.values())
        content, sources = container.content(chosen), {file: source.result()}
    return Inspection(
        path=file,
        format=container.format,
        runs=lumi_maps_of([content], sources),
        elements=tuple(e for e in elements if e.name.startswith("Hcal")),
        definitions=(chosen.name, *others),
    )


def event_sources(maps: LumiMaps) -> tuple[EventSource, ...]:
    """Where the events of a run come from; those of its totals, where there are any."""
    whole_run = maps.coarse is not None and maps.coarse.totals is not None
    sources = [maps.coarse.event_source] if maps.coarse and whole_run else np.unique(maps.event_source)
    return tuple(map(EventSource, sources))
