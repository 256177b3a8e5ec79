"""Widths from pairs of clean runs of one detector: the one gives a reference, the other is compared with it.

A unit's mean shift in the second run scatters by chance, which is known, and by what health allows, which is the rest.
What halves of the run differ by beyond chance is its walk: with a variance w per LS the means of the halves of T LS
differ by w·T/3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from hcal_root_ad.judge.levels import unit_levels
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.common_part import CommonPartFit
from hcal_root_ad.model.counts import clean_runs, lumisections_of
from hcal_root_ad.model.reference import Widths
from hcal_root_ad.model.reference_fit import fit_reference
from hcal_root_ad.stats.binomial import Floats, newton_step

NAMES = ("HB", "HE")
"""Sub-detectors whose readout units are known."""
MEDIAN = 0.4549
"""Median of the square of a standard normal value."""
FEW = 40
"""Fewer units tell a median badly."""
LEAST = Widths()
"""Measured on detectors of another generator: no unit is held to stay nearer, for ours may be too tame."""


@dataclass(frozen=True, eq=False)
class Moves:
    """What the units of one level do in one run.

    Attributes:
        shift: (units,) mean shift of log rate. chance: (units,) its variance by chance, the reference's included.
        walk: (units,) mean of the second half less that of the first. walk_chance: its variance by chance.
        lumisections: how many the run has.
    """

    shift: Floats
    chance: Floats
    walk: Floats
    walk_chance: Floats
    lumisections: int


def moves_between(first: LumiMaps, second: LumiMaps) -> dict[str, Moves]:
    """Moves of every level from one clean run to another."""
    (learned,), (held,) = clean_runs([first]), clean_runs([second])
    reference = fit_reference(lumisections_of([learned], NAMES))
    clean = lumisections_of([held], NAMES)
    tree = reference.tree
    levels = CommonPartFit(reference).fit(clean.counts, clean.events)
    units = unit_levels(levels, tree, reference)
    nothing = np.full(units.subdetector.shape, 1e-9)
    moves = {
        "subdetector": _moves(units.subdetector, nothing),
        "half": _moves(units.half, units.half_variance),
        "ring": _moves(units.ring, units.ring_variance),
        "box": _moves(units.box, units.box_variance),
        "module": _moves(units.module, units.module_variance),
    }
    live = np.flatnonzero(reference.live)
    eta = reference.level + np.multiply.outer(levels.log_pileup.astype(np.float64), reference.power)
    eta = eta + levels.ring_by_side(tree)[:, tree.side_ring.of] + levels.module[:, tree.module.of]
    b, w = newton_step(clean.counts.astype(np.float64), clean.events[:, None].astype(np.float64), eta)
    moves["channel"] = _moves((b / np.maximum(w, 1e-9))[:, live], (1 / np.maximum(w, 1e-9))[:, live])
    return moves


def _moves(values: Floats, variances: Floats) -> Moves:
    """Means over the lumisections, and over their halves, of (LS, units) shifts."""
    half = len(values) // 2
    shift, chance = _mean(values, variances)
    early, early_chance = _mean(values[:half], variances[:half])
    late, late_chance = _mean(values[half:], variances[half:])
    # The reference knows its levels from a run as long as this one.
    return Moves(shift, 2 * chance, late - early, early_chance + late_chance, len(values))


def _mean(values: Floats, variances: Floats) -> tuple[Floats, Floats]:
    weight = 1 / variances
    total = weight.sum(axis=0)
    return (weight * values).sum(axis=0) / total, 1 / total


def widths_of(pairs: Sequence[dict[str, Moves]]) -> Widths:
    """Widths of all pairs together, none below :data:`LEAST`."""
    measured = {level: _width([pair[level] for pair in pairs]) for level in pairs[0]}
    measured |= {f"walk_{level}": _walk([pair[level] for pair in pairs]) for level in ("box", "module", "channel")}
    return Widths(**{name: max(value, getattr(LEAST, name)) for name, value in measured.items()})


def _width(moves: Sequence[Moves]) -> float:
    beyond = _beyond(np.concatenate([m.shift for m in moves]), np.concatenate([m.chance for m in moves]))
    return float(f"{np.sqrt(beyond):.3g}")


def _walk(moves: Sequence[Moves]) -> float:
    length = float(np.mean([m.lumisections for m in moves]))
    beyond = _beyond(np.concatenate([m.walk for m in moves]), np.concatenate([m.walk_chance for m in moves]))
    return float(f"{3 * beyond / length:.2g}")


def _beyond(values: Floats, chance: Floats) -> float:
    """Variance to be added to chance so that pulls scatter by 1: of few units by their mean square, else the median.

    0 where chance explains all.
    """
    few = len(values) < FEW

    def excess(variance: float) -> float:
        pull2 = values**2 / (chance + variance)
        return float(np.mean(pull2) - 1 if few else np.median(pull2) - MEDIAN)

    return 0.0 if excess(0.0) <= 0 else float(brentq(excess, 0.0, 1.0))
