"""The main job on one run: maps and bundles in, a verdict out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.errors import BundleError, NoHcalError
from hcal_root_ad.judge.channels import judge_channels
from hcal_root_ad.judge.strips import judge_strips
from hcal_root_ad.judge.totals import fits_channels, judge_totals, ring_reference, series_of_totals
from hcal_root_ad.judge.verdict import RunVerdict, Verdict
from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.learn.reconstruct import reconstruct, reference_log_rate
from hcal_root_ad.learn.reference import RATE_FLOOR, Reference, fit_activity, fit_reference
from hcal_root_ad.learn.series import MINIMUM_EVENTS, Series, series_of
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.networks.graphstad import GraphSTAD
from hcal_root_ad.occupancy import Floats, probability, pull

MISFIT = 1.3
"""Typical |pull| (median over channels and LS) above which a reference is of another detector; 0.7 is perfect."""
REACH = 1.5
"""How far (in log activity) conditions may lie outside of what the reference has seen."""
SETTLED = 0.6
"""Share of channels that must agree with an activity; with half of a sub-detector off, the fit may follow either."""
AGREE, AT_LEAST = 4.0, 0.25
"""Statistical standard deviations, or share of the expected digis, within which a channel agrees with an activity."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class _Task:
    """One sub-detector to judge: its series, the bundle as it will be used, the activity of each LS."""

    series: Series
    bundle: Bundle
    activity: Floats
    notes: tuple[str, ...] = ()

    @cached_property
    def known(self) -> Floats:
        """(LS,) the activity, cut to what the reference has seen."""
        return np.clip(self.activity, *self.bundle.reference.activity)

    @cached_property
    def near(self) -> NDArray[np.bool_]:
        """(LS,) whether the activity is one that the reference can judge."""
        near: NDArray[np.bool_] = np.abs(self.activity - self.known) <= REACH
        return near

    @cached_property
    def ordinary(self) -> NDArray[np.bool_]:
        """(LS,) whether, besides, most channels agree with it: ordinary collisions, seen by a sound sub-detector."""
        agree = _agreeing(self.bundle.reference, self.series.counts, self.series.trials, self.activity)
        settled: NDArray[np.bool_] = agree.sum(axis=1) >= SETTLED * self.bundle.reference.live.sum()
        return self.near & settled


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
    tasks = _tasks(maps, served)
    if not any(len(task.series) for task in tasks):
        raise NoHcalError(
            f"run {maps.run}: no lumisection has HCAL maps and at least {MINIMUM_EVENTS} events; nothing can be judged"
        )
    verdicts = []
    for done, task in enumerate(tasks):
        verdicts.append(_judge(maps, task, [other for other in tasks if other is not task], false_alarms))
        if progress:
            progress(done + 1, len(tasks))
    return RunVerdict(maps, tuple(verdicts), notes=_not_judged(maps.found, bundles))


def _not_judged(found: Sequence[str], bundles: Sequence[Bundle]) -> tuple[str, ...]:
    """Why a sub-detector has no verdict: a silent one must not pass for a good one."""
    have = {bundle.subdetector for bundle in bundles}
    silent = [
        f"{name}: no digi in the whole run, its channels were not judged (off, dead, or not in the file)"
        for name in ("HB", "HE")
        if name not in found
    ]
    return (*silent, *(f"no bundle for {name}: its channels were not judged" for name in found if name not in have))


def _check_bundles(bundles: Sequence[Bundle]) -> None:
    for bundle in bundles:
        same = [other.name for other in bundles if other.subdetector == bundle.subdetector]
        if len(same) > 1:
            raise BundleError(
                f"{' and '.join(same)} are both for {bundle.subdetector}; give one bundle per sub-detector"
            )


def _tasks(maps: LumiMaps, bundles: Sequence[Bundle]) -> list[_Task]:
    """Use each bundle's reference if it knows this detector, else one made of the run itself."""
    tasks = [_task(maps, bundle) for bundle in bundles]
    if any(task.near.any() for task in tasks):
        # Where one sub-detector sees what it knows, another that never does is at fault: its reference stays.
        return tasks
    why = "the activity of every lumisection is far outside of what it has seen"
    return [_self_referenced_task(task.series, task.bundle, why) if len(task.series) else task for task in tasks]


def _task(maps: LumiMaps, bundle: Bundle) -> _Task:
    series = series_of(maps, bundle.subdetector)
    if len(series) == 0:
        return _Task(series, bundle, np.zeros(0))
    if not fits_channels(bundle, maps.channels):
        why = f"it was made for {bundle.channels.era.value}, the run is of {series.channels.era.value}"
        return _self_referenced_task(series, bundle, why)
    task = _Task(series, bundle, fit_activity(bundle.reference, series.counts, series.events))
    misfit = _misfit(task)
    if misfit > MISFIT:
        return _self_referenced_task(series, bundle, f"its typical pull is {misfit:.1f} σ")
    return task


