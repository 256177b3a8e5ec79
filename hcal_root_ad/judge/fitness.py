"""Does a bundle know the detector of a run? If not, what to hold the run against instead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.references.rates import Rates
from hcal_root_ad.learn.reconstruct import model_error, reference_log_rate
from hcal_root_ad.learn.reference import TRANSFERRED_POWER, fit_reference
from hcal_root_ad.learn.series import Series, blocks
from hcal_root_ad.networks.graphstad import GraphSTAD
from hcal_root_ad.stats.binomial import Binomial, Floats

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


class Misfit:
    """Typical deviation of the channels' sums over a growing series from the reference; 1 if the bundle is right.

    In units of what statistics and the model's own error explain, so that neither few events nor
    many lumisections change the answer.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._deviation, self._variance, self._systematic = np.zeros((3, len(bundle.reference.live)))
        self._lumisections = 0

    def add(self, counts: Floats, expected: Binomial, activity: Floats, near: NDArray[np.bool_]) -> None:
        """Take note of the lumisections that are ``near``, of (LS, channels) counts and what is expected of them."""
        error = model_error(self._bundle.reference, self._bundle.model_error, activity)
        deviation, systematic = counts - expected.mean, expected.variance * expected.steepness * error
        # Row by row, so that the sums do not depend on how the lumisections came.
        for row in np.flatnonzero(near):
            self._deviation += deviation[row]
            self._variance += expected.variance[row]
            self._systematic += systematic[row]
        self._lumisections += int(near.sum())

    @property
    def value(self) -> float:
        """The typical deviation so far; 0 before anything was seen."""
        live = self._bundle.reference.live
        if self._lumisections == 0 or not live.any():
            return 0.0
        width = np.sqrt(self._variance + self._systematic**2)[live]
        return float(np.quantile(np.abs(self._deviation[live]) / width, SOUND) / NORMAL_QUARTILE)


def misfit(bundle: Bundle, series: Series) -> float:
    """:class:`Misfit` of a whole series."""
    found = Misfit(bundle)
    activity, eta = reference_log_rate(bundle.reference, series, bundle.ring_normalisation)
    for rows in blocks(len(series)):
        counts, events = series.single(rows)
        found.add(counts, Binomial(events, eta[rows]), activity[rows], np.ones(len(counts), dtype=np.bool_))
    return found.value


def self_referenced(bundle: Bundle, series: Series) -> Bundle:
    """The bundle's network and calibration on a reference learned (robustly) from the run itself."""
    same = np.array_equal(bundle.channels.raw_id, series.channels.raw_id)
    return replace(
        bundle,
        channels=series.channels,
        network=_network_for(bundle, series.channels),
        reference=fit_reference([series], bundle.reference.power if same else None),
        model_error=np.full(len(series.channels), float(np.median(bundle.model_error))),
    )


def on_reference(bundle: Bundle, rates: Rates) -> Bundle:
    """The bundle's network and calibration on the rates of a reference run, whose spread is the model's error.

    A run says little about the pileup powers: of the same channels, the bundle's own have a say too.
    """
    reference = rates.reference
    if np.array_equal(bundle.channels.raw_id, rates.channels.raw_id):
        own, other = reference.power_error**2, TRANSFERRED_POWER**2
        power = (other * reference.power + own * bundle.reference.power) / (own + other)
        reference = replace(reference, power=power, power_error=np.sqrt(own * other / (own + other)))
    return replace(
        bundle,
        channels=rates.channels,
        network=_network_for(bundle, rates.channels),
        reference=reference,
        model_error=rates.spread,
    )


def _network_for(bundle: Bundle, channels: ChannelTable) -> GraphSTAD:
    """The bundle's network; its weights fit the channels of any detector."""
    if np.array_equal(bundle.channels.raw_id, channels.raw_id):
        return bundle.network
    network = GraphSTAD(channels, bundle.network.config).eval()
    network.load_state_dict(bundle.network.state_dict())
    return network
