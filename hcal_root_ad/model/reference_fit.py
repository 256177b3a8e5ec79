"""From clean lumisections to a reference: levels, powers, their errors, and how sums scatter.

Alternates between the common part of each LS (:mod:`hcal_root_ad.model.common_part`) and the channels' levels and
powers, each a robust Newton step. What rings do from LS to LS is a condition and teaches no channel anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable, Subdetector
from hcal_root_ad.errors import InputError
from hcal_root_ad.model.common_part import CommonLevels, CommonPartFit
from hcal_root_ad.model.reference import Overdispersion, Reference, Widths
from hcal_root_ad.model.unit_tree import BIWEIGHT, BLOCK
from hcal_root_ad.stats.binomial import Floats, log_rate, newton_step

ROUNDS = 6
LEAST_DIGIS = 5
"""A channel with fewer digis in all clean runs is not connected, or masked."""
LEAST_RATE = 2e-4
"""The same, per event."""
LEAST_EVENTS = 2_000
"""Events that a first reference needs: a channel at 0.3 digis per event is then known to 3 %."""
ENOUGH = 600
"""More lumisections than this are thinned evenly: rates are then known to 0.2 %, drifts are larger."""
FIRST_POWER = {Subdetector.HB: 1.0, Subdetector.HE: 1.4, Subdetector.HO: 1.0}
"""Power of log rate against log pileup before anything is learned; HE over HB is 1.41 in simulated clean runs."""
POWER_WIDTH = 0.25
"""Prior width of a ring's power around that."""
KNOWN_POWER_WIDTH = 0.06
"""The same around another detector's power."""
CHANNEL_POWER = 0.03
"""Spread of the power between the channels of a ring."""
RING_DRIFT = 0.003
"""Drift of a ring within a run that has nothing to do with pileup."""
RISE = 0.3
"""A saturated channel's level stays within this of its pooled rate."""


