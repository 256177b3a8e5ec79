"""The faults of one sub-detector, and the verdict that they make.

HF is not zero suppressed: a channel of it that holds fewer digis than events is at fault for certain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable, Subdetector
from hcal_root_ad.judge.channels import ChannelScan
from hcal_root_ad.judge.findings import (
    MOST_OF,
    Fault,
    agreeing,
    finding_of,
    flickering,
    grouped,
    intervals_of,
    joined,
    with_gaps_closed,
)
from hcal_root_ad.judge.lumisections import JudgedRows, side_by_side
from hcal_root_ad.judge.units import SPEAKS, UNITS_OF, UnitFault
from hcal_root_ad.judge.verdict import Finding, Interval, Level, ModelInfo, State, Trust, Verdict
from hcal_root_ad.lumi_maps import Cells, LumiMaps
from hcal_root_ad.model.cell_block import BLOCK
from hcal_root_ad.model.unit_tree import Units, UnitTree

ALIVE_UNIT = 0.3
"""In a unit that keeps more of its digis a channel that is much farther off is at fault by itself."""
LEAST_DIGIS, LEAST_CHANNEL_DIGIS = 0.02, 0.03
"""What changes the digis of a unit, or of a channel, by less is no fault."""
LEAST_NOISE = 0.1
"""A channel of a noisy unit that has less than this share of the unit's excess has none."""
HALF_OF, LIKE_FACTORS = 0.5, 0.2
"""Share of a sub-detector's boxes that fail alike from which on they are one line; how far their log sizes differ."""
PARTIAL = 0.15
"""A unit of which more channels are sound is no unit at fault: its channels are named, and joined otherwise."""
AGREE = 0.5
"""Share of HF's live channels that hold one other count: then the event count is in doubt, and HF is not judged."""
CERTAIN = 99.0
"""Significance of what is certain."""


@dataclass(frozen=True, eq=False)
class JudgedDigis:
    """Digis of one sub-detector: ``observed``, ``expected`` (rows, channels), ``events`` (rows,), ``live`` (channels,).

    ``columns``: rows of the joint reference.
    """

    subdetector: str
    channels: ChannelTable
    columns: NDArray[np.intp]
    live: NDArray[np.bool_]
    observed: Cells[np.int32]
    expected: Cells[np.float32]
    events: NDArray[np.int64]

    def pulls(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float32]:
        """(rows, columns) binomial pulls of counts against the healthy expectation."""
        mean, events = self.expected.compute(rows, columns), np.maximum(self.events[rows, None], 1).astype(np.float32)
        variance = np.maximum(mean * (1 - mean / events), np.float32(0.25))
        pulls = self.observed.compute(rows, columns).astype(np.float32)
        pulls -= mean
        pulls /= np.sqrt(variance, out=variance)
        pulls *= self.live[columns]
        return pulls


def faults_of(
    judged: JudgedDigis,
    unit_faults: Sequence[UnitFault],
    scan: ChannelScan,
    live_columns: NDArray[np.intp],
    tree: UnitTree,
) -> list[Fault]:
    """Faults of units and channels of one sub-detector, those that fail alike joined.

    ``live_columns``: joint rows of the scan's columns.
    """
    units: list[Fault] = []
    pieces: list[Fault] = []
    speaking: list[tuple[Fault, NDArray[np.bool_]]] = []
    size = len(judged.events)
    for fault in unit_faults:
        members = _members(judged, fault, tree)
        whole, parts = _unit_fault(judged, fault, members, tree)
        if whole:
            units.append(whole)
            inside = np.zeros(len(judged.columns), dtype=bool)
            inside[members] = True
            speaking.append((whole, inside))
        pieces += parts
    units = _boxes_joined(_rings_joined(units, judged), tree, judged)
    own = np.searchsorted(judged.columns, live_columns)
    for column, stretches in scan.faults.items():
        k = int(own[column])
        for sign in (-1, 1):
            mine = [s for s in stretches if np.sign(s.shift) == sign]
            if not mine:
                continue
            inside = np.zeros(size, dtype=bool)
            for stretch in mine:
                inside[stretch.first : stretch.last + 1] = True
            left = _without_spoken_for(judged, k, sign, inside, speaking)
            if left.any() and (left[inside].all() or sign * _pull(judged, k, left) > scan.threshold):
                inside = left
                z = max(abs(s.significance) for s in mine)
                pieces.append(Fault(Level.CHANNEL, channel_name(judged.channels, k), sign, np.array([k]), inside, z))
    faults = (with_gaps_closed(fault) for fault in (*units, *grouped(pieces, judged.channels, judged.live)))
    return [flickering(fault, judged.observed, judged.expected) for fault in faults]


