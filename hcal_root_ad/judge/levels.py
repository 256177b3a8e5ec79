"""From the common part to one series per unit, and to sentences about the conditions.

A unit is held against the unit above it, and what is common to all units of a kind belongs to the unit above. Where
that is ambiguous (half of the boxes moved) the cheapest explanation holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import box_name
from hcal_root_ad.judge.lumisections import JudgedRows
from hcal_root_ad.judge.verdict import CommonPart
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.common_part import DARK, FAILED_BOX, CommonLevels, common_part_fit
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.unit_tree import UnitTree
from hcal_root_ad.stats.binomial import Floats
from hcal_root_ad.stats.scan import Stretch, Sums, empirical_null, stretches, strongest

MOVED_HALF = 60.0
"""Cost (units of −ln L) of a half that moves as a whole; a box that fails by itself costs 10."""
FAILED_MODULE, MOVED_BOX = 10.0, 12.0
"""Costs of a module that fails by itself, and of a box."""
SMALL = 0.03
"""Shifts of log rate below this are the median of the units, without asking what is cheaper."""
STEADY = 0.15
"""A module that is off its box by more is not taken along."""
SPLITS = ((0,), (1,), (2,), (3,), (0, 1), (0, 2), (0, 3))
"""Which of the four modules of a box may be off the others."""
SPLIT_THRESHOLD, DECIDED = 5.5, 2.0
"""Standard deviations by which they are; units of −ln L that say which of two pairs is at fault."""
AGREE = 4.0
"""Modules this many standard deviations from their box do not speak for it."""
MODULE_WIDTH = 0.012
"""Scatter of healthy modules about their box, between units and LS."""
BOX_WIDTH = 0.02
LEAST_SLOPE = 0.2
"""Where digis hardly follow the rate, a shift of digis says little of it."""
WAVE_WIDTH = 0.03
"""Prior width of the amplitude of a wave in phi: the beam spot moves."""
UNKNOWN = 1e6
"""Variance of a module without a live channel."""
TUKEY = 5.0
"""Tukey's constant in standard deviations."""
FLOOR = 0.015
"""Least scatter of rings about the conditions."""
SAID = 0.06
"""A sub-detector that is off the others by more is said (and flagged from 15 % on)."""
RINGS_SAID = 0.03
"""Rings whose conditions reach this far are said."""
SURE = 0.02
"""Rings whose shift in one LS is less sure do not speak of conditions."""
WAVE_SAID = 0.015
"""Amplitude of a wave in phi that is said."""
STEP = 0.02
"""A change of the rings from one LS to the next that is said."""


@dataclass(frozen=True, eq=False)
class UnitLevels:
    """Shift of every unit against the one above it, (LS, units), with variances.

    Shifts are of log rate; ``slope``: (LS, modules) change of a module's log digis with it.
    ``condition``: (LS, rings) what a smooth function of |ieta| and depth explains of the rings: mix, ageing,
    thresholds. ``ring`` is what is left of them, ``whole_ring`` the shift with all that is in it. ``subdetector`` is
    the shift of the sub-detector against the common pileup.
    ``wave``: (LS, sub-detectors) amplitude of a wave in phi over the boxes, a condition too; ``around``: (LS, boxes)
    what it takes out of ``box``. ``weak``: modules that have no say in their box.
    """

    subdetector: Floats
    half: Floats
    half_variance: Floats
    ring: Floats
    ring_variance: Floats
    condition: Floats
    whole_ring: Floats
    box: Floats
    box_variance: Floats
    module: Floats
    module_variance: Floats
    around: Floats
    wave: Floats
    slope: Floats
    weak: tuple[WeakModules, ...] = ()


@dataclass(frozen=True)
class WeakModules:
    """One or two modules of a box of four that are off the others: which are at fault is asked over the run.

    ``decided``: whether the level of the box says which pair it is; if not, those that lost digis are taken.
    """

    box: int
    modules: list[int]
    sound: list[int]
    decided: bool


