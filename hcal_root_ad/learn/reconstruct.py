"""Reconstruction: the reference moved by the network, lumisection after lumisection, state carried."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.learn.normalise import network_input, ring_shift
from hcal_root_ad.learn.reference import CHANNEL_POWER, Reference, fit_activity
from hcal_root_ad.learn.series import Series
from hcal_root_ad.networks.graphstad import GraphSTAD
from hcal_root_ad.occupancy import Floats, probability

CHUNK = 64
"""Lumisections per call of the network; the result does not depend on it."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What each count should have been.

    ``activity``: (LS,) common log activity; ``log_rate``: (LS, channels) reconstructed log λ;
    ``reference_rate``: the same without the network.
    """

    activity: Floats
    log_rate: Floats
    reference_rate: Floats

    @property
    def expected(self) -> Floats:
        """(LS, channels) reconstructed digi probability."""
        return probability(self.log_rate)


def reference_log_rate(
    reference: Reference, series: Series, ring_normalisation: bool, activity: Floats | None = None
) -> tuple[Floats, Floats]:
    """(LS,) activity (fitted, if not given) and (LS, channels) log λ without the network.

    Each ring moves as far as its pileup power is uncertain, or freely with RIN.
    """
    if activity is None:
        activity = fit_activity(reference, series.counts, series.events)
    eta = reference.log_rate(activity)
    width = np.abs(np.multiply.outer(activity, reference.power_error))
    labels = ring_side(series.channels) if ring_normalisation else series.channels.ring
    p = probability(eta)
    shift = ring_shift(series.counts, series.trials, p, reference.live, labels, None if ring_normalisation else width)
    return activity, eta + shift


def ring_side(channels: ChannelTable) -> NDArray[np.intp]:
    """(channels,) dense label of ring and side."""
    return channels.ring * 2 + channels.side


class Reconstructor:
    """Reconstructs a series as it grows. The RNN state is carried, and starts anew after every gap."""

    def __init__(self, network: GraphSTAD, reference: Reference, ring_normalisation: bool) -> None:
        self._network, self._reference, self._ring_normalisation = network, reference, ring_normalisation
        self._state = network.start()
        self._last: int | None = None

    def add(self, series: Series, activity: Floats | None = None) -> Reconstruction:
        """Reconstruct further lumisections, all later than those before."""
        activity, eta = reference_log_rate(self._reference, series, self._ring_normalisation, activity)
        shift = np.zeros(eta.shape, dtype=np.float32)
        for stretch in series.stretches():
            if series.lumisections[stretch.start] - 1 != self._last:
                self._state = self._network.start()
            for first in range(stretch.start, stretch.stop, CHUNK):
                rows = slice(first, min(first + CHUNK, stretch.stop))
                shift[rows] = self._advance(series.part(rows), eta[rows])
            self._last = int(series.lumisections[stretch.stop - 1])
        return Reconstruction(activity, eta + shift, eta)

    def _advance(self, series: Series, eta: Floats) -> Floats:
        features = network_input(series.counts, series.trials, probability(eta), self._reference.live)
        device = self._network.module_of.device
        with torch.inference_mode():
            shift, _, self._state = self._network(torch.from_numpy(features)[None].to(device), self._state)
        return np.asarray(shift[0].cpu())


def reconstruct(
    network: GraphSTAD,
    reference: Reference,
    series: Series,
    ring_normalisation: bool,
    activity: Floats | None = None,
) -> Reconstruction:
    """Reconstruct a whole series."""
    return Reconstructor(network, reference, ring_normalisation).add(series, activity)


def model_error(reference: Reference, own: Floats, activity: Floats) -> Floats:
    """(LS, channels) standard error of log λ: the channel's own, and what conditions add.

    The level is known so well only, and so is the pileup power: the ring's, and how a channel differs from its
    ring. That shows outside of the activities that the reference has seen.
    """
    low, high = reference.activity
    outside = np.maximum(np.maximum(low - activity, activity - high), 0.0)
    power_error = np.sqrt(CHANNEL_POWER**2 + reference.power_error**2)
    error: Floats = np.sqrt(own**2 + reference.level_error**2 + np.multiply.outer(outside, power_error) ** 2)
    return error
