"""Readout boxes and their modules: how far each box moved, and each module against its box.

A box is the mean of the modules that agree. In one LS two weak modules cannot be told from a weak box, so which of four
modules are off the others is asked over the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.machine import row_blocks
from hcal_root_ad.model.common_part import CommonLevels, common_part_fit
from hcal_root_ad.model.lost_digis import DARK
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.unit_tree import UnitTree
from hcal_root_ad.stats.binomial import Floats
from hcal_root_ad.stats.scan import Stretch, empirical_null, medians, quiet, stretches, strongest
from hcal_root_ad.stats.windows import Sums

FAILED_MODULE, MOVED_BOX = 10.0, 12.0
"""Costs of a module that fails by itself, and of a box."""
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
LEAST_SLOPE = 0.2
"""Where digis hardly follow the rate, a shift of digis says little of it."""
UNKNOWN = 1e6
"""Variance of a module without a live channel."""
SMALL = 0.03
"""Smallest shift of modules that is asked for."""


@dataclass(frozen=True)
class WeakModules:
    """One or two modules of a box of four that are off the others: which are at fault is asked over the run.

    ``decided``: whether the level of the box says which pair it is; if not, those that lost digis are taken.
    """

    box: int
    modules: list[int]
    sound: list[int]
    decided: bool


@dataclass(frozen=True, eq=False)
class BoxLevels:
    """Shifts of log rate of (LS, boxes) and, against their box, of (LS, modules), with variances.

    ``slope``: (LS, modules) change of a module's log digis with its log rate. ``weak``: modules without a say in their
    box.
    """

    box: Floats
    box_variance: Floats
    module: Floats
    module_variance: Floats
    slope: Floats
    weak: tuple[WeakModules, ...]


def box_levels(levels: CommonLevels, tree: UnitTree, reference: Reference) -> BoxLevels:
    """Split the shifts of modules into those of their boxes and their own."""
    slope = np.maximum(common_part_fit(reference).slope(levels.log_pileup).T.astype(np.float64), LEAST_SLOPE)
    digis = levels.digis.astype(np.float64)
    variance = levels.module_variance.astype(np.float64) * reference.overdispersion.module
    variance[:, np.bincount(tree.module.of, reference.live, len(tree.module)) == 0] = UNKNOWN
    module, rate_variance = np.clip(digis / slope, -DARK, DARK), variance / slope**2
    box_digis, say, steady = _boxes(digis, variance, tree)
    weak = tuple(_weak_modules(module, digis, slope, rate_variance, tree, reference))
    for some in weak:
        say[:, some.modules] = 0
        mute = say[:, some.sound].sum(axis=1) < 2
        say[np.ix_(mute, some.sound)], steady[some.modules] = 1, 0
        if len(some.modules) > 1:  # the middle of the box lies between the pairs: steady offsets are of no use
            steady[some.sound] = 0
        weight = say[:, some.sound] / variance[:, some.sound]
        box_digis[:, some.box] = (weight * (digis - steady)[:, some.sound]).sum(axis=1) / weight.sum(axis=1)
    box, box_variance = _box_rates(module - steady / slope, rate_variance, say, tree)
    for some in weak:  # what has no say in its box is off it by the error of both
        rate_variance[:, some.modules] += box_variance[:, [some.box]]
    # A box may move in rate or in digis, which differ where modules are saturated unlike: the smaller residual holds.
    by_rate, by_digis = module - box[:, tree.box_of_module], (digis - box_digis[:, tree.box_of_module]) / slope
    own = np.where(np.abs(by_digis) < np.abs(by_rate), by_digis, by_rate)
    return BoxLevels(box, box_variance, own, rate_variance, slope, weak)


@lru_cache(maxsize=8)
def _modules_of_boxes(tree: UnitTree) -> NDArray[np.intp]:
    """(boxes, most modules) modules of each box, −1 beyond."""
    members = [np.flatnonzero(tree.box_of_module == box) for box in range(len(tree.box))]
    out = np.full((len(members), max(len(m) for m in members)), -1, dtype=np.intp)
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
    members = _modules_of_boxes(tree)
    there = members >= 0
    several = there.sum(axis=1) > 1
    value = np.where(there, module[:, members], np.nan)
    own = np.where(there, variance[:, members], np.inf)
    steady = _steady_offsets(value, there)
    value = value - steady
    middle = medians(value)
    # Restless modules are no failed ones: their scatter in this run widens what agrees.
    scatter = float(np.nanmedian(np.abs(value - middle[..., None])[:, several])) if several.any() else 0.0
    parts = [
        _agreeing(value[rows], own[rows], middle[rows], scatter, there, several) for rows in row_blocks(len(value), 256)
    ]
    mean, agree = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    say, offset = np.zeros_like(module), np.zeros(module.shape[1])
    say[:, members[there]], offset[members[there]] = agree[:, there], steady[there]
    return mean, say, offset


def _agreeing(
    value: Floats, own: Floats, middle: Floats, scatter: float, there: NDArray[np.bool_], several: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Of some lumisections, (LS, boxes) shift of each box and (LS, boxes, modules) which modules agree on it."""
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
    return np.nansum(weight * np.where(there, value, 0), axis=2) / weight.sum(axis=2), agree


def _weak_modules(
    module: Floats, digis: Floats, slope: Floats, variance: Floats, tree: UnitTree, reference: Reference
) -> Iterator[WeakModules]:
    """Boxes of four modules of which one or two are off the others; one LS cannot tell, their mean would hide it."""
    width, walk = reference.widths.module, reference.widths.walk_module
    members = _modules_of_boxes(tree)
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
        if quiet(b, w, prior, SPLIT_THRESHOLD):
            continue
        sums = Sums.of(b, w, prior, walk)
        null = empirical_null(sums)
        off = strongest(sums, null, SPLIT_THRESHOLD)
        for k in sorted({row // len(SPLITS) for row in off}):
            mine = range(k * len(SPLITS), (k + 1) * len(SPLITS))
            left = _left_within(module[:, four[k]], variance[:, four[k]])
            row = min((r for r in mine if r in off), key=lambda r: left[r % len(SPLITS)])
            split = row % len(SPLITS)
            found = stretches(b[:, row], w[:, row], prior[row], walk, null, SPLIT_THRESHOLD, SMALL)
            weak = list(SPLITS[split])
            if found and len(weak) == 1:
                yield _set_of(boxes[k], four[k], weak, True)
            elif found:
                yield _weaker(found[0], boxes[k], four[k], weak, module, variance, reference.widths.box)


def _left_within(module: Floats, variance: Floats) -> list[float]:
    """By split, the scatter that is left within its two sets of modules; ``module``, ``variance``: (LS, 4)."""
    w, scatter = 1 / variance, []
    for weak in SPLITS:
        sets = (list(weak), [m for m in range(4) if m not in weak])
        means = [(w[:, some] * module[:, some]).sum(axis=1) / w[:, some].sum(axis=1) for some in sets]
        left = [w[:, some] * (module[:, some] - mean[:, None]) ** 2 for some, mean in zip(sets, means, strict=True)]
        scatter.append(float(np.concatenate(left, axis=1).sum()))
    return scatter


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
    offset = medians(np.moveaxis(np.where(there, value - medians(value)[..., None], 0.0), 0, -1))
    offset = np.where(there & (np.abs(offset) < STEADY), offset, np.nan)
    return np.asarray(np.nan_to_num(offset - medians(offset)[:, None]))
