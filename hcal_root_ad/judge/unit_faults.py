"""The faults of one sub-detector: of its units, and of the channels that are off them; those that fail alike joined.

A unit at fault takes along the channels that fail themselves: all of them, or those of a patch, a module or a card.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.channels import ChannelScan
from hcal_root_ad.judge.findings import LEAST_DIGIS, Fault, JudgedDigis, crowd_timed, flickering, with_gaps_closed
from hcal_root_ad.judge.grouping import FEWEST, boxes_joined, grouped, rings_joined
from hcal_root_ad.judge.pull import Pull
from hcal_root_ad.judge.units import SHARE, SPEAKS, UNITS_OF, UnitFault
from hcal_root_ad.judge.verdict import Level
from hcal_root_ad.model.unit_tree import Units, UnitTree
from hcal_root_ad.stats.binomial import Floats
from hcal_root_ad.stats.scan import Stretch

ALIVE_UNIT = 0.3
"""In a unit that keeps more of its digis a channel that is much farther off is at fault by itself."""
SPREAD_LOSS, SPREAD_NOISE = 0.1, 0.5
"""How far channels of a unit that fail together differ, in sizes of the fault."""
BY_ITSELF = 3.0
"""Standard deviations by which the digis of a channel that is named alone are off."""
STEPS = 30
"""Steps of the fit; it converges in some ten."""
SURELY = 0.8
"""Probability from which a channel of a unit is at fault by itself."""
LEAST_SHARE = 0.002
"""No group is wholly sound or wholly at fault beforehand."""
LEFT_OF_SHIFT = 0.3
"""A shift of a unit of which less is left against the healthy expectation is another unit's."""
PARTIAL = 0.15
"""A unit of which more channels are sound is no unit at fault: its channels are named, and joined otherwise."""


def faults_of(
    judged: JudgedDigis,
    unit_faults: Sequence[UnitFault],
    scan: ChannelScan,
    live_columns: NDArray[np.intp],
    tree: UnitTree,
) -> list[Fault]:
    """Faults of units and channels of one sub-detector, those that fail alike joined.

    ``live_columns``: joint rows of the scan's columns.
    """
    whole: list[Fault] = []
    pieces: list[Fault] = []
    pull = Pull.of(judged, scan, live_columns, tree)
    for fault in pull.without_sound_modules(unit_faults):
        unit, single = _unit_fault(judged, fault, _members_of(judged, fault, tree), tree)
        whole += [unit] if unit else []
        pieces += single
    pieces = [left for piece in pieces if (left := _not_in_units(piece, whole)).inside.any()]
    by_channel = {(int(piece.columns[0]), piece.sign): piece for piece in _by_channel(pieces)}
    pieces += _off_their_units(judged, scan, live_columns, whole, by_channel, pull)
    units = boxes_joined(rings_joined(whole, judged), tree, judged)
    faults = [*units, *grouped(_by_channel(pieces), judged.channels, judged.live)]
    faults = [fault for fault in faults if fault.level is not Level.CHANNEL or _shows(judged, fault)]
    timed = (crowd_timed(with_gaps_closed(fault), judged.observed, judged.expected, units) for fault in faults)
    return [flickering(fault, judged.observed, judged.expected) for fault in timed]


def _off_their_units(
    judged: JudgedDigis, scan: ChannelScan, live_columns: NDArray[np.intp], units: Sequence[Fault],
    by_channel: Mapping[tuple[int, int], Fault], pull: Pull,
) -> Iterator[Fault]:  # fmt: skip
    """Faults of channels beyond those of their units: of single ones, and of QIE cards whose channels fail together.

    ``by_channel``: what each channel of a unit, of which not all fail, is known to be by its sign.
    """
    spoken_for = [(unit, set(unit.columns.tolist())) for unit in units]

    def faults(column: int, sign: int, stretches: Sequence[Stretch], of_unit: Fault | None) -> Iterator[Fault]:
        own = [unit for unit, columns in spoken_for if column in columns]
        yield from _channel_fault(judged, column, sign, stretches, [*own, *filter(None, [of_unit])], scan.threshold)

    columns = np.searchsorted(judged.columns, live_columns[list(scan.faults)]).tolist() if scan.faults else []
    for column, stretches in zip(columns, scan.faults.values(), strict=True):
        own = np.array([column])
        off = [
            stretch
            for stretch in stretches
            if not (
                _only_its_unit(judged, own, stretch, scan.threshold)
                or pull.explains(stretch, int(judged.module[column]))
            )
        ]
        for sign in (-1, 1):
            yield from faults(
                column, sign, [s for s in off if np.sign(s.shift) == sign], by_channel.get((column, sign))
            )
    for card in scan.cards:
        members = np.searchsorted(judged.columns, live_columns[card.columns])
        for stretch in card.stretches:
            fails = members[_failing(judged, stretch, members, np.zeros(len(members), dtype=np.intp))]
            if len(fails) < FEWEST or pull.explains(stretch, int(judged.module[fails[0]])):
                continue
            if not _only_its_unit(judged, fails, stretch, scan.threshold):
                for column in fails.tolist():
                    yield from faults(column, 1 if stretch.shift > 0 else -1, [stretch], None)