def unit_levels(levels: CommonLevels, tree: UnitTree, reference: Reference) -> UnitLevels:
    """Split the common part into its levels."""
    spread = reference.overdispersion
    slope = np.maximum(common_part_fit(reference).slope(levels.log_pileup).T.astype(np.float64), LEAST_SLOPE)
    digis, variance = levels.digis.astype(np.float64), levels.module_variance.astype(np.float64) * spread.module
    variance[:, np.bincount(tree.module.of, reference.live, len(tree.module)) == 0] = UNKNOWN
    box_digis, say, steady = _boxes(digis, variance, tree)
    module, own_variance = np.clip(digis / slope, -DARK, DARK), variance / slope**2
    weak = tuple(_weak_modules(module, digis, slope, own_variance, tree, reference))
    for some in weak:
        say[:, some.modules] = 0
        mute = say[:, some.sound].sum(axis=1) < 2
        say[np.ix_(mute, some.sound)], steady[some.modules] = 1, 0
        if len(some.modules) > 1:  # the middle of the box lies between the pairs: steady offsets are of no use
            steady[some.sound] = 0
        weight = say[:, some.sound] / variance[:, some.sound]
        box_digis[:, some.box] = (weight * (digis - steady)[:, some.sound]).sum(axis=1) / weight.sum(axis=1)
    variance = own_variance
    box, box_variance = _box_rates(module - steady / slope, variance, say, tree)
    for some in weak:  # what has no say in its box is off it by the error of both
        variance[:, some.modules] += box_variance[:, [some.box]]
    # A box may move in rate or in digis, which differ where modules are saturated unlike: the smaller residual holds.
    by_rate, by_digis = module - box[:, tree.box_of_module], (digis - box_digis[:, tree.box_of_module]) / slope
    own_module = np.where(np.abs(by_digis) < np.abs(by_rate), by_digis, by_rate)
    half = _halves(box, box_variance, tree)
    # Which side moved is not in the counts of one sub-detector: the one farther from the other sub-detectors.
    ring = levels.ring.astype(np.float64)
    subdetector = levels.subdetector.astype(np.float64).copy()
    for d in range(len(tree.subdetector)):
        sides = np.flatnonzero(tree.subdetector_of_half == d)
        move = np.clip(-subdetector[:, d], half[:, sides].min(axis=1), half[:, sides].max(axis=1))
        move = np.where(np.ptp(half[:, sides], axis=1) > SMALL, move, half[:, sides].mean(axis=1))
        half[:, sides] -= move[:, None]
        ring[:, tree.subdetector_of_ring == d] += move[:, None]
        subdetector[:, d] += move
    own_ring, condition = _ring_residuals(ring, levels, tree, reference)
    own = box - half[:, tree.half_of_box]
    around, wave = _phi_waves(own, box_variance, tree)
    own = own - around
    box_spread = box_variance * spread.box / spread.module
    counts = np.bincount(tree.half_of_box, minlength=len(tree.half))
    half_variance = np.stack([np.bincount(tree.half_of_box, row, len(counts)) for row in box_spread]) / counts**2
    return UnitLevels(
        subdetector=subdetector, half=half, half_variance=half_variance,
        ring=own_ring, ring_variance=levels.ring_variance * spread.ring, condition=condition, whole_ring=ring,
        box=own, box_variance=box_spread,
        module=own_module, module_variance=variance, around=around, wave=wave, slope=slope, weak=weak,
    )  # fmt: skip


def _padded(of: NDArray[np.intp], units: int) -> NDArray[np.intp]:
    """(units, most members) members of each unit, −1 beyond."""
    members = [np.flatnonzero(of == unit) for unit in range(units)]
    out = np.full((units, max(len(m) for m in members)), -1, dtype=np.intp)
    for row, m in zip(out, members, strict=True):
        row[: len(m)] = m
    return out


def _box_rates(module: Floats, variance: Floats, say: Floats, tree: UnitTree) -> tuple[Floats, Floats]:
    """(LS, boxes) shift of log rate of each box, and its variance, by the modules that have a ``say`` (LS, modules)."""
    total, mean = (
        np.stack([np.bincount(tree.box_of_module, row, len(tree.box)) for row in values])
        for values in (say / variance, say / variance * module)
    )
    return mean / np.maximum(total, 1e-9), 1 / np.maximum(total, 1e-9)


