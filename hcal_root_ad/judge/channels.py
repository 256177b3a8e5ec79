"""What is left of each channel when the common part is taken out, scanned for stretches at fault.

Channels are looked at some hundred at a time over the whole run, so memory does not grow with LS times channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hcal_root_ad.detector import ChannelTable, Subdetector
from hcal_root_ad.machine import Cells, in_order
from hcal_root_ad.model.common_part import CommonLevels
from hcal_root_ad.model.model import Thresholds
from hcal_root_ad.model.reference import Reference, Widths
from hcal_root_ad.stats.binomial import Floats, deviance, newton_step, probability
from hcal_root_ad.stats.scan import Null, Stretch, empirical_null, medians, quantiles, stretches, strongest, with_edges
from hcal_root_ad.stats.windows import Sums

CELLS = 2**17
"""Cells (LS × channels) that are looked at together."""
SAMPLE = 800
"""Channels of a sub-detector that tell the empirical null."""
DARK, ALIVE = float(np.log(0.05)), 0.3
"""A module with less than a twentieth of its digis is dark; a channel in it with more than three tenths is alive."""
NOISE_RATE = {Subdetector.HB: 1e-3, Subdetector.HE: 1e-3, Subdetector.HO: 6e-3}
"""Digis per event that a channel may have without collisions: at low pileup its rate need not follow."""
NOT_IN_POWER = 0.4
"""Share of that which the power of a detector state does not hold, as it was learned at many a pileup."""
FLOOD = 300
"""With more channels at fault than this, each gets the one stretch in which it is off most."""


@dataclass(frozen=True, eq=False)
class Residuals:
    """Counts of live channels against the common part.

    Attributes:
        reference: of the channels in ``counts``. live: columns of ``counts`` that are judged.
        counts: (LS, channels) digis, never more than the events. events: (LS,).
        levels: the common part, of the live channels.
    """

    reference: Reference
    live: NDArray[np.intp]
    counts: Cells[np.int32]
    events: NDArray[np.int64]
    levels: CommonLevels

    def log_rate(self, columns: NDArray[np.intp]) -> NDArray[np.float32]:
        """(LS, columns) expected log rate of some of the live channels, their units' faults included."""
        module = self._module[columns]
        eta = self.plain_log_rate(columns)
        eta += np.take(self._near, module, axis=1)
        ls, k = _cells(self.levels.far, self._touched, module)
        p = -np.expm1(-np.exp(eta[ls, k])) * np.exp(self.levels.module[ls, module[k]])
        eta[ls, k] = np.log(-np.log1p(-np.clip(p, 1e-5, 0.9999)))
        return eta

    def plain_log_rate(self, columns: NDArray[np.intp]) -> NDArray[np.float32]:
        """(LS, columns) expected log rate if no unit were at fault: pileup and rings only."""
        eta = np.multiply.outer(self.levels.log_pileup, self._still.power_32[columns])
        eta += self._still.level_32[columns]
        eta += np.take(self._ring, self._still.side_ring[columns], axis=1)
        return eta

    def sums(self, columns: NDArray[np.intp]) -> Sums:
        """Cumulative scores and information of channels, which may answer to the pileup otherwise than is known."""
        b, w = self.steps(columns)
        walk = self.reference.widths.walk_channel
        return Sums.of(b, w, self.prior[columns], walk, self.levels.log_pileup, self.response[columns])

    def steps(self, columns: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """b and w (LS, columns) of the counts against their expectation."""
        n = self.counts[:, self.live[columns]].astype(np.float32)
        trials = self.events[:, None].astype(np.float32)
        b, w = newton_step(n, trials, self.log_rate(columns))
        module = self._module[columns]
        # In a dark module a channel is dark with it, or alive: then it is like any other.
        ls, k = _cells(self._dark, self._touched, module)
        if len(ls):
            some, place = np.unique(k, return_inverse=True)
            eta = self.plain_log_rate(columns[some])[ls, place]
            alive = n[ls, k] > ALIVE * trials[ls, 0] * -np.expm1(-np.exp(eta))
            own_b, own_w = newton_step(n[ls, k], trials[ls, 0], eta)
            b[ls, k], w[ls, k] = np.where(alive, own_b, 0), np.where(alive, own_w, 0)
        return b, w

    @cached_property
    def _module(self) -> NDArray[np.intp]:
        """(live channels,) module of each."""
        return self._still.module

    @property
    def card(self) -> NDArray[np.intp]:
        """(live channels,) QIE card of each: 0, 1, …, or −1 where none is known."""
        return self._still.card

    @cached_property
    def _still(self) -> _Still:
        return _still(self.reference)

    @cached_property
    def _ring(self) -> NDArray[np.float32]:
        """(LS, side rings) shifts of the sides of rings."""
        return self.levels.ring_by_side(self.reference.tree)

    @cached_property
    def _near(self) -> NDArray[np.float32]:
        """(LS, modules) shifts of log rate of the modules that are not far."""
        return np.where(self.levels.far, np.float32(0), self.levels.module)

    @cached_property
    def _dark(self) -> NDArray[np.bool_]:
        """(LS, modules) which are dark."""
        return np.asarray(self.levels.far & (self.levels.module < DARK))

    @cached_property
    def _touched(self) -> NDArray[np.bool_]:
        """(modules,) those that are far in some lumisection."""
        return np.asarray(self.levels.far.any(axis=0))

    @cached_property
    def prior(self) -> Floats:
        """(live channels,) variance of a healthy channel's own shift: run to run, of its level, of its power."""
        still, away = self._still, float(np.mean(self.levels.log_pileup))
        noise = self._noise * min(self._lowest, 0.0)
        together = 0.0 if still.covariance is None else 2 * away * still.covariance
        return np.asarray(still.prior + together + still.response * away**2 + noise**2 + self._thinned**2)

    @cached_property
    def response(self) -> Floats:
        """(live channels,) variance of the change of a channel's log rate with log pileup."""
        return np.asarray(self._still.response + self._noise**2)

    @cached_property
    def _lowest(self) -> float:
        return float(quantiles(self.levels.log_pileup, (0.1,))[0])

    @cached_property
    def _noise(self) -> Floats:
        """(live channels,) shift of log rate per unit of log pileup of digis without collisions, at the lowest pileup.

        They are part of the level, and stay where the pileup falls.
        """
        lowest = min(self._lowest, -0.01)
        return np.asarray(self._still.noise * np.expm1(self._still.power * -lowest) / -lowest)

    @cached_property
    def _thinned(self) -> Floats:
        """(live channels,) how much farther than its ring a channel moves if the ring lost digis, not rate."""
        still, shift = self._still, medians(self.levels.ring.T).astype(np.float64)
        factor = np.expm1(-still.ring_rate * np.exp(shift)) / np.expm1(-still.ring_rate)
        moved = np.log(-np.log1p(-np.clip(still.share * factor[still.ring], 1e-6, 0.9999)))
        return np.asarray(moved - still.level - shift[still.ring])

    @cached_property
    def information(self) -> Floats:
        """(live channels,) what a typical lumisection says of each."""
        still = self._still
        eta = still.level_32 + still.power_32 * np.float32(medians(self.levels.log_pileup))
        return np.asarray(newton_step(np.zeros_like(eta), np.ones_like(eta), eta)[1])


@dataclass(frozen=True, eq=False)
class _Still:
    """What a reference says of its live channels whatever the run, (live channels,); ``ring_rate``: (rings,).

    ``prior``: variance of a channel's own shift at the clean runs' pileup, ``response`` of its change with log pileup.
    ``share``: digis per event. ``noise``: digis without collisions over all. ``card``: QIE card, 0, 1, …, or −1.
    """

    module: NDArray[np.intp]
    ring: NDArray[np.intp]
    side_ring: NDArray[np.intp]
    level: Floats
    power: Floats
    level_32: NDArray[np.float32]
    power_32: NDArray[np.float32]
    share: Floats
    noise: Floats
    prior: Floats
    response: Floats
    covariance: Floats | None
    ring_rate: Floats
    card: NDArray[np.intp]


@lru_cache(maxsize=8)
def _still(reference: Reference) -> _Still:
    """The same for a reference, worked out once."""
    rows, tree = np.flatnonzero(reference.live), reference.tree
    # As they are stored, so that a model says the same before and after.
    level, level_error, power, power_error = (
        getattr(reference, name)[rows].astype(np.float32).astype(np.float64)
        for name in ("level", "level_error", "power", "power_error")
    )
    live = reference.live.astype(float)
    noise = np.array([NOISE_RATE[code] for code in sorted(NOISE_RATE)])[reference.channels.subdetector[rows] - 1]
    if reference.unit_errors:
        noise = noise * NOT_IN_POWER
    size = np.maximum(np.bincount(tree.ring.of, live, len(tree.ring)), 1)
    ring_level = np.bincount(tree.ring.of, live * reference.level.astype(np.float32), len(tree.ring)) / size
    card = card_of(reference.channels)[rows]
    card[card >= 0] = np.unique(card[card >= 0], return_inverse=True)[1]
    return _Still(
        module=tree.module.of[rows], ring=tree.ring.of[rows], side_ring=tree.side_ring.of[rows],
        level=level, power=power, level_32=level.astype(np.float32), power_32=power.astype(np.float32),
        share=-np.expm1(-np.exp(level)), noise=noise / np.exp(level),
        prior=reference.widths.channel**2 + level_error**2, response=power_error**2,
        covariance=None if reference.covariance is None else reference.covariance[rows], ring_rate=np.exp(ring_level),
        card=card,
    )  # fmt: skip


def _cells(
    inside: NDArray[np.bool_], ever: NDArray[np.bool_], module: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """LS and place in ``module`` of the channels whose module is ``inside`` (LS, modules); ``ever``: in any LS."""
    some = np.flatnonzero(ever[module])
    ls, place = np.nonzero(inside[:, module[some]])
    return ls, some[place]


def sample_of(columns: NDArray[np.intp], information: Floats) -> NDArray[np.intp]:
    """Channels that stand for their sub-detector: evenly, of the half that says more, which an excess hurts most."""
    said = information[columns]
    telling = columns[said >= np.median(said)] if len(columns) else columns
    return telling[:: max(1, len(telling) // SAMPLE)]


def blocks(columns: NDArray[np.intp], lumisections: int) -> Iterator[NDArray[np.intp]]:
    """Channels that are looked at together."""
    size = max(64, CELLS // max(lumisections, 1))
    yield from (columns[first : first + size] for first in range(0, len(columns), size))


@dataclass(frozen=True, eq=False)
class ChannelScan:
    """Stretches at fault by column of the live channels, beyond the ``threshold``, and how the others scatter.

    ``width``: scatter of the channels over the whole run, 1 where the model knows the detector. ``null``: excess
    variance.
    """

    faults: dict[int, list[Stretch]]
    threshold: float
    width: float
    null: Null
    cards: tuple[CardFault, ...] = ()


@dataclass(frozen=True, eq=False)
class CardFault:
    """A QIE card whose channels moved together: columns of the live channels, and the stretches in which they did."""

    columns: NDArray[np.intp]
    stretches: list[Stretch]


def scan_channels(residuals: Residuals, columns: NDArray[np.intp], limits: Thresholds) -> ChannelScan:
    """Scan the channels of one sub-detector, and its QIE cards: their channels' scores added up."""
    threshold = limits.channel
    of_card = residuals.card[columns]
    sample = sample_of(columns, residuals.information)
    together = list(islice(blocks(columns, len(residuals.events)), 2))
    # Of a short run all channels are looked at together, and those of the sample need not be looked at twice.
    every = residuals.sums(columns) if len(together) == 1 else None
    null, width = _scatter(every.take(np.searchsorted(columns, sample)) if every else residuals.sums(sample), residuals)
    coarse: dict[int, Stretch] = {}
    cards = np.zeros((2, int(of_card.max(initial=-1)) + 1, len(residuals.events) + 1))

    def scanned(some: NDArray[np.intp]) -> tuple[dict[int, Stretch], Floats, Floats]:
        sums = every or residuals.sums(some)
        off = strongest(sums, null, threshold)
        return {int(some[k]): stretch for k, stretch in off.items()}, *_added(
            sums, of_card[np.searchsorted(columns, some)]
        )

    for near, b, w in in_order(scanned, blocks(columns, len(residuals.events))):
        coarse |= near
        cards[0, : len(b)] += b
        cards[1, : len(w)] += w
    faults: dict[int, list[Stretch]] = {}
    if len(coarse) > FLOOD:
        faults = dict(_one_stretch_each(residuals, coarse))
    else:
        for some in blocks(np.array(list(coarse), dtype=np.intp), len(residuals.events)):
            faults |= _stretches(residuals, some, null, threshold)
    return ChannelScan(faults, threshold, width, null, tuple(_cards(residuals, columns, of_card, cards, limits.card)))


def _one_stretch_each(residuals: Residuals, coarse: Mapping[int, Stretch]) -> Iterator[tuple[int, list[Stretch]]]:
    """Of many channels at fault, the one stretch of each in which it is off most, from the window to its edges."""
    for some in blocks(np.array(list(coarse), dtype=np.intp), len(residuals.events)):
        b, w = (values.astype(np.float64) for values in residuals.steps(some))
        for k, column in enumerate(some.tolist()):
            stretch = with_edges(b[:, k], w[:, k], float(residuals.prior[column]), coarse[column])
            if residuals.reference.limits.is_fault("channel", stretch.shift, stretch.length / len(residuals.events)):
                yield column, [stretch]


def _scatter(sample: Sums, residuals: Residuals) -> tuple[Null, float]:
    """How a sample of channels scatters, by window and over the run; of a long one it takes most memory of all."""
    sample = replace(sample, steps=None)
    null = empirical_null(sample)
    return null, whole_run_width(sample, null, residuals.reference)


def _added(sums: Sums, of_card: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """(cards, LS + 1) b and w of series added up by their QIE cards; ``of_card``: (series,)."""
    inside = np.flatnonzero(of_card >= 0)
    if not len(inside):
        return np.zeros((0, len(sums.b))), np.zeros((0, len(sums.b)))
    add = sparse.csr_array((np.ones(len(inside)), (of_card[inside], inside)), shape=(of_card.max() + 1, len(of_card)))
    return add @ sums.b.T, add @ sums.w.T


def _cards(
    residuals: Residuals, columns: NDArray[np.intp], of_card: NDArray[np.intp], sums: Floats, threshold: float
) -> Iterator[CardFault]:
    """QIE cards at fault. ``of_card``: (columns,). ``sums``: (2, cards, LS + 1) of b and w of their channels."""
    if not sums.shape[1]:
        return
    reference, log_pileup = residuals.reference, residuals.levels.log_pileup
    inside = of_card >= 0
    size = np.bincount(of_card[inside], minlength=sums.shape[1])
    prior, response = (
        np.bincount(of_card[inside], values[columns[inside]], sums.shape[1]) / size**2
        for values in (residuals.prior, residuals.response)
    )
    b, w = np.diff(sums, axis=2).transpose(0, 2, 1) / reference.overdispersion.module
    prior, walk = prior + reference.widths.module**2, reference.widths.walk_module
    every = Sums.of(b, w, prior, walk, log_pileup, response)
    null = empirical_null(every)
    for k in sorted(strongest(every, null, threshold)):
        if own := stretches(
            b[:, k], w[:, k], float(prior[k]), walk, null, threshold, reference.limits.module, None, log_pileup,
            float(response[k]),
        ):  # fmt: skip
            yield CardFault(columns[of_card == k], own)


def card_of(channels: ChannelTable) -> NDArray[np.intp]:
    """(channels,) number of each one's QIE card, −1 where none is known."""
    own = (channels.card > 0) & (channels.rm > 0)
    number = (channels.box.astype(np.intp) * 8 + channels.rm) * 8 + channels.card
    return np.asarray(np.where(own, number, -1), dtype=np.intp)


def _stretches(
    residuals: Residuals, columns: NDArray[np.intp], null: Null, threshold: float
) -> dict[int, list[Stretch]]:
    """Stretches at fault of the channels that have any."""
    b, w = residuals.steps(columns)
    rate = residuals.log_rate(columns).astype(np.float64)
    counts = residuals.counts[:, residuals.live[columns]]
    walk, limits = residuals.reference.widths.walk_channel, residuals.reference.limits
    faults: dict[int, list[Stretch]] = {}
    for k, column in enumerate(columns.tolist()):
        exact = partial(_exact, counts[:, k], residuals.events, rate[:, k])
        prior, response = residuals.prior[column], residuals.response[column]
        own = stretches(
            b[:, k], w[:, k], prior, walk, null, threshold, limits.channel, exact, residuals.levels.log_pileup, response
        )
        if large := [s for s in own if limits.is_fault("channel", s.shift, s.length / len(residuals.events))]:
            faults[column] = large
    return faults


def _exact(
    counts: NDArray[np.int32], events: NDArray[np.int64], rate: Floats, first: int, last: int, off: float
) -> float:
    """Signed root of the binomial deviance of one channel's digis in a stretch, from its level outside.

    ``rate``: (LS,) its log rate. ``off``: the level outside.
    """
    rows = slice(first, last + 1)
    trials = events[rows].astype(np.float64)
    p = probability(rate[rows] + off)
    n, total, mean = float(counts[rows].sum()), trials.sum(), float(trials @ p)
    root = np.sqrt(deviance(np.array(n), np.array(total), np.array(np.clip(mean / total, 1e-9, 1 - 1e-9))))
    return float(np.sign(n - mean) * root)


def whole_run_width(sums: Sums, null: Null, reference: Reference) -> float:
    """How far the channels are off the model over the whole run, in widths that health allows; chance taken out.

    A reference that is known better than :class:`~hcal_root_ad.model.reference.Widths` promise is held to the promise,
    and one that has aged is known worse: its own uncertainty counts as well.
    """
    prior = float(medians(sums.prior))
    if not reference.unit_errors:
        return float(np.sqrt(1 + null.prior / prior))
    return float(np.sqrt(max(1.0, (prior + null.prior) / Widths().channel ** 2)))
