"""Calibration: how wrong the reconstruction is per channel, and how often clean channels gather evidence.

Measured on clean lumisections whose reference was learned elsewhere, as it will be in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import poisson

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.errors import BundleError
from hcal_root_ad.evidence import EvidenceBank, log_likelihood_ratios, merged
from hcal_root_ad.learn.bundle import Bundle, Tail
from hcal_root_ad.learn.follow import Follower, followed
from hcal_root_ad.learn.loop import Piece, pieces_of
from hcal_root_ad.learn.reconstruct import Reconstruction, reconstruct
from hcal_root_ad.learn.reference import Reference
from hcal_root_ad.learn.series import clean_series
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.networks.graphstad import GraphSTAD
from hcal_root_ad.occupancy import Floats, deviance, information, probability, pull
from hcal_root_ad.pooling import unit_members, unit_ratios

ERROR_FLOOR = 0.005
"""Standard error of log λ below which no channel is believed: what run-to-run shifts leave unseen."""
PEAK_HEIGHT = 4.0
"""Evidence peaks below this are too common to tell anything about the tail."""
TAIL_PEAKS, TAIL_RATE = 150, 0.15
"""Peaks, and peaks per LS, that the exponential tail is fitted to, at least: its slope is then known to 8 %."""
FEWEST_PEAKS = 20
PLAYED_RUNS, PLAYED_LENGTH, PLAYED_SEED = 60, 50, 1
"""Runs and lumisections per run played out to see the tail that the error model makes."""
CONTRADICTED = 0.01
"""So improbable must what is seen be before it counts for more than what the error model makes."""


def own_errors(pieces: Sequence[Piece], reconstructions: Sequence[Reconstruction]) -> Floats:
    """(channels,) standard error of the reconstructed log λ, pooled over the ring.

    What the squared pulls exceed 1 by, in units of the information, less what the reference's own
    statistics explain.
    """
    ring = pieces[0].series.channels.ring
    size = int(ring.max()) + 1
    excess, weight = np.zeros(size), np.zeros(size)
    for piece, found in zip(pieces, reconstructions, strict=True):
        p, series, live = found.expected, piece.series, piece.reference.live
        info = information(series.trials, p)
        known = piece.reference.level_error**2
        z2 = np.minimum(pull(series.counts, series.trials, p) ** 2, 25.0)
        excess += np.bincount(ring, live * ((z2 - 1 - info * known).sum(axis=0)), size)
        weight += np.bincount(ring, live * info.sum(axis=0), size)
    variance = np.maximum(excess / np.maximum(weight, 1e-9), ERROR_FLOOR**2)
    return np.sqrt(variance)[ring]


@dataclass(frozen=True, eq=False)
class Gathered:
    """Evidence of channels, and of the readout units that they make up, over lumisections in order."""

    channels: EvidenceBank
    units: EvidenceBank


def gathering(live: int, units: int) -> Gathered:
    """Banks that keep what a tail is fitted to."""
    return Gathered(EvidenceBank(live, PEAK_HEIGHT), EvidenceBank(units, PEAK_HEIGHT))


def tails_of(pieces: Sequence[Piece], reconstructions: Sequence[Reconstruction], own: Floats) -> tuple[Tail, Tail]:
    """Tails of evidence peaks of channels and of units.

    A few dozen clean LS of one run show neither the far tail nor what other runs will do; the error model,
    played out over many runs, does. What is seen guards against what the model leaves out: of channels if it
    contradicts the model, of units, which the model does not move as wholes, wherever it is higher. Runs are
    played and seen as wholes, so that what lasts within a run counts once per run.
    """
    reference, channels = pieces[0].reference, pieces[0].series.channels
    events = np.concatenate([piece.series.events for piece in pieces])
    played = played_runs(channels, reference, own, events)
    seen = [gather(piece, found, own) for piece, found in zip(pieces, reconstructions, strict=True)]
    lumisections = sum(len(piece.series) for piece in pieces)
    made = fitted_tail([peak for one in played for peak in peaks_of(one.channels)], PLAYED_RUNS * PLAYED_LENGTH)
    made_units = fitted_tail([peak for one in played for peak in peaks_of(one.units)], PLAYED_RUNS * PLAYED_LENGTH)
    found_units = fitted_tail([peak for one in seen for peak in peaks_of(one.units)], lumisections)
    channel_peaks = [peak for one in seen for peak in peaks_of(one.channels)]
    return believed_tail(made, channel_peaks, lumisections), higher_tail(made_units, found_units)


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


def played_runs(channels: ChannelTable, reference: Reference, own: Floats, seen: Floats) -> list[Gathered]:
    """Evidence of healthy channels whose log rates are off by what the errors say, run by run."""
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
        for trials in draw.choice(seen, PLAYED_LENGTH):
            counts = draw.binomial(int(trials), p).astype(np.float32)
            events = np.full((1, 1), trials, dtype=np.float32)
            shift, left = follower.follow(counts[None], events, level[None], error[None])
            ratios = log_likelihood_ratios(counts, events[0], level + shift[0], left[0])
            gathered.channels.add(ratios)
            gathered.units.add(unit_ratios(members, ratios))
        runs.append(gathered)
    return runs


def gather(piece: Piece, found: Reconstruction, own: Floats) -> Gathered:
    """Evidence of the live channels, and of their units, over a clean piece."""
    series, reference = piece.series, piece.reference
    live = np.flatnonzero(reference.live)
    members = unit_members(series.channels, reference.live)[:, live]
    gathered = gathering(len(live), members.shape[0])
    expectation = followed(found, series, reference, own)
    for row in range(len(series)):
        log_rate, error = expectation.log_rate[row, live], expectation.error[row, live]
        counts, events = series.counts[row, live].astype(np.float32), series.events[[row]].astype(np.float32)
        ratios = log_likelihood_ratios(counts, events, log_rate, error)
        gathered.channels.add(ratios)
        gathered.units.add(unit_ratios(members, ratios))
    return gathered


def peaks_of(bank: EvidenceBank) -> list[float]:
    """Peaks of a bank's excursions, those of one direction that overlap joined."""
    excursions = bank.excursions()
    return [peak for loss in (True, False) for *_, peak in merged(excursions, loss)]


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


