"""From what the files of one run say to one :class:`LumiMaps`: sections summed, ordered, and given their events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import compress, pairwise

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.definition import Definition
from hcal_root_ad.harvest.events import events_of
from hcal_root_ad.harvest.section import Section, check_events, table_of_run
from hcal_root_ad.lumi_maps import CoarseMaps, LumiMaps, Source
from hcal_root_ad.lumi_ranges import ls_ranges
from hcal_root_ad.room import largest, let_go, room


def merge(
    run: int,
    sections: Iterable[Section],
    versus_ls: Mapping[int, int],
    definition: Definition,
    sources: tuple[Source, ...],
    notes: Iterable[str] = (),
    coarse: CoarseMaps | None = None,
) -> LumiMaps:
    """One run's maps, LS ascending and unique; takes the counts of the sections away.

    Raises:
        InputError: lumisections that overlap in a way that cannot be summed.
    """
    unique, merge_notes = _unique(sections)
    known = _with_known(run, unique, versus_ls)
    _check_counters(known, sources)
    events, event_source, event_notes = events_of(known, versus_ls, definition.hf_holds_events)
    channels = table_of_run(run)
    rows = channels.rows_of(*definition.subdetectors)
    present = np.array([_assessable(section) for section in known], dtype=np.bool_)
    missing = _missing_elements(known, present, definition)
    remarks = list(_remarks(known, present, missing, coarse is None))
    counts = room((len(known), len(rows)), np.int32)
    for n in np.flatnonzero(present):
        taken = known[n].take_counts()
        counts[n] = taken[rows]
        let_go(taken, counts[n])
    zero_suppressed = counts[:, : len(channels.rows_of("HB", "HE"))]  # HF can hold no more than events by itself
    return LumiMaps(
        run=run,
        channels=channels.take(rows),
        lumisections=np.array([section.lumisection for section in known], dtype=np.int32),
        events=events,
        event_source=event_source,
        counts=counts,
        present=present,
        definition=definition.name,
        sources=sources,
        notes=(*notes, *merge_notes, *event_notes, *remarks, *_too_many(known, zero_suppressed, events, present)),
        coarse=coarse,
        missing=missing,
    )


def _unique(sections: Iterable[Section]) -> tuple[list[Section], list[str]]:
    """Sections by ascending LS, those of the same LS summed."""
    unique: dict[int, Section] = {}
    twice = []
    for section in sections:
        earlier = unique.get(section.lumisection)
        unique[section.lumisection] = section if earlier is None else _sum(earlier, section)
        if earlier is not None and earlier.counts is not None and section.counts is not None:
            twice.append(section.lumisection)
    ordered = [unique[ls] for ls in sorted(unique)]
    for a, b in pairwise(ordered):
        if b.first <= a.lumisection and b.first < b.lumisection:
            raise InputError(
                f"Run {b.run} has LS {b.first}–{b.lumisection} as one piece and LS {a.lumisection} as another; "
                "overlapping pieces cannot be told apart, so give only one of them."
            )
    return ordered, [f"{ls_ranges(twice)}: came more than once and were summed."] if twice else []


def _sum(a: Section, b: Section) -> Section:
    """Two sections of the same LS as one; a counter counts only if every part with maps has it."""
    if a.first != b.first:
        raise InputError(f"Run {a.run} has LS {a.lumisection} in pieces that begin at LS {a.first} and {b.first}.")
    both = [s.counts for s in (a, b) if s.counts is not None]
    return Section(
        run=a.run, lumisection=a.lumisection, first=a.first, counts=sum(both[1:], both[0]) if both else None,
        seen=a.seen + b.seen, stray=a.stray + b.stray,
        own_events=_sum_counter(a, b, "own_events"), other_events=_sum_counter(a, b, "other_events"),
    )  # fmt: skip


def _sum_counter(a: Section, b: Section, name: str) -> int | None:
    values = [getattr(section, name) for section in (a, b)]
    lacking = any(value is None and s.counts is not None for value, s in zip(values, (a, b), strict=True))
    given = [value for value in values if value is not None]
    return None if lacking or not given else sum(given)


def _with_known(run: int, sections: list[Section], versus_ls: Mapping[int, int]) -> list[Section]:
    """The sections, and empty ones for LS that only the counter against the LS knows."""
    covered = {ls for section in sections for ls in range(section.first, section.lumisection + 1)}
    more = [Section(run, ls) for ls in versus_ls if ls not in covered]
    return sorted([*sections, *more], key=lambda section: section.lumisection)


def _check_counters(sections: Iterable[Section], sources: tuple[Source, ...]) -> None:
    """Raises InputError for a counter that cannot be one of events."""
    for section in sections:
        for events in (section.own_events, section.other_events):
            if events is not None:
                files = ", ".join(source.name for source in sources[:3])
                check_events(events, f"An event counter of run {section.run}, LS {section.lumisection} in {files}")


def _assessable(section: Section) -> bool:
    """Whether the maps of every depth came, and HCAL was read out at all (there is a digi)."""
    if section.counts is None or not section.complete:
        return False
    read_out = bool(section.counts.any())
    let_go(section.counts)
    return read_out


def _missing_elements(
    sections: list[Section], present: NDArray[np.bool_], definition: Definition
) -> dict[str, NDArray[np.bool_]]:
    """Where a sub-detector's element did not come although the others did; HO alone has one of its own."""
    if "HO" not in definition.subdetectors:
        return {}
    lacking = present.copy()
    for n in np.flatnonzero(present):
        section = sections[n]
        lacking[n] = not section.has_ho
        if section.counts is not None:
            let_go(section.counts)
    return {"HO": lacking} if lacking.any() else {}


