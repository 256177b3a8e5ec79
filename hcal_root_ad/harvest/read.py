"""``read_lumi_maps``: from DQM files of any known kind to one :class:`LumiMaps` per run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from hcal_root_ad.errors import InputError, NoHcalError
from hcal_root_ad.harvest import snapshots
from hcal_root_ad.harvest.container import FileContent
from hcal_root_ad.harvest.definition import Definition, choose_definitions
from hcal_root_ad.harvest.dqm_file import DqmFile
from hcal_root_ad.harvest.input_file import InputFile, expand_paths, open_root, source_beside
from hcal_root_ad.harvest.merge import merge
from hcal_root_ad.harvest.recognise import choose, open_container
from hcal_root_ad.harvest.section import Section
from hcal_root_ad.lumi_maps import CoarseMaps, LumiMaps, Source

Progress = Callable[[int, int], None]
"""Called after each file with the number of files done and the number of all."""


def read_lumi_maps(
    paths: str | InputFile | Iterable[str | InputFile], definition: str | None = None, progress: Progress | None = None
) -> tuple[LumiMaps, ...]:
    """Read the HCAL maps of DQM files.

    Args:
        paths: files, folders, glob patterns, or addresses (``root://…``, ``https://…``); all files of a run
            make one :class:`LumiMaps`.
        definition: name of a harvester definition, or of its quantity (``OccupancyCut``); found out if None.
        progress: called with (done, total) after each file.

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
    for done, path in enumerate(files, start=1):
        content, sources[path] = read_content(path, allowed, definition)
        contents.append(content)
        if progress is not None:
            progress(done, len(files))
    return lumi_maps_of(contents, sources, keep=False)


def read_content(
    path: InputFile, allowed: tuple[Definition, ...], request: str | None = None
) -> tuple[FileContent, Source]:
    """What the definition that fits best finds in one file, and the file itself; raises as ``read_lumi_maps`` does."""
    with source_beside(path) as source, open_container(path) as container:
        return container.content(choose(container, allowed, request)), source.result()


def lumi_maps_of(
    contents: list[FileContent], sources: Mapping[InputFile, Source], *, keep: bool = True
) -> tuple[LumiMaps, ...]:
    """One :class:`LumiMaps` per run from what was found in each file; without ``keep``, its counts are used up."""
    for content in contents:
        if not content.sections and not content.totals:
            raise NoHcalError(f"{content.path} holds no HCAL maps per lumisection.")
    alike = Counter(source.size for source in sources.values())
    same = {path: (alike[source.size] > 1 and source.sha256) or str(path) for path, source in sources.items()}
    unique = {same[content.path]: content for content in reversed(contents)}
    kept = [content for content in contents if unique[same[content.path]] is content]
    notes = tuple(
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
    definition = _common_definition(run, contents)
    totals = [total for content in contents for total in content.totals if total.section.run == run]
    sections = [section for content in contents for section in content.sections if section.run == run]
    if totals and sections:
        raise InputError(
            f"Run {run} comes as maps per LS in one file and as totals in {totals[0].path}; give one kind only."
        )
    versus_ls = _events_versus_ls(run, contents)
    if totals:
        resolved = snapshots.sections_of(totals, definition.cumulative)
        if resolved is None:
            return _coarse_maps(run, contents[0], sources_of[contents[0].path], versus_ls, notes)
        sections, more_notes = resolved
        notes = (*notes, *more_notes)
    if not any(section.counts is not None for section in sections):
        raise NoHcalError(f"{contents[0].path} holds no HCAL maps per lumisection of run {run}.")
    sources = tuple(sources_of[content.path] for content in contents)
    all_notes = (*notes, *(note for content in contents for note in content.notes))
    sections = [replace(section) for section in sections] if keep else sections
    return merge(run, sections, versus_ls, definition, sources, all_notes)


def _common_definition(run: int, contents: list[FileContent]) -> Definition:
    first = contents[0]
    for other in contents[1:]:
        if other.definition != first.definition:
            raise InputError(
                f"Run {run} comes by the definition {first.definition.name} from {first.path} and by "
                f"{other.definition.name} from {other.path}; give files of one kind, or pick a definition."
            )
    return first.definition


def _events_versus_ls(run: int, contents: list[FileContent]) -> dict[int, int]:
    """HCAL's counter against the LS: files that share the run's LS add up, files that each hold the run do not."""
    together: dict[int, int] = {}
    for content in contents:
        for ls, events in content.events_versus_ls.get(run, {}).items():
            so_far = together.get(ls, 0)
            together[ls] = max(so_far, events) if content.totals else so_far + events
    return together


def _coarse_maps(
    run: int, content: FileContent, source: Source, versus_ls: Mapping[int, int], notes: tuple[str, ...]
) -> LumiMaps:
    """Strips and totals of a file that holds no maps per lumisection."""
    with open_root(content.path) as root:
        coarse, lumisections = DqmFile(root, content.path).coarse(run, content.definition, versus_ls)
    sections = [Section(run, ls) for ls in lumisections]
    says = (f"{content.path.name} holds no depth maps per LS: judged as {granularity(coarse)}.", *notes)
    return merge(run, sections, versus_ls, content.definition, (source,), says, coarse)


def granularity(coarse: CoarseMaps | None) -> str:
    """At what granularity maps are judged, in words."""
    if coarse is None:
        return "channels per LS"
    parts = (coarse.strips is not None and "strips per LS", coarse.totals is not None and "channels per run")
    return " and ".join(part for part in parts if part)
