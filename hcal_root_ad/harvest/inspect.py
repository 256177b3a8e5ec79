"""``inspect_file``: what is in a file, which definitions fit it, and how it would be judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.definition import Element, choose_definitions
from hcal_root_ad.harvest.inputs import InputFile, expand_paths, source_beside
from hcal_root_ad.harvest.read import Fit, choose, fit, granularity, lumi_maps_of, open_reader
from hcal_root_ad.lumi_maps import EventSource, LumiMaps, ls_ranges


@dataclass(frozen=True, eq=False)
class RunContents:
    """One run of a file: its lumisections, their events and where these come from, and who has digis."""

    run: int
    lumisections: NDArray[np.int32]
    events: NDArray[np.int64]
    in_all: int
    """Events of the run; where the file holds totals only, these may be more than the sum of ``events``."""
    event_sources: tuple[EventSource, ...]
    assessed: int
    """Number of lumisections with HCAL maps per channel."""
    subdetectors: tuple[str, ...]
    """Those with a digi in the maps, per lumisection or of the run."""


@dataclass(frozen=True, eq=False)
class Inspection:
    """What a file holds.

    Attributes:
        path: the file.
        format: kind of file, in words.
        runs: the runs with their lumisections and events.
        elements: HCAL's monitor elements, with class and number of LS (0: for the run only).
        definitions: names of the definitions that fit, the one that would be taken first.
        granularity: at what granularity the file would be judged, in words.
        notes: what was skipped, summed or found strange.
    """

    path: InputFile
    format: str
    runs: tuple[RunContents, ...]
    elements: tuple[Element, ...]
    definitions: tuple[str, ...]
    granularity: str
    notes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.path}", f"  format        {self.format}"]
        for run in self.runs:
            numbers = f"{len(run.lumisections)} ({ls_ranges(run.lumisections)})"
            sources = ", ".join(source.name.lower().replace("_", " ") for source in run.event_sources)
            lines += [
                f"  run           {run.run}",
                f"  lumisections  {numbers}, {run.assessed} with depth maps",
                f"  events        {run.in_all} (from: {sources})",
                f"  digis in      {', '.join(run.subdetectors) or 'no depth map'}",
            ]
        lines += [f"  judged as     {self.granularity}", f"  definitions   {', '.join(self.definitions)}"]
        lines += [f"  note          {note}" for note in self.notes]
        lines += ["  HCAL elements"]
        lines += [f"    {e.classname:<10} {e.lumisections or 'run':>5}  {e.name}" for e in self.elements]
        return "\n".join(lines)


def inspect_file(path: str | InputFile) -> Inspection:
    """Look into one file; it is read as :func:`~hcal_root_ad.harvest.read.read_lumi_maps` would read it.

    Raises:
        InputError, NoHcalError, DefinitionError: as ``read_lumi_maps`` does.
    """
    files = expand_paths(path)
    if len(files) > 1:
        raise InputError(f"{path} stands for {len(files)} files; name one of them, for example {files[0]}.")
    (file,) = files
    allowed = choose_definitions(None)
    with source_beside(file) as source, open_reader(file) as container:
        chosen = choose(container, allowed, None)
        others = [d.name for d in allowed if d != chosen and fit(container, d) is not Fit.NONE]
        elements = tuple(container.elements.values())
        content = container.content(chosen)
        words = container.format
        sources = {file: source.result()}
    maps = lumi_maps_of([content], sources)
    return Inspection(
        path=file,
        format=words,
        runs=tuple(_run_contents(m) for m in maps),
        elements=tuple(e for e in elements if e.name.startswith("Hcal")),
        definitions=(chosen.name, *others),
        granularity=", ".join(dict.fromkeys(granularity(m.coarse) for m in maps)),
        notes=tuple(dict.fromkeys(note for m in maps for note in m.notes)),
    )


def _run_contents(maps: LumiMaps) -> RunContents:
    return RunContents(
        run=maps.run,
        lumisections=maps.lumisections,
        events=maps.events,
        in_all=maps.run_events,
        event_sources=_sources(maps),
        assessed=int(maps.present.sum()),
        subdetectors=maps.found,
    )


def _sources(maps: LumiMaps) -> tuple[EventSource, ...]:
    if maps.coarse is not None and maps.coarse.totals is not None:
        return (maps.coarse.event_source,)
    return tuple(EventSource(source) for source in np.unique(maps.event_source))
