"""Units at fault: which of their channels take part, all of them or those of a patch, a module or a card."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.findings import Fault, JudgedDigis
from hcal_root_ad.judge.units import SPEAKS, UNITS_OF, UnitFault
from hcal_root_ad.judge.verdict import Level
from hcal_root_ad.model.unit_tree import Units, UnitTree
from hcal_root_ad.stats.binomial import Floats
from hcal_root_ad.stats.scan import Stretch

SPREAD_LOSS, SPREAD_NOISE = 0.1, 0.5
"""How far channels of a unit that fail together differ, in sizes of the fault."""
SPLIT, SPLIT_GROUP = 8.0, 2.0
"""−ln L that it must gain to call some channels sound, and more for each group that has a share of its own."""
STEPS = 30
"""Steps of the fit; it converges in some ten."""
LEAST_SHARE = 0.02
"""No group is wholly sound or wholly at fault beforehand."""
LEFT_OF_SHIFT = 0.3
"""A shift of a unit of which less is left against the healthy expectation is another unit's."""
PARTIAL = 0.15
"""A unit of which more channels are sound is no unit at fault: its channels are named, and joined otherwise."""


def members_of(judged: JudgedDigis, fault: UnitFault, tree: UnitTree) -> NDArray[np.intp]:
    """Live channels of the unit at fault."""
    units: Units = getattr(tree, UNITS_OF[fault.level])
    return np.flatnonzero((units.of[judged.columns] == fault.unit) & judged.live)


def unit_fault(
    judged: JudgedDigis, fault: UnitFault, members: NDArray[np.intp], tree: UnitTree
) -> tuple[Fault | None, list[Fault]]:
    """The fault with its channels, where most of them fail; channels one by one where a good part is sound."""
    units: Units = getattr(tree, UNITS_OF[fault.level])
    whole = Fault(
        fault.level, units.names[fault.unit], fault.sign, members, fault.rows(len(judged.events)), fault.significance
    )
    if not len(members):
        return None, []
    fails = np.zeros((len(judged.events), len(members)), dtype=bool)
    for stretch in fault.stretches:
        rows = slice(stretch.first, stretch.last + 1)
        fails[rows] |= _failing(judged, stretch, members, _group_of(fault.level, members, judged, tree))
    named = fails.mean(axis=1) >= 1 - PARTIAL
    pieces = fails & ~named[:, None]
    single = [
        replace(whole, level=Level.CHANNEL, unit=judged.name_of(int(members[k])), columns=members[[k]],
                inside=pieces[:, k])
        for k in np.flatnonzero(pieces.any(axis=0))
    ]  # fmt: skip
    if not named.any():
        return None, single
    return replace(whole, columns=members[fails[named].mean(axis=0) > 0.5], inside=named), single


