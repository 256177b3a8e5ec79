"""The judgement of one sub-detector, channel by channel and lumisection by lumisection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import MODULES_PER_BOX, N_RBX, SUBDET_PM, ChannelTable, Subdetector, box_name, readout_graph
from hcal_root_ad.evidence import EvidenceBank, log_likelihood_ratios
from hcal_root_ad.judge.flags import Evidence, Ratios, spans_of
from hcal_root_ad.judge.forecast import Forecast, forecasts_of, sentences
from hcal_root_ad.judge.groups import Level, Unit, by_weight, grouped, single_groups
from hcal_root_ad.judge.growth import GrowingRows
from hcal_root_ad.judge.verdict import Finding, Group, Interval, Judge, Kind, State, Verdict
from hcal_root_ad.judge.verdict import Level as UnitLevel
from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.learn.follow import Expectation, Follower, errors_again, followed
from hcal_root_ad.learn.reconstruct import Reconstruction, model_error
from hcal_root_ad.learn.series import Series, blocks, counts_of
from hcal_root_ad.learn.tail import Thresholds
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.pooling import (
    CARDS_PER_MODULE,
    MODULES,
    Pools,
    RecentEvidence,
    card_of,
    module_of,
    tempered,
)
from hcal_root_ad.room import copied, largest, picked, room, sweep
from hcal_root_ad.stats.binomial import Floats, log_rate, probability

Value = TypeVar("Value", bound=np.generic)

MODULE_LEVEL, CARD_LEVEL = 3, 4
"""Places of modules and cards among :func:`readout_levels`."""
ANNOUNCED = 8
"""Most lines about what will be bad."""
_ROWS = 256
"""Lumisections whose states are made at a time."""
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


def channel_names(channels: ChannelTable) -> Sequence[str]:
    """Names such as ``HE +20/5/3`` (ieta/iphi/depth)."""
    return _Names(channels)


class _Names(Sequence[str]):
    """Names, made when they are asked for: few of thousands are."""

    def __init__(self, channels: ChannelTable) -> None:
        self._channels = channels

    def __len__(self) -> int:
        return len(self._channels)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[number] for number in range(len(self))[row]]
        of = self._channels
        return f"{Subdetector(of.subdetector[row]).name} {of.ieta[row]:+d}/{of.iphi[row]}/{of.depth[row]}"


class Gatherer:
    """Evidence of one sub-detector, lumisection after lumisection; channels that are not live gather none."""

    def __init__(self, pools: Pools, live: NDArray[np.bool_], thresholds: Thresholds) -> None:
        self._pools, self._thresholds = pools, thresholds
        self.members = pools.members
        self.bank = EvidenceBank(len(live), thresholds.channel, CAP * thresholds.channel)
        self.unit_bank = EvidenceBank(self.members.shape[0], thresholds.unit, CAP * thresholds.unit)
        self._recent = RecentEvidence(self._pools)
        self._lumisection: int | None = None
        self._live = live

    def add(self, series: Series, expected: Expectation) -> NDArray[np.float32]:
        """Add lumisections; returns the score (LS, 2, channels) of a loss and of a gain, natural log.

        The sums carry over gaps, the score does not.
        """
        strengths = np.empty((len(series), 2, len(self._live)), dtype=np.float32)
        for rows in blocks(len(series)):
            counts, events = series.single(rows)
            ratios = log_likelihood_ratios(counts, events, expected.log_rate[rows], expected.error[rows])
            ratios *= self._live
            extra = self._thresholds.extra(expected.exposure[rows])
            for row, lumisection in enumerate(series.lumisections[rows].tolist()):
                strengths[rows.start + row] = self._add(lumisection, ratios[:, row], float(extra[row]))
        strengths *= self._live
        return strengths

    def _add(self, lumisection: int, ratios: NDArray[np.float32], extra: float) -> NDArray[np.float32]:
        if self._lumisection is not None and lumisection != self._lumisection + 1:
            self._recent.forget()
        self._lumisection = lumisection
        strengths, of_units = self._recent.add(ratios)
        self.bank.add(ratios, extra)
        self.unit_bank.add(of_units)
        return strengths


def signed(strengths: NDArray[np.float32]) -> NDArray[np.float32]:
    """(LS, channels) score in log10, negative for a loss, from (LS, 2, channels) evidence of a loss and of a gain."""
    loss, gain = np.maximum(strengths, 0).transpose(1, 0, 2)
    score: NDArray[np.float32] = np.copysign(np.maximum(loss, gain), gain - loss) / np.float32(np.log(10))
    return score


@dataclass(frozen=True, eq=False)
class Judged:
    """What flags are made of: the evidence of channels, and what was gathered of them and of readout units."""

    evidence: Evidence
    gatherer: Gatherer

    def together(self, units: NDArray[np.intp]) -> Floats:
        """Ratios of units as wholes, from those of their channels; see :data:`~hcal_root_ad.judge.flags.Ratios`."""
        members = (self.gatherer.members[unit].indices.astype(np.intp) for unit in units.tolist())
        return np.stack([tempered(self.evidence.ratios(cells)).sum(axis=1) for cells in members], axis=1)


def gather_evidence(
    series: Series, expected: Expectation, live: NDArray[np.bool_], thresholds: Thresholds
) -> tuple[Judged, NDArray[np.float32]]:
    """Evidence of a whole series, and the score of every LS, see :meth:`Gatherer.add`."""
    gatherer = Gatherer(Pools(series.channels, live), live, thresholds)
    strengths = gatherer.add(series, expected)

    def ratios(cells: NDArray[np.intp]) -> Floats:
        columns = (series.counts.astype(np.float32), expected.log_rate, expected.error)
        counts, log_rate, error = (values[:, cells].T for values in columns)
        return log_likelihood_ratios(counts, series.events.astype(np.float32), log_rate, error)

    counts = (series.trials * probability(expected.log_rate)).astype(np.float32)
    return Judged(Evidence(ratios, series.counts, counts, series.events, np.arange(len(series))), gatherer), strengths


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

    Carried are the drift of every channel and its evidence. Kept are, of every LS and channel, the expected count and
    the score, in single precision; the verdict makes the rest anew where something was flagged.
    """

    def __init__(self, bundle: Bundle, false_alarms: float) -> None:
        self.bundle, self._channels, self._false_alarms = bundle, bundle.channels, false_alarms
        self._thresholds, live = bundle.thresholds(false_alarms), bundle.reference.live
        self._follower = Follower(len(live))
        self._gatherer = Gatherer(bundle.pools, live, self._thresholds)
        self._expected, self._score = (GrowingRows(np.zeros((0, len(live)), dtype=np.float32)) for _ in range(2))
        self._position, self._activity = np.zeros(0, dtype=np.intp), np.zeros(0)

    def prepare(self, lumisections: int) -> None:
        """Make room for a run of so many; else what was judged moves whenever the room is used up."""
        for rows in (self._expected, self._score):
            rows.until(lumisections)

    def add(self, series: Series, found: Reconstruction) -> None:
        """Judge further lumisections, reconstructed as found."""
        expected = followed(found, series, self.bundle.reference, self.bundle.model_error, self._follower)
        strengths = self._gatherer.add(series, expected)
        self._position = np.append(self._position, series.position)
        self._activity = np.append(self._activity, found.activity)
        self._expected.put(series.position, (series.trials * probability(expected.log_rate)).astype(np.float32))
        self._score.put(series.position, signed(strengths))

    def verdict(self, maps: LumiMaps, forecasts: tuple[Forecast, ...], notes: tuple[str, ...]) -> Verdict:
        """Flags, intervals, groups and states of all lumisections so far; ``maps`` are of the run so far."""
        live, thresholds, position = self.bundle.reference.live, self._thresholds, self._position
        observed = _cut(counts_of(maps, self.bundle.subdetector), maps.events, position)
        expected, score = self._expected.until(len(maps)), self._score.until(len(maps))
        evidence = Evidence(self._ratios(maps, observed, expected), observed, expected, maps.events[position], position)
        judged = Judged(evidence, self._gatherer)
        intervals, groups = flagged(judged, self._channels, live, maps.lumisections[position], thresholds)
        assessed = np.zeros(len(maps), dtype=bool)
        assessed[position] = True
        identity = (self.bundle.name, self.bundle.version, self.bundle.digest)
        return Verdict(
            subdetector=self.bundle.subdetector,
            channels=self._channels,
            lumisections=maps.lumisections,
            events=maps.events,
            assessed=assessed,
            observed=observed,
            expected=expected,
            score=score,
            states=states_of(intervals, assessed, live, maps.lumisections),
            intervals=intervals,
            groups=groups,
            judge=Judge(*identity, thresholds.channel / float(np.log(10)), self._false_alarms),
            forecasts=forecasts,
            notes=(*notes, *announced(forecasts, self._channels)),
            findings=findings_of(groups, intervals, self._channels, assessed, maps.lumisections),
        )

    def _ratios(self, maps: LumiMaps, observed: NDArray[np.int32], expected: NDArray[np.float32]) -> Ratios:
        """What was gathered of single channels, once more: expected counts tell the rates, and counts the errors."""
        events = maps.events[self._position].astype(np.float32)
        bundle = self.bundle

        def ratios(cells: NDArray[np.intp]) -> Floats:
            counts = picked(observed, self._position, cells).astype(np.float32)
            rate = log_rate(picked(expected, self._position, cells) / events[:, None])
            prior = model_error(bundle.reference, bundle.model_error, self._activity, cells)
            error = errors_again(counts, events[:, None], rate, prior)
            return log_likelihood_ratios(counts.T, events, rate.T, error.T)

        return ratios


