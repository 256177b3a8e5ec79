"""From the common part to one series per unit, and to sentences about the conditions.

A unit is compared with the unit above it, and what is common to all units of a kind belongs to the unit above. Where
that is ambiguous (half of the boxes moved) the cheapest explanation holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import box_name
from hcal_root_ad.judge.boxes import WeakModules, box_levels
from hcal_root_ad.judge.lumisections import JudgedRows
from hcal_root_ad.judge.verdict import CommonPart
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.common_part import FAILED_BOX, CommonLevels
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.unit_tree import UnitTree
from hcal_root_ad.stats.binomial import Floats
from hcal_root_ad.stats.scan import medians

MOVED_HALF = 60.0
"""Cost (units of −ln L) of a half that moves as a whole; a box that fails by itself costs 10."""
SMALL = 0.03
"""Shifts of log rate below this are the median of the units, without asking what is cheaper."""
GAINED = 0.25
"""Of two sides that a detector state knows, the lower one lost, unless this share at most of it shows in the whole."""
BOX_WIDTH = 0.02
WAVE_WIDTH = 0.03
"""Prior width of the amplitude of a wave in phi: the beam spot moves."""
TUKEY = 5.0
"""Tukey's constant in standard deviations."""
QUIET, MOST_AROUND = 0.02, 9
"""Conditions are sought in medians over lumisections with this error, or over so many of them at most."""
APART, SURELY = 0.06, 4.0
"""From which shift, in log rate and in standard deviations, the sides of a ring differ."""
FLOOR = 0.015
"""Least scatter of rings about the conditions."""
SAID = 0.06
"""A sub-detector that is off the others by more is said (and flagged from 15 % on)."""
RINGS_SAID = 0.03
"""Rings whose conditions reach this far are said."""
SURE_OF_SIDES = 0.1
"""Sides whose shift in one LS is less sure are not compared with each other."""
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
    ``condition``: (LS, side rings) what a smooth function of |ieta| and depth, the same on both sides, explains of the
    rings: mix, ageing, thresholds. ``ring``: (LS, side rings) what is left of them, ``apart`` what each is off the
    other side of the ring, ``ring_shift`` the shift with all that is in it; ``whole_ring``: (LS, rings) of both sides
    together, or of the sound one. ``subdetector`` is the shift of the sub-detector against the common pileup.
    ``wave``: (LS, sub-detectors) amplitude of a wave in phi over the boxes, a condition too; ``around``: (LS, boxes)
    what it takes out of ``box``. ``weak``: modules that have no say in their box.
    """

    subdetector: Floats
    half: Floats
    half_variance: Floats
    ring: Floats
    ring_variance: Floats
    condition: Floats
    apart: Floats
    ring_shift: Floats
    whole_ring: Floats
    whole_ring_variance: Floats
    box: Floats
    box_variance: Floats
    module: Floats
    module_variance: Floats
    around: Floats
    wave: Floats
    slope: Floats
    weak: tuple[WeakModules, ...] = ()


def unit_levels(levels: CommonLevels, tree: UnitTree, reference: Reference) -> UnitLevels:
    """Split the common part into its levels."""
    spread = reference.overdispersion
    boxes = box_levels(levels, tree, reference)
    box, box_variance = boxes.box, boxes.box_variance
    known = reference.unit_error("box", 0.0)  # by a detector state, mostly better than otherwise
    half = _halves(box, box_variance, tree, np.full(len(tree.box), BOX_WIDTH) if known is None else known)
    # Which side moved is not in the counts of one sub-detector: the one farther from the other sub-detectors.
    ring = levels.ring.astype(np.float64)
    subdetector = levels.subdetector.astype(np.float64).copy()
    for d in range(len(tree.subdetector)):
        sides = np.flatnonzero(tree.subdetector_of_half == d)
        move = np.clip(-subdetector[:, d], half[:, sides].min(axis=1), half[:, sides].max(axis=1))
        if "half" in reference.unit_errors:  # sides are known so well that one moved and the other did not
            low, high = half[:, sides].min(axis=1), half[:, sides].max(axis=1)
            move = np.where(-subdetector[:, d] > low + GAINED * (high - low), high, low)
        move = np.where(np.ptp(half[:, sides], axis=1) > SMALL, move, half[:, sides].mean(axis=1))
        half[:, sides] -= move[:, None]
        ring[:, tree.subdetector_of_ring == d] += move[:, None]
        subdetector[:, d] += move
    ring_shift = ring[:, tree.ring_of_side_ring] + levels.side
    own_ring, condition = _ring_residuals(ring_shift, levels, tree, reference)
    own = box - half[:, tree.half_of_box]
    around, wave = _phi_waves(own, box_variance, tree)
    own = own - around
    box_spread = box_variance * spread.box / spread.module
    counts = np.bincount(tree.half_of_box, minlength=len(tree.half))
    half_variance = np.stack([np.bincount(tree.half_of_box, row, len(counts)) for row in box_spread]) / counts**2
    return UnitLevels(
        subdetector=subdetector, half=half, half_variance=half_variance,
        ring=own_ring, ring_variance=levels.side_variance * spread.ring, condition=condition,
        apart=_apart(ring_shift, levels.side_variance, tree), ring_shift=ring_shift,
        whole_ring=_of_both_sides(ring, ring_shift, levels.side_variance, tree),
        whole_ring_variance=levels.ring_variance * spread.ring,
        box=own, box_variance=box_spread,
        module=boxes.module, module_variance=boxes.module_variance, around=around, wave=wave, slope=boxes.slope,
        weak=boxes.weak,
    )  # fmt: skip


def _halves(box: Floats, variance: Floats, tree: UnitTree, box_width: Floats) -> Floats:
    """(LS, halves) shift of each half: the median of its boxes, unless it is cheaper that so many boxes failed.

    ``box_width``: (boxes,) how far a healthy box may be off.
    """
    half = np.zeros((len(box), len(tree.half)))
    for h in range(len(tree.half)):
        mine = np.flatnonzero(tree.half_of_box == h)
        width = variance[:, mine] + box_width[mine] ** 2
        middle = medians(box[:, mine])
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
    angle = _angles(tree)
    for d in range(len(tree.subdetector)):
        mine = np.flatnonzero(tree.subdetector_of_box == d)
        cos, sin = np.cos(angle[mine]), np.sin(angle[mine])
        design, squares = np.stack([cos, sin], axis=1), np.stack([cos**2, sin**2, cos * sin], axis=1)
        own = np.ascontiguousarray(box[:, mine])
        width = variance[:, mine] + BOX_WIDTH**2
        fit = np.zeros_like(own)
        for _ in range(4):
            weight = np.maximum(1 - (own - fit) ** 2 / width / TUKEY**2, 0) ** 2 / width
            aa, bb, ab = (weight @ squares).T
            aa, bb = aa + WAVE_WIDTH**-2, bb + WAVE_WIDTH**-2
            along, across = ((weight * own) @ design).T
            factor = np.stack([bb * along - ab * across, aa * across - ab * along]) / (aa * bb - ab**2)
            fit = factor.T @ design.T
        out[:, mine], amplitude[:, d] = fit, np.hypot(*factor)
    return out, amplitude


@lru_cache(maxsize=8)
def _angles(tree: UnitTree) -> Floats:
    """(boxes,) mean φ of each box."""
    angle = np.zeros(len(tree.box))
    for unit in range(len(tree.box)):
        phi = 2 * np.pi * tree.channels.iphi[tree.box.of == unit] / 72
        angle[unit] = np.angle(np.exp(1j * phi).sum()) if len(phi) else 0.0
    return angle


def _of_both_sides(ring: Floats, sides: Floats, variance: NDArray[np.float32], tree: UnitTree) -> Floats:
    """(LS, rings) shift of each ring: of both sides, or of the one that moved less where they differ for certain."""
    alike = _nearer_sides(sides, variance, tree)
    own, one_side = np.unique(tree.ring_of_side_ring, return_index=True)
    other = tree.other_side[one_side]
    differ = (alike[:, one_side] != sides[:, one_side]) | (alike[:, other] != sides[:, other])
    out = ring.copy()
    out[:, own] = np.where(differ, alike[:, one_side], ring[:, own])
    return out


def _apart(ring: Floats, variance: NDArray[np.float32], tree: UnitTree) -> Floats:
    """(LS, side rings) how far each side of a ring is off the other; 0 where one of them is not measured."""
    other = tree.other_side
    measured = variance < SURE_OF_SIDES**2
    return np.where(measured & measured[:, other], ring - ring[:, other], 0)


def _ring_residuals(ring: Floats, levels: CommonLevels, tree: UnitTree, reference: Reference) -> tuple[Floats, Floats]:
    """(LS, side rings) what conditions leave of each ring, and the shift of log rate that they make.

    Conditions may act on the rate or on the digis (which differ in saturated rings): of the two smooth fits, what is
    left of a ring is the smaller residual.
    """
    live, of = reference.live.astype(float), tree.side_ring.of
    size = np.maximum(np.bincount(of, live, len(tree.side_ring)), 1)
    level, power = (np.bincount(of, live * a, len(tree.side_ring)) / size for a in (reference.level, reference.power))
    rate = np.exp(np.clip(level + np.multiply.outer(levels.log_pileup.astype(np.float64), power), -12, 2))
    both = np.stack([ring, np.log(-np.expm1(-rate * np.exp(np.clip(ring, -12, 4)))) - np.log(-np.expm1(-rate))])
    digis, quiet = both[1], _nearer_sides(_quiet(both, levels.side_variance), levels.side_variance, tree)
    rate_condition, digi_condition = np.split(smooth_conditions(quiet.reshape(-1, ring.shape[1]), tree), 2)
    by_rate, by_digis = ring - rate_condition, digis - digi_condition
    p = np.clip(-np.expm1(-rate) * np.exp(digi_condition), 1e-6, 1 - 1e-4)
    as_rate = np.log(-np.log1p(-p)) - np.log(rate)
    smaller = np.abs(by_digis) < np.abs(by_rate)
    return np.where(smaller, by_digis, by_rate), np.where(smaller, as_rate, rate_condition)


def _quiet(values: Floats, variance: NDArray[np.float32]) -> Floats:
    """(…, LS, rings) medians over so many lumisections that a ring stands out from chance, which keep a step."""
    around = int(min(np.ceil(float(np.median(variance)) / QUIET**2), MOST_AROUND) // 2)
    if not around or values.shape[1] <= around:
        return values
    padded = np.pad(values, ((0, 0), (around, around), (0, 0)), mode="symmetric")
    return medians(np.lib.stride_tricks.sliding_window_view(padded, 2 * around + 1, axis=1))


def _nearer_sides(values: Floats, variance: NDArray[np.float32], tree: UnitTree) -> Floats:
    """(…, LS, side rings) with both sides alike: where they differ for certain, as the one that moved less."""
    across = values[..., tree.other_side]
    differ = np.abs(values - across) > np.maximum(APART, SURELY * np.sqrt(variance + variance[:, tree.other_side]))
    return np.where(differ & (np.abs(values) > np.abs(across)), across, values)


def smooth_conditions(ring: Floats, tree: UnitTree) -> Floats:
    """(LS, side rings) robust fit of [1, e, e², depth, e·depth] per sub-detector and LS, e = |ieta| scaled to −1 … 1.

    Conditions are alike on both sides: a ring that moved on one side alone does not bend them.
    """
    out = np.zeros_like(ring)
    for mine, design in _designs(tree):
        own = np.ascontiguousarray(ring[:, mine])
        fits, cost = _robust_fits(own, design)
        out[:, mine] = np.where((cost[0] <= cost[1])[:, None], *fits)
    return out


@lru_cache(maxsize=8)
def _designs(tree: UnitTree) -> list[tuple[NDArray[np.intp], Floats]]:
    """The side rings of each sub-detector, and (side rings, 5) what is fitted to them."""
    out = []
    ieta, depth = (np.zeros(len(tree.side_ring)) for _ in range(2))
    ieta[tree.side_ring.of], depth[tree.side_ring.of] = np.abs(tree.channels.ieta), tree.channels.depth
    for d in range(len(tree.subdetector)):
        mine = np.flatnonzero(tree.subdetector_of_side_ring == d)
        e, z = (_scaled(values[mine]) for values in (ieta, depth))
        out.append((mine, np.stack([np.ones(len(mine)), e, e**2, z, e * z], axis=1)))
    return out


def _scaled(values: Floats) -> Floats:
    reach = np.ptp(values)
    return 2 * (values - values.min()) / reach - 1 if reach > 0 else np.zeros(len(values))


def _robust_fits(values: Floats, design: Floats) -> tuple[Floats, Floats]:
    """(2, LS, rings) fits with Tukey's weights, from a plain fit and from the median, and (2, LS) what each costs."""
    products = (design[:, :, None] * design[:, None]).reshape(len(design), -1)
    steady = 1e-6 * np.eye(design.shape[1])
    fit = np.broadcast_to(medians(values)[:, None], (2, *values.shape))
    for step in range(6):
        left = values - fit
        scale = np.maximum(1.4826 * medians(np.abs(left))[..., None], FLOOR)
        left /= TUKEY * scale
        weight = np.maximum(1 - np.square(left, out=left), 0) ** 2
        if step == 0:
            weight[0] = 1
        gram = (weight @ products).reshape(*weight.shape[:2], *steady.shape) + steady
        fit = np.linalg.solve(gram, ((weight * values) @ design)[..., None])[..., 0] @ design.T
    return fit, np.minimum(((values - fit) / FLOOR) ** 2, TUKEY**2).sum(axis=2)


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
    own, place = _boxes_of_readout(tree)
    box[:, place] = units.box[:, own] + units.half[:, tree.half_of_box[own]]
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


