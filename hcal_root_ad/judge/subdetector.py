"""The verdict that the faults of one sub-detector make; and the faults of HF.

HF is not zero suppressed: a channel of it that holds fewer digis than events is at fault for certain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.judge.findings import LEAST_DIGIS, Fault, JudgedDigis, channel_name, finding_of, intervals_of
from hcal_root_ad.judge.lumisections import JudgedRows, side_by_side
from hcal_root_ad.judge.verdict import Finding, Interval, Level, ModelInfo, State, Trust, Verdict
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.machine import Cells, iter_chunks, zeros
from hcal_root_ad.model.unit_tree import BLOCK

LEAST_CHANNEL_DIGIS = 0.03
"""What changes the digis of a channel by less is no fault."""
AGREE = 0.5
"""Share of HF's live channels that hold one other count: then the event count is in doubt, and HF is not judged."""
CERTAIN = 99.0
"""Significance of what is certain."""


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
    states: NDArray[np.uint8] = zeros((len(row_of), len(judged.live)), np.uint8)
    for rows in iter_chunks(states):
        states[rows] = np.where(row_of[rows] < 0, State.NOT_ASSESSED, State.GOOD)[:, None]
    for fault, finding in pairs:
        hit = np.flatnonzero((row_of >= 0) & fault.inside[row_of])
        cells = np.ix_(hit, fault.columns)
        states[cells] = np.where(fault.fails(row_of[hit]), np.maximum(states[cells], finding.state), states[cells])
    for rows in iter_chunks(states):
        states[rows, ~judged.live] = State.NOT_CONNECTED
    return states


def _scores(judged: JudgedDigis, pairs: Sequence[tuple[Fault, Finding]], row_of: NDArray[np.intp]) -> Cells[np.float32]:
    """(LS, channels) significance of the finding where there is one, else the pull of the LS."""

    def computed(lumisections: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float32]:
        rows = row_of[lumisections]
        scores = _where_judged(judged.pulls, rows, columns)
        place = np.full(len(judged.live), -1, dtype=np.intp)
        place[columns] = np.arange(len(columns))
        for fault, _ in pairs:
            hit, own = np.flatnonzero(fault.inside[rows] & (rows >= 0)), place[fault.columns]
            if len(hit) and (own >= 0).any():
                cells, fails = np.ix_(hit, own[own >= 0]), fault.fails(rows[hit])[:, own >= 0]
                scores[cells] = np.where(fails, fault.sign * np.float32(fault.significance), scores[cells])
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
    for first in range(0, len(events) if live.any() else 0, BLOCK):
        rows = slice(first, first + BLOCK)
        own = counts[rows][:, live]
        others = (own != events[rows, None]) & (own > 0)
        trusted[rows] = others.sum(axis=1) < most
        for row in np.flatnonzero(~trusted[rows]):
            trusted[first + row] = np.unique(own[row][others[row]], return_counts=True)[1].max() < most
    return trusted