def _cut(counts: NDArray[np.int32], events: NDArray[np.int64], position: NDArray[np.intp]) -> NDArray[np.int32]:
    """The counts themselves, or a copy in which none of an assessed LS is above its events (a wrong counter)."""
    above = position[largest(counts)[position] > events[position]]
    if len(above):
        counts = copied(counts, len(counts))
        counts[above] = np.minimum(counts[above], events[above, None])
    return counts


def judge_channels(
    maps: LumiMaps,
    series: Series,
    found: Reconstruction,
    bundle: Bundle,
    false_alarms: float,
    skipped: NDArray[np.bool_],
    notes: tuple[str, ...],
) -> Verdict:
    """Judge a whole series at once.

    ``skipped``: (LS of the series,) lumisections whose conditions forbid a judgement. They were
    reconstructed, but gather no evidence.
    """
    kept = np.flatnonzero(~skipped)
    series, found = series.part(kept), found.part(kept)
    judge = ChannelJudge(bundle, false_alarms)
    judge.add(series, found)
    error = model_error(bundle.reference, bundle.model_error, found.activity)
    forecasts = forecasts_of(series, found.reference_rate, error, bundle.reference.live)
    return judge.verdict(maps, forecasts, notes)


def findings_of(
    groups: Sequence[Group],
    intervals: Sequence[Interval],
    channels: ChannelTable,
    assessed: NDArray[np.bool_],
    lumisections: NDArray[np.int32],
) -> tuple[Finding, ...]:
    """One finding per unit and kind: its groups, joined."""
    names = channel_names(channels)
    rows: dict[tuple[str, Kind], set[int]] = {}
    for interval in intervals:
        rows.setdefault((interval.group or names[interval.channel], interval.kind), set()).add(interval.channel)
    joined: dict[tuple[str, Kind], list[Group]] = {}
    for group in groups:
        joined.setdefault((group.unit, group.kind), []).append(group)
    return tuple(
        _finding(key[0], key[1], sorted(some, key=lambda group: group.first), rows.get(key, set()), channels,
                 lumisections[assessed]) for key, some in joined.items()
    )  # fmt: skip


