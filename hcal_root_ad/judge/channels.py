"""The judgement of one sub-detector, channel by channel and lumisection by lumisection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import MODULES_PER_BOX, N_RBX, SUBDET_PM, ChannelTable, box_name, readout_graph
from hcal_root_ad.evidence import EvidenceBank, log_likelihood_ratios
from hcal_root_ad.judge.flags import Evidence, Ratios, spans_of
from hcal_root_ad.judge.forecast import Forecast, forecasts_of, sentences
from hcal_root_ad.judge.groups import Level, Unit, by_weight, grouped, single_groups
from hcal_root_ad.judge.verdict import Group, Interval, Judge, State, Verdict
from hcal_root_ad.learn.bundle import Bundle, Thresholds
from hcal_root_ad.learn.follow import Expectation, Follower, followed
from hcal_root_ad.learn.reconstruct import Reconstruction, model_error
from hcal_root_ad.learn.series import Series, series_of
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.occupancy import Floats, Numbers, probability
from hcal_root_ad.pooling import (
    CARDS_PER_MODULE,
    MODULES,
    RecentEvidence,
    card_of,
    module_of,
    pools_of,
    tempered,
    unit_ratios,
)

Value = TypeVar("Value", bound=np.generic)

MODULE_LEVEL, CARD_LEVEL = 3, 4
"""Places of modules and cards among :func:`readout_levels`."""
ANNOUNCED = 8
"""Most lines about what will be bad."""
CAP = 2.5
"""Evidence sums stop growing at this many thresholds: a fault that has ended is forgotten soon."""


def readout_levels(channels: ChannelTable) -> tuple[Level, ...]:
    """Sub-detector, halves, readout boxes, readout modules and (in HB) QIE cards of one sub-detector's channels."""
    graph = readout_graph(channels)
    box = graph.box_of[graph.module_of]
    halves = [SUBDET_PM[2 * (int(channels.subdetector[0]) - 1) + side] for side in (0, 1)]
    boxes = [box_name(SUBDET_PM.index(halves[number // N_RBX]) * N_RBX + number % N_RBX) for number in range(2 * N_RBX)]
    modules = [f"{boxes[n // MODULES_PER_BOX]}-RM{n % MODULES_PER_BOX}" for n in range(MODULES)]
    cards = [f"{name}-card{card}" for name in modules for card in range(1, CARDS_PER_MODULE + 1)]
    return (
        Level(np.zeros(len(channels), dtype=np.intp), (halves[0][:2],)),
        Level(channels.side.astype(np.intp), tuple(halves)),
        Level(box.astype(np.intp), tuple(boxes)),
        Level(module_of(channels), tuple(modules)),
        Level(card_of(channels), tuple(cards)),
    )


def channel_names(channels: ChannelTable) -> list[str]:
    """Names such as ``HE +20/5/3`` (ieta/iphi/depth)."""
    rows = zip(channels.names, channels.ieta, channels.iphi, channels.depth, strict=True)
    return [f"{name} {ieta:+d}/{iphi}/{depth}" for name, ieta, iphi, depth in rows]


class Gatherer:
    """Evidence of one sub-detector, lumisection after lumisection; channels that are not live gather none."""

    def __init__(self, channels: ChannelTable, live: NDArray[np.bool_], thresholds: Thresholds) -> None:
        pools = pools_of(channels, live)
        self.members = pools.units
        self.bank = EvidenceBank(len(channels), thresholds.channel, CAP * thresholds.channel)
        self.unit_bank = EvidenceBank(self.members.shape[0], thresholds.unit, CAP * thresholds.unit)
        self._recent = RecentEvidence(pools)
        self._lumisection: int | None = None
        self._live = live

    def add(
        self, lumisection: int, counts: Numbers, events: Floats, log_rate: Floats, error: Floats
    ) -> NDArray[np.float32]:
        """Add one lumisection (channels,); returns the score (2, channels) of a loss and of a gain, natural log.

        The sums carry over gaps, the score does not.
        """
        if self._lumisection is not None and lumisection != self._lumisection + 1:
            self._recent.forget()
        self._lumisection = lumisection
        ratios = log_likelihood_ratios(counts, events, log_rate, error)
        ratios *= self._live
        self.bank.add(ratios)
        self.unit_bank.add(unit_ratios(self.members, ratios))
        return self._recent.add(ratios) * self._live


@dataclass(frozen=True, eq=False)
class Judged:
    """Evidence of a series: the score per LS, and what the flags are made of.

    ``together``: ratios of readout units. ``strengths``: (LS, 2, channels) evidence of the last LS for a loss and
    for a gain, natural log.
    """

    evidence: Evidence
    together: Ratios
    gatherer: Gatherer
    strengths: NDArray[np.float32]

    @property
    def score(self) -> NDArray[np.float32]:
        """(LS, channels) in log10, negative for a loss."""
        loss, gain = np.maximum(self.strengths, 0).transpose(1, 0, 2)
        signed: NDArray[np.float32] = np.where(loss > gain, -loss, gain) / np.float32(np.log(10))
        return signed


def gather_evidence(series: Series, expected: Expectation, live: NDArray[np.bool_], thresholds: Thresholds) -> Judged:
    """Evidence of every channel and unit, lumisections in order."""
    gatherer = Gatherer(series.channels, live, thresholds)
    return judged_of(series, expected, gatherer, gathered(gatherer, series, expected))


def gathered(gatherer: Gatherer, series: Series, expected: Expectation) -> NDArray[np.float32]:
    """(LS, 2, channels) the score of each lumisection, as a gatherer gives it."""
    strengths = np.zeros((len(series), 2, series.counts.shape[1]), dtype=np.float32)
    for row in range(len(series)):
        counts, events = series.counts[row], series.events[row]
        lumisection = int(series.lumisections[row])
        strengths[row] = gatherer.add(lumisection, counts, events, expected.log_rate[row], expected.error[row])
    return strengths


def judged_of(series: Series, expected: Expectation, gatherer: Gatherer, strengths: NDArray[np.float32]) -> Judged:
    """What was gathered, with ways to look at single channels and units again."""

    def ratios(rows: slice, cells: int | NDArray[np.intp]) -> Floats:
        counts, events = series.counts[rows, cells], series.events[rows]
        shaped = events if np.ndim(cells) == 0 else events[:, None]
        return log_likelihood_ratios(counts, shaped, expected.log_rate[rows, cells], expected.error[rows, cells])

    def together(rows: slice, unit: int) -> Floats:
        summed: Floats = tempered(ratios(rows, gatherer.members[unit].indices.astype(np.intp))).sum(axis=2)
        return summed

    expectation = series.trials * probability(expected.log_rate)
    return Judged(Evidence(ratios, series.counts, expectation, series.events), together, gatherer, strengths)


def flagged(
    judged: Judged,
    channels: ChannelTable,
    live: NDArray[np.bool_],
    lumisections: NDArray[np.int32],
    thresholds: Thresholds,
) -> tuple[tuple[Interval, ...], tuple[Group, ...]]:
    """Intervals of channels, and the groups that they make up, at thresholds at least those of the gathering."""
    bank, unit_bank = judged.gatherer.bank, judged.gatherer.unit_bank
    spans = spans_of(bank.excursions().above(thresholds.channel), judged.evidence.ratios)
    units = [
        Unit(*unit_place(span.cell), span.first, span.last, span.loss)
        for span in spans_of(unit_bank.excursions().above(thresholds.unit), judged.together)
    ]
    intervals, groups = grouped(spans, judged.evidence, readout_levels(channels), live, lumisections, units)
    singles = single_groups(intervals, channel_names(channels))
    return intervals, by_weight([*(group for _, group in groups), *singles])


def unit_place(unit: int) -> tuple[int, int]:
    """Level among :func:`readout_levels`, and number there, of a unit of :func:`unit_members`."""
    return (MODULE_LEVEL, unit) if unit < MODULES else (CARD_LEVEL, unit - MODULES)


class ChannelJudge:
    """Judges the channels of one sub-detector as their reconstruction comes, lumisection after lumisection.

    Carried are the drift of every channel and its evidence; the verdict looks back at what was flagged.
    """

    def __init__(self, bundle: Bundle, false_alarms: float) -> None:
        self._bundle, self._false_alarms = bundle, false_alarms
        self._thresholds = bundle.thresholds(false_alarms)
        live = bundle.reference.live
        self._follower = Follower(len(live))
        self._gatherer = Gatherer(bundle.channels, live, self._thresholds)
        self._pieces: list[tuple[Series, Reconstruction, Expectation, NDArray[np.float32]]] = []

    def add(self, series: Series, found: Reconstruction, skipped: NDArray[np.bool_]) -> None:
        """Judge further lumisections.

        ``skipped``: (LS of the series,) those whose conditions forbid a judgement. They were reconstructed, but
        gather no evidence.
        """
        kept = np.flatnonzero(~skipped)
        series = series.part(kept)
        found = Reconstruction(found.activity[kept], found.log_rate[kept], found.reference_rate[kept])
        expected = followed(found, series, self._bundle.reference, self._bundle.model_error, self._follower)
        self._pieces.append((series, found, expected, gathered(self._gatherer, series, expected)))

    def verdict(self, maps: LumiMaps, notes: tuple[str, ...]) -> Verdict:
        """Flags, intervals, groups and states of all lumisections so far; ``maps`` are of the run so far."""
        bundle, live, thresholds = self._bundle, self._bundle.reference.live, self._thresholds
        series, found, expected, strengths = self._whole(maps)
        judged = judged_of(series, expected, self._gatherer, strengths)
        intervals, groups = flagged(judged, series.channels, live, series.lumisections, thresholds)
        error = model_error(bundle.reference, bundle.model_error, found.activity)
        forecasts = forecasts_of(series, found.reference_rate, error, live)
        assessed = np.zeros(len(maps), dtype=bool)
        assessed[series.position] = True
        name, digest = (bundle.name, bundle.version), bundle.digest
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
            groups=groups,
            judge=Judge(*name, digest, thresholds.channel / float(np.log(10)), self._false_alarms),
            forecasts=forecasts,
            notes=(*notes, *announced(forecasts, series.channels)),
        )

    def _whole(self, maps: LumiMaps) -> tuple[Series, Reconstruction, Expectation, NDArray[np.float32]]:
        """All pieces as one."""
        nothing = np.zeros((0, len(self._bundle.channels)))
        empty = series_of(maps, self._bundle.subdetector, np.zeros(0, dtype=np.intp))
        start = (
            empty,
            Reconstruction(np.zeros(0), nothing, nothing),
            Expectation(nothing, nothing),
            np.zeros((0, 2, len(self._bundle.channels)), dtype=np.float32),
        )
        series, found, expected, strengths = zip(start, *self._pieces, strict=True)
        joined = (
            [np.concatenate([getattr(one, name) for one in pieces]) for name in names]
            for pieces, names in (
                (series, ("counts", "events", "lumisections", "position")),
                (found, ("activity", "log_rate", "reference_rate")),
                (expected, ("log_rate", "error")),
            )
        )
        counts, rates, expectation = joined
        return (
            Series(empty.channels, *counts),
            Reconstruction(*rates),
            Expectation(*expectation),
            np.concatenate(strengths),
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
    """Judge a whole series at once, see :class:`ChannelJudge`."""
    judge = ChannelJudge(bundle, false_alarms)
    judge.add(series, found, skipped)
    return judge.verdict(maps, notes)


def announced(forecasts: Sequence[Forecast], channels: ChannelTable) -> tuple[str, ...]:
    """Sentences about channels that will be bad; of many only the soonest."""
    modules = readout_levels(channels)[MODULE_LEVEL]
    lines = list(sentences(forecasts, channel_names(channels), modules.unit_of, modules.names))
    hidden = len(lines) - ANNOUNCED
    return (*lines[:ANNOUNCED], *([f"and {hidden} more places that age"] if hidden > 0 else []))


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
