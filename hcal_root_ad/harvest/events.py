"""How many events a lumisection holds: by a counter that HF and the maps bear out, by HF, and only then estimated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.harvest.gathering import LumisectionCounts, table_of_run
from hcal_root_ad.lumi_maps import EventSource, ls_ranges
from hcal_root_ad.machine import release

DISAGREEMENT = 0.01
"""Counter and HF plateau that differ by more than this share contradict each other: the counter loses."""
_PAIRS_NEARBY = 6
_FEWEST_CHANNELS = 50
_SHARE, _RIVAL = 1 / 3, 1 / 4
"""Of the live HF channels, those that must hold the plateau exactly; of these, as many as another value may have."""
_MAJORITY, _CLOSE = 2 / 3, 0.005
"""Of the live HF channels, those that must be close to the median where no value stands out; and how close."""
_FULL_CHANNELS, _FULL_SHARE = 5, 0.005
"""Channels, and share of the live ones, that may hold more digis than there are events: they are odd themselves."""
_EVEN, _UNEVEN = 0.3, 1.0
"""Spread of log(digis per event) that a right counter stays below; and from which on none is right."""
_FEW, _MANY_TIMES = 40, 3.0
"""Lumisections whose fluctuations a counter without HF is compared with; and how much more it must say to be absurd."""
_KINDS = (EventSource.COUNTER, EventSource.COUNTER, EventSource.OTHER_SUBSYSTEM)
"""HCAL's own counter of the LS, its counter against the LS, and another subsystem's counter."""


class EventCounts(NamedTuple):
    """Events (LS,) and their :class:`EventSource` (LS,); where the counters and the maps exclude each other; notes."""

    events: NDArray[np.int64]
    sources: NDArray[np.uint8]
    contradicted: NDArray[np.bool_]
    notes: list[str]


class MapsSay(NamedTuple):
    """What the maps of each section say, (LS,): the HF plateau (0: none), the events that there are at least, and the
    digis of HB and HE."""

    plateau: NDArray[np.int64]
    least: NDArray[np.int64]
    digis: NDArray[np.int64]

    def of(self, rows: NDArray[np.intp]) -> MapsSay:
        """Of some of the sections."""
        return MapsSay(*(column[rows] for column in self))


def hf_plateau(counts: NDArray[np.integer]) -> int | None:
    """The count that most live HF channels share, which is the number of events.

    HF is not zero suppressed, so it is read out in every event (the rule behind the NChsHF flag of
    CMSSW ``DQM/HcalTasks/plugins/DigiTask.cc``). A third of the live channels must hold it exactly, and no other
    value may come near; else two thirds must agree to half a percent. None where HF contradicts itself, or too few
    channels are alive.
    """
    live = np.sort(counts[counts > 0])
    if len(live) < _FEWEST_CHANNELS:
        return None
    values, often = np.unique(live, return_counts=True)
    second, first = np.sort(np.append(often, 0))[-2:].tolist()
    if first >= _SHARE * len(live):
        return int(values[often.argmax()]) if second <= _RIVAL * first else None
    median = int(live[len(live) // 2])
    reach = int(_CLOSE * median)
    agree = np.searchsorted(live, median + reach, side="right") - np.searchsorted(live, median - reach)
    return median if agree >= _MAJORITY * len(live) else None


def least_events(counts: NDArray[np.integer]) -> int:
    """Events that there are at least: no channel has more digis than there are events, a few odd ones aside."""
    live = int(np.count_nonzero(counts))
    odd = max(_FULL_CHANNELS, int(_FULL_SHARE * live))
    return int(np.partition(counts, -odd - 1)[-odd - 1]) if live > odd and len(counts) > odd else 0


def excluded(events: int, least: int) -> bool:
    """Whether there are more events than a counter, or HF, says."""
    return bool(least > (1 + DISAGREEMENT) * events + 1)


def agrees(events: int, plateau: int) -> bool:
    """Whether a counter says what HF says; one event of difference is none, however short the LS."""
    return bool(abs(events - plateau) <= max(DISAGREEMENT * plateau, 1))


def events_of(sections: list[LumisectionCounts], versus_ls: Mapping[int, int], use_hf: bool) -> EventCounts:
    """Events of each section (LS ascending), by the best evidence.

    A counter that HF contradicts, or that the maps exclude, is not used, and one that counts a job's events so far is
    read by its differences. ``versus_ls`` is HCAL's counter against the LS; ``use_hf`` whether HF counts every event.
    """
    maps = MapsSay(*np.array([_of_maps(section, use_hf) for section in sections], dtype=np.int64).reshape(-1, 3).T)
    counters, notes = _counters(sections, versus_ls, maps)
    events = np.zeros(len(sections), dtype=np.int64)
    sources = np.zeros(len(sections), dtype=np.uint8)
    lost: list[int] = []
    contradicted = np.zeros(len(sections), dtype=np.bool_)
    for n, (plateau, least) in enumerate(zip(maps.plateau.tolist(), maps.least.tolist(), strict=True)):
        counted = [(int(counter[n]), kind) for counter, kind in zip(counters, _KINDS, strict=True) if counter[n] >= 0]
        right = [(number, kind) for number, kind in counted if not excluded(number, least)]
        right = [(number, kind) for number, kind in right if not plateau or agrees(number, plateau)]
        if right:
            events[n], sources[n] = right[0]
        elif plateau:
            events[n], sources[n] = plateau, EventSource.HF_PLATEAU
        contradicted[n] = bool(counted) and not right and not plateau
        if counted and not right and plateau:
            lost.append(n)
    notes += [*_lacking(sections, sources, lost), *_disagreements(sections, counters, maps.plateau, lost)]
    unknown = np.array([s.counts is not None for s in sections], dtype=np.bool_) & (sources == EventSource.NONE)
    if (unknown & ~contradicted).any():
        notes += _fill_with_estimates(sections, events, sources, unknown & ~contradicted)
    return EventCounts(events, sources, contradicted, notes)


def _of_maps(section: LumisectionCounts, use_hf: bool) -> tuple[int, int, int]:
    """A row of :class:`MapsSay`."""
    if section.counts is None:
        return 0, 0, 0
    channels = table_of_run(section.run)
    barrel_and_endcap = section.counts[channels.rows_of("HB", "HE")]
    least = least_events(barrel_and_endcap)
    plateau = (hf_plateau(section.counts[channels.rows_of("HF")]) or 0) if use_hf else 0
    digis = int(barrel_and_endcap.sum(dtype=np.int64))
    release(section.counts)
    return (0 if excluded(plateau, least) else plateau), least, digis


def _counters(
    sections: list[LumisectionCounts], versus_ls: Mapping[int, int], maps: MapsSay
) -> tuple[list[NDArray[np.int64]], list[str]]:
    """What each kind of counter says of each section (−1: nothing), and notes; in the order of :data:`_KINDS`."""
    against_ls = [sum(versus_ls.get(ls, 0) for ls in range(s.first, s.lumisection + 1)) or None for s in sections]
    own, own_note = _of_the_lumisection(sections, "own", maps)
    other, other_note = _of_the_lumisection(sections, "other", maps)
    counters = [own, _numbers(against_ls), other]
    return [_trusted(counter, maps.plateau) for counter in counters], [note for note in (own_note, other_note) if note]


def _numbers(values: Iterable[int | None]) -> NDArray[np.int64]:
    return np.array([-1 if value is None else value for value in values], dtype=np.int64)


def _of_the_lumisection(sections: list[LumisectionCounts], whose: str, maps: MapsSay) -> tuple[NDArray[np.int64], str]:
    """A counter's events of each LS (−1: nothing), and a note where it counts the events of a job so far."""
    says = _numbers(getattr(section, f"{whose}_events") for section in sections)
    grew = _numbers(getattr(section, f"{whose}_growth") for section in sections)
    compared = np.flatnonzero((says >= 0) & (grew >= 0) & (maps.digis > 0))
    if len(compared) == 1 and not maps.plateau.any() and not np.array_equal(says, grew):
        both = ~np.array([excluded(int(grew[n]), int(maps.least[n])) for n in range(len(says))])
        return np.where(both & (says != grew), -1, says), ""  # alone, it may be the one or the other
    note = ""
    if _grows(says[compared], grew[compared], maps.of(compared)):
        rate = np.median(maps.digis[compared] / np.maximum(grew[compared], 1))
        began = (says == grew) & (maps.digis > 0) & ((maps.digis < rate / 2 * says) | (maps.digis > rate * 2 * says))
        says = np.where(began, -1, grew)  # the job had counted lumisections that are not in the file
        which = "HCAL's event counter" if whose == "own" else "The other subsystem's event counter"
        note = f"{which} counts the events of a job so far; its differences from LS to LS were used."
    counting = compared[says[compared] > 0]
    uneven = len(counting) > 2 and _spread(maps.digis[counting], says[counting]) >= _UNEVEN
    if maps.plateau.any() or not (uneven or _absurd(sections, says)):
        return says, note
    return np.full_like(says, -1), "An event counter does not go with the digis of the lumisections: not used."


