"""Reconstruction: the reference moved by the network, lumisection after lumisection, state carried."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.learn.normalise import network_input, ring_shift
from hcal_root_ad.learn.reference import Reference, fit_activity
from hcal_root_ad.learn.series import Series
from hcal_root_ad.networks.graphstad import GraphSTAD, State
from hcal_root_ad.occupancy import Floats, probability

CHUNK = 64
"""Lumisections per call of the network; the result does not depend on it."""
CHANNEL_POWER = 0.03
"""Spread of the pileup power between the channels of a ring (2 % in the simulation, rounded up)."""


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


def reconstruct(
    network: GraphSTAD,
    reference: Reference,
    series: Series,
    ring_normalisation: bool,
    activity: Floats | None = None,
) -> Reconstruction:
    """Reconstruct a series. The RNN state starts anew after every gap in the lumisections."""
    activity, eta = reference_log_rate(reference, series, ring_normalisation, activity)
    shift = np.zeros(eta.shape, dtype=np.float32)
    for stretch in series.stretches():
        state = network.start()
        for first in range(stretch.start, stretch.stop, CHUNK):
            rows = slice(first, min(first + CHUNK, stretch.stop))
            features = network_input(series.counts[rows], series.trials[rows], probability(eta[rows]), reference.live)
            shift[rows], state = _advance(network, features, state)
    return Reconstruction(activity, eta + shift, eta)


def _advance(network: GraphSTAD, features: Floats, state: State) -> tuple[Floats, State]:
    device = network.module_of.device
    with torch.inference_mode():
        shift, _, state = network(torch.from_numpy(features)[None].to(device), state)
    return shift[0].cpu().numpy(), state


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