def _finding(
    unit: str, kind: Kind, groups: list[Group], rows: set[int], channels: ChannelTable, assessed: NDArray[np.int32]
) -> Finding:
    level = (UnitLevel.CHANNEL if "/" in unit else UnitLevel.RM if "-RM" in unit else UnitLevel.RBX if unit[-1].isdigit()
             else UnitLevel.HALF if len(unit) == 3 else UnitLevel.SUBDETECTOR)  # fmt: skip
    ranges = tuple((group.first, group.last) for group in groups)
    flagged = sum(int(((assessed >= first) & (assessed <= last)).sum()) for first, last in ranges)
    span = int(((assessed >= ranges[0][0]) & (assessed <= ranges[-1][1])).sum())
    score = max(abs(group.score) for group in groups)
    observed, expected = sum(group.observed for group in groups), sum(group.expected for group in groups)
    size = observed / max(expected, 1e-9)
    return Finding(
        subdetector=channels.names[0], level=level, unit=unit, kind=kind, ranges=ranges, lumisections=flagged,
        duty=flagged / max(span, 1), rows=tuple(sorted(rows)), observed=observed, expected=expected, size=size,
        size_error=size / np.sqrt(max(observed, 1)), significance=float(np.sqrt(2 * np.log(10) * score)),
    )  # fmt: skip


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
    states = room((len(assessed), len(live)), np.uint8)
    first = np.searchsorted(lumisections, [interval.first for interval in intervals])
    stop = np.searchsorted(lumisections, [interval.last for interval in intervals], side="right")
    for rows in sweep(states, rows=_ROWS):
        few = states[rows]
        few[...] = State.GOOD
        for number in np.flatnonzero((first < rows.stop) & (stop > rows.start)).tolist():
            interval = intervals[number]
            column = few[max(first[number] - rows.start, 0) : stop[number] - rows.start, interval.channel]
            np.maximum(column, np.uint8(interval.kind.state), out=column)
        few[~assessed[rows]] = State.NOT_ASSESSED
        few[:, ~live] = State.NOT_CONNECTED
    return states
