"""The judgement of one sub-detector, channel by channel and lumisection by lumisection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import MODULES_PER_BOX, N_RBX, SUBDET_PM, ChannelTable, box_name, readout_graph
from hcal_root_ad.evidence import EvidenceBank, log_likelihood_ratios
from hcal_root_ad.judge.flags import Evidence, spans_of
from hcal_root_ad.judge.groups import Level, by_weight, grouped, single_groups
from hcal_root_ad.judge.verdict import Interval, Judge, State, Verdict
from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.learn.follow import followed
from hcal_root_ad.learn.reconstruct import Reconstruction
from hcal_root_ad.learn.series import Series
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.occupancy import Floats, probability

Value = TypeVar("Value", bound=np.generic)

CARDS_PER_MODULE = 4
CAP = 2.5
"""Evidence sums stop growing at this many thresholds: a fault that has ended is forgotten soon."""


def readout_levels(channels: ChannelTable) -> tuple[Level, ...]:
    """Sub-detector, halves, readout boxes, readout modules and (in HB) QIE cards of one sub-detector's channels."""
    graph = readout_graph(channels)
    box = graph.box_of[graph.module_of]
    halves = [SUBDET_PM[2 * (int(channels.subdetector[0]) - 1) + side] for side in (0, 1)]
    boxes = [box_name(SUBDET_PM.index(halves[number // N_RBX]) * N_RBX + number % N_RBX) for number in range(2 * N_RBX)]
    modules = [f"{boxes[n // MODULES_PER_BOX]}-RM{n % MODULES_PER_BOX}" for n in range(2 * N_RBX * MODULES_PER_BOX)]
    module = np.where(channels.rm > 0, graph.module_of, -1)
    cards = [f"{name}-card{card}" for name in modules for card in range(1, CARDS_PER_MODULE + 1)]
    card = np.where(channels.card > 0, graph.module_of * CARDS_PER_MODULE + channels.card - 1, -1)
    return (
        Level(np.zeros(len(channels), dtype=np.intp), (halves[0][:2],)),
        Level(channels.side.astype(np.intp), tuple(halves)),
        Level(box.astype(np.intp), tuple(boxes)),
        Level(module.astype(np.intp), tuple(modules)),
        Level(card.astype(np.intp), tuple(cards)),
    )


def channel_names(channels: ChannelTable) -> list[str]:
    """Names such as ``HE +20/5/3`` (ieta/iphi/depth)."""
    rows = zip(channels.names, channels.ieta, channels.iphi, channels.depth, strict=True)
    return [f"{name} {ieta:+d}/{iphi}/{depth}" for name, ieta, iphi, depth in rows]


@dataclass(frozen=True, eq=False)
class Judged:
    """Evidence of a series: accumulated score per LS, and what the flags are made of."""

    evidence: Evidence
    bank: EvidenceBank
    score: NDArray[np.float32]


def gather_evidence(series: Series, found: Reconstruction, bundle: Bundle, threshold: float) -> Judged:
    """Evidence of every channel, lumisections in order; channels that are not live gather none."""
    live = bundle.reference.live
    expected = followed(found, series, bundle.reference, bundle.model_error)
    shape = series.counts.shape
    bank = EvidenceBank(shape[1], threshold, CAP * threshold)
    score = np.zeros(shape, dtype=np.float32)
    for row in range(len(series)):
        one = log_likelihood_ratios(series.counts[row], series.events[row], expected.log_rate[row], expected.error[row])
        bank.add(np.where(live, one, 0))
        score[row] = bank.signed()

    def ratios(rows: slice, cell: int) -> Floats:
        counts, events = series.counts[rows, cell], series.events[rows]
        return log_likelihood_ratios(counts, events, expected.log_rate[rows, cell], expected.error[rows, cell])

    return Judged(
        Evidence(ratios, series.counts, series.trials * probability(expected.log_rate), series.events), bank, score
    )


def judge_channels(
    maps: LumiMaps,
    series: Series,
    found: Reconstruction,
    bundle: Bundle,
    false_alarms: float,
    skipped: NDArray[np.bool_],
    notes: tuple[str, ...],
) -> Verdict:
    """Flags, intervals, groups and states of one sub-detector.

    ``skipped``: (LS of the series,) lumisections whose conditions forbid a judgement. They were
    reconstructed, but gather no evidence.
    """
    threshold = bundle.tail.threshold(false_alarms)
    kept = np.flatnonzero(~skipped)
    series = series.part(kept)
    found = Reconstruction(found.activity[kept], found.log_rate[kept], found.reference_rate[kept])
    judged = gather_evidence(series, found, bundle, threshold)
    spans = spans_of(judged.bank.excursions(), judged.evidence)
    levels, live = readout_levels(series.channels), bundle.reference.live
    intervals, groups = grouped(spans, judged.evidence, levels, live, series.lumisections)
    singles = single_groups(intervals, channel_names(series.channels))
    assessed = np.zeros(len(maps), dtype=bool)
    assessed[series.position] = True
    return Verdict(
        subdetector=bundle.subdetector,
        channels=series.channels,
        lumisections=maps.lumisections,
        events=maps.events,
        assessed=assessed,
        observed=spread(series.counts, series.position, len(maps)),
        expected=spread(judged.evidence.expected.astype(np.float32), series.position, len(maps)),
        score=spread(judged.score, series.position, len(maps)),
        states=states_of(intervals, assessed, live, maps.lumisections),
        intervals=intervals,
        groups=by_weight([*(group for _, group in groups), *singles]),
        judge=Judge(bundle.name, bundle.version, bundle.digest, threshold / float(np.log(10)), false_alarms),
        notes=notes,
    )


def spread(values: NDArray[Value], position: NDArray[np.intp], length: int) -> NDArray[Value]:
    """Rows of assessed lumisections at their places among all, zeros elsewhere."""
    out = np.zeros((length, *values.shape[1:]), dtype=values.dtype)
    out[position] = values
    return out


def states_of(
    intervals: tuple[Interval, ...],
    assessed: NDArray[np.bool_],
    live: NDArray[np.bool_],
    lumisections: NDArray[np.int32],
) -> NDArray[np.uint8]:
    """(LS, cells) hcaldqm states."""
    states = np.full((len(assessed), len(live)), State.GOOD, dtype=np.uint8)
    for interval in intervals:
        rows = (lumisections >= interval.first) & (lumisections <= interval.last)
        states[rows, interval.channel] = np.maximum(states[rows, interval.channel], interval.kind.state)
    states[~assessed] = State.NOT_ASSESSED
    states[:, ~live] = State.NOT_CONNECTED
    return states