@lru_cache(maxsize=8)
def _boxes_of_readout(tree: UnitTree) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Boxes of HB and HE among the units, and their numbers."""
    order = {box_name(b): b for b in range(72)}
    own = [unit for unit, name in enumerate(tree.box.names) if name in order]
    return np.array(own, dtype=np.intp), np.array([order[tree.box.names[unit]] for unit in own], dtype=np.intp)


def _sentences(
    lumisections: list[NDArray[np.int32]], units: UnitLevels, tree: UnitTree, sound: Mapping[str, NDArray[np.bool_]]
) -> list[str]:
    out: list[str] = []
    sure = medians(units.ring_variance.T) < SURE**2
    for d, name in enumerate(tree.subdetector.names):
        rows = np.flatnonzero(sound.get(name, np.zeros(0, dtype=bool)))
        rings = (tree.subdetector_of_side_ring == d) & sure
        if not len(rows) or not rings.any():
            continue
        shift = float(medians(units.subdetector[rows, d]))
        if abs(shift) > SAID:
            out.append(f"{name} counts {_percent(shift)} against the other sub-detectors, all rings alike")
        condition = units.condition[rows][:, rings]
        typical = medians(condition.T)
        if np.abs(typical - medians(typical)).max() > RINGS_SAID:
            low, high = _percent(float(typical.min())), _percent(float(typical.max()))
            out.append(
                f"rings of {name} moved by {low} to {high} since the clean runs (trigger mix, thresholds or ageing)"
            )
        out += _steps([lumisections[row] for row in rows], condition, name)
        wave = float(medians(np.abs(units.wave[rows, d])))
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