def reconstruct_pieces(network: GraphSTAD, pieces: Sequence[Piece], ring_normalisation: bool) -> list[Reconstruction]:
    """Reconstruct every piece with its neighbour's reference."""
    return [reconstruct(network, piece.reference, piece.series, ring_normalisation) for piece in pieces]


def reconstruction_metrics(pieces: Sequence[Piece], reconstructions: Sequence[Reconstruction]) -> dict[str, float]:
    """Mean deviance per channel and LS (1 is perfect), and spread of pulls, with and without the network."""
    sums = np.zeros(5)
    for piece, found in zip(pieces, reconstructions, strict=True):
        live, series = piece.reference.live, piece.series
        for k, eta in enumerate((found.log_rate, found.reference_rate)):
            p = probability(eta[:, live])
            sums[k] += deviance(series.counts[:, live], series.trials, p).sum()
            sums[2 + k] += (pull(series.counts[:, live], series.trials, p) ** 2).sum()
        sums[4] += len(series) * live.sum()
    return {
        "deviance_per_count": float(sums[0] / sums[4]),
        "deviance_per_count_reference_only": float(sums[1] / sums[4]),
        "pull_spread": float(np.sqrt(sums[2] / sums[4])),
        "pull_spread_reference_only": float(np.sqrt(sums[3] / sums[4])),
        "clean_lumisections": float(sum(len(piece.series) for piece in pieces)),
    }


def calibrate(bundle: Bundle, runs: Sequence[LumiMaps], folder: Path) -> Bundle:
    """Set a bundle's errors and false-alarm tail anew from clean runs that its reference was not learned from."""
    series = clean_series(runs, bundle.subdetector)
    if not np.array_equal(series[0].channels.raw_id, bundle.channels.raw_id):
        raise BundleError(
            f"bundle {bundle.name} was made for {bundle.channels.era.value}, the clean runs are of "
            f"{series[0].channels.era.value}; adapt it with transfer instead"
        )
    pieces = pieces_of([bundle.reference], series, bundle.ring_normalisation)
    reconstructions = reconstruct_pieces(bundle.network, pieces, bundle.ring_normalisation)
    own = own_errors(pieces, reconstructions)
    tail, unit_tail = tails_of(pieces, reconstructions, own)
    calibrated = replace(
        bundle,
        model_error=own,
        tail=tail,
        unit_tail=unit_tail,
        metrics={**bundle.metrics, **reconstruction_metrics(pieces, reconstructions)},
        story={**bundle.story, "calibration": "runs " + ", ".join(str(run.run) for run in runs)},
    )
    return calibrated.save(folder)
