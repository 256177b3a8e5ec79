"""Does a bundle know the detector of a run? If not, what to hold the run against instead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.learn.reconstruct import model_error, reference_log_rate
from hcal_root_ad.learn.reference import fit_reference
from hcal_root_ad.learn.series import Series
from hcal_root_ad.networks.graphstad import GraphSTAD
from hcal_root_ad.occupancy import Floats, probability, slope

MISFIT = 2.0
"""Typical deviation, in standard errors of statistics and model, above which a bundle is of another detector."""
SOUND = 0.25
"""Share of channels that must fit: faults of the other three quarters do not make a bundle a stranger."""
NORMAL_QUARTILE = 0.3186
"""A quarter of a normal distribution lies within this many standard deviations."""
FEWEST = 5
"""A run of fewer lumisections cannot be held against itself."""


def fits_channels(bundle: Bundle, channels: ChannelTable) -> bool:
    """Whether a bundle's channels are those of the run."""
    return np.array_equal(bundle.channels.raw_id, channels.select(bundle.subdetector).raw_id)


def misfit(bundle: Bundle, series: Series, activity: Floats | None = None) -> float:
    """Typical deviation of the channels' sums over a series from the reference; 1 if the bundle is right.

    In units of what statistics and the model's own error explain, so that neither few events nor
    many lumisections change the answer.
    """
    reference, live = bundle.reference, bundle.reference.live
    if len(series) == 0 or not live.any():
        return 0.0
    activity, eta = reference_log_rate(reference, series, bundle.ring_normalisation, activity)
    p, trials = probability(eta[:, live]), series.trials
    error = model_error(reference, bundle.model_error, activity)[:, live]
    deviation = (series.counts[:, live] - trials * p).sum(axis=0)
    variance = (trials * p * (1 - p)).sum(axis=0) + (trials * slope(p) * error).sum(axis=0) ** 2
    return float(np.quantile(np.abs(deviation) / np.sqrt(variance), SOUND) / NORMAL_QUARTILE)


def self_referenced(bundle: Bundle, series: Series) -> Bundle:
    """The bundle's network and calibration on a reference learned (robustly) from the run itself."""
    same = np.array_equal(bundle.channels.raw_id, series.channels.raw_id)
    network = bundle.network
    if not same:
        network = GraphSTAD(series.channels, bundle.network.config).eval()
        network.load_state_dict(bundle.network.state_dict())
    return replace(
        bundle,
        channels=series.channels,
        network=network,
        reference=fit_reference([series], bundle.reference.power if same else None),
        model_error=np.full(len(series.channels), float(np.median(bundle.model_error))),
    )