def _failing(
    judged: JudgedDigis, stretch: Stretch, members: NDArray[np.intp], group: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """(members,) which of the channels of a unit fail in a stretch; none where its digis are as they should be."""
    rows = np.arange(stretch.first, stretch.last + 1)
    cells = np.ix_(rows, members)
    n, e = (v[cells].sum(axis=0, dtype=np.float64) for v in (judged.observed, judged.expected))
    trials = np.full(len(members), float(judged.events[rows].sum()))
    digis = UnitDigis(n, e, trials, judged.width[members], group)
    if not is_left(digis.ratio, stretch):
        return np.zeros(len(members), dtype=bool)
    return digis.at_fault(1 if stretch.shift > 0 else -1)


def _group_of(level: Level, members: NDArray[np.intp], judged: JudgedDigis, tree: UnitTree) -> NDArray[np.intp]:
    """(members,) the smaller unit of each that may fail by itself."""
    rows, channels = judged.columns[members], judged.channels
    match level:
        case Level.HALF:
            key = tree.box.of[rows]
        case Level.RING | Level.SUBDETECTOR:
            key = tree.half.of[rows]
        case Level.RBX:
            key = tree.module.of[rows]
        case _:
            key = channels.card[members].astype(np.intp)
    return np.asarray(np.unique(key, return_inverse=True)[1], dtype=np.intp)


def is_left(ratio: float, stretch: Stretch) -> bool:
    """Whether digis over the healthy expectation show the shift; those of a hot channel saturate."""
    shift = abs(stretch.shift)
    return bool(np.sign(stretch.shift) * np.log(max(ratio, 1e-9)) >= LEFT_OF_SHIFT * min(shift, SPEAKS))


@dataclass(frozen=True, eq=False)
class UnitDigis:
    """Digis of the channels of a unit in a stretch of lumisections, all (channels,).

    ``observed``, ``expected``; ``trials``: events. ``width``: how far a healthy channel is off, of its rate.
    ``group``: a smaller unit that may fail as a whole: 0, 1, ….
    """

    observed: Floats
    expected: Floats
    trials: Floats
    width: Floats
    group: NDArray[np.intp]

    @property
    def ratio(self) -> float:
        """Digis over those expected."""
        return float(self.observed.sum() / max(self.expected.sum(), 1e-9))

    def at_fault(self, sign: int) -> NDArray[np.bool_]:
        """(channels,) which fail; all of them unless the digis say clearly that some are sound.

        Either all channels have one size of fault, give or take, or each has it or is sound, with a share at fault for
        each group (a mixture, fitted by expectation maximization: Dempster, Laird, Rubin, J. R. Stat. Soc. B 39 (1977)
        1). Losses and gains take a share of the digis; noise may as well add as many to a busy channel as to a quiet
        one.
        """
        models = [self.expected] if sign < 0 else [self.expected, self.trials - self.expected]
        spreads = (SPREAD_LOSS, SPREAD_NOISE)
        everyone = max(self._alike(base, spread) for base, spread in zip(models, spreads, strict=False))
        fits = [self._mixture(base, spread, sign) for base, spread in zip(models, spreads, strict=False)]
        likelihood, fails = max(fits, key=lambda fit: fit[0])
        if likelihood - everyone < SPLIT + SPLIT_GROUP * (self.group.max() + 1):
            return np.ones(len(self.observed), dtype=bool)
        return fails

    def _alike(self, base: Floats, spread: float) -> float:
        """ln L if all channels fail by one size, in units of ``base``, or by sizes that scatter as much as they do."""
        size = (self.observed - self.expected).sum() / max(base.sum(), 1e-9)
        scatter = float(np.std((self.observed - self.expected) / np.maximum(base, 1e-9)) / max(abs(size), 1e-9))
        return max(float(self._log_likelihood(size * base, s).sum()) for s in (spread, scatter))

    def _mixture(self, base: Floats, spread: float, sign: int) -> tuple[float, NDArray[np.bool_]]:
        """ln L if some channels are sound, and which are not."""
        off = (self.observed - self.expected) / np.maximum(base, 1e-9)
        size = sign * max(float(np.quantile(sign * off, 0.9)), 1e-6)
        share = np.full(self.group.max() + 1, 0.5)
        members = np.bincount(self.group)
        sound = self._log_likelihood(np.zeros_like(base), 0.0)
        for _ in range(STEPS):
            failing = self._log_likelihood(size * base, spread)
            own = np.clip(share, LEAST_SHARE, 1 - LEAST_SHARE)[self.group]
            both = np.logaddexp(np.log(own) + failing, np.log1p(-own) + sound)
            posterior = np.exp(np.log(own) + failing - both)
            share = np.bincount(self.group, posterior) / members
            size = (posterior * (self.observed - self.expected)).sum() / max((posterior * base).sum(), 1e-9)
        return float(both.sum()), posterior > 0.5

    def _log_likelihood(self, shift: Floats, spread: float) -> Floats:
        """(channels,) ln L of the digis if each channel has ``shift`` more than expected, give or take."""
        mean = np.maximum(self.expected + shift, 0.0)
        chance = mean * (1 - np.minimum(mean / np.maximum(self.trials, 1), 1)) + 1
        variance = chance + (self.width * mean) ** 2 + (spread * shift) ** 2
        return np.asarray(-((self.observed - mean) ** 2) / (2 * variance) - np.log(variance) / 2)