def _channel_fault(
    judged: JudgedDigis, column: int, sign: int, stretches: Sequence[Stretch], units: Sequence[Fault], threshold: float
) -> Iterator[Fault]:
    """The fault of a channel that is off its unit, beyond what it is said to be as one of ``units``."""
    inside = np.zeros(len(judged.events), dtype=bool)
    for stretch in stretches:
        inside[stretch.first : stretch.last + 1] = True
    left = _without_spoken_for(judged, column, sign, inside, units)
    if left.any() and (left[inside].all() or sign * _pull(judged, column, left) > threshold):
        significance = max(abs(s.significance) for s in stretches)
        yield Fault(Level.CHANNEL, judged.name_of(column), sign, np.array([column]), left, significance)


def _only_its_unit(judged: JudgedDigis, columns: NDArray[np.intp], stretch: Stretch, threshold: float) -> bool:
    """Whether channels of a module are off it, but not for certain off the healthy expectation: the module moved.

    What fails in a unit takes the level of the unit along, and what is sound in it looks as if it went the other way.
    """
    rows = slice(stretch.first, stretch.last + 1)
    if abs(float(judged.moved[rows, judged.module[columns[0]]].mean())) < SHARE * abs(stretch.shift):
        return False
    n, e = (v[rows, columns].sum(axis=0, dtype=np.float64) for v in (judged.observed, judged.expected))
    total, mean = float(n.sum()), float(e.sum())
    chance = mean * (1 - mean / max(len(columns) * float(judged.events[rows].sum()), 1.0))
    error = np.sqrt(max(chance, 1.0) + float(np.square(judged.width[columns] * e).sum()))
    sign = 1 if stretch.shift > 0 else -1
    return not _is_left(total / max(mean, 1e-9), stretch) or sign * (total - mean) < threshold * error


def _not_in_units(piece: Fault, units: Sequence[Fault]) -> Fault:
    """A channel that fails in a unit of which not all fail, where no other unit at fault says so of it."""
    inside = piece.inside
    for unit in units:
        if unit.sign == piece.sign and np.isin(piece.columns, unit.columns).all():
            inside = inside & ~unit.inside
    return replace(piece, inside=inside)


def _by_channel(pieces: Sequence[Fault]) -> list[Fault]:
    """One fault for each channel and sign."""
    out: dict[tuple[int, int], Fault] = {}
    for piece in pieces:
        key = int(piece.columns[0]), piece.sign
        if before := out.get(key):
            significance = max(before.significance, piece.significance)
            piece = replace(piece, inside=piece.inside | before.inside, significance=significance)
        out[key] = piece
    return list(out.values())


def _pull(judged: JudgedDigis, column: int, inside: NDArray[np.bool_]) -> float:
    """Standard deviations by which the digis of a channel in some lumisections are off the expected ones."""
    n, e = judged.observed[inside, column].sum(dtype=np.float64), judged.expected[inside, column].astype(np.float64)
    return float((n - e.sum()) / np.sqrt(max(float((e * (1 - e / judged.events[inside])).sum()), 1.0)))


def _shows(judged: JudgedDigis, fault: Fault) -> bool:
    """Whether a single channel is off by itself; one of a unit may not be, when the others go elsewhere."""
    return fault.sign * _pull(judged, int(fault.columns[0]), fault.inside) > BY_ITSELF


def _without_spoken_for(
    judged: JudgedDigis,
    column: int,
    sign: int,
    inside: NDArray[np.bool_],
    units: Sequence[Fault],
) -> NDArray[np.bool_]:
    """Where a channel is at fault beyond what its units are already said to be."""
    for unit in units:
        rows = unit.inside
        if not (rows & inside).any():
            continue
        n, e = (float(v[rows & inside, column].sum()) for v in (judged.observed, judged.expected))
        all_n, all_e = (float(v[np.ix_(rows, unit.columns)].sum()) for v in (judged.observed, judged.expected))
        ratio, unit_ratio = n / max(e, 1e-9), all_n / max(all_e, 1e-9)
        if unit.sign > 0:
            # Noise adds as many digis to a quiet channel as to a busy one: of its own that is more.
            unit_ratio = max(unit_ratio, 1 + (all_n - all_e) / len(unit.columns) / max(e, 1e-9))
        apart = abs(np.log(max(ratio, 1e-3) / max(unit_ratio, 1e-3)))
        if (ratio - 1) * sign > 0 and unit_ratio > ALIVE_UNIT and apart > max(SPEAKS, 1.2 * abs(np.log(unit_ratio))):
            continue
        inside = inside & ~rows
    return inside


