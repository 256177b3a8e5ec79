"""What a judged run says of each unit against the reference it was judged by, as sums over its LS.

For a unit with scores x (the shift of log rate that an LS asks for) and information w (its inverse variance), at log
pileup u, the sums Σw·uʲ and Σw·x·uʲ are all that an estimate of its level and power needs. A detector state learns from
them (:mod:`hcal_root_ad.state`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.channels import Residuals, blocks
from hcal_root_ad.judge.levels import UnitLevels
from hcal_root_ad.judge.verdict import Measurement, RunSums
from hcal_root_ad.model.reference_fit import overdispersion_of
from hcal_root_ad.model.unit_tree import UnitTree
from hcal_root_ad.stats.binomial import Floats


def measure(residuals: Residuals, units: UnitLevels, subdetector: str, rows: NDArray[np.bool_]) -> Measurement | None:
    """Measure one sub-detector over some rows (LS,); None where no row counts."""
    if not rows.any():
        return None
    reference, levels = residuals.reference, residuals.levels.rows(np.flatnonzero(rows))
    tree, u = reference.tree, levels.log_pileup.astype(np.float64)
    own = reference.channels.rows_of(subdetector)
    sums = {
        "channel": _channels(residuals, own, rows, u, units.ring_shift - units.whole_ring[:, tree.ring_of_side_ring])
    } | _units(units, tree, subdetector, rows, u)
    return Measurement(
        lumisections=int(rows.sum()),
        log_pileup=(float(u.min()), float(u.mean()), float(u.max())),
        sums=sums,
        digis=residuals.counts[:, own][rows].sum(axis=0, dtype=np.int64),
        events=int(residuals.events[rows].sum()),
        overdispersion=overdispersion_of(reference, levels),
    )


def _channels(residuals: Residuals, own: NDArray[np.intp], rows: NDArray[np.bool_], u: Floats, side: Floats) -> RunSums:
    """Sums of channels; ``side``: (LS, side rings) what each side of a ring is off the ring."""
    tree = residuals.reference.tree
    place = np.full(len(residuals.reference.channels), -1, dtype=np.intp)
    place[own] = np.arange(len(own))
    information, score = np.zeros((3, len(own))), np.zeros((2, len(own)))
    columns = np.flatnonzero(place[residuals.live] >= 0)
    for some in blocks(columns, len(rows)):
        b, w = residuals.steps(some)
        # A state knows rings of both sides: what one side does against the other is its channels' own.
        b = b + w * side[:, tree.side_ring.of[residuals.live[some]]]
        part, where = RunSums.of(b[rows], w[rows], u), place[residuals.live[some]]
        information[:, where], score[:, where] = part.information, part.score
    return RunSums(information, score)


def _units(
    units: UnitLevels, tree: UnitTree, subdetector: str, rows: NDArray[np.bool_], u: Floats
) -> dict[str, RunSums]:
    d = tree.subdetector.names.index(subdetector)
    module = np.flatnonzero(tree.subdetector_of_box[tree.box_of_module] == d)
    box = np.flatnonzero(tree.subdetector_of_box == d)
    half = np.flatnonzero(tree.subdetector_of_half == d)
    ring = np.flatnonzero(tree.subdetector_of_ring == d)
    inside = np.bincount(tree.box_of_module, minlength=len(tree.box))

    def sums(values: Floats, variances: Floats) -> RunSums:
        w = 1 / np.maximum(variances, 1e-9)
        return RunSums.of(w * values, w, u)

    alone = inside[tree.box_of_module[module]] == 1
    modules = sums(units.module[rows][:, module], units.module_variance[rows][:, module])
    for array in (modules.information, modules.score):
        array[:, alone] = 0  # a module that is the whole box says nothing of itself
    boxes = (units.box + units.around)[rows][:, box]  # a wave in phi that stays is what the boxes do
    return {
        "module": modules,
        "box": sums(boxes, units.box_variance[rows][:, box]),
        "half": sums(units.half[rows][:, half], units.half_variance[rows][:, half]),
        "ring": sums(units.whole_ring[rows][:, ring], units.whole_ring_variance[rows][:, ring]),
        "subdetector": sums(units.subdetector[rows][:, [d]], np.full((int(rows.sum()), 1), 1e-5)),
    }
