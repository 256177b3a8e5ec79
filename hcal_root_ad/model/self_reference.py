"""A reference made of the judged run itself, on request: groups are held against their phi ring first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.reference_fit import CleanLumisections, fit_reference

ODD = 0.25
"""A module whose channels are off their phi rings by more (in log rate) is at fault in the whole run."""
FAR_OFF = 4.0
"""The same in robust standard deviations of all modules."""
SPREAD = 0.05
"""Least error of a level that is taken from the ring."""


def reference_of_run(channels: ChannelTable, counts: NDArray[np.integer], events: NDArray[np.int64]) -> Reference:
    """Levels from the run, but never those of a module that is off its rings: instrumented without digis is dead."""
    run = np.zeros(len(events), dtype=np.intp)
    reference = fit_reference(CleanLumisections(channels, counts, events, run), name="this run itself")
    return against_rings(reference)


def against_rings(reference: Reference) -> Reference:
    """The reference with modules that are off their phi rings moved to them, and silent ones made live."""
    offsets = module_offsets(reference)
    tree, channels = reference.tree, reference.channels
    odd = odd_modules(offsets)[tree.module.of]
    ring = ring_levels(reference)
    silent = _silent_modules(reference)[tree.module.of] & channels.instrumented
    level = np.where(odd & ~silent, reference.level - offsets[tree.module.of], reference.level)
    level = np.where(silent, ring, level)
    error = np.where(odd | silent, np.maximum(reference.level_error, SPREAD), reference.level_error)
    return replace(reference, level=level, level_error=error, live=reference.live | silent)


def odd_modules(offsets: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(modules,) which are off their rings by more than ``ODD``, and by more than modules of this detector are.

    Photodiode boxes differ by a quarter and are sound: they scatter by 12 % in HB in 2017.
    """
    return np.asarray(np.abs(offsets) > max(ODD, FAR_OFF * 1.4826 * float(np.median(np.abs(offsets)))))


def ring_levels(reference: Reference) -> NDArray[np.floating]:
    """(channels,) median level of the live channels of each channel's ring."""
    tree = reference.tree
    out = np.full(len(reference.level), -6.0)
    for ring in range(len(tree.ring)):
        mates = tree.ring.of == ring
        if (mates & reference.live).any():
            out[mates] = np.median(reference.level[mates & reference.live])
    return out


def module_offsets(reference: Reference) -> NDArray[np.floating]:
    """(modules,) median level of each module's live channels against their rings; 0 where none is live."""
    tree, difference = reference.tree, reference.level - ring_levels(reference)
    out = np.zeros(len(tree.module))
    for module in range(len(tree.module)):
        mine = (tree.module.of == module) & reference.live
        if mine.any():
            out[module] = np.median(difference[mine])
    return out


def _silent_modules(reference: Reference) -> NDArray[np.bool_]:
    """(modules,) without a live channel, although instrumented."""
    tree = reference.tree
    live = np.bincount(tree.module.of, reference.live, len(tree.module))
    instrumented = np.bincount(tree.module.of, reference.channels.instrumented, len(tree.module))
    return np.asarray((live == 0) & (instrumented > 0))
