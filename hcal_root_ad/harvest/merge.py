"""From what the files of one run say to one :class:`LumiMaps`: lumisections summed, ordered, and given their events.

Before that: the newest version of each file, one dataset, one definition.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import Subdetector
from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.events import events_of
from hcal_root_ad.harvest.gathering import LumisectionCounts, check_events, sum_of_counts, table_of_run
from hcal_root_ad.harvest.harvester import Definition, FileContent
from hcal_root_ad.harvest.inputs import InputFile
from hcal_root_ad.lumi_maps import CoarseMaps, EventSource, LumiMaps, Source, ls_ranges
from hcal_root_ad.machine import release, row_maxima, zeros

_TELLING_DIGIS, _TELLING_CHANNELS = 20, 20
"""Channels with fewer digis are equal by chance; maps with fewer such channels tell nothing."""
_DEPENDENT, _MANY_CHANNELS = 0.4, 100
"""Scatter of two maps about a common ratio below which they hold the same events; channels that it takes to tell."""
_HALF_OF_CHI_SQUARED = 0.455
"""Median of a squared normal number (``scipy.stats.chi2(1).median()``)."""


def merge(
    run: int,
    sections: Iterable[LumisectionCounts],
    versus_ls: Mapping[str, Mapping[int, int]],
    definition: Definition,
    sources: tuple[Source, ...],
    notes: Iterable[str] = (),
    coarse: CoarseMaps | None = None,
) -> LumiMaps:
    """One run's maps, LS ascending and unique; takes the counts of the sections away.

    ``versus_ls``: HCAL's counter against the LS, by the origin of the sections beside which it lies.

    Raises:
        InputError: lumisections that overlap in a way that cannot be summed.
    """
    unique = _unique(sections)
    counter = _counter(versus_ls, unique.copies)
    covered = {ls for section in unique.sections for ls in range(section.first, section.lumisection + 1)}
    more = (LumisectionCounts(run, ls) for ls in counter if ls not in covered)  # those that the counter alone knows
    ordered = sorted([*unique.sections, *more], key=lambda section: section.lumisection)
    for section in ordered:
        for number in (section.own_events, section.other_events):
            if number is not None:
                files = ", ".join(source.name for source in sources[:3])
                check_events(number, f"An event counter of run {run}, LS {section.lumisection} in {files}")
    events, event_source, contradicted, event_notes = events_of(ordered, counter, definition.hf_holds_events)
    for n in np.flatnonzero(contradicted):
        ordered[n].doubt("the event counter and the maps contradict each other")
    channels = table_of_run(run)
    rows = channels.rows_of(*definition.subdetectors)
    present = np.array([_assessable(section) for section in ordered], dtype=np.bool_)
    doubted = np.array([bool(section.doubts) for section in ordered], dtype=np.bool_)
    events[doubted], event_source[doubted] = 0, EventSource.NONE
    missing = _missing_elements(ordered, present, definition)
    remarks = list(_remarks(ordered, present, missing, coarse is None))
    counts = zeros((len(ordered), len(rows)), np.int32)
    for n in np.flatnonzero(present):
        taken = ordered[n].take_counts()
        counts[n] = taken[rows]
        release(taken, counts[n])
    zero_suppressed = counts[:, : len(channels.rows_of("HB", "HE"))]  # HF can hold no more than events by itself
    return LumiMaps(
        run=run,
        channels=channels.take(rows),
        lumisections=np.array([section.lumisection for section in ordered], dtype=np.int32),
        events=events,
        event_source=event_source,
        counts=counts,
        present=present,
        definition=definition.name,
        sources=sources,
        notes=(*notes, *unique.notes, *event_notes, *remarks, *_too_many(ordered, zero_suppressed, events, present)),
        coarse=coarse,
        missing=missing,
    )


class _Unique(NamedTuple):
    """Sections by ascending LS, each LS once; ``copies`` are LS and origin of those left out for another file's."""

    sections: list[LumisectionCounts]
    copies: frozenset[tuple[int, str]]
    notes: list[str]


