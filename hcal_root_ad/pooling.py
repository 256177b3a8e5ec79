"""Evidence that channels share: with their readout module, their QIE card, and their neighbours.

A module that loses a fifth of its digis is seen in the sum of its channels long before any one of them
shows it. Adding up log-likelihood ratios would let one dead channel speak for a whole module; so each
channel's say is tempered: with a probability ε it behaves unlike its unit.

Arrays are (hypotheses, channels) of one lumisection, natural-log likelihood ratios.
"""

from __future__ import annotations

import warnings
from collections import deque
from itertools import product

import numpy as np
import scipy.sparse as sparse
import torch
from numpy.typing import NDArray

from hcal_root_ad.detector import MODULES_PER_BOX, N_IPHI, N_RBX, ChannelTable, readout_graph
from hcal_root_ad.evidence import HYPOTHESES, LOSSES
from hcal_root_ad.stats.binomial import Floats

UNLIKE = 0.1
"""Probability ε that a channel behaves unlike its unit: its say stays within ± log((1 − ε)/ε) = 2.2."""
PRIOR = 4.0
"""Log odds against a channel failing with others rather than by itself."""
REACH = 12.0
"""Others' evidence beyond this changes nothing: the channel must speak for itself, too."""
RECENT = 5
"""Lumisections over which the score gathers evidence: the papers' window."""
SHARED = slice(2, 6)
"""Hypotheses that are pooled: the weaker losses and gains. Strong ones need no help."""
_PART = np.arange(SHARED.start, SHARED.stop)
_SHARED_ROWS = np.concatenate(
    [rows[kind] for kind in (len(LOSSES) > _PART, len(LOSSES) <= _PART)
     for rows in (_PART, np.arange(HYPOTHESES, HYPOTHESES + len(_PART)))]
)  # fmt: skip
"""Their rows among all hypotheses of one LS and, after these, the shared ones of several: losses, then gains."""
FEWEST = 8
"""Fewer live channels than this make no unit: one of them would have too much say."""
MODULES = 2 * N_RBX * MODULES_PER_BOX
CARDS_PER_MODULE = 4
COARSE_FROM = 21
"""From this |ieta| on, HE cells are two iphi wide."""


def module_of(channels: ChannelTable) -> NDArray[np.intp]:
    """(channels,) readout module of each channel of one sub-detector, −1 for none."""
    return np.where(channels.rm > 0, readout_graph(channels).module_of, -1).astype(np.intp)


def card_of(channels: ChannelTable) -> NDArray[np.intp]:
    """(channels,) QIE card of each channel, −1 where no published map says."""
    module = readout_graph(channels).module_of
    return np.where(channels.card > 0, module * CARDS_PER_MODULE + channels.card - 1, -1).astype(np.intp)


def tempered(ratios: Floats) -> Floats:
    """log((ε + (1 − ε)·Λ) / ((1 − ε) + ε·Λ)): a channel's say in its unit, given its own likelihood ratio Λ."""
    odds = UNLIKE / (1 - UNLIKE)
    likelihood = np.exp(np.clip(ratios, -30, 30))
    say = likelihood + odds
    likelihood *= odds
    likelihood += 1
    say /= likelihood
    return np.asarray(np.log(say))


def says(ratios: Floats) -> NDArray[np.float32]:
    """(channels, hypotheses) what each channel says, from (hypotheses, channels) ratios; laid out to be summed."""
    return np.ascontiguousarray(tempered(ratios).T, dtype=np.float32)


def unit_members(channels: ChannelTable, live: NDArray[np.bool_]) -> sparse.csr_matrix:
    """(units, channels) which live channels make up a unit: modules first, cards after them.

    Units with fewer than ``FEWEST`` live channels are empty.
    """
    columns, rows = [], []
    for unit in (module_of(channels), np.where(card_of(channels) < 0, -1, card_of(channels) + MODULES)):
        counted = np.bincount(unit[live & (unit >= 0)], minlength=int(unit.max(initial=0)) + 1)
        chosen = np.flatnonzero(live & (unit >= 0) & (counted[unit] >= FEWEST))
        columns.append(chosen)
        rows.append(unit[chosen])
    shape = (MODULES * (1 + CARDS_PER_MODULE), len(channels))
    row, column = np.concatenate(rows), np.concatenate(columns)
    return sparse.csr_matrix((np.ones(len(row), dtype=np.float32), (row, column)), shape=shape)


def unit_ratios(members: sparse.csr_matrix, ratios: Floats) -> Floats:
    """(hypotheses, units) evidence of units as wholes, from their channels'."""
    return np.asarray((members @ says(ratios)).T)