def _misfit(task: _Task) -> float:
    """Median |pull| of the reference over lumisections within its reach and live channels; 0 if there are none."""
    reference, near = task.bundle.reference, task.near
    if not near.any() or not reference.live.any():
        return 0.0
    part = task.series.part(np.flatnonzero(near))
    _, eta = reference_log_rate(reference, part, task.bundle.ring_normalisation, task.activity[near])
    live = reference.live
    return float(np.median(np.abs(pull(part.counts[:, live], part.trials, probability(eta[:, live])))))


def _self_referenced_task(series: Series, bundle: Bundle, why: str) -> _Task:
    note = (
        f"{bundle.subdetector}: bundle {bundle.name} does not know this detector ({why}); judged against this run "
        "itself, so what is wrong throughout the run is not seen; adapt the bundle with transfer on a clean run"
    )
    bundle = self_referenced(bundle, series)
    return _Task(series, bundle, fit_activity(bundle.reference, series.counts, series.events), (note,))


def self_referenced(bundle: Bundle, series: Series) -> Bundle:
    """The bundle's network and calibration on a reference learned (robustly) from the run itself."""
    same = np.array_equal(bundle.channels.raw_id, series.channels.raw_id)
    network = bundle.network
    if not same:
        network = GraphSTAD(series.channels, bundle.network.config).eval()
        network.load_state_dict(bundle.network.state_dict())
    error = np.full(len(series.channels), float(np.median(bundle.model_error)))
    size = len(series.channels)
    # Without a channel that counts there is nothing to learn from, and none can be told from one not connected.
    zero, one = np.zeros(size), np.ones(size)
    reference = Reference(zero, zero, one, zero, np.zeros(size, dtype=bool), (0.0, 0.0))
    if (series.counts.sum(axis=0) > max(RATE_FLOOR * series.events.sum(), 5)).any():
        reference = fit_reference([series], bundle.reference.power if same else None)
    return replace(bundle, channels=series.channels, network=network, reference=reference, model_error=error)


def _judge(maps: LumiMaps, task: _Task, others: Sequence[_Task], false_alarms: float | None) -> Verdict:
    """Judge one sub-detector; lumisections under unknown conditions are left out, and said."""
    series, reference, activity = task.series, task.bundle.reference, task.activity.copy()
    skipped = ~task.near
    for other in others:
        # If another sub-detector sees ordinary collisions in the same LS, it is this one that fails, not the beam.
        there = dict(zip(other.series.lumisections[other.ordinary], other.known[other.ordinary], strict=True))
        for row in np.flatnonzero(~task.ordinary & np.isin(series.lumisections, list(there))):
            activity[row] = _activity_from(task, row, there[series.lumisections[row]])
            skipped[row] = False
    found = reconstruct(task.bundle.network, reference, series, task.bundle.ring_normalisation, activity)
    notes = list(task.notes)
    if skipped.any():
        notes.append(
            f"{task.bundle.subdetector}: {int(skipped.sum())} lumisections not assessed, their activity is far outside "
            f"of what the reference knows (no collisions?): LS {_listed(series.lumisections[skipped])}"
        )
    rate = task.bundle.false_alarms if false_alarms is None else false_alarms
    return judge_channels(maps, series, found, task.bundle, rate, skipped, tuple(notes))


def _agreeing(reference: Reference, counts: NDArray[np.int32], trials: Floats, activity: Floats) -> NDArray[np.bool_]:
    """(LS, channels) live channels whose counts are about what activities (LS,) let expect."""
    p = reference.expected(activity)
    width = np.maximum(AGREE * np.sqrt(trials * p * (1 - p)), AT_LEAST * trials * p)
    agreeing: NDArray[np.bool_] = (np.abs(counts - trials * p) < width) & reference.live
    return agreeing


def _activity_from(task: _Task, row: np.integer, elsewhere: float) -> float:
    """Activity of one LS, from the channels that agree with what another sub-detector sees in it."""
    reference, one = task.bundle.reference, task.series.part(np.array([row]))
    start = np.clip([elsewhere], *reference.activity)
    agreeing = _agreeing(reference, one.counts, one.trials, start)[0]
    if not agreeing.any():
        return float(start[0])
    return float(fit_activity(replace(reference, live=agreeing), one.counts, one.events, start)[0])


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
    notes: tuple[str, ...] = ()
    if coarse.totals is not None and maps.events.sum() >= MINIMUM_EVENTS:
        totals = {name: series_of_totals(maps, coarse.totals, name) for name in ("HB", "HE")}
        found = [name for name, series in totals.items() if series.counts.any()]
        notes = _not_judged(found, bundles)
        for done, bundle in enumerate(bundles):
            if bundle.subdetector in found:
                fitting, against_ring = _totals_bundle(bundle, totals[bundle.subdetector])
                verdicts.append(judge_totals(maps, coarse.totals, fitting, rate, against_ring))
            if progress:
                progress(done + 1, len(bundles))
    strips = None if coarse.strips is None else judge_strips(maps, coarse.strips, rate)
    if not verdicts and (strips is None or not strips.assessed.any()):
        raise NoHcalError(
            f"run {maps.run}: neither strips per lumisection nor run totals could be judged; "
            f"at least {MINIMUM_EVENTS} events with digis are needed"
        )
    return RunVerdict(maps, tuple(verdicts), strips=strips, notes=notes)


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