def _members(judged: JudgedDigis, fault: UnitFault, tree: UnitTree) -> NDArray[np.intp]:
    """Live channels of the unit at fault."""
    units: Units = getattr(tree, UNITS_OF[fault.level])
    return np.flatnonzero((units.of[judged.columns] == fault.unit) & judged.live)


def _unit_fault(
    judged: JudgedDigis, fault: UnitFault, members: NDArray[np.intp], tree: UnitTree
) -> tuple[Fault | None, list[Fault]]:
    """The fault with its channels; where a good part of the unit is sound, its channels one by one instead."""
    units: Units = getattr(tree, UNITS_OF[fault.level])
    inside = fault.rows(len(judged.events))
    whole = Fault(fault.level, units.names[fault.unit], fault.sign, members, inside, fault.significance)
    if not len(members) or max(abs(s.shift) for s in fault.stretches) < SPEAKS or fault.level is Level.SUBDETECTOR:
        return (whole if len(members) else None), []
    cells = np.ix_(inside, members)
    n, e = (v[cells].sum(axis=0, dtype=np.float64) for v in (judged.observed, judged.expected))
    ratio = n / np.maximum(e, 1e-9)
    unit_ratio = float(np.median(ratio))
    noise = 3 / np.sqrt(np.maximum(e, 1))
    # Noise adds as many digis to a busy channel as to a quiet one: of its own that is less.
    off = ratio > 1 + (unit_ratio - 1) * LEAST_NOISE - noise if fault.sign > 0 else ratio < (1 + unit_ratio) / 2 + noise
    if off.mean() >= 1 - PARTIAL:
        return replace(whole, columns=members[off]), []
    return None, [
        Fault(
            Level.CHANNEL, channel_name(judged.channels, int(k)), fault.sign, np.array([k]), inside, fault.significance
        )
        for k in members[off]
    ]


def _rings_joined(units: Sequence[Fault], judged: JudgedDigis) -> list[Fault]:
    """Rings of one |ieta|, or of one depth, that fail alike are one fault."""
    out = [fault for fault in units if fault.level is not Level.RING]
    rings = [fault for fault in units if fault.level is Level.RING]
    if len(rings) < 2:
        return out + rings
    ieta, depth = np.abs(judged.channels.ieta), judged.channels.depth
    for key, name, level in ((ieta, "|ieta|", Level.RING), (depth, "depth", Level.DEPTH)):
        for value in np.unique(key[judged.live]):
            members = np.flatnonzero((key == value) & judged.live)
            rest = [f for f in rings if key[f.columns[0]] == value]
            for sign in (-1, 1):
                mine = [f for f in rest if f.sign == sign]
                if len(mine) < 2:
                    continue
                alike = [mine[i] for i in agreeing(mine)]
                if sum(len(f.columns) for f in alike) >= MOST_OF * len(members):
                    out.append(joined(alike, level, f"{judged.subdetector} {name} {value}"))
                    rings = [f for f in rings if all(f is not other for other in alike)]
    return out + rings


def _boxes_joined(units: Sequence[Fault], tree: UnitTree, judged: JudgedDigis) -> list[Fault]:
    """Half of all boxes or more that fail alike, at the same time and by like factors, are one fault."""
    live = np.unique(tree.box.of[judged.columns[judged.live]])
    out = list(units)
    for sign in (-1, 1):
        boxes = [fault for fault in units if fault.level is Level.RBX and fault.sign == sign]
        if len(boxes) < max(HALF_OF * len(live), 2):
            continue
        boxes = [boxes[i] for i in agreeing(boxes)]
        sizes = np.array([_log_size(judged, fault) for fault in boxes])
        alike = [f for f, size in zip(boxes, sizes, strict=True) if abs(size - np.median(sizes)) < LIKE_FACTORS]
        if len(alike) >= HALF_OF * len(live):
            name = f"{len(alike)} of {len(live)} RBXs of {judged.subdetector}"
            out = [fault for fault in out if all(fault is not other for other in alike)]
            out.append(joined(alike, Level.CHANNELS, name))
    return out


def _log_size(judged: JudgedDigis, fault: Fault) -> float:
    """Log of the digis of a fault over those that were expected."""
    cells = np.ix_(fault.inside, fault.columns)
    n, e = judged.observed[cells].sum(dtype=np.float64), judged.expected[cells].sum(dtype=np.float64)
    return float(np.log(max(n, 1) / max(e, 1)))


def _pull(judged: JudgedDigis, column: int, inside: NDArray[np.bool_]) -> float:
    """Standard deviations by which the digis of a channel in some lumisections are off the expected ones."""
    n, e = judged.observed[inside, column].sum(dtype=np.float64), judged.expected[inside, column].astype(np.float64)
    return float((n - e.sum()) / np.sqrt(max(float((e * (1 - e / judged.events[inside])).sum()), 1.0)))