def neighbours(channels: ChannelTable, live: NDArray[np.bool_]) -> sparse.csr_matrix:
    """(channels, channels) live channels at most one cell away on the same side; a channel is its own, too."""
    ieta, iphi, depth, side = (getattr(channels, name).astype(np.intp) for name in ("ieta", "iphi", "depth", "side"))
    high = int(np.abs(ieta).max())
    place = np.full((2, high + 2, N_IPHI, int(depth.max()) + 2), -1)
    place[side[live], np.abs(ieta[live]), iphi[live] - 1, depth[live]] = np.flatnonzero(live)
    rows, columns = [], []
    chosen = np.flatnonzero(live)
    for eta, phi, deep in product((-1, 0, 1), (-2, -1, 0, 1, 2), (-1, 0, 1)):
        other = np.abs(ieta[chosen]) + eta
        wide = np.maximum(np.abs(ieta[chosen]), other) >= COARSE_FROM
        found = place[side[chosen], other, (iphi[chosen] - 1 + phi) % N_IPHI, depth[chosen] + deep]
        near = (found >= 0) & ((abs(phi) < 2) | wide)
        rows.append(chosen[near])
        columns.append(found[near])
    row, column = np.concatenate(rows), np.concatenate(columns)
    shape = (len(channels), len(channels))
    return sparse.csr_matrix((np.ones(len(row), dtype=np.float32), (row, column)), shape=shape)


class Sums:
    """Sums over groups of channels: products with a sparse matrix, by torch, whose product is the fastest at hand."""

    def __init__(self, members: sparse.csr_matrix) -> None:
        starts, columns = (torch.from_numpy(part.astype(np.int32)) for part in (members.indptr, members.indices))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse")  # torch calls its sparse matrices unfinished
            self._matrix = torch.sparse_csr_tensor(starts, columns, torch.from_numpy(members.data), members.shape)

    def of(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, columns) → (groups, columns)."""
        with torch.inference_mode():
            return np.asarray(self._matrix @ torch.from_numpy(values))


class Pools:
    """Who shares evidence with whom, among the live channels of one sub-detector.

    Attributes:
        members: (units, channels), see :func:`unit_members`. units, near: sums over them, and over neighbours.
        own: numbers of each channel's module and (where there are cards) card among the units, the number of units
            for none; (channels,) each.
    """

    def __init__(self, channels: ChannelTable, live: NDArray[np.bool_]) -> None:
        self.members = unit_members(channels, live)
        self.units, self.near = Sums(self.members), Sums(neighbours(channels, live))
        counted = np.asarray(self.members.sum(axis=1)).ravel()
        card = card_of(channels)
        own = (module_of(channels), np.where(card < 0, -1, card + MODULES))
        none = len(counted)
        self.own = [np.where((unit >= 0) & (counted[unit] > 0), unit, none) for unit in own if (unit >= 0).any()]


class RecentEvidence:
    """The score: the strongest evidence of the last ``RECENT`` consecutive lumisections, own and shared.

    The logarithm of a posterior odds, but for a constant: that the channel fails alone, or, e^−PRIOR as
    probable, with its module, its card or its neighbours.
    """

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._last: deque[Floats] = deque(maxlen=RECENT - 1)

    def forget(self) -> None:
        """Start anew, after a gap."""
        self._last.clear()

    def add(self, ratios: Floats) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(2, channels) evidence for a loss and for a gain that lasts until this LS; (hypotheses, units) that of units.

        The latter is of this LS alone, see :func:`unit_ratios`.
        """
        total, best = ratios.copy(), ratios.copy()
        for earlier in self._last:
            total += earlier
            np.maximum(best, total, out=best)
        self._last.appendleft(ratios)
        own = np.concatenate([ratios, total[SHARED]], dtype=np.float32)
        say = says(own)
        units = self._pools.units.of(say)
        shared = own[_SHARED_ROWS]
        shared += self._others(say[:, _SHARED_ROWS], units[:, _SHARED_ROWS])
        kinds = zip(np.split(best, [len(LOSSES)]), np.split(shared, 2), strict=True)
        strengths = [np.maximum(alone.max(axis=0), pooled.max(axis=0)) for alone, pooled in kinds]
        return np.stack(strengths, dtype=np.float32), units[:, : len(ratios)].T

    def _others(self, say: NDArray[np.float32], units: NDArray[np.float32]) -> NDArray[np.float32]:
        """(rows, channels) what the others add to a channel's evidence, from what each says, and each unit."""
        units = np.vstack([units, np.full(say.shape[1], -np.inf, dtype=np.float32)])
        others = self._pools.near.of(say)
        for unit in self._pools.own:
            np.maximum(others, units.take(unit, axis=0), out=others)
        others -= say
        np.minimum(others, REACH, out=others)
        others -= PRIOR
        added = np.log1p(np.exp(others, out=others), out=others)
        return np.subtract(added.T, np.log1p(np.exp(-PRIOR)), order="C", dtype=np.float32)
