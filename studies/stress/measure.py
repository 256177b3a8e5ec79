"""How right a judge is in a world: false findings, capture, sizes, lines, trust and certification, as plain numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import Subdetector
from hcal_root_ad.simulate.scenario import InjectedFault
from studies.stress.judged import Certified, JudgedRun, Line
from studies.stress.truth import Truth
from studies.stress.worlds import WorldRuns

ENOUGH_EVENTS = 200
"""Capture is counted in lumisections with so many events."""
MOST = 0.5
"""A line is right if more than this share of its (LS, channel) pairs is at fault, or tolerated."""
NAMED = 20
"""False lines whose units are kept by name."""

Numbers = dict[str, Any]


def measure(runs: WorldRuns, judged: JudgedRun, truth: Truth) -> Numbers:
    """Everything that is measured of one judged run, as JSON can hold it."""
    shares = [_share(line, runs, truth) for line in judged.lines]
    true_lines = [line for line, share in zip(judged.lines, shares, strict=True) if share > MOST]
    false_lines = [line for line, share in zip(judged.lines, shares, strict=True) if share <= MOST]
    return {
        "lumisections": len(runs.judged.maps),
        "subdetectors": judged.subdetectors,
        "faults": len(runs.faults),
        "lines": len(judged.lines),
        "false_lines": len(false_lines),
        "false_outer": sum(_outer(line, runs) for line in false_lines),
        "false_units": [line.unit for line in false_lines[:NAMED]],
        "false_intervals": false_intervals(judged.flagged, truth.allowed),
        "found": sum(_is_found(fault, true_lines) for fault in runs.faults),
        "capture": _capture(runs, judged, truth),
        "sizes": list(_sizes(runs, true_lines)),
        "trust": judged.trust,
        "trusted": judged.trusted,
        "certification": _certification(judged, truth),
        "notes": list(judged.notes),
    }


def false_intervals(flagged: NDArray[np.bool_], allowed: NDArray[np.bool_]) -> int:
    """Stretches of consecutive flagged LS of one channel in which no pair is allowed; both (LS, channels)."""
    before = np.zeros_like(flagged)
    before[1:] = flagged[:-1]
    # Column by column, so that each stretch is numbered in one piece.
    number = np.cumsum((flagged & ~before).T.ravel())
    flat = flagged.T.ravel()
    touched = np.bincount(number[flat], allowed.T.ravel()[flat], minlength=int(number[-1]) + 1)
    return int((touched[1:] == 0).sum())


def _pairs(line: Line, runs: WorldRuns) -> tuple[NDArray[np.intp], ...]:
    """Cells of a line's lumisections and live channels."""
    lumisections = runs.judged.maps.lumisections
    inside = np.zeros(len(lumisections), dtype=np.bool_)
    for first, last in line.ranges:
        inside |= (lumisections >= first) & (lumisections <= last)
    rows = np.array(line.rows, dtype=np.intp)
    return np.ix_(np.flatnonzero(inside), rows[runs.judged.detector.live[rows]])


def _share(line: Line, runs: WorldRuns, truth: Truth) -> float:
    """Share of a line's pairs that are at fault or tolerated."""
    allowed = truth.allowed[_pairs(line, runs)]
    return float(allowed.mean()) if allowed.size else 0.0


def _outer(line: Line, runs: WorldRuns) -> bool:
    """Whether a line is about HO or HF."""
    return bool(runs.judged.maps.channels.subdetector[line.rows[0]] > Subdetector.HE) if line.rows else False


def _overlap(line: Line, fault: InjectedFault) -> int:
    """Channels that a line and a fault share, if they share lumisections."""
    together = any(first <= fault.last and last >= fault.first for first, last in line.ranges)
    return len(np.intersect1d(line.rows, fault.rows)) if together else 0


def _is_found(fault: InjectedFault, lines: list[Line]) -> bool:
    """Whether lines, one or several, name most of a fault's channels."""
    named = {row for line in lines if _overlap(line, fault) for row in line.rows}
    return 2 * len(named.intersection(fault.rows.tolist())) > len(fault.rows)


def name_of(fault: InjectedFault) -> str:
    """Kind and level of a fault, for tables: ``channel ×0.4``, ``RBX dead``."""
    scale = fault.scale or "scattered"
    if fault.kind == "degraded" or fault.kind == "hot":
        return f"{scale} ×{fault.strength:g}"
    return f"{scale} {fault.kind}"


def _capture(runs: WorldRuns, judged: JudgedRun, truth: Truth) -> dict[str, list[int]]:
    """By kind and level: captured pairs, and all pairs, in LS with enough events."""
    captured: dict[str, list[int]] = {}
    enough = runs.judged.maps.events >= ENOUGH_EVENTS
    for fault in runs.faults:
        wanted = truth.at_fault[:, fault.rows] & enough[:, None]
        sums = captured.setdefault(name_of(fault), [0, 0])
        sums[0] += int((wanted & judged.flagged[:, fault.rows]).sum())
        sums[1] += int(wanted.sum())
    return captured


def _sizes(runs: WorldRuns, lines: list[Line]) -> Iterator[tuple[str, float, float]]:
    """Of each fault that a line of most of its channels names: kind and level, size found, and true size there."""
    events = runs.judged.maps.events[:, None]
    for fault in runs.faults:
        shared = [_overlap(line, fault) for line in lines]
        if not lines or 2 * max(shared) <= len(fault.rows):
            continue
        line = lines[int(np.argmax(shared))]
        if line.size is None:
            continue
        cells = _pairs(line, runs)
        weight = events[cells[0][:, 0]]
        expected = (weight * runs.judged.rates[cells]).sum()
        if expected:
            yield name_of(fault), line.size, float((weight * runs.judged.faulty_rates[cells]).sum() / expected)


def _certification(judged: JudgedRun, truth: Truth) -> dict[str, int]:
    """Lumisections by what is right and what was certified: ``bad_good`` are bad ones that were called good."""
    counts = {f"{right}_{given}".lower(): 0 for right in Certified for given in Certified}
    for right, given, counted in zip(truth.certification, judged.certification, truth.counted, strict=True):
        counts[f"{right}_{given}".lower()] += int(counted)
    return counts