@dataclass(frozen=True, eq=False)
class CleanLumisections:
    """Lumisections to learn from: ``counts`` (LS, channels), ``events`` (LS,), ``run`` (LS,) index of the run."""

    channels: ChannelTable
    counts: NDArray[np.integer]
    events: NDArray[np.int64]
    run: NDArray[np.intp]

    def thinned(self, most: int = ENOUGH) -> CleanLumisections:
        """Every so many-th LS of a long series."""
        rows = slice(None, None, max(1, -(-len(self.events) // most)))
        return replace(self, counts=self.counts[rows], events=self.events[rows], run=self.run[rows])


def fit_reference(clean: CleanLumisections, prior: Reference | None = None, name: str = "") -> Reference:
    """Learn a reference; ``prior`` gives the powers (and widths) of another detector or period of the same channels.

    Raises:
        InputError: if there are too few events.
    """
    if clean.events.sum() < LEAST_EVENTS:
        raise InputError(
            f"the clean runs hold {int(clean.events.sum())} events with HCAL maps, at least {LEAST_EVENTS} are needed "
            "to learn a rate per channel; give more or longer runs"
        )
    clean = clean.thinned()
    reference, pooled, prior_power, width = _start(clean, prior, name)
    for _ in range(ROUNDS):
        levels = CommonPartFit(reference).fit(clean.counts, clean.events)
        reference, levels = _centred(reference, levels, clean)
        reference = ring_powers(reference, levels, prior_power, width)
        reference = _channel_levels(reference, levels, clean, pooled)
    reference = _channel_powers(reference, CommonPartFit(reference).fit(clean.counts, clean.events), clean)
    levels = CommonPartFit(reference).fit(clean.counts, clean.events)
    u, spread = levels.log_pileup, overdispersion_of(reference, levels)
    return replace(reference, pileup_range=(float(u.min()), float(u.max())), overdispersion=spread)


def _start(clean: CleanLumisections, prior: Reference | None, name: str) -> tuple[Reference, Floats, Floats, float]:
    """Pooled rates, and first powers."""
    total, events = clean.counts.sum(axis=0, dtype=np.int64), float(clean.events.sum())
    live = total > np.maximum(LEAST_RATE * events, LEAST_DIGIS)
    share = (np.minimum(clean.counts, clean.events[:, None]) + 0.5) / (clean.events[:, None] + 1.0)
    # The weighted mean, unless a part of the run was at fault: then the median LS.
    pooled = log_rate((total + 0.5) / (events + 1))
    if len(clean.events) >= 9:
        median = log_rate(np.median(share, axis=0))
        enough = total / len(clean.events) > 20
        pooled = np.where(enough & (np.abs(median - pooled) > 0.1), median, pooled)
    first = np.array([FIRST_POWER[Subdetector(int(s))] for s in clean.channels.subdetector])
    first, width = (first, POWER_WIDTH) if prior is None else (prior.power.astype(float), KNOWN_POWER_WIDTH)
    nothing = np.zeros(len(total))
    reference = Reference(
        clean.channels, pooled, nothing, first, nothing, live, (-1.0, 1.0),
        widths=prior.widths if prior else Widths(), clean=name,
    )  # fmt: skip
    return reference, pooled, first, width


def _eta(reference: Reference, levels: CommonLevels, rows: slice) -> Floats:
    """(LS, channels) expected log rate under the common part."""
    tree = reference.tree
    part = levels.rows(rows)
    eta = reference.level + np.multiply.outer(part.log_pileup.astype(np.float64), reference.power)
    return eta + part.ring[:, tree.ring.of] + np.where(part.far, 0, part.module)[:, tree.module.of]


def _centred(reference: Reference, levels: CommonLevels, clean: CleanLumisections) -> tuple[Reference, CommonLevels]:
    """Move constants to where they belong: mean pileup and mean shifts of rings and modules into the levels."""
    centre = float(clean.events / clean.events.sum() @ levels.log_pileup)
    hb = (reference.channels.subdetector == Subdetector.HB) & reference.live
    share = -np.expm1(-np.exp(reference.level[hb]))
    scale = float(np.average(reference.power[hb], weights=share)) if hb.any() else 1.0
    ring, module = (np.median(shift, axis=0) for shift in (levels.ring, levels.module))
    tree = reference.tree
    level = reference.level + reference.power * centre + ring[tree.ring.of] + module[tree.module.of]
    u = ((levels.log_pileup - centre) * scale).astype(np.float32)
    levels = replace(levels, log_pileup=u, ring=levels.ring - ring, module=levels.module - module)
    return replace(reference, level=level, power=reference.power / scale), levels


def ring_powers(reference: Reference, levels: CommonLevels, prior: Floats, width: float) -> Reference:
    """What rings do in step with the pileup is their power; ``prior`` (channels,) gives powers known to ``width``."""
    u = levels.log_pileup.astype(np.float64)
    variance = levels.ring_variance.astype(np.float64) + RING_DRIFT**2
    weight = 1 / variance
    centred = u[:, None] - (weight * u[:, None]).sum(axis=0) / weight.sum(axis=0)
    information = (weight * centred**2).sum(axis=0)
    # One drift of a ring over the run looks like a power: it counts once, not once per LS.
    information = information / (1 + information * RING_DRIFT**2 / max(float(np.var(u)), 1e-12))
    slope = (weight * levels.ring * centred).sum(axis=0) / np.maximum((weight * centred**2).sum(axis=0), 1e-12)
    tree = reference.tree
    counts = np.bincount(tree.ring.of, minlength=len(tree.ring))
    prior_ring = np.bincount(tree.ring.of, prior, len(tree.ring)) / counts
    now = np.bincount(tree.ring.of, reference.power, len(tree.ring)) / counts
    precision = information + width**-2
    new = (information * (now + slope) + width**-2 * prior_ring) / precision
    power, error = reference.power + (new - now)[tree.ring.of], (1 / np.sqrt(precision))[tree.ring.of]
    return replace(reference, power=power, power_error=error)


def _channel_sums(reference: Reference, levels: CommonLevels, clean: CleanLumisections) -> dict[str, Floats]:
    """Σw, Σwx, Σwu, Σwu², Σwux over LS, robustly, channel by channel."""
    u_all = levels.log_pileup.astype(np.float64)
    sums: dict[str, Floats] = {name: np.zeros(len(reference.level)) for name in ("w", "wx", "wu", "wuu", "wux")}
    for first in range(0, len(u_all), BLOCK):
        rows = slice(first, first + BLOCK)
        n = np.minimum(clean.counts[rows], clean.events[rows, None]).astype(np.float64)
        b, w = newton_step(n, clean.events[rows, None].astype(np.float64), _eta(reference, levels, rows))
        pull2 = b**2 / np.maximum(w, 1e-12)
        tukey = np.maximum(1 - pull2 / BIWEIGHT**2, 0) ** 2
        tukey[levels.far[rows][:, reference.tree.module.of]] = 0
        b, w, u = b * tukey, w * tukey, u_all[rows, None]
        for name, value in (("w", w), ("wx", b), ("wu", w * u), ("wuu", w * u**2), ("wux", b * u)):
            sums[name] += value.sum(axis=0)
    return sums


def _channel_levels(reference: Reference, levels: CommonLevels, clean: CleanLumisections, pooled: Floats) -> Reference:
    sums = _channel_sums(reference, levels, clean)
    total = np.maximum(sums["w"], 1e-9)
    level = reference.level + np.clip(sums["wx"] / total, -0.5, 0.5)
    level = np.minimum(level, pooled + RISE)
    return replace(reference, level=level, level_error=1 / np.sqrt(total))


def _channel_powers(reference: Reference, levels: CommonLevels, clean: CleanLumisections) -> Reference:
    """Each channel's own power, shrunk to its ring's: empirical Bayes with the spread ``CHANNEL_POWER``."""
    sums = _channel_sums(reference, levels, clean)
    total = np.maximum(sums["w"], 1e-9)
    information = np.maximum(sums["wuu"] - sums["wu"] ** 2 / total, 0)
    slope = (sums["wux"] - sums["wu"] * sums["wx"] / total) / np.maximum(information, 1e-12)
    precision = information + CHANNEL_POWER**-2
    step = np.where(reference.live, information * slope / precision, 0)
    level = reference.level + np.clip((sums["wx"] - step * sums["wu"]) / total, -0.2, 0.2) * reference.live
    error = 1 / np.sqrt(precision)
    return replace(reference, power=reference.power + step, level=level, power_error=error)


def overdispersion_of(reference: Reference, levels: CommonLevels) -> Overdispersion:
    """LS-to-LS scatter of rings, boxes and modules over the binomial one; the default where there are few LS."""
    if len(levels) < 20:
        return Overdispersion()
    tree = reference.tree
    module, variance = levels.digis, levels.module_variance
    of = tree.box_of_module
    with np.errstate(divide="ignore", invalid="ignore"):  # a module without digis: its box becomes NaN, and is left out
        weight = 1 / variance
        total = np.stack([np.bincount(of, row, len(tree.box)) for row in weight])
        box = np.stack([np.bincount(of, row, len(tree.box)) for row in weight * module]) / np.maximum(total, 1e-9)

    def ratio(values: Floats, variances: Floats) -> float:
        step = np.diff(values, axis=0) / np.sqrt(variances[1:] + variances[:-1])
        lower, upper = np.nanquantile(step, (0.25, 0.75))
        return float(max(1.0, ((upper - lower) / 1.349) ** 2))

    return Overdispersion(
        ring=ratio(levels.ring, levels.ring_variance), box=ratio(box, 1 / np.maximum(total, 1e-9)),
        module=ratio(module - box[:, of], variance),
    )  # fmt: skip


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