def _grows(says: NDArray[np.int64], grew: NDArray[np.int64], maps: MapsSay) -> bool:
    """Whether a counter counts a job's events so far: then what it grew by fits HF, or the digis, and it does not.

    A counter of each lumisection may rise by chance: then its own numbers fit the digis better than their differences
    do, or channels have more digis than these would be events.
    """
    if np.array_equal(says, grew):
        return False
    with_hf = maps.plateau > 0
    if with_hf.any():
        fits = [sum(map(agrees, events[with_hf].tolist(), maps.plateau[with_hf].tolist())) for events in (says, grew)]
        return fits[1] > fits[0]
    if 2 * sum(map(excluded, grew.tolist(), maps.least.tolist())) > len(says):
        return False
    if len(says) > 2 and np.all(says[1:] > says[:-1]):  # what the first one grew by, only the job knows
        spread, of_growth = _spread(maps.digis[1:], says[1:]), _spread(maps.digis[1:], grew[1:])
        return of_growth < min(_EVEN, spread)
    return _spread(maps.digis, grew) < _spread(maps.digis, says) * (1 - _EVEN)


def _absurd(sections: list[LumisectionCounts], says: NDArray[np.int64]) -> bool:
    """Whether a counter has many times the events that the counts' fluctuations allow, in the first lumisections."""
    first = [n for n, section in enumerate(sections) if section.counts is not None and says[n] > 0][:_FEW]
    if len(first) < 2:
        return False
    rows = table_of_run(sections[0].run).rows_of("HB", "HE")
    counts = np.array([sections[n].counts[rows] for n in first], dtype=np.float64)  # type: ignore[index]
    estimate = _from_fluctuations(counts)
    filled = counts.any(axis=1)
    if estimate is None or not filled.any():
        return False
    return bool(np.median(says[first][filled] / estimate[filled]) > _MANY_TIMES)


