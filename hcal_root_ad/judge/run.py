"""The main job on one run: maps and bundles in, a verdict out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.errors import BundleError, NoHcalError
from hcal_root_ad.judge.channels import judge_channels
from hcal_root_ad.judge.strips import judge_strips
from hcal_root_ad.judge.totals import fits_channels, judge_totals, ring_reference, series_of_totals
from hcal_root_ad.judge.verdict import RunVerdict, Verdict
from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.learn.reconstruct import reconstruct, reference_log_rate
from hcal_root_ad.learn.reference import fit_activity, fit_reference
from hcal_root_ad.learn.series import MINIMUM_EVENTS, Series, series_of
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.networks.graphstad import GraphSTAD
from hcal_root_ad.occupancy import Floats, probability, pull

MISFIT = 1.3
"""Typical |pull| (median over channels and LS) above which a reference is of another detector; 0.7 is perfect."""
REACH = 1.5
"""How far (in log activity) conditions may lie outside of what the reference has seen."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class _Task:
    """One sub-detector to judge: its series, the bundle as it will be used, the activity of each LS."""

    series: Series
    bundle: Bundle
    activity: Floats
    notes: tuple[str, ...]


def judge_run(
    maps: LumiMaps,
    bundles: Sequence[Bundle],
    *,
    false_alarms: float | None = None,
    progress: Progress | None = None,
) -> RunVerdict:
    """Judge every sub-detector that the maps hold and a bundle serves.

    Args:
        false_alarms: wished false intervals per 100 LS and sub-detector; the bundle's own if not given.
        progress: called with (done, total) sub-detectors.

    Raises:
        BundleError: if two bundles are for the same sub-detector, or none serves what the run holds.
        NoHcalError: if no lumisection can be judged.
    """
    _check_bundles(bundles)
    if maps.coarse is not None:
        return _judge_coarse(maps, bundles, false_alarms, progress)
    served = [bundle for bundle in bundles if bundle.subdetector in maps.found]
    if not maps.found:
        raise NoHcalError(f"run {maps.run}: no digi of HB or HE in any lumisection; nothing can be judged")
    if not served:
        have = ", ".join(f"{bundle.name} ({bundle.subdetector})" for bundle in bundles) or "none"
        raise BundleError(
            f"run {maps.run} holds {', '.join(maps.found)}, the bundles given are {have}; give one that fits"
        )
    tasks = [_task(maps, bundle) for bundle in served]
    if not any(len(task.series) for task in tasks):
        raise NoHcalError(
            f"run {maps.run}: no lumisection has HCAL maps and at least {MINIMUM_EVENTS} events; nothing can be judged"
        )
    verdicts = []
    for done, task in enumerate(tasks):
        verdicts.append(_judge(maps, task, [other for other in tasks if other is not task], false_alarms))
        if progress:
            progress(done + 1, len(tasks))
    missing = [
        f"no bundle for {name}: it was not judged" for name in maps.found if name not in {b.subdetector for b in served}
    ]
    return RunVerdict(maps, tuple(verdicts), notes=tuple(missing))


def _check_bundles(bundles: Sequence[Bundle]) -> None:
    for bundle in bundles:
        same = [other.name for other in bundles if other.subdetector == bundle.subdetector]
        if len(same) > 1:
            raise BundleError(
                f"{' and '.join(same)} are both for {bundle.subdetector}; give one bundle per sub-detector"
            )


def _task(maps: LumiMaps, bundle: Bundle) -> _Task:
    """Use the bundle's reference if it knows this detector, else one made of the run itself."""
    series = series_of(maps, bundle.subdetector)
    if len(series) == 0:
        return _Task(series, bundle, np.zeros(0), ())
    if fits_channels(bundle, maps.channels):
        activity = fit_activity(bundle.reference, series.counts, series.events)
        misfit = _misfit(bundle, series, activity)
        if misfit <= MISFIT:
            return _Task(series, bundle, activity, ())
        why = f"its typical pull is {misfit:.1f} σ"
    else:
        why = f"it was made for {bundle.channels.era.value}, the run is of {series.channels.era.value}"
    bundle = self_referenced(bundle, series)
    activity = fit_activity(bundle.reference, series.counts, series.events)
    note = (
        f"{bundle.subdetector}: bundle {bundle.name} does not know this detector ({why}); judged against this run "
        "itself, so what is wrong throughout the run is not seen; adapt the bundle with transfer on a clean run"
    )
    return _Task(series, bundle, activity, (note,))


