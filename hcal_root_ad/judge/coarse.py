"""The judgement of a file without maps per lumisection, at the granularity that it has: strips, and run totals.

Strips of HBM, HBP, HEM and HEP count the digis of a whole iphi per lumisection. Each is compared with its own share of
its half in this run, so they come without any reference, and without trust. The run's totals are one large lumisection:
the model's reference is compared with it like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_IPHI, N_RBX, SUBDET_PM, ChannelTable, box_name, rbx_of
from hcal_root_ad.errors import ModelError, NoHcalError
from hcal_root_ad.judge.findings import Fault, finding_of, intervals_of, with_gaps_closed
from hcal_root_ad.judge.lumisections import MINIMUM_EVENTS
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import Level, ModelInfo, State, StripVerdict, Trust, Verdict
from hcal_root_ad.lumi_maps import EventSource, LumiMaps
from hcal_root_ad.model.model import SHARES, thresholds
from hcal_root_ad.stats.binomial import Floats
from hcal_root_ad.stats.scan import empirical_null, stretches, strongest
from hcal_root_ad.stats.windows import Sums

STRIPS = len(SUBDET_PM) * N_IPHI
SHARE_WIDTH, WALK = 0.01, 4e-7
"""Prior width of a strip's share, and the variance per LS by which it wanders (as readout boxes do)."""
LEAST = 0.05
"""Smallest change of a strip that is a fault."""
ALIKE, MOST_OF = 0.5, 0.7
"""Overlap (over the union) of strips that fail together, and the share of a unit that must."""
OWN_SHARE = "strips are measured against their own share in this run"
BLINDNESS = f"{OWN_SHARE}: single channels, what is wrong all run long, and a sub-detector as a whole cannot be seen"
DILUTED = "run totals: channels per run against the reference; faults of few lumisections are not seen"

JudgeMaps = Callable[[LumiMaps], RunVerdict]
Value = TypeVar("Value", bound=np.generic)
SILENT = 0.5
"""A strip with less than this share of its neighbours' is compared with theirs, not with its own."""
DARK = 0.1
"""Share of the brightest half's digis below which another half is dark."""
APART = 0.1
"""Two halves of a sub-detector whose ratio moved by more (in log) do not see the same: one lost digis."""
ROUNDS = 5


def judge_coarse(maps: LumiMaps, judge_maps: JudgeMaps, false_alarms: float) -> RunVerdict:
    """Judge strips and run totals; ``judge_maps`` judges the totals as a run of one lumisection.

    Raises:
        NoHcalError, ModelError: if neither can be judged.
    """
    assert maps.coarse is not None
    coarse = maps.coarse
    strips = None if coarse.strips is None else judge_strips(maps, coarse.strips, false_alarms)
    judged = strips is not None and bool(strips.assessed.any())
    verdicts: tuple[Verdict, ...] = ()
    notes: tuple[str, ...] = ()
    if coarse.totals is not None and maps.run_events >= MINIMUM_EVENTS and coarse.totals.any():
        try:
            verdicts, notes = _judge_totals(maps, coarse.totals, judge_maps)
        except (ModelError, NoHcalError) as error:
            if not judged:
                raise
            notes = (f"run totals are not judged: {error}",)
    if not verdicts and not judged:
        raise NoHcalError(
            f"run {maps.run}: neither strips per lumisection nor run totals could be judged; "
            f"at least {MINIMUM_EVENTS} events with digis are needed"
        )
    return RunVerdict(maps, verdicts, strips=strips, notes=notes)


def _judge_totals(
    maps: LumiMaps, totals: NDArray[np.int64], judge_maps: JudgeMaps
) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
    whole = judge_maps(_whole_run(maps, totals))
    conditions = whole.common.sentences if whole.common else ()
    first, last = int(maps.lumisections[0]), int(maps.lumisections[-1])
    verdicts = tuple(
        replace(
            verdict,
            granularity="run",
            forecasts=(),
            intervals=tuple(replace(interval, first=first, last=last) for interval in verdict.intervals),
            findings=tuple(
                replace(finding, ranges=((first, last),), lumisections=last - first + 1) for finding in verdict.findings
            ),
        )
        for verdict in whole.verdicts
    )
    return verdicts, (DILUTED, *whole.notes, *conditions)