def _spread(digis: NDArray[np.int64], events: NDArray[np.int64]) -> float:
    """Spread of log(digis per event) between lumisections: half of what two thirds of them span; inf without events."""
    if not len(events):
        return np.inf
    with np.errstate(divide="ignore"):
        low, high = np.quantile(np.log(digis / events), (1 / 6, 5 / 6), method="linear")
    return float(high - low) / 2 if np.isfinite(high - low) else np.inf


def _trusted(counter: NDArray[np.int64], plateaus: NDArray[np.int64]) -> NDArray[np.int64]:
    """The counter where HF speaks for itself; elsewhere only if HF agrees with it in most LS where both are."""
    compared = (counter >= 0) & (plateaus > 0)
    right = sum(map(agrees, counter[compared].tolist(), plateaus[compared].tolist()))
    return counter if 2 * right >= compared.sum() else np.where(compared, counter, -1)


def _lacking(sections: list[LumisectionCounts], sources: NDArray[np.uint8], lost: list[int]) -> list[str]:
    """A sentence on lumisections with maps where a counter that others have is missing, and another one was used."""
    counted = np.array([section.counts is not None for section in sections], dtype=np.bool_) & (
        (sources != EventSource.NONE) & (sources != EventSource.ESTIMATE)
    )
    counted[lost] = False
    lack = np.flatnonzero(counted & (sources != sources[counted].min(initial=EventSource.HF_PLATEAU)))
    if not len(lack):
        return []
    which = ls_ranges([sections[n].lumisection for n in lack])
    return [f"{which}: without the event counter that other LS have; another one, or HF, tells the events."]