def _unique(sections: Iterable[LumisectionCounts]) -> _Unique:
    """Sections of the same LS summed, where they are not the same events twice."""
    apart: dict[int, list[LumisectionCounts]] = {}
    copies: set[tuple[int, str]] = set()
    twice: set[int] = set()
    for section in sections:
        others = apart.setdefault(section.lumisection, [])
        twin = next((n for n, other in enumerate(others) if _same_events(other, section)), None)
        if twin is None:
            others.append(section)
        else:
            fuller = max(others[twin], section, key=lambda either: int(np.count_nonzero(either.seen)))
            if others[twin].origin != section.origin:
                copies.add((section.lumisection, (others[twin] if fuller is section else section).origin))
            twice.add(section.lumisection)
            others[twin] = fuller
    ordered = [_sum(apart[ls]) for ls in sorted(apart)]
    for a, b in pairwise(ordered):
        if b.first <= a.lumisection and b.first < b.lumisection:
            raise InputError(
                f"Run {b.run} has LS {b.first}–{b.lumisection} as one piece and LS {a.lumisection} as another; "
                "overlapping pieces cannot be told apart, so give only one of them."
            )
    summed = [either.lumisection for either in ordered if either.seen.max() > 1 and len(apart[either.lumisection]) > 1]
    notes = [f"{ls_ranges(summed)}: came more than once and were summed."] if summed else []
    if twice:
        notes.append(f"{ls_ranges(list(twice))}: came more than once with the same counts, used once.")
    return _Unique(ordered, frozenset(copies), notes)


def _same_events(a: LumisectionCounts, b: LumisectionCounts) -> bool:
    """Whether two sections of an LS hold the same maps, as where a job was sent twice.

    Raises:
        InputError: some maps are the same and others not, or the counts go together as those of the same events do.
    """
    both = np.flatnonzero((a.seen > 0) & (b.seen > 0)) + 1  # numbers of maps
    if a.counts is None or b.counts is None or not len(both):
        return False
    table = table_of_run(a.run)
    shared = np.isin(table.dqm_map, both)
    equal = a.counts == b.counts
    if equal[shared].all() and (np.all(a.seen >= b.seen) or np.all(b.seen >= a.seen)):
        return True
    telling = shared & (table.subdetector <= Subdetector.HE) & (np.maximum(a.counts, b.counts) >= _TELLING_DIGIS)
    maps = [equal[telling & (table.dqm_map == number)] for number in both]
    if any(same.all() for same in maps if len(same) >= _TELLING_CHANNELS) or _dependent(a.counts, b.counts, telling):
        files = " and ".join(dict.fromkeys(same.origin or "the same file" for same in (a, b)))
        raise InputError(
            f"LS {a.lumisection} of run {a.run} comes twice, from {files}, and the two are equal in part, or differ by "
            "less than chance: the same events in two versions cannot be added up; give one of them."
        )
    return False


def _dependent(a: NDArray[np.int32], b: NDArray[np.int32], telling: NDArray[np.bool_]) -> bool:
    """Whether two maps hold the same events, of which some digis, or some events, were lost.

    Counts a, b of different events are independent: with w = a / b over all channels, (a − w b)² is on average
    w (a + b) (1 − p), with 1 − p above a half in channels below half of the fullest one. Of the same events, of which a
    share f was lost, it is f / (2 − f) of that.
    """
    low = telling & (np.minimum(a, b) > 0) & (2 * a < a[telling].max(initial=0)) & (2 * b < b[telling].max(initial=0))
    if low.sum() < _MANY_CHANNELS:
        return False
    one, other = a[low].astype(np.float64), b[low].astype(np.float64)
    w = np.median(one / other)
    scatter = np.median((one - w * other) ** 2 / (w * (one + other))) / _HALF_OF_CHI_SQUARED
    return bool(scatter < _DEPENDENT)


def _sum(parts: Sequence[LumisectionCounts]) -> LumisectionCounts:
    """Sections of the same LS as one; a counter counts only if every file with maps has it."""
    first, *others = parts
    if not others:
        return first
    if odd := next((other for other in others if other.first != first.first), None):
        raise InputError(
            f"Run {first.run} has LS {first.lumisection} in pieces that begin at LS {first.first} and {odd.first}."
        )
    whole = LumisectionCounts(first.run, first.lumisection, first.first, origin=first.origin)
    for section in parts:
        if section.counts is not None:
            words = f"LS {first.lumisection} of run {first.run} in {section.origin}"
            whole.counts = (
                section.counts if whole.counts is None else sum_of_counts(whole.counts, section.counts, words)
            )
    whole.seen = np.sum([section.seen for section in parts], axis=0)
    whole.stray = sum(section.stray for section in parts)
    for name in ("own_events", "own_growth", "other_events", "other_growth"):
        setattr(whole, name, _sum_counter(parts, name))
    for doubt in (doubt for section in parts for doubt in section.doubts):
        whole.doubt(doubt)
    return whole


def _sum_counter(parts: Sequence[LumisectionCounts], name: str) -> int | None:
    given = [(section.origin, getattr(section, name)) for section in parts if getattr(section, name) is not None]
    counted = {origin for origin, _ in given}  # one of a file's rows may hold the counter of the LS
    lacking = any(section.counts is not None and section.origin not in counted for section in parts)
    return None if lacking or not given else sum(value for _, value in given)