def _whole_run(maps: LumiMaps, totals: NDArray[np.int64]) -> LumiMaps:
    """The run as one lumisection with all its events."""
    events = maps.run_events
    return replace(
        maps,
        lumisections=maps.lumisections[:1],
        events=np.array([events]),
        event_source=np.array([max(maps.event_source, default=EventSource.NONE)], dtype=np.uint8),
        counts=np.minimum(totals, events)[None].astype(np.int32),
        present=np.array([True]),
        missing={name: np.array([True]) for name in (maps.coarse.missing if maps.coarse else ())},
        coarse=None,
    )


def judge_strips(maps: LumiMaps, strips: NDArray[np.int64], false_alarms: float) -> StripVerdict:
    """Judge strips (LS, 4, 72) of a run."""
    counts = strips.reshape(len(strips), STRIPS)
    enough = maps.events >= MINIMUM_EVENTS
    assessed = enough & collisions(strips, np.where(enough, maps.events, 0))
    position, observed = np.flatnonzero(assessed), counts[assessed]
    expected, live = expected_strips(observed)
    series = dict.fromkeys(SHARES, 1) | {"channel": STRIPS // 2}
    threshold = thresholds(false_alarms, series).channel
    scans = [_Scan(observed, expected, half) for half in (0, 2)]
    faults = [fault for scan in scans for fault in scan.faults(live, threshold, maps.channels)]
    numbers = [maps.lumisections[p : p + 1] for p in position]
    trials = maps.events[position] * _channels_per_strip(maps.channels)
    findings = [
        finding_of(fault, SUBDET_PM[fault.columns[0] // N_IPHI][:2], numbers, observed, expected, trials)
        for fault in faults
    ]
    order = sorted(
        range(len(faults)), key=lambda i: (-findings[i].state, -findings[i].channels * findings[i].lumisections)
    )
    states = np.full(observed.shape, State.GOOD, dtype=np.uint8)
    score = ((observed - expected) / np.sqrt(np.maximum(expected, 1))).astype(np.float32)
    for fault, finding in zip(faults, findings, strict=True):
        cells = np.ix_(fault.inside, fault.columns)
        states[cells] = np.maximum(states[cells], finding.state)
        score[cells] = fault.sign * np.float32(fault.significance)
    everywhere = _spread(states, position, len(maps), State.NOT_ASSESSED)
    everywhere[:, ~live] = State.NOT_CONNECTED
    dark = int((enough & ~assessed).sum())
    return StripVerdict(
        lumisections=maps.lumisections,
        events=maps.events,
        assessed=assessed,
        observed=counts,
        expected=_spread(expected.astype(np.float32), position, len(maps)),
        score=_spread(score, position, len(maps)),
        states=everywhere,
        intervals=tuple(
            interval for i in order for interval in intervals_of(findings[i], faults[i], numbers, observed, expected)
        ),
        judge=ModelInfo("strips of this run", "", "", threshold, false_alarms),
        notes=(BLINDNESS, *([_dark_note(dark)] if dark else [])),
        trust=Trust.NONE,
        trust_reason=OWN_SHARE,
        sensitivity=max(scan.sensitivity for scan in scans),
        findings=tuple(findings[i] for i in order),
    )  # fmt: skip


class _Scan:
    """Strips of one sub-detector (its two halves from ``half`` on), scanned for stretches at fault."""

    def __init__(self, observed: NDArray[np.int64], expected: Floats, half: int) -> None:
        self.observed, self.expected = observed, expected
        self.columns = np.arange(half * N_IPHI, (half + 2) * N_IPHI)
        e = expected[:, self.columns]
        # Newton step of a Poisson count on the log of its rate: score n − e, information e.
        self.b, self.w = observed[:, self.columns] - e, np.maximum(e, 1e-9)
        self.sums = Sums.of(self.b, self.w, np.full(len(self.columns), SHARE_WIDTH**2), WALK)
        self.null = empirical_null(self.sums) if len(observed) else None

    @property
    def sensitivity(self) -> float:
        """Scatter of the strips over what was expected, in single lumisections."""
        if self.null is None:
            return 1.0
        variance = 1 / np.median(self.w, axis=1) + SHARE_WIDTH**2
        excess = self.null.prior + self.null.excess[0][: len(variance)]
        return float(max(1.0, np.median(np.sqrt(1 + excess / variance))))

    def faults(self, live: NDArray[np.bool_], threshold: float, channels: ChannelTable) -> list[Fault]:
        """Halves, readout boxes and single strips at fault."""
        if self.null is None:
            return []
        pieces: list[_Piece] = []
        for k in strongest(self.sums, self.null, threshold):
            if not live[self.columns[k]]:
                continue
            arguments = (self.b[:, k], self.w[:, k], SHARE_WIDTH**2, WALK, self.null, threshold, LEAST)
            for stretch in stretches(*arguments):
                inside = np.zeros(len(self.observed), dtype=bool)
                inside[stretch.first : stretch.last + 1] = True
                sign = 1 if stretch.shift > 0 else -1
                pieces.append(_Piece(int(self.columns[k]), sign, inside, abs(stretch.significance)))
        return [with_gaps_closed(fault) for fault in _grouped(pieces, live, channels)]


@dataclass(frozen=True, eq=False)
class _Piece:
    """One stretch of one strip."""

    column: int
    sign: int
    inside: NDArray[np.bool_]
    significance: float


def _grouped(pieces: list[_Piece], live: NDArray[np.bool_], channels: ChannelTable) -> Iterator[Fault]:
    """Strips that fail alike joined to halves and readout boxes; the others, each with all its stretches of a sign."""
    half, iphi = np.divmod(np.arange(STRIPS), N_IPHI)
    box = half * N_RBX + rbx_of(iphi + 1) - 1
    name_of: Callable[[int], str]
    for level, of, name_of in ((Level.HALF, half, _half_name), (Level.RBX, box, box_name)):
        for unit in np.unique(of[[piece.column for piece in pieces]]).tolist():
            for sign in (-1, 1):
                size = int((live & (of == unit)).sum())
                while members := _alike([p for p in pieces if of[p.column] == unit and p.sign == sign], size):
                    yield _joined(level, name_of(unit), members)
                    pieces = [piece for piece in pieces if all(piece is not member for member in members)]
    by_strip: dict[tuple[int, int], list[_Piece]] = {}
    for piece in pieces:
        by_strip.setdefault((piece.column, piece.sign), []).append(piece)
    modules = strip_names(channels) if by_strip else []
    for (column, _), own in by_strip.items():
        yield _joined(Level.RM if "-RM" in modules[column] else Level.WEDGE, modules[column], own)


def _dark_note(lumisections: int) -> str:
    return f"strips: {lumisections} lumisections not assessed, hardly a digi (no collisions?)"


def _half_name(half: int) -> str:
    return SUBDET_PM[half]


def _alike(pieces: list[_Piece], size: int) -> list[_Piece]:
    """Stretches of most strips of a unit that overlap, the longest first; none where they are too few."""
    for seed in sorted(pieces, key=lambda piece: -int(piece.inside.sum())):
        near = [p for p in pieces if (p.inside & seed.inside).sum() >= ALIKE * (p.inside | seed.inside).sum()]
        if len({piece.column for piece in near}) >= max(MOST_OF * size, 2):
            return near
    return []


def _joined(level: Level, unit: str, pieces: Sequence[_Piece]) -> Fault:
    columns = np.unique([piece.column for piece in pieces])
    together = np.sum([piece.inside for piece in pieces], axis=0)
    inside = 2 * together >= len(columns)
    return Fault(level, unit, pieces[0].sign, columns, inside, max(piece.significance for piece in pieces))


def strip_names(channels: ChannelTable) -> list[str]:
    """The readout module where a strip is exactly one, else half and iphi."""
    names = []
    for half, name in enumerate(SUBDET_PM):
        for iphi in range(1, N_IPHI + 1):
            modules = np.unique(channels.rm[(channels.half == half) & (channels.iphi == iphi)])
            whole = len(modules) == 1 and modules[0] > 0
            box = box_name(half * N_RBX + int(rbx_of(np.array(iphi))) - 1)
            names.append(f"{box}-RM{modules[0]}" if whole else f"{name} iphi {iphi}")
    return names


def _channels_per_strip(channels: ChannelTable) -> int:
    """Most channels that one strip sums over."""
    readout = channels.half < len(SUBDET_PM)
    return int(np.bincount(channels.half[readout].astype(int) * 100 + channels.iphi[readout]).max(initial=1))


def _spread(values: NDArray[Value], position: NDArray[np.intp], size: int, fill: int = 0) -> NDArray[Value]:
    out = np.full((size, *values.shape[1:]), fill, dtype=values.dtype)
    out[position] = values
    return out


def expected_strips(counts: NDArray[np.int64]) -> tuple[Floats, NDArray[np.bool_]]:
    """(LS, 288) digis that each strip should hold, and (288,) which strips are live; ``counts`` (LS, 288)."""
    if not len(counts):
        return np.zeros(counts.shape), np.ones(counts.shape[1], dtype=bool)
    halves = counts.reshape(len(counts), len(SUBDET_PM), N_IPHI).astype(float)
    lit = np.median(halves, axis=2) > 0
    shares = _median(halves, lit[..., None], axis=0)
    for _ in range(ROUNDS):
        scale = _median(_over(halves, shares), shares > 0, axis=2)
        shares = _median(_over(halves, scale[..., None]), (lit & (scale > 0))[..., None], axis=0)
    for parity in (0, 1):  # HE has only odd iphi from |ieta| 21 on
        same = shares[:, parity::2]
        middle = np.median(same, axis=1, keepdims=True)
        same[same < SILENT * middle] = np.broadcast_to(middle, same.shape)[same < SILENT * middle]
    flat = shares.reshape(-1)
    return flat * np.repeat(_healthy(scale), N_IPHI, axis=1), flat > 0


def collisions(strips: NDArray[np.int64], events: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(LS,) whether some half has more than a tenth of the digis per event that the run has at its best."""
    if not events.any():
        return np.zeros(len(events), dtype=bool)
    brightest = _over(np.median(strips, axis=2).max(axis=1), events.astype(float))
    return np.asarray(brightest > DARK * np.quantile(brightest[events > 0], 0.9))


def _healthy(scale: Floats) -> Floats:
    """(LS, halves) scale, where a half is at fault: what the others let expect."""
    brightest = scale.max(axis=1, keepdims=True)
    usual = _median(_over(scale, brightest), scale > 0, axis=0)
    scale = np.where(scale < DARK * usual * brightest, usual * brightest, scale)
    for minus, plus in ((0, 1), (2, 3)):
        both = (scale[:, minus] > 0) & (scale[:, plus] > 0)
        if both.any():
            ratio = np.log(np.where(both, scale[:, minus], 1) / np.where(both, scale[:, plus], 1))
            usual_ratio = float(np.median(ratio[both]))
            scale[:, minus] = np.where(
                both & (ratio - usual_ratio < -APART), scale[:, plus] * np.exp(usual_ratio), scale[:, minus]
            )
            scale[:, plus] = np.where(
                both & (ratio - usual_ratio > APART), scale[:, minus] / np.exp(usual_ratio), scale[:, plus]
            )
    return scale


def _median(values: Floats, where: NDArray[np.bool_], axis: int) -> Floats:
    """Median of the chosen values, 0 if there are none."""
    chosen = np.ma.masked_array(values, mask=~np.broadcast_to(where, values.shape))
    return np.asarray(np.ma.filled(np.ma.median(chosen, axis=axis), 0.0))  # type: ignore[no-untyped-call]


def _over(values: Floats, by: Floats) -> Floats:
    """Quotient, 0 where the divisor is."""
    return np.divide(values, by, out=np.zeros_like(values), where=by > 0)