def _disagreements(
    sections: list[LumisectionCounts], counters: list[NDArray[np.int64]], plateaus: NDArray[np.int64], lost: list[int]
) -> list[str]:
    """A sentence on lumisections whose counters HF contradicts."""
    if not lost:
        return []
    counted = {n: next(int(counter[n]) for counter in counters if counter[n] >= 0) for n in lost}
    worst = max(lost, key=lambda n: abs(counted[n] / plateaus[n] - 1))
    return [
        f"{ls_ranges([sections[n].lumisection for n in lost])}: the event counter and the HF channels differ by more "
        f"than {DISAGREEMENT:.0%} (LS {sections[worst].lumisection}: {counted[worst]} against {plateaus[worst]}); "
        "HF, which is read out in every event, was used."
    ]


def _fill_with_estimates(
    sections: list[LumisectionCounts], events: NDArray[np.int64], sources: NDArray[np.uint8], unknown: NDArray[np.bool_]
) -> list[str]:
    """Estimate the events of the unknown sections, in place; sentences that say so."""
    rows = table_of_run(sections[0].run).rows_of("HB", "HE")
    counts = np.array([np.zeros(len(rows)) if s.counts is None else s.counts[rows] for s in sections], dtype=np.float64)
    counted = (sources != EventSource.NONE) & (events > 0) & (counts.sum(axis=1) > 0)
    mostly_counted = counted.sum() >= unknown.sum()
    fluctuations = None if mostly_counted else _from_fluctuations(counts)
    if mostly_counted:
        estimate, how = _from_known(counts, events, counted), "the occupancy of the LS whose events are known"
    elif fluctuations is not None:
        estimate, how = fluctuations, "how the counts fluctuate from LS to LS (binomial statistics)"
    else:
        estimate, how = counts.max(axis=1), "the largest count of a channel, which is a lower bound"
    events[unknown] = np.maximum(np.rint(estimate[unknown]), counts.max(axis=1)[unknown]).astype(np.int64)
    sources[unknown] = EventSource.ESTIMATE
    which = ls_ranges([s.lumisection for s, flag in zip(sections, unknown, strict=True) if flag])
    return [f"{which}: no counter and no HF plateau tells the number of events; it was estimated from {how}."]


def _from_known(
    counts: NDArray[np.float64], events: NDArray[np.int64], counted: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Digis times events per digi, the latter interpolated between the sections that are known."""
    totals, place = counts.sum(axis=1), np.arange(len(counts))
    per_digi = events[counted] / totals[counted]
    estimate: NDArray[np.float64] = totals * np.interp(place, place[counted], per_digi)
    return estimate


def _from_fluctuations(counts: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Events from binomial statistics: counts vary by N p (1 − p), so the shortfall against N p tells N.

    For neighbouring LS a, b with w = total_b / total_a, the difference n_b − w n_a has variance
    w (1 + w) (m − m² / N_a) with m = (n_a + n_b) / (1 + w). Summed over channels and over the pairs
    nearby (the occupancy follows the pileup, so not over the run) this gives events per digi. None
    where it is not determined (fewer than two LS). Counts (LS, channels); returns (LS,).
    """
    totals = counts.sum(axis=1)
    filled = np.flatnonzero(totals > 0)
    squares, shortfall = np.zeros(len(counts)), np.zeros(len(counts))
    for a, b in pairwise(filled):
        w = totals[b] / totals[a]
        mean = (counts[a] + counts[b]) / (1 + w)
        scatter = (counts[b] - w * counts[a]) ** 2 / (w * (1 + w))
        quiet = scatter < 16 * mean  # leaves out channels that change state between the two LS
        squares[a] = float(np.sum(mean[quiet] ** 2)) / totals[a]
        shortfall[a] = float(np.sum((mean - scatter)[quiet]))
    window = np.ones(2 * _PAIRS_NEARBY + 1)
    nearby = (np.convolve(np.pad(sums, _PAIRS_NEARBY), window, mode="valid") for sums in (squares, shortfall))
    near_squares, near_shortfall = nearby
    if not np.all(near_shortfall[filled] > 0):
        return None
    estimate = np.zeros(len(counts))
    estimate[filled] = totals[filled] * near_squares[filled] / near_shortfall[filled]
    return estimate