def _remarks(
    sections: list[Section], present: NDArray[np.bool_], elements: Mapping[str, NDArray[np.bool_]], fine: bool
) -> Iterator[str]:
    """Sentences on what is missing or strange; ``elements`` as :attr:`LumiMaps.missing`."""

    def listed(chosen: Iterable[Section]) -> str:
        return ls_ranges([section.lumisection for section in chosen])

    without = [s for s in sections if s.counts is None]
    partial = [s for s in sections if s.counts is not None and not s.complete]
    empty = [s for s, here in zip(sections, present, strict=True) if s.counts is not None and s.complete and not here]
    if missing := _missing(sections):
        yield f"{ls_ranges(missing)}: missing in what was given, not assessed."
    if without and fine:
        yield f"{listed(without)}: without HCAL maps, not assessed."
    if partial:
        yield f"{listed(partial)}: the maps of some depths are missing, not assessed."
    if empty:
        yield f"{listed(empty)}: the HCAL maps are empty (no digi at all), not assessed."
    for name, lacking in elements.items():
        if not np.array_equal(lacking, present):  # some LS have it
            yield f"{listed(compress(sections, lacking))}: without the map of {name}, whose digis are not known there."
    for s in sections:
        if s.first < s.lumisection:
            yield (
                f"LS {s.first}–{s.lumisection} cannot be told apart and stand as LS {s.lumisection}, counts and events "
                "alike."
            )
    stray = [s for s in sections if s.stray]
    if stray:
        digis = sum(s.stray for s in stray)
        yield f"{listed(stray)}: {digis} digis in bins that are no channel of this era were left out."


def _missing(sections: list[Section]) -> list[int]:
    """Lumisections between the others that no file speaks of."""
    return [ls for a, b in pairwise(sections) for ls in range(a.lumisection + 1, b.first)]


def _too_many(
    sections: list[Section], counts: NDArray[np.int32], events: NDArray[np.int64], present: NDArray[np.bool_]
) -> Iterator[str]:
    """A sentence on lumisections with channels that hold more digis than there are events."""
    above = np.flatnonzero(present & (largest(counts) > events) & (events > 0))
    if len(above):
        worst = int((counts[above] > events[above, np.newaxis]).any(axis=0).sum())
        which = ls_ranges([sections[n].lumisection for n in above])
        yield f"{which}: {worst} channels hold more digis than there are events."
