"""What evidence health gathers: played out with the errors of the model, and seen on clean lumisections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import poisson

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.evidence import EvidenceBank, log_likelihood_ratios, merged
from hcal_root_ad.learn.follow import Follower, followed
from hcal_root_ad.learn.loop import Piece
from hcal_root_ad.learn.reconstruct import Reconstruction
from hcal_root_ad.learn.reference import Reference
from hcal_root_ad.learn.tail import Slant, Tail, Tails
from hcal_root_ad.pooling import unit_members, unit_ratios
from hcal_root_ad.stats.binomial import Floats, probability

PEAK_HEIGHT = 4.0
"""Evidence peaks below this are too common to tell anything about the tail."""
TAIL_PEAKS, TAIL_RATE = 150, 0.15
"""Peaks, and peaks per LS, that the exponential tail is fitted to, at least: its slope is then known to 8 %."""
FEWEST_PEAKS = 20
PLAYED_RUNS, PLAYED_LENGTH, PLAYED_SEED = 40, 50, 1
"""Runs and lumisections per run played out, at each exposure, to see the tail that the error model makes."""
STEPS = (-0.7, 0.0, 0.7)
"""Exposures (see :class:`~hcal_root_ad.learn.tail.Slant`) at which runs are played: half, once and twice the digis."""
CONTRADICTED = 0.01
"""So improbable must what is seen be before it counts for more than what the error model makes."""


@dataclass(frozen=True, eq=False)
class Gathered:
    """Evidence of channels, and of the readout units that they make up, over lumisections in order."""

    channels: EvidenceBank
    units: EvidenceBank


def gathering(live: int, units: int) -> Gathered:
    """Banks that keep what a tail is fitted to."""
    return Gathered(EvidenceBank(live, PEAK_HEIGHT), EvidenceBank(units, PEAK_HEIGHT))


def tails_of(pieces: Sequence[Piece], reconstructions: Sequence[Reconstruction], own: Floats) -> Tails:
    """Tails of evidence peaks of channels and of units, and how those of channels depend on the exposure.

    A few dozen clean LS of one run show neither the far tail nor what other runs will do; the error model,
    played out over many runs, does. What is seen guards against what the model leaves out: of channels if it
    contradicts the model, of units, which the model does not move as wholes, wherever it is higher. Runs are
    played and seen as wholes, so that what lasts within a run counts once per run.
    """
    reference, channels = pieces[0].reference, pieces[0].series.channels
    events = np.concatenate([piece.series.events for piece in pieces])
    played = {step: played_runs(channels, reference, own, events * np.exp(step)) for step in STEPS}
    length = PLAYED_RUNS * PLAYED_LENGTH
    fall = fall_of({step: fitted_tail(peaks(one.channels for one in runs), length) for step, runs in played.items()})
    slant = Slant(typical=float(reference.exposure(events, np.zeros(1)).mean()), fall=fall)

    level = [peak + fall * step for step, runs in played.items() for peak in peaks(one.channels for one in runs)]
    made = fitted_tail(level, len(STEPS) * length)
    made_units = fitted_tail(peaks(one.units for runs in played.values() for one in runs), len(STEPS) * length)

    seen = [gather(piece, found, own, slant) for piece, found in zip(pieces, reconstructions, strict=True)]
    found_units = fitted_tail(peaks(one.units for one in seen), len(events))
    channel = believed_tail(made, peaks(one.channels for one in seen), len(events))
    return Tails(channel, higher_tail(made_units, found_units), slant)


def fall_of(tails: dict[float, Tail]) -> float:
    """By how much thresholds (for one false alarm per 100 LS) fall per unit of exposure."""
    slope, _ = np.polyfit(list(tails), [tail.threshold(1.0) for tail in tails.values()], 1)
    return -float(slope)


def higher_tail(one: Tail, other: Tail) -> Tail:
    """The tail with the higher threshold for one false alarm per 100 LS."""
    return max(one, other, key=lambda tail: tail.threshold(1.0))


def believed_tail(made: Tail, peaks: Sequence[float], lumisections: int) -> Tail:
    """The tail that the error model makes, or the one that is seen if it is higher beyond chance.

    Compared are the peaks above the onset, and those above the height that one peak is expected to exceed.
    """
    for height in (made.onset, made.threshold(100 / lumisections)):
        expected = made.above(height) * lumisections
        if poisson.sf(sum(peak > height for peak in peaks) - 1, expected) < CONTRADICTED:
            return higher_tail(made, fitted_tail(peaks, lumisections))
    return made


def played_runs(channels: ChannelTable, reference: Reference, own: Floats, events: Floats) -> list[Gathered]:
    """Evidence of healthy channels whose log rates are off by what the errors say, run by run.

    ``events``: of each played LS one is drawn.
    """
    draw = np.random.default_rng(PLAYED_SEED)
    live = np.flatnonzero(reference.live)
    members = unit_members(channels, reference.live)[:, live]
    level = reference.single.level[live]
    error = np.sqrt(own**2 + reference.level_error**2)[live].astype(np.float32)
    runs = []
    for _ in range(PLAYED_RUNS):
        gathered = gathering(len(live), members.shape[0])
        p = probability(level + error * draw.standard_normal(len(live)))
        follower = Follower(len(live))
        for trials in np.rint(draw.choice(events, PLAYED_LENGTH)):
            counts = draw.binomial(int(trials), p).astype(np.float32)
            one = np.full((1, 1), trials, dtype=np.float32)
            shift, left = follower.follow(counts[None], one, level[None], error[None])
            ratios = log_likelihood_ratios(counts, one[0], level + shift[0], left[0])
            gathered.channels.add(ratios)
            gathered.units.add(unit_ratios(members, ratios))
        runs.append(gathered)
    return runs


def gather(piece: Piece, found: Reconstruction, own: Floats, slant: Slant) -> Gathered:
    """Evidence of the live channels, less what is asked for beyond, and of their units, over a clean piece."""
    series, reference = piece.series, piece.reference
    live = np.flatnonzero(reference.live)
    members = unit_members(series.channels, reference.live)[:, live]
    gathered = gathering(len(live), members.shape[0])
    expectation = followed(found, series, reference, own)
    extra = slant.extra(expectation.exposure)
    for row in range(len(series)):
        log_rate, error = expectation.log_rate[row, live], expectation.error[row, live]
        counts, events = series.counts[row, live].astype(np.float32), series.events[[row]].astype(np.float32)
        ratios = log_likelihood_ratios(counts, events, log_rate, error)
        gathered.channels.add(ratios, float(extra[row]))
        gathered.units.add(unit_ratios(members, ratios))
    return gathered


def peaks(banks: Iterable[EvidenceBank]) -> list[float]:
    """Peaks of the excursions in banks, those of one direction that overlap joined."""
    found = [(excursions, loss) for excursions in (bank.excursions() for bank in banks) for loss in (True, False)]
    return [peak for excursions, loss in found for *_, peak in merged(excursions, loss)]


def fitted_tail(peaks: Sequence[float], lumisections: int) -> Tail:
    """Exponential tail through the highest peaks (its maximum-likelihood slope is one over their mean excess).

    That is peaks over threshold with shape 0, as sums of log-likelihood ratios have (Page 1954). Of a
    true likelihood ratio the slope is at least 1 (Ville's inequality): where fewer than ``FEWEST_PEAKS`` are seen,
    it is taken as 1, and one peak more than seen is allowed for.
    """
    if len(peaks) < FEWEST_PEAKS:
        return Tail(onset=PEAK_HEIGHT, rate=(len(peaks) + 1) / lumisections, slope=1.0)
    highest = np.sort(peaks)[::-1][: max(TAIL_PEAKS, round(TAIL_RATE * lumisections)) + 1]
    onset = float(highest[-1])
    slope = 1.0 / max(float(np.mean(highest[:-1] - onset)), 1e-9)
    return Tail(onset=onset, rate=(len(highest) - 1) / lumisections, slope=slope)
