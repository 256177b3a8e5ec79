"""How many events a lumisection holds: HCAL's counter, another's, the HF plateau, and only then an estimate."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import era_of_run
from hcal_root_ad.harvest.section import Section, hf_rows, table_of_run
from hcal_root_ad.lumi_maps import EventSource
from hcal_root_ad.lumi_ranges import ls_ranges
from hcal_root_ad.room import let_go

DISAGREEMENT = 0.01
"""Counter and HF plateau that differ by more than this share are reported."""
_PAIRS_NEARBY = 6
_MAJORITY, _CLOSE, _FEWEST_CHANNELS = 2 / 3, 0.005, 50


def hf_plateau(counts: NDArray[np.int32]) -> int | None:
    """The count that most live HF channels share, which is the number of events.

    HF is not zero suppressed, so it is read out in every event (the rule behind the NChsHF flag of
    CMSSW ``DQM/HcalTasks/plugins/DigiTask.cc``). None where two thirds of the live channels do not
    agree to half a percent, or too few are alive.
    """
    live = np.sort(counts[counts > 0])
    if len(live) < _FEWEST_CHANNELS:
        return None
    plateau = int(live[(len(live) - 1) // 2 : len(live) // 2 + 1].mean())  # the median
    reach = int(_CLOSE * plateau)
    agree = np.searchsorted(live, plateau + reach, side="right") - np.searchsorted(live, plateau - reach)
    return plateau if agree >= _MAJORITY * len(live) else None


def events_of(
    sections: list[Section], versus_ls: Mapping[int, int], use_hf: bool
) -> tuple[NDArray[np.int64], NDArray[np.uint8], list[str]]:
    """Events and their source for each section (LS ascending), and notes.

    ``versus_ls`` is HCAL's counter against the LS; ``use_hf`` whether HF counts every event.
    """
    events = np.zeros(len(sections), dtype=np.int64)
    sources = np.zeros(len(sections), dtype=np.uint8)
    plateaus = np.zeros(len(sections), dtype=np.int64)
    for n, section in enumerate(sections):
        plateaus[n] = (_section_plateau(section) or 0) if use_hf else 0
        events[n], sources[n] = _counted(section, versus_ls, int(plateaus[n]))
    notes = [*_lacking(sections, sources), *_disagreements(sections, events, sources, plateaus)]
    unknown = np.array([s.counts is not None for s in sections], dtype=np.bool_) & (sources == EventSource.NONE)
    if unknown.any():
        notes += _fill_with_estimates(sections, events, sources, unknown)
    return events, sources, notes


def _section_plateau(section: Section) -> int | None:
    if section.counts is None:
        return None
    plateau = hf_plateau(section.counts[hf_rows(era_of_run(section.run))])
    let_go(section.counts)
    return plateau


def _counted(section: Section, versus_ls: Mapping[int, int], plateau: int) -> tuple[int, EventSource]:
    if section.own_events is not None:
        return section.own_events, EventSource.COUNTER
    against_ls = sum(versus_ls.get(ls, 0) for ls in range(section.first, section.lumisection + 1))
    if against_ls:
        return against_ls, EventSource.COUNTER
    if section.other_events is not None:
        return section.other_events, EventSource.OTHER_SUBSYSTEM
    return (plateau, EventSource.HF_PLATEAU) if plateau else (0, EventSource.NONE)


def _lacking(sections: list[Section], sources: NDArray[np.uint8]) -> list[str]:
    """A sentence on lumisections with maps where a counter that others have is missing, and another one was used."""
    counted = np.array([section.counts is not None for section in sections], dtype=np.bool_) & (
        (sources != EventSource.NONE) & (sources != EventSource.ESTIMATE)
    )
    lack = np.flatnonzero(counted & (sources != sources[counted].min(initial=EventSource.HF_PLATEAU)))
    if not len(lack):
        return []
    which = ls_ranges([sections[n].lumisection for n in lack])
    return [f"{which}: without the event counter that other LS have; another one, or HF, tells the events."]


def _disagreements(
    sections: list[Section], events: NDArray[np.int64], sources: NDArray[np.uint8], plateaus: NDArray[np.int64]
) -> list[str]:
    counted = (plateaus > 0) & (sources != EventSource.HF_PLATEAU) & (sources != EventSource.NONE)
    # One event of difference is no disagreement, however short the LS.
    odd = np.flatnonzero(counted & (np.abs(events - plateaus) > np.maximum(DISAGREEMENT * plateaus, 1)))
    if not len(odd):
        return []
    worst = odd[np.argmax(np.abs(events[odd] / plateaus[odd] - 1))]
    return [
        f"{ls_ranges([sections[n].lumisection for n in odd])}: the event counter and the HF channels differ by more "
        f"than {DISAGREEMENT:.0%} (LS {sections[worst].lumisection}: {events[worst]} against {plateaus[worst]}); "
        "the counter was used."
    ]


def _fill_with_estimates(
    sections: list[Section], events: NDArray[np.int64], sources: NDArray[np.uint8], unknown: NDArray[np.bool_]
) -> list[str]:
    """Estimate the events of the unknown sections, in place; sentences that say so."""
    rows = table_of_run(sections[0].run).rows_of("HB", "HE")
    counts = np.array([np.zeros(len(rows)) if s.counts is None else s.counts[rows] for s in sections], dtype=np.float64)
    known = (sources != EventSource.NONE) & (events > 0) & (counts.sum(axis=1) > 0)
    mostly_known = known.sum() >= unknown.sum()
    fluctuations = None if mostly_known else _from_fluctuations(counts)
    if mostly_known:
        estimate, how = _from_known(counts, events, known), "the occupancy of the LS whose events are known"
    elif fluctuations is not None:
        estimate, how = fluctuations, "how the counts fluctuate from LS to LS (binomial statistics)"
    else:
        estimate, how = counts.max(axis=1), "the largest count of a channel, which is a lower bound"
    events[unknown] = np.maximum(np.rint(estimate[unknown]), counts.max(axis=1)[unknown]).astype(np.int64)
    sources[unknown] = EventSource.ESTIMATE
    which = ls_ranges([s.lumisection for s, flag in zip(sections, unknown, strict=True) if flag])
    return [f"{which}: no counter and no HF plateau tells the number of events; it was estimated from {how}."]


def _from_known(
    counts: NDArray[np.float64], events: NDArray[np.int64], known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Digis times events per digi, the latter interpolated between the sections that are known."""
    totals, place = counts.sum(axis=1), np.arange(len(counts))
    per_digi = events[known] / totals[known]
    estimate: NDArray[np.float64] = totals * np.interp(place, place[known], per_digi)
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
    near_squares, near_shortfall = (_sliding_sum(sums, window) for sums in (squares, shortfall))
    if not np.all(near_shortfall[filled] > 0):
        return None
    estimate = np.zeros(len(counts))
    estimate[filled] = totals[filled] * near_squares[filled] / near_shortfall[filled]
    return estimate


def _sliding_sum(sums: NDArray[np.float64], window: NDArray[np.float64]) -> NDArray[np.float64]:
    reach = len(window) // 2
    total: NDArray[np.float64] = np.convolve(np.pad(sums, reach), window, mode="valid")
    return total
