"""``Taken``: what a file holds of one run, as it was taken from the folder, and the same as arrays."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hcal_root_ad.harvest.container import FileContent, RunTotal
from hcal_root_ad.harvest.definition import Definition
from hcal_root_ad.harvest.section import Section, table_of_run
from hcal_root_ad.lumi_maps import Source
from hcal_root_ad.watch.folder import Stamp
from hcal_root_ad.watch.order import Arrival

FORMAT = 3
Arrays = Mapping[str, Any]
"""Arrays by name, as a numpy file holds them."""


@dataclass(frozen=True, eq=False)
class Taken:
    """What a whole file holds of one run; ``seen``: when it was found whole (s)."""

    run: int
    stamp: Stamp
    seen: float
    content: FileContent
    source: Source

    @property
    def path(self) -> Path:
        assert isinstance(self.content.path, Path)
        return self.content.path

    @property
    def arrival(self) -> Arrival:
        content = self.content
        if content.totals:
            last = content.totals[0].lumisection or 0
            return Arrival(last, last, self.seen, _grows(content.totals[0], content.definition))
        firsts, lasts = zip(*((section.first, section.lumisection) for section in content.sections), strict=True)
        return Arrival(min(firsts), max(lasts), self.seen)


def _grows(total: RunTotal, definition: Definition) -> bool:
    return total.naming == "snapshot" if definition.cumulative is None else definition.cumulative


def taken_by_run(content: FileContent, source: Source, stamp: Stamp, seen: float) -> Iterator[Taken]:
    """What a file holds of each of its runs."""
    runs = {s.run for s in (*content.sections, *(total.section for total in content.totals))}
    for run in sorted(runs):
        own = replace(
            content,
            sections=tuple(section for section in content.sections if section.run == run),
            totals=tuple(total for total in content.totals if total.section.run == run),
            events_versus_ls={run: dict(content.events_versus_ls.get(run, {}))},
        )
        yield Taken(run, stamp, seen, own, source)


def to_arrays(taken: Taken, folder: Path) -> Arrays:
    """All of it as arrays; the path from the watched folder on."""
    content, source = taken.content, taken.source
    sections = [*content.sections, *(total.section for total in content.totals)]
    versus_ls = content.events_versus_ls.get(taken.run, {})
    head = {
        "format": FORMAT, "run": taken.run, "path": str(taken.path.relative_to(folder)), "stamp": taken.stamp,
        "seen": taken.seen, "source": [source.name, source.size, source.sha256],
        "definition": repr(content.definition), "notes": content.notes,
        "totals": [[total.lumisection, total.naming, total.process] for total in content.totals],
        "sections": [[s.lumisection, s.first, s.own_events, s.other_events, s.stray, s.own_growth, s.other_growth,
                      s.doubts, s.counts is not None] for s in sections],
    }  # fmt: skip
    channels = len(table_of_run(taken.run))
    return {
        "head": np.array(json.dumps(head)),
        "seen": np.array([s.seen for s in sections]),
        "counts": np.array([s.counts for s in sections if s.counts is not None], np.int32).reshape(-1, channels),
        "versus_ls": np.array(list(versus_ls.items()), dtype=np.int64).reshape(-1, 2),
    }


def head_of(arrays: Arrays) -> dict[str, Any]:
    """What the arrays say of the file. Raises ValueError or KeyError where they are of another making."""
    head: dict[str, Any] = json.loads(str(arrays["head"]))
    if head["format"] != FORMAT:
        raise ValueError(f"format {head['format']}, not {FORMAT}")
    return head


def from_arrays(arrays: Arrays, folder: Path, definitions: Mapping[str, Definition]) -> Taken:
    """What :func:`to_arrays` was given; ``definitions`` by what they say (``repr``).

    Raises ValueError, KeyError or TypeError where the arrays are of another making, or their definition is no more.
    """
    head = head_of(arrays)
    definition = definitions.get(head["definition"])
    if definition is None:
        raise ValueError("made with a harvester definition that is no more")
    run, path = int(head["run"]), folder / head["path"]
    counts = iter(arrays["counts"])
    sections = [
        Section(
            run,
            lumisection,
            first,
            next(counts) if has_maps else None,
            seen,
            own,
            other,
            stray,
            own_growth,
            other_growth,
            doubts=tuple(doubts),
        )
        for (lumisection, first, own, other, stray, own_growth, other_growth, doubts, has_maps), seen in zip(
            head["sections"], arrays["seen"], strict=True
        )
    ]
    totals = [
        RunTotal(section, path, lumisection, naming, process)
        for section, (lumisection, naming, process) in zip(sections, head["totals"], strict=False)
    ]
    content = FileContent(
        path, definition, () if totals else tuple(sections), tuple(totals),
        {run: {int(ls): int(events) for ls, events in arrays["versus_ls"]}}, tuple(head["notes"]),
    )  # fmt: skip
    return Taken(run, Stamp(*head["stamp"]), head["seen"], content, Source(*head["source"]))