def _counter(versus_ls: Mapping[str, Mapping[int, int]], copies: frozenset[tuple[int, str]]) -> dict[int, int]:
    """HCAL's counter against the LS: files that share an LS add up, but for those whose maps of it are left out."""
    together: dict[int, int] = {}
    for origin, events in versus_ls.items():
        for ls, number in events.items():
            if (ls, origin) not in copies:
                together[ls] = together.get(ls, 0) + number
    return together


def _assessable(section: LumisectionCounts) -> bool:
    """Whether the maps of every depth came, nothing speaks against them, and HCAL was read out (there is a digi)."""
    if section.counts is None or not section.complete or section.doubts:
        return False
    read_out = bool(section.counts.any())
    release(section.counts)
    return read_out


def _missing_elements(
    sections: list[LumisectionCounts], present: NDArray[np.bool_], definition: Definition
) -> dict[str, NDArray[np.bool_]]:
    """Where a sub-detector's element did not come although the others did; HO alone has one of its own."""
    if "HO" not in definition.subdetectors:
        return {}
    lacking = present.copy()
    for n in np.flatnonzero(present):
        section = sections[n]
        lacking[n] = not section.has_ho
        if section.counts is not None:
            release(section.counts)
    return {"HO": lacking} if lacking.any() else {}


def _remarks(
    sections: list[LumisectionCounts], present: NDArray[np.bool_], elements: Mapping[str, NDArray[np.bool_]], fine: bool
) -> Iterator[str]:
    """Sentences on what is missing or strange; ``elements`` as :attr:`LumiMaps.missing`."""

    def listed(chosen: Iterable[LumisectionCounts]) -> str:
        return ls_ranges([section.lumisection for section in chosen])

    sure = [(s, assessed) for s, assessed in zip(sections, present, strict=True) if not s.doubts]
    without = [s for s, _ in sure if s.counts is None]
    partial = [s for s, _ in sure if s.counts is not None and not s.complete]
    empty = [s for s, assessed in sure if s.counts is not None and s.complete and not assessed]
    for doubt in dict.fromkeys(doubt for s in sections for doubt in s.doubts):
        yield f"{listed(s for s in sections if doubt in s.doubts)}: {doubt}, not assessed."
    if missing := [ls for a, b in pairwise(sections) for ls in range(a.lumisection + 1, b.first)]:
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


def _too_many(
    sections: list[LumisectionCounts], counts: NDArray[np.int32], events: NDArray[np.int64], present: NDArray[np.bool_]
) -> Iterator[str]:
    """A sentence on lumisections with channels that hold more digis than there are events."""
    above = np.flatnonzero(present & (row_maxima(counts) > events) & (events > 0))
    if len(above):
        worst = int((counts[above] > events[above, np.newaxis]).any(axis=0).sum())
        which = ls_ranges([sections[n].lumisection for n in above])
        yield f"{which}: {worst} channels hold more digis than there are events."


_VERSION = re.compile(r"^((?:DQM|Playback)_V)(\d+)(_.*)$")
_DATASET = re.compile(r"_V\d+_R\d+__([-\w]+?)__([-\w]+?)__([-A-Za-z0-9]+)(?:_L\d+)?\.root$")
_STORE = re.compile(r"/store/\w+/(?P<era>[^/]+)/(?P<primary>[^/]+)/(?P<tier>[^/]+)/(?P<processing>[^/]+)/")


def newest(contents: list[FileContent]) -> tuple[list[FileContent], list[str]]:
    """Of files whose names differ in the version only (``DQM_V0002_…``), the newest; sentences on the others."""
    latest: dict[tuple[str, ...], tuple[int, FileContent]] = {}
    kept, notes = [], []
    for content in contents:
        if name := _VERSION.match(content.path.name):
            key, version = (name[1], name[3]), int(name[2])
            latest[key] = max(latest.get(key, (version, content)), (version, content), key=lambda pair: pair[0])
    for content in contents:
        name = _VERSION.match(content.path.name)
        best = latest[name[1], name[3]] if name else None
        if name and best and best[0] > int(name[2]):
            notes.append(f"{content.path.name} was left out: {best[1].path.name} is a newer version of it.")
        else:
            kept.append(content)
    return kept, notes


def check_datasets(run: int, contents: list[FileContent]) -> None:
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


def common_definition(run: int, contents: list[FileContent]) -> Definition:
    first = contents[0]
    for other in contents[1:]:
        if other.definition != first.definition:
            raise InputError(
                f"Run {run} comes by the definition {first.definition.name} from {first.path} and by "
                f"{other.definition.name} from {other.path}; give files of one kind, or pick a definition."
            )
    return first.definition


def largest(counters: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """HCAL's counter against the LS, of files that each hold the run so far."""
    most: dict[int, int] = {}
    for counter in counters:
        most.update({ls: max(events, most.get(ls, 0)) for ls, events in counter.items()})
    return most