def _without_spoken_for(
    judged: JudgedDigis,
    column: int,
    sign: int,
    inside: NDArray[np.bool_],
    speaking: Sequence[tuple[Fault, NDArray[np.bool_]]],
) -> NDArray[np.bool_]:
    """Where a channel is at fault beyond what its unit is already said to be."""
    for unit, members in speaking:
        rows = unit.inside
        if not members[column] or not (rows & inside).any():
            continue
        n, e = (float(v[rows & inside, column].sum()) for v in (judged.observed, judged.expected))
        all_n, all_e = (float(v[np.ix_(rows, unit.columns)].sum()) for v in (judged.observed, judged.expected))
        ratio, unit_ratio = n / max(e, 1e-9), all_n / max(all_e, 1e-9)
        if unit.sign > 0:
            # Noise adds as many digis to a quiet channel as to a busy one: of its own that is more.
            unit_ratio = max(unit_ratio, 1 + (all_n - all_e) / len(unit.columns) / max(e, 1e-9))
        apart = abs(np.log(max(ratio, 1e-3) / max(unit_ratio, 1e-3)))
        if (ratio - 1) * sign > 0 and unit_ratio > ALIVE_UNIT and apart > max(SPEAKS, 1.2 * abs(np.log(unit_ratio))):
            continue
        inside = inside & ~rows
    return inside


def verdict_of(
    judged: JudgedDigis, faults: Sequence[Fault], maps: LumiMaps, rows: JudgedRows, info: ModelInfo,
    trust: tuple[Trust, str], width: float, came: NDArray[np.bool_],
) -> Verdict:  # fmt: skip
    """States, findings and intervals of one sub-detector.

    ``came``: (LS,) where its maps came; in others it is not assessed.
    """
    numbers, row_of = rows.lumisections(maps), np.where(came, rows.row_of(len(maps)), -1)
    pairs = _faults_and_findings(judged, faults, numbers)
    return Verdict(
        subdetector=judged.subdetector,
        channels=judged.channels,
        lumisections=maps.lumisections,
        events=maps.events,
        assessed=row_of >= 0,
        observed=maps.counts[:, side_by_side(maps.channels.rows_of(judged.subdetector))],
        expected=_expected(judged, maps, row_of),
        score=_scores(judged, pairs, row_of),
        states=_states(judged, pairs, row_of),
        intervals=tuple(_intervals(pairs, numbers, judged)),
        judge=info,
        trust=trust[0],
        trust_reason=trust[1],
        sensitivity=max(1.0, width),
        findings=tuple(finding for _, finding in pairs),
    )


def _faults_and_findings(
    judged: JudgedDigis, faults: Sequence[Fault], numbers: Sequence[NDArray[np.int32]]
) -> list[tuple[Fault, Finding]]:
    """Faults of some size with their findings, those that weigh most first."""
    pairs = [
        (f, finding_of(f, judged.subdetector, numbers, judged.observed, judged.expected, judged.events)) for f in faults
    ]
    pairs = [(f, finding) for f, finding in pairs if _matters(finding)]
    return sorted(pairs, key=lambda pair: _weight(pair[1]), reverse=True)


def _matters(finding: Finding) -> bool:
    """Whether enough digis are concerned; in HF every lost one is."""
    least = LEAST_CHANNEL_DIGIS if finding.level is Level.CHANNEL else LEAST_DIGIS
    return finding.subdetector == "HF" or abs(finding.size - 1) >= least


def _states(judged: JudgedDigis, pairs: Sequence[tuple[Fault, Finding]], row_of: NDArray[np.intp]) -> NDArray[np.uint8]:
    """(LS, channels) states; ``row_of``: (LS,) judged row of each LS, −1 where none is."""
    states = np.full((len(row_of), len(judged.live)), State.GOOD, dtype=np.uint8)
    states[row_of < 0] = State.NOT_ASSESSED
    for fault, finding in pairs:
        cells = np.ix_((row_of >= 0) & fault.inside[row_of], fault.columns)
        states[cells] = np.maximum(states[cells], finding.state)
    states[:, ~judged.live] = State.NOT_CONNECTED
    return states


def _scores(judged: JudgedDigis, pairs: Sequence[tuple[Fault, Finding]], row_of: NDArray[np.intp]) -> Cells[np.float32]:
    """(LS, channels) significance of the finding where there is one, else the pull of the LS."""

    def computed(lumisections: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float32]:
        rows = row_of[lumisections]
        scores = _where_judged(judged.pulls, rows, columns)
        place = np.full(len(judged.live), -1, dtype=np.intp)
        place[columns] = np.arange(len(columns))
        for fault, _ in pairs:
            if (inside := fault.inside[rows]).any():
                own = place[fault.columns]
                scores[np.ix_(inside & (rows >= 0), own[own >= 0])] = fault.sign * np.float32(fault.significance)
        return scores

    return Cells((len(row_of), len(judged.live)), np.dtype(np.float32), computed)


