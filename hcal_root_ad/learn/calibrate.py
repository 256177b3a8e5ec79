"""Calibration: how wrong the reconstruction is per channel, and how good.

Measured on clean lumisections whose reference was learned elsewhere, as it will be in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hcal_root_ad.errors import BundleError
from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.learn.clean_evidence import tails_of
from hcal_root_ad.learn.loop import Piece, pieces_of
from hcal_root_ad.learn.reconstruct import Reconstruction, reconstruct
from hcal_root_ad.learn.series import clean_series
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.networks.graphstad import GraphSTAD
from hcal_root_ad.stats.binomial import Floats, deviance, information, probability, pull

ERROR_FLOOR = 0.005
"""Standard error of log λ below which no channel is believed: what run-to-run shifts leave unseen."""


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
    """Set a bundle's errors and thresholds anew from clean runs that its reference was not learned from."""
    series = clean_series(runs, bundle.subdetector)
    if not np.array_equal(series[0].channels.raw_id, bundle.channels.raw_id):
        raise BundleError(
            f"bundle {bundle.name} was made for {bundle.channels.era.value}, the clean runs are of "
            f"{series[0].channels.era.value}; adapt it with transfer instead"
        )
    pieces = pieces_of([bundle.reference], series, bundle.ring_normalisation)
    reconstructions = reconstruct_pieces(bundle.network, pieces, bundle.ring_normalisation)
    own = own_errors(pieces, reconstructions)
    calibrated = replace(
        bundle,
        model_error=own,
        tails=tails_of(pieces, reconstructions, own),
        metrics={**bundle.metrics, **reconstruction_metrics(pieces, reconstructions)},
        story={**bundle.story, "calibration": "runs " + ", ".join(str(run.run) for run in runs)},
    )
    return calibrated.save(folder)
