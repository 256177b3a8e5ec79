"""The runs of a point: training runs with as many lumisections and faults as it asks for, and those that judge it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import Subdetector
from hcal_root_ad.model.common_part import CommonPartFit
from hcal_root_ad.model.counts import SubdetectorCounts, subdetector_counts
from hcal_root_ad.model.graphstad import Segment
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.reference_fit import CleanLumisections, fit_reference
from hcal_root_ad.simulate.scenario import FaultKind, InjectedFault, make_fault, simulate_conditions
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.simulated_run import FIRST_RUN, SimulatedRun, simulate_run
from hcal_root_ad.unit_names import unit_names
from studies.transfer.settings import Domain, Point

HELD_OUT, FAULTY = 500, 900
"""Run numbers of a seed's clean and faulty test runs, after those of the training runs."""
CHANGED = 0.05
"""Relative change of a digi probability from which on a channel counts as at fault in a lumisection."""
FAINT = ((FaultKind.DEGRADED, 0.6), (FaultKind.DEGRADED, 0.8), (FaultKind.HOT, 1.25), (FaultKind.HOT, 1.5))
"""Faults of the test run: strong ones are found whatever the network."""
FAINT_CHANNELS, FAINT_MODULES, FAINT_LENGTH = 24, 2, 10
"""Channels and modules for each of them, and for how many lumisections."""
STRONG = ((FaultKind.DEAD, 0.0), (FaultKind.DEGRADED, 0.5), (FaultKind.HOT, 2.0), (FaultKind.NOISY, 0.2))
"""Faults of contaminated training runs."""


@dataclass(frozen=True, eq=False)
class Materials:
    """All that a network is trained on and measured with.

    ``training`` segments; ``held_out`` clean segments and the ``faulty`` one with the reference that the
    target would be judged with; ``at_fault``: (LS, channels) cells of the faulty one; ``healthy``:
    (channels,) those that have no fault in any lumisection of it.
    """

    training: list[Segment]
    held_out: list[Segment]
    faulty: Segment
    at_fault: NDArray[np.bool_]
    healthy: NDArray[np.bool_]

    @property
    def lumisections(self) -> int:
        """Number of training lumisections."""
        return sum(len(segment) for segment in self.training)


def materials_of(point: Point) -> Materials:
    """Simulate what a point needs; the last few are kept, for neighbours in the grid."""
    plain = replace(point, blocks="SSSSS", preserved=False, annealing="cosine")
    return _materials(plain)


@lru_cache(maxsize=2)
def _materials(point: Point) -> Materials:
    lengths = shared_out(point.fraction, point.size.runs, point.size.lumisections, point.size.window)
    training = [_training_series(point, k, length) for k, length in enumerate(lengths)]
    joint, segments = reference_and_segments(training)
    if point.whole_reference:
        whole = replace(point, fraction=1.0)
        joint = reference_of([_training_series(whole, k, point.size.lumisections) for k in range(point.size.runs)])
    target = point.target
    held_out = [_series(_run(point, HELD_OUT + k), target) for k in range(point.size.held_out)]
    run = _run(point, FAULTY)
    faulty = _series(run, target)
    rows = np.ix_(faulty.position, run.maps.channels.rows_of(target.subdetector))
    right, wrong = run.rates[rows], run.faulty_rates[rows]
    live = joint.live & (right > 0)
    return Materials(
        training=segments,
        held_out=[against(joint, one) for one in held_out],
        faulty=against(joint, faulty),
        at_fault=live & (np.abs(wrong - right) > CHANGED * right),
        healthy=live.all(axis=0) & (wrong == right).all(axis=0),
    )


def reference_of(series: Sequence[SubdetectorCounts]) -> Reference:
    """The reference of clean runs of one sub-detector."""
    counts, events = (np.concatenate([getattr(one, name) for one in series]) for name in ("counts", "events"))
    run = np.repeat(np.arange(len(series)), [len(one) for one in series])
    return fit_reference(CleanLumisections(series[0].channels, counts, events.astype(np.int64), run))


def against(reference: Reference, series: SubdetectorCounts) -> Segment:
    """What a reference of the sub-detector alone expects of a run."""
    levels = CommonPartFit(reference).fit(series.counts, series.events.astype(np.int64))
    log_rate = reference.level + np.multiply.outer(levels.log_pileup.astype(np.float64), reference.power)
    log_rate = log_rate + levels.ring[:, reference.tree.ring.of]
    return Segment(series, log_rate.astype(np.float32), reference.live)


def reference_and_segments(series: list[SubdetectorCounts]) -> tuple[Reference, list[Segment]]:
    """The joint reference of clean runs, and each of them against another one's, as ``train`` does."""
    references = [reference_of([one]) for one in series]
    segments = [against(references[(k + 1) % len(series)], one) for k, one in enumerate(series)]
    return reference_of(series), segments


