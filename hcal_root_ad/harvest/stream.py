"""``stream_lumi_maps``: a file's maps in pieces of some lumisections, in as much memory as one piece takes."""

from __future__ import annotations

from collections.abc import Iterator

from hcal_root_ad.harvest.container import FileContent
from hcal_root_ad.harvest.definition import choose_definitions
from hcal_root_ad.harvest.input_file import InputFile, expand_paths, source_beside
from hcal_root_ad.harvest.merge import merge
from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.harvest.recognise import Fit, choose, fit, open_container
from hcal_root_ad.lumi_maps import LumiMaps, Source


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
    with source_beside(file) as source, open_container(file) as container:
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