def _boxes(module: Floats, variance: Floats, tree: UnitTree) -> tuple[Floats, Floats, Floats]:
    """(LS, boxes) shift of log digis of each box, and (LS, modules) the modules that agree on it, 1 or 0.

    What a module is off its box for the whole run (the third answer, (modules,)) is taken out first, so that it neither
    takes its box along nor is left out of it in some lumisections only.
    """
    members = _padded(tree.box_of_module, len(tree.box))
    there = members >= 0
    several = there.sum(axis=1) > 1
    value = np.where(there, module[:, members], np.nan)
    own = np.where(there, variance[:, members], np.inf)
    steady = _steady_offsets(value, there)
    value = value - steady
    middle = np.nanmedian(value, axis=2)
    # Restless modules are no failed ones: their scatter in this run widens what agrees.
    scatter = float(np.nanmedian(np.abs(value - middle[..., None])[:, several])) if several.any() else 0.0
    width = own + max(MODULE_WIDTH, 1.5 * scatter) ** 2
    candidates = np.concatenate([value, middle[..., None], np.zeros_like(middle)[..., None]], axis=2)
    pull = (value[:, :, None, :] - candidates[..., None]) ** 2 / (2 * width[:, :, None, :])
    moved = MOVED_BOX * several[:, None] * np.minimum((candidates / 0.08) ** 2, 1)
    cost = np.nansum(np.minimum(pull, FAILED_MODULE), axis=3) + moved
    best = np.where(np.isnan(candidates), np.inf, cost).argmin(axis=2)
    centre = np.take_along_axis(candidates, best[..., None], axis=2)
    agree = there & (np.abs(value - centre) < AGREE * np.sqrt(width))
    agree |= there & ~agree.any(axis=2, keepdims=True)
    weight = np.where(agree, 1 / own, 0)
    mean = np.nansum(weight * np.where(there, value, 0), axis=2) / weight.sum(axis=2)
    say, offset = np.zeros_like(module), np.zeros(module.shape[1])
    say[:, members[there]], offset[members[there]] = agree[:, there], steady[there]
    return mean, say, offset