def source_segments(point: Point) -> list[Segment]:
    """Training segments of the source: all of its lumisections, clean; of several detectors, each by its reference."""
    source, segments = point.source, []
    runs = source.times * point.size.runs
    for place, detector in enumerate((source.detector, *source.further)):
        own = replace(source, detector=detector, further=())
        whole = [_series(_run(point, number, own), own) for number in range(place * runs, (place + 1) * runs)]
        segments += reference_and_segments(whole)[1]
    return segments


def shared_out(fraction: float, runs: int, lumisections: int, window: int) -> list[int]:
    """Lumisections of each run that is used: of as many runs as give two windows each, and of two at least."""
    total = round(fraction * runs * lumisections)
    used = int(np.clip(total // (2 * window), min(2, runs), runs))
    return [total // used] * used


def contaminated(share: float, lengths: list[int]) -> list[int]:
    """How many lumisections of each run have faults, so that the share holds for all together."""
    so_far = np.rint(share * np.cumsum([0, *lengths])).astype(int)
    return [int(n) for n in np.diff(so_far)]


def _training_series(point: Point, k: int, length: int) -> SubdetectorCounts:
    """The first lumisections of training run ``k``; its faults, if any, change no count but their own."""
    lengths = shared_out(point.fraction, point.size.runs, point.size.lumisections, point.size.window)
    run = _run(point, k)
    if faulty := contaminated(point.contamination, lengths)[k]:
        struck = _run(point, k, faulty=faulty, within=length)
        counts = np.where(struck.faulty_rates != struck.rates, struck.maps.counts, run.maps.counts)
        run = replace(run, maps=replace(run.maps, counts=counts))
    return _series(run, point.target).rows(slice(0, length))


def _series(run: SimulatedRun, domain: Domain) -> SubdetectorCounts:
    """The domain's assessable lumisections; where it is one side, the other one gives no digis."""
    series = subdetector_counts(run.maps, domain.subdetector)
    if domain.side is None:
        return series
    return replace(series, counts=np.where(series.channels.side == domain.side, series.counts, 0).astype(np.int32))


@cache
def _detector(domain: Domain) -> SimulatedDetector:
    return simulate_detector(domain.detector, domain.era)


def _run(
    point: Point, number: int, domain: Domain | None = None, faulty: int = 0, within: int | None = None
) -> SimulatedRun:
    """Run ``number`` of the point's seed; training runs spread over the fill, and with it over pileup."""
    domain = domain or point.target
    detector = _detector(domain)
    seed = 1000 * point.seed + number
    start = 0.9 * (number + 0.5) / point.size.runs if number < point.size.runs else None
    conditions = simulate_conditions(point.size.lumisections, seed, start)
    faults: tuple[InjectedFault, ...] = ()
    if number == FAULTY:
        faults = faint_faults(detector, domain, point.size.lumisections, seed)
    elif faulty:
        faults = unlabelled_faults(detector, domain, faulty, within or len(conditions), seed)
    return simulate_run(detector, conditions, faults, seed, FIRST_RUN[domain.era] + seed)


def faint_faults(
    detector: SimulatedDetector, domain: Domain, lumisections: int, seed: int
) -> tuple[InjectedFault, ...]:
    """Faults of the test run: single channels and modules, at different times of the run."""
    draw = np.random.default_rng(np.random.SeedSequence([seed, 0xFA1]))
    length = min(FAINT_LENGTH, lumisections)
    faults = []
    for scale, number in (("channel", FAINT_CHANNELS), ("RM", FAINT_MODULES)):
        names = _live_units(detector, domain, scale)
        for k, unit in enumerate(draw.choice(names, min(number * len(FAINT), len(names)), replace=False)):
            kind, strength = FAINT[k % len(FAINT)]
            first = int(draw.integers(1, lumisections - length + 2))
            faults.append(make_fault(detector, kind, str(unit), first, first + length - 1, strength))
    return tuple(faults)


def unlabelled_faults(
    detector: SimulatedDetector, domain: Domain, lumisections: int, within: int, seed: int
) -> tuple[InjectedFault, ...]:
    """Faults in some consecutive lumisections of the first ``within``: a box, two modules and twenty channels."""
    draw = np.random.default_rng(np.random.SeedSequence([seed, 0xC047]))
    first = int(draw.integers(1, within - lumisections + 2))
    faults = []
    for scale, number in (("RBX", 1), ("RM", 2), ("channel", 20)):
        for unit in draw.choice(_live_units(detector, domain, scale), number, replace=False):
            kind, strength = STRONG[int(draw.integers(len(STRONG)))]
            last = first + lumisections - 1
            faults.append(make_fault(detector, kind, str(unit), first, last, strength, int(draw.integers(2**31))))
    return tuple(faults)


def _live_units(detector: SimulatedDetector, domain: Domain, scale: str) -> list[str]:
    """Units of a domain's side or sides with at least one live channel."""
    channels = detector.channels
    mine = detector.live & (channels.subdetector == Subdetector[domain.subdetector])
    if domain.side is not None:
        mine &= channels.side == domain.side
    return unit_names(channels.take(mine), scale)