def _misfit(bundle: Bundle, series: Series, activity: Floats) -> float:
    """Median |pull| of the reference over lumisections within its reach and live channels."""
    near = np.abs(activity - np.clip(activity, *bundle.reference.activity)) <= REACH
    if not near.any():
        return float("inf")
    part = series.part(np.flatnonzero(near))
    _, eta = reference_log_rate(bundle.reference, part, bundle.ring_normalisation, activity[near])
    live = bundle.reference.live
    return float(np.median(np.abs(pull(part.counts[:, live], part.trials, probability(eta[:, live])))))


def self_referenced(bundle: Bundle, series: Series) -> Bundle:
    """The bundle's network and calibration on a reference learned (robustly) from the run itself."""
    same = np.array_equal(bundle.channels.raw_id, series.channels.raw_id)
    network = bundle.network
    if not same:
        network = GraphSTAD(series.channels, bundle.network.config).eval()
        network.load_state_dict(bundle.network.state_dict())
    error = np.full(len(series.channels), float(np.median(bundle.model_error)))
    reference = fit_reference([series], bundle.reference.power if same else None)
    return replace(bundle, channels=series.channels, network=network, reference=reference, model_error=error)


def _judge(maps: LumiMaps, task: _Task, others: Sequence[_Task], false_alarms: float | None) -> Verdict:
    """Judge one sub-detector; lumisections under unknown conditions are left out, and said."""
    series, reference = task.series, task.bundle.reference
    known = np.clip(task.activity, *reference.activity)
    strange = np.abs(task.activity - known) > REACH
    # If another sub-detector sees ordinary collisions in the same LS, it is this one that fails, not the beam.
    ordinary = np.isin(
        series.lumisections, np.concatenate([_ordinary(other) for other in others] or [np.zeros(0, int)])
    )
    activity = np.where(strange & ordinary, known, task.activity)
    skipped: NDArray[np.bool_] = strange & ~ordinary
    found = reconstruct(task.bundle.network, reference, series, task.bundle.ring_normalisation, activity)
    notes = list(task.notes)
    if skipped.any():
        notes.append(
            f"{task.bundle.subdetector}: {int(skipped.sum())} lumisections not assessed, their activity is far outside "
            f"of what the reference knows (no collisions?): LS {_listed(series.lumisections[skipped])}"
        )
    rate = task.bundle.false_alarms if false_alarms is None else false_alarms
    return judge_channels(maps, series, found, task.bundle, rate, skipped, tuple(notes))


def _ordinary(task: _Task) -> NDArray[np.int32]:
    inside = np.abs(task.activity - np.clip(task.activity, *task.bundle.reference.activity)) <= REACH
    return task.series.lumisections[inside]


def _listed(lumisections: NDArray[np.int32], most: int = 8) -> str:
    shown = ", ".join(str(ls) for ls in lumisections[:most])
    return shown if len(lumisections) <= most else f"{shown} and {len(lumisections) - most} more"


def _judge_coarse(
    maps: LumiMaps, bundles: Sequence[Bundle], false_alarms: float | None, progress: Progress | None
) -> RunVerdict:
    """Judge a file without maps per lumisection at the granularity that it has."""
    assert maps.coarse is not None
    rate = min((bundle.false_alarms for bundle in bundles), default=1.0) if false_alarms is None else false_alarms
    coarse, verdicts = maps.coarse, []
    if coarse.totals is not None and maps.events.sum() >= MINIMUM_EVENTS:
        for done, bundle in enumerate(bundles):
            series = series_of_totals(maps, coarse.totals, bundle.subdetector)
            if series.counts.any():
                fitting, against_ring = _totals_bundle(bundle, series)
                verdicts.append(judge_totals(maps, coarse.totals, fitting, rate, against_ring))
            if progress:
                progress(done + 1, len(bundles))
    strips = None if coarse.strips is None else judge_strips(maps, coarse.strips, rate)
    if strips is None and not verdicts:
        raise NoHcalError(f"run {maps.run}: neither strips per lumisection nor run totals could be judged")
    return RunVerdict(maps, tuple(verdicts), strips=strips)


def _totals_bundle(bundle: Bundle, series: Series) -> tuple[Bundle, bool]:
    """The bundle, and whether channels must be held against their rings because it knows another detector."""
    if not np.array_equal(bundle.channels.raw_id, series.channels.raw_id):
        return replace(bundle, channels=series.channels, reference=ring_reference(series)), True
    _activity, eta = reference_log_rate(bundle.reference, series, bundle.ring_normalisation)
    live = bundle.reference.live
    residual = np.log(np.maximum(series.counts[0, live], 0.5) / (series.events[0] * probability(eta[0, live])))
    return bundle, float(np.median(np.abs(residual))) > TOTALS_MISFIT


TOTALS_MISFIT = 0.05
"""Typical |log(observed / expected)| of run totals above which a reference is of another detector."""
