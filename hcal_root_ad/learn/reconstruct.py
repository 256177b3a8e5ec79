"""Reconstruction: the reference moved by the network, lumisection after lumisection, state carried.

Statistics are in single precision, some lumisections at a time, so that they stay in a processor's cache. The network
takes one lumisection per call, so that nothing depends on how they come.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.learn.normalise import network_input, ring_shift
from hcal_root_ad.learn.reference import CHANNEL_POWER, Reference, fit_activity
from hcal_root_ad.learn.series import Series, blocks
from hcal_root_ad.networks.folded import FoldedGraphSTAD
from hcal_root_ad.networks.graphstad import GraphSTAD
from hcal_root_ad.stats.binomial import Binomial, Floats, probability


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

    def part(self, rows: slice | NDArray[np.intp]) -> Reconstruction:
        """Some of the lumisections."""
        return Reconstruction(self.activity[rows], self.log_rate[rows], self.reference_rate[rows])


class Rings:
    """How far each ring moves with the activity, or freely with RIN; a shift per ring is all that there is to keep."""

    def __init__(self, reference: Reference, channels: ChannelTable, ring_normalisation: bool) -> None:
        self._reference = reference
        self.ring = ring_side(channels) if ring_normalisation else channels.ring.astype(np.intp)
        self.number = int(self.ring.max()) + 1
        first = np.zeros(self.number, dtype=np.intp)
        first[self.ring] = np.arange(len(self.ring))
        self._power_error = None if ring_normalisation else reference.power_error[first]

    def shift(self, counts: Floats, expected: Binomial, activity: Floats) -> NDArray[np.float32]:
        """(LS, rings) shifts of log λ, from counts that are expected at activities (LS,)."""
        width = None if self._power_error is None else np.abs(np.multiply.outer(activity, self._power_error))
        return ring_shift(counts, expected, self._reference.live, self.ring, width).astype(np.float32)

    def log_rate(self, activity: Floats, shift: NDArray[np.float32]) -> NDArray[np.float32]:
        """(LS, channels) log λ without the network."""
        return np.asarray(self._reference.single.log_rate(activity) + shift.take(self.ring, axis=1), dtype=np.float32)


def reference_log_rate(
    reference: Reference, series: Series, ring_normalisation: bool, activity: Floats | None = None
) -> tuple[Floats, NDArray[np.float32]]:
    """(LS,) activity (fitted, if not given) and (LS, channels) log λ without the network.

    Each ring moves as far as its pileup power is uncertain, or freely with RIN.
    """
    if activity is None:
        activity = fit_activity(reference, series.counts, series.events)
    rings = Rings(reference, series.channels, ring_normalisation)
    eta = np.empty(series.counts.shape, dtype=np.float32)
    for rows in blocks(len(series)):
        counts, events = series.single(rows)
        expected = Binomial(events, reference.single.log_rate(activity[rows]))
        eta[rows] = rings.log_rate(activity[rows], rings.shift(counts, expected, activity[rows]))
    return activity, eta


def ring_side(channels: ChannelTable) -> NDArray[np.intp]:
    """(channels,) dense label of ring and side."""
    return np.asarray(channels.ring * 2 + channels.side, dtype=np.intp)


class Reconstructor:
    """Reconstructs a series as it grows. The RNN state is carried, and starts anew after every gap."""

    def __init__(self, network: FoldedGraphSTAD, live: NDArray[np.bool_]) -> None:
        self._network, self._live = network, live
        self._state = self._network.start()
        self._last: int | None = None

    def add(self, series: Series, reference_rate: NDArray[np.float32]) -> NDArray[np.float32]:
        """(LS, channels) log λ of further lumisections, all later than those before, from that without the network."""
        log_rate = reference_rate.copy()
        for stretch in series.stretches():
            if series.lumisections[stretch.start] - 1 != self._last:
                self._state = self._network.start()
            for rows in blocks(stretch.stop, stretch.start):
                counts, events = series.single(rows)
                features = network_input(counts, Binomial(events, reference_rate[rows]), self._live)
                shift, self._state = self._network(torch.from_numpy(features).to(self._network.device), self._state)
                log_rate[rows] += shift.cpu().numpy()
            self._last = int(series.lumisections[stretch.stop - 1])
        return log_rate


def reconstruct(
    network: GraphSTAD,
    reference: Reference,
    series: Series,
    ring_normalisation: bool,
    activity: Floats | None = None,
) -> Reconstruction:
    """Reconstruct a whole series."""
    activity, eta = reference_log_rate(reference, series, ring_normalisation, activity)
    return Reconstruction(activity, Reconstructor(FoldedGraphSTAD(network), reference.live).add(series, eta), eta)


def model_error(
    reference: Reference, own: Floats, activity: Floats, channels: slice | NDArray[np.intp] = slice(None)
) -> NDArray[np.float32]:
    """(LS, channels) standard error of log λ: the channel's own, and what conditions add.

    The level is known so well only, and so is the pileup power: the ring's, and how a channel differs from its
    ring. That shows outside of the activities that the reference has seen.
    """
    low, high = reference.activity
    outside = np.maximum(np.maximum(low - activity, activity - high), 0.0).astype(np.float32)
    inside = (own[channels] ** 2 + reference.level_error[channels] ** 2).astype(np.float32)
    power = (CHANNEL_POWER**2 + reference.power_error[channels] ** 2).astype(np.float32)
    return np.asarray(np.sqrt(inside + np.multiply.outer(outside**2, power)))