def _where_judged(
    compute: Callable[[NDArray[np.intp], NDArray[np.intp]], NDArray[np.float32]],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
) -> NDArray[np.float32]:
    """(rows, columns) what is computed of rows, 0 where a row is −1."""
    use = rows >= 0
    if use.all():
        return compute(rows, columns)
    out = np.zeros((len(rows), len(columns)), dtype=np.float32)
    out[use] = compute(rows[use], columns)
    return out


def _expected(judged: JudgedDigis, maps: LumiMaps, row_of: NDArray[np.intp]) -> Cells[np.float32]:
    """(LS, channels) expectation of each LS: its share of the events where several were judged together."""
    share = np.zeros(len(row_of), dtype=np.float32)
    use = row_of >= 0
    share[use] = maps.events[use] / np.maximum(judged.events[row_of[use]], 1)

    def computed(lumisections: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float32]:
        expected = _where_judged(judged.expected.compute, row_of[lumisections], columns)
        expected *= share[lumisections, None]
        return expected

    return Cells((len(row_of), len(judged.live)), np.dtype(np.float32), computed)


def _weight(finding: Finding) -> tuple[int, float, float]:
    return (
        int(finding.state),
        finding.channels * finding.lumisections * abs(np.log(max(finding.size, 0.01))),
        finding.significance,
    )


def _intervals(
    pairs: Sequence[tuple[Fault, Finding]], numbers: Sequence[NDArray[np.int32]], judged: JudgedDigis
) -> Iterator[Interval]:
    for fault, finding in pairs:
        yield from intervals_of(finding, fault, numbers, judged.observed, judged.expected)


def not_judged(
    subdetector: str, maps: LumiMaps, live: NDArray[np.bool_], info: ModelInfo, trust: tuple[Trust, str], width: float
) -> Verdict:
    """The verdict on a sub-detector that nothing knows: no LS of it is assessed."""
    rows = maps.channels.rows_of(subdetector)
    shape = (len(maps), len(rows))
    states = np.full(shape, State.NOT_ASSESSED, dtype=np.uint8)
    states[:, ~live] = State.NOT_CONNECTED
    empty = Cells(shape, np.dtype(np.float32), lambda rows, columns: np.zeros((len(rows), len(columns)), np.float32))
    return Verdict(
        subdetector=subdetector, channels=maps.channels.take(rows), lumisections=maps.lumisections, events=maps.events,
        assessed=np.zeros(len(maps), dtype=bool), observed=maps.counts[:, side_by_side(rows)],
        expected=empty, score=empty, states=states, intervals=(), judge=info,
        trust=trust[0], trust_reason=trust[1], sensitivity=max(1.0, width),
    )  # fmt: skip


def hf_faults(
    counts: Cells[np.int32], events: NDArray[np.int64], channels: ChannelTable, live: NDArray[np.bool_]
) -> list[Fault]:
    """Faults of HF's channels; ``counts`` (rows, channels), ``events`` (rows,)."""
    lost = np.empty(counts.shape, dtype=bool)
    for first in range(0, len(counts), BLOCK):
        rows = slice(first, first + BLOCK)
        lost[rows] = (counts[rows] < events[rows, None]) & live
    return [
        Fault(Level.CHANNEL, channel_name(channels, int(column)), -1, np.array([column]), lost[:, column], CERTAIN)
        for column in np.flatnonzero(lost.any(axis=0))
    ]


def trusted_rows(counts: Cells[np.int32], events: NDArray[np.int64], live: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(rows,) where HF does not contradict the event count: most of its channels do not agree on another one.

    Channels that hold different counts, or none, are at fault; channels that hold one and the same speak of the events.
    """
    trusted = np.zeros(len(events), dtype=bool)
    most = AGREE * live.sum()
    for row, expected in enumerate(events if live.any() else ()):
        own = counts[row][live]
        others = own[(own != expected) & (own > 0)]
        trusted[row] = len(others) < most or np.unique(others, return_counts=True)[1].max() < most
    return trusted


def channel_name(channels: ChannelTable, row: int) -> str:
    """For example ``HF +33/5/2``: sub-detector, ieta/iphi/depth."""
    sub = Subdetector(channels.subdetector[row]).name
    return f"{sub} {channels.ieta[row]:+d}/{channels.iphi[row]}/{channels.depth[row]}"