def _weak_modules(
    module: Floats, digis: Floats, slope: Floats, variance: Floats, tree: UnitTree, reference: Reference
) -> Iterator[WeakModules]:
    """Boxes of four modules of which one or two are off the others; one LS cannot tell, their mean would hide it."""
    width, walk = reference.widths.module, reference.widths.walk_module
    members = _padded(tree.box_of_module, len(tree.box))
    of_four = np.flatnonzero((members >= 0).sum(axis=1) == 4)
    share = np.array([[1 / len(weak) if m in weak else 1 / (len(weak) - 4) for m in range(4)] for weak in SPLITS])
    for d in range(len(tree.subdetector)):
        boxes = of_four[tree.subdetector_of_box[of_four] == d]
        if not len(boxes):
            continue
        four = members[boxes]
        rate = module[:, four] @ share.T
        by_digis = (digis[:, four] @ share.T) / slope[:, four].mean(axis=2, keepdims=True)
        contrast = np.where(np.abs(by_digis) < np.abs(rate), by_digis, rate).reshape(len(module), -1)
        spread = (variance[:, four] @ (share**2).T).reshape(len(module), -1)
        prior = np.tile(width**2 * (share**2).sum(axis=1), len(boxes))
        b, w = contrast / spread, 1 / spread
        sums = Sums.of(b, w, prior, walk)
        null = empirical_null(sums)
        off = strongest(sums, null, SPLIT_THRESHOLD)
        for k in sorted({row // len(SPLITS) for row in off}):
            mine = range(k * len(SPLITS), (k + 1) * len(SPLITS))
            row = max((r for r in mine if r in off), key=lambda r: abs(off[r].significance))
            split = row % len(SPLITS)
            found = stretches(b[:, row], w[:, row], prior[row], walk, null, SPLIT_THRESHOLD, SMALL)
            weak = list(SPLITS[split])
            if found and len(weak) == 1:
                yield _set_of(boxes[k], four[k], weak, True)
            elif found and abs(found[0].shift) < STEADY:
                yield _weaker(found[0], boxes[k], four[k], weak, module, variance, reference.widths.box)


def _set_of(box: int, four: NDArray[np.intp], weak: list[int], decided: bool) -> WeakModules:
    return WeakModules(int(box), four[weak].tolist(), np.delete(four, weak).tolist(), decided)


def _weaker(
    stretch: Stretch, box: int, four: NDArray[np.intp], pair: list[int], module: Floats, variance: Floats, width: float
) -> WeakModules:
    """Which of two pairs is at fault in a stretch: the one whose change from its level outside is less likely."""
    inside = np.zeros(len(module), dtype=bool)
    inside[stretch.first : stretch.last + 1] = True
    x, w = module[:, four], 1 / variance[:, four]
    outside = w[~inside].sum(axis=0) + width**-2
    change = (w[inside] * x[inside]).sum(axis=0) / w[inside].sum(axis=0) - (w[~inside] * x[~inside]).sum(
        axis=0
    ) / outside
    others = [m for m in range(4) if m not in pair]
    unlikely = [change[two].mean() ** 2 / 2 * outside[two].mean() for two in (pair, others)]
    decided = bool(abs(unlikely[0] - unlikely[1]) > DECIDED)
    lower = pair if stretch.shift < 0 else others
    weak = ([pair, others][int(np.argmax(unlikely))]) if decided else lower
    return _set_of(box, four, weak, decided)


def _steady_offsets(value: Floats, there: NDArray[np.bool_]) -> Floats:
    """(boxes, modules) how far each module is off the middle of its box in the typical LS; 0 where that is a fault."""
    offset = np.nanmedian(np.where(there, value - np.nanmedian(value, axis=2)[..., None], 0.0), axis=0)
    offset = np.where(there & (np.abs(offset) < STEADY), offset, np.nan)
    with np.errstate(invalid="ignore"):
        centre = np.array([np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else 0.0 for row in offset])
    return np.asarray(np.nan_to_num(offset - centre[:, None]))


def _halves(box: Floats, variance: Floats, tree: UnitTree) -> Floats:
    """(LS, halves) shift of each half: the median of its boxes, unless it is cheaper that so many boxes failed."""
    half = np.zeros((len(box), len(tree.half)))
    for h in range(len(tree.half)):
        mine = np.flatnonzero(tree.half_of_box == h)
        width = variance[:, mine] + BOX_WIDTH**2
        middle = np.median(box[:, mine], axis=1)
        cost_of = [
            np.minimum((box[:, mine] - centre[:, None]) ** 2 / (2 * width), FAILED_BOX).sum(axis=1)
            for centre in (middle, np.zeros_like(middle))
        ]
        moved = cost_of[0] + MOVED_HALF < cost_of[1]
        near = np.abs(middle) < SMALL
        value = np.where(near | moved, middle, 0.0)
        pull = (box[:, mine] - value[:, None]) / np.sqrt(width)
        weight = np.maximum(1 - (pull / TUKEY) ** 2, 0) ** 2 / width
        mean = (weight * box[:, mine]).sum(axis=1) / np.maximum(weight.sum(axis=1), 1e-9)
        half[:, h] = np.where(
            near | moved, np.where(weight.sum(axis=1) > 0, mean, value), mean * (np.abs(mean) < SMALL)
        )
    return half


def _phi_waves(box: Floats, variance: Floats, tree: UnitTree) -> tuple[Floats, Floats]:
    """(LS, boxes) wave a·cos φ + b·sin φ of each sub-detector's boxes, and (LS, sub-detectors) its amplitude."""
    out, amplitude = np.zeros_like(box), np.zeros((len(box), len(tree.subdetector)))
    angle = np.zeros(len(tree.box))
    for unit in range(len(tree.box)):
        phi = 2 * np.pi * tree.channels.iphi[tree.box.of == unit] / 72
        angle[unit] = np.angle(np.exp(1j * phi).sum()) if len(phi) else 0.0
    for d in range(len(tree.subdetector)):
        mine = np.flatnonzero(tree.subdetector_of_box == d)
        design = np.stack([np.cos(angle[mine]), np.sin(angle[mine])], axis=1)
        width = variance[:, mine] + BOX_WIDTH**2
        fit = np.zeros((len(box), len(mine)))
        for _ in range(4):
            weight = np.maximum(1 - (box[:, mine] - fit) ** 2 / width / TUKEY**2, 0) ** 2 / width
            gram = np.einsum("tr,ri,rj->tij", weight, design, design) + np.eye(2) / WAVE_WIDTH**2
            factor = np.linalg.solve(gram, ((weight * box[:, mine]) @ design)[..., None])[..., 0]
            fit = factor @ design.T
        out[:, mine], amplitude[:, d] = fit, np.hypot(*factor.T)
    return out, amplitude


def _ring_residuals(ring: Floats, levels: CommonLevels, tree: UnitTree, reference: Reference) -> tuple[Floats, Floats]:
    """(LS, rings) what conditions leave of each ring, and the shift of log rate that they make.

    Conditions may act on the rate or on the digis (which differ in saturated rings): of the two smooth fits, what is
    left of a ring is the smaller residual.
    """
    rate_condition = _conditions(ring, tree)
    by_rate = ring - rate_condition
    live = reference.live.astype(float)
    size = np.maximum(np.bincount(tree.ring.of, live, len(tree.ring)), 1)
    level, power = (
        np.bincount(tree.ring.of, live * a, len(tree.ring)) / size for a in (reference.level, reference.power)
    )
    rate = np.exp(np.clip(level + np.multiply.outer(levels.log_pileup.astype(np.float64), power), -12, 2))
    digis = np.log(-np.expm1(-rate * np.exp(np.clip(ring, -12, 4)))) - np.log(-np.expm1(-rate))
    digi_condition = _conditions(digis, tree)
    by_digis = digis - digi_condition
    p = np.clip(-np.expm1(-rate) * np.exp(digi_condition), 1e-6, 1 - 1e-4)
    as_rate = np.log(-np.log1p(-p)) - np.log(rate)
    smaller = np.abs(by_digis) < np.abs(by_rate)
    return np.where(smaller, by_digis, by_rate), np.where(smaller, as_rate, rate_condition)


def _conditions(ring: Floats, tree: UnitTree) -> Floats:
    """(LS, rings) robust fit of [1, e, e², depth, e·depth] per sub-detector and LS, e = |ieta| scaled to −1 … 1."""
    out = np.zeros_like(ring)
    ieta, depth = (np.zeros(len(tree.ring)) for _ in range(2))
    ieta[tree.ring.of], depth[tree.ring.of] = np.abs(tree.channels.ieta), tree.channels.depth
    for d in range(len(tree.subdetector)):
        mine = np.flatnonzero(tree.subdetector_of_ring == d)
        e, z = (_scaled(values[mine]) for values in (ieta, depth))
        design = np.stack([np.ones(len(mine)), e, e**2, z, e * z], axis=1)
        fits = [_robust_fit(ring[:, mine], design, start) for start in (None, np.median(ring[:, mine], axis=1))]
        costs = [cost for _, cost in fits]
        out[:, mine] = np.where((costs[0] <= costs[1])[:, None], fits[0][0], fits[1][0])
    return out


def _scaled(values: Floats) -> Floats:
    reach = np.ptp(values)
    return 2 * (values - values.min()) / reach - 1 if reach > 0 else np.zeros(len(values))


def _robust_fit(values: Floats, design: Floats, start: Floats | None) -> tuple[Floats, Floats]:
    """Fits (LS, rings) with Tukey's weights, from a plain fit or from a constant, and what each costs."""
    weight = np.ones_like(values)
    fit = np.zeros_like(values) if start is None else np.broadcast_to(start[:, None], values.shape)
    for step in range(6):
        if start is not None or step:
            left = values - fit
            scale = np.maximum(1.4826 * np.median(np.abs(left), axis=1, keepdims=True), FLOOR)
            weight = np.maximum(1 - (left / (TUKEY * scale)) ** 2, 0) ** 2
        gram = np.einsum("tr,ri,rj->tij", weight, design, design) + 1e-6 * np.eye(design.shape[1])
        fit = np.linalg.solve(gram, ((weight * values) @ design)[..., None])[..., 0] @ design.T
    left = values - fit
    return fit, np.minimum((left / FLOOR) ** 2, TUKEY**2).sum(axis=1)


def common_part(
    maps: LumiMaps,
    rows: JudgedRows,
    levels: CommonLevels,
    units: UnitLevels,
    tree: UnitTree,
    sound: Mapping[str, NDArray[np.bool_]],
) -> CommonPart:
    """The common part of a run, LS by LS, with its sentences.

    ``sound``: of each sub-detector that was judged, (rows,) where it is not at fault as a whole: that is no condition.
    """

    def everywhere(values: NDArray[np.floating]) -> NDArray[np.float32]:
        return np.asarray(rows.spread(values.astype(np.float32), len(maps), np.nan))

    names = tree.subdetector.names
    box = np.full((len(levels), 72), np.nan, dtype=np.float32)
    half = np.full((len(levels), 4), np.nan, dtype=np.float32)
    order = {box_name(b): b for b in range(72)}
    for unit, name in enumerate(tree.box.names):
        if name in order:
            box[:, order[name]] = units.box[:, unit] + units.half[:, tree.half_of_box[unit]]
    for unit, name in enumerate(tree.half.names):
        if name in ("HBM", "HBP", "HEM", "HEP"):
            half[:, ("HBM", "HBP", "HEM", "HEP").index(name)] = units.half[:, unit]
    return CommonPart(
        lumisections=maps.lumisections,
        log_pileup=everywhere(levels.log_pileup),
        log_pileup_error=everywhere(levels.log_pileup_error),
        subdetector={name: everywhere(units.subdetector[:, d]) for d, name in enumerate(names)},
        half=everywhere(half),
        ring=everywhere(units.whole_ring),
        rings=tree.ring.names,
        box=everywhere(box),
        sentences=tuple(_sentences(rows.lumisections(maps), units, tree, sound)),
    )


def _sentences(
    lumisections: list[NDArray[np.int32]], units: UnitLevels, tree: UnitTree, sound: Mapping[str, NDArray[np.bool_]]
) -> list[str]:
    out: list[str] = []
    for d, name in enumerate(tree.subdetector.names):
        rows = np.flatnonzero(sound.get(name, np.zeros(0, dtype=bool)))
        rings = (tree.subdetector_of_ring == d) & (np.median(units.ring_variance, axis=0) < SURE**2)
        if not len(rows) or not rings.any():
            continue
        shift = float(np.median(units.subdetector[rows, d]))
        if abs(shift) > SAID:
            out.append(f"{name} counts {_percent(shift)} against the other sub-detectors, all rings alike")
        condition = units.condition[rows][:, rings]
        typical = np.median(condition, axis=0)
        if np.abs(typical - np.median(typical)).max() > RINGS_SAID:
            low, high = _percent(float(typical.min())), _percent(float(typical.max()))
            out.append(
                f"rings of {name} moved by {low} to {high} since the clean runs (trigger mix, thresholds or ageing)"
            )
        out += _steps([lumisections[row] for row in rows], condition, name)
        wave = float(np.median(np.abs(units.wave[rows, d])))
        if wave > WAVE_SAID:
            out.append(f"a wave in phi of {100 * wave:.1f} % runs around {name} (beam spot)")
    return out


def _steps(lumisections: list[NDArray[np.int32]], condition: Floats, name: str, window: int = 5) -> list[str]:
    """Where the rings changed for good within the run."""
    if len(condition) < 2 * window + 1:
        return []
    sums = np.concatenate([np.zeros((1, condition.shape[1])), np.cumsum(condition, axis=0)])
    before, after = sums[window:-window] - sums[: -2 * window], sums[2 * window :] - sums[window:-window]
    change = (after - before) / window
    size = np.sqrt((change**2).mean(axis=1))
    out: list[str] = []
    while len(out) < 3 and size.max() > STEP:
        row = int(size.argmax())
        low, high = float(change[row].min()), float(change[row].max())
        ls = int(lumisections[row + window][0])
        out.append(
            f"rings of {name} changed at LS {ls} by {_percent(low)} to {_percent(high)} (trigger mix or thresholds)"
        )
        size[max(0, row - 2 * window) : row + 2 * window] = 0
    return out


def _percent(shift: float) -> str:
    value = 100 * np.expm1(shift)
    return f"{value:+.0f} %" if abs(value) >= 0.5 else "0 %"