def _members_of(judged: JudgedDigis, fault: UnitFault, tree: UnitTree) -> NDArray[np.intp]:
    """Live channels of the unit at fault."""
    units: Units = getattr(tree, UNITS_OF[fault.level])
    return np.flatnonzero((units.of[judged.columns] == fault.unit) & judged.live)


def _unit_fault(
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
    if not _is_left(digis.ratio, stretch):
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


def _is_left(ratio: float, stretch: Stretch) -> bool:
    """Whether digis over the healthy expectation show the shift; those of a hot channel saturate."""
    least = max(LEFT_OF_SHIFT * min(abs(stretch.shift), SPEAKS), LEAST_DIGIS)
    return bool(np.sign(stretch.shift) * np.log(max(ratio, 1e-9)) >= least)


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
        """(channels,) which fail; all of them unless it is likelier that some are sound.

        Either all channels have one size of fault, give or take, or each has it or is sound, with a share at fault for
        each group: a mixture, fitted by expectation maximization (Dempster, Laird, Rubin, J. R. Stat. Soc. B 39 (1977)
        1), if Schwarz's criterion prefers it (Ann. Statist. 6 (1978) 461; one parameter for each share). Losses and
        gains take a share of the digis; noise may as well add as many to a busy channel as to a quiet one.
        """
        models = [self.expected] if sign < 0 else [self.expected, self.trials - self.expected]
        spreads = (SPREAD_LOSS, SPREAD_NOISE)
        everyone = max(self._alike(base, spread) for base, spread in zip(models, spreads, strict=False))
        fits = [self._mixture(base, spread, sign) for base, spread in zip(models, spreads, strict=False)]
        likelihood, fails = max(fits, key=lambda fit: fit[0])
        if likelihood - everyone < np.log(len(self.group)) / 2 * (self.group.max() + 1):
            return np.ones(len(self.observed), dtype=bool)
        return fails

    def _alike(self, base: Floats, spread: float) -> float:
        """ln L if all channels fail by one size, in units of ``base``, or by sizes that scatter as much as they do."""
        size, scatter = self._size(base, np.ones_like(base))
        return max(float(self._log_likelihood(size * base, s).sum()) for s in (spread, scatter))

    def _mixture(self, base: Floats, spread: float, sign: int) -> tuple[float, NDArray[np.bool_]]:
        """ln L if some channels are sound, and which are not; by one size or by sizes that scatter."""
        off = (self.observed - self.expected) / np.maximum(base, 1e-9)
        start = sign * max(float(np.quantile(sign * off, 0.9)), 1e-6)
        fits = [self._fitted(base, start, spread, scatters) for scatters in (False, True)]
        return max(fits, key=lambda fit: fit[0])

    def _fitted(self, base: Floats, size: float, spread: float, scatters: bool) -> tuple[float, NDArray[np.bool_]]:
        share = np.full(self.group.max() + 1, 0.5)
        members = np.bincount(self.group)
        sound = self._log_likelihood(np.zeros_like(base), 0.0)
        for _ in range(STEPS):
            before = size, spread, share
            failing = self._log_likelihood(size * base, spread)
            own = np.clip(share, LEAST_SHARE, 1 - LEAST_SHARE)[self.group]
            both = np.logaddexp(np.log(own) + failing, np.log1p(-own) + sound)
            posterior = np.exp(np.log(own) + failing - both)
            share = np.bincount(self.group, posterior) / members
            size, scatter = self._size(base, posterior)
            spread = max(scatter, SPREAD_LOSS) if scatters else spread
            if before[:2] == (size, spread) and np.array_equal(before[2], share):
                break  # further steps would change nothing, to the last bit
        return float(both.sum()), posterior > SURELY

    def _size(self, base: Floats, weight: Floats) -> tuple[float, float]:
        """Size of the fault in units of ``base``, and how far channels differ, in sizes; ``weight`` (channels,)."""
        off = (self.observed - self.expected) / np.maximum(base, 1e-9)
        size = float((weight * (self.observed - self.expected)).sum() / max(float((weight * base).sum()), 1e-9))
        scatter = np.sqrt((weight * (off - size) ** 2).sum() / max(float(weight.sum()), 1e-9))
        return size, float(scatter / max(abs(size), 1e-9))

    def _log_likelihood(self, shift: Floats, spread: float) -> Floats:
        """(channels,) ln L of the digis if each channel has ``shift`` more than expected, give or take."""
        mean = np.maximum(self.expected + shift, 0.0)
        chance = mean * (1 - np.minimum(mean / np.maximum(self.trials, 1), 1)) + 1
        variance = chance + (self.width * mean) ** 2 + (spread * shift) ** 2
        return np.asarray(-((self.observed - mean) ** 2) / (2 * variance) - np.log(variance) / 2)
