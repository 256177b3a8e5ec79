"""The main job on one run: maps and bundles in, a verdict out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.errors import BundleError, NoHcalError
from hcal_root_ad.judge.channels import judge_channels
from hcal_root_ad.judge.fitness import FEWEST, MISFIT, fits_channels, misfit, self_referenced
from hcal_root_ad.judge.strips import judge_strips
from hcal_root_ad.judge.totals import judge_totals, ring_reference, series_of_totals
from hcal_root_ad.judge.verdict import RunVerdict, Verdict
from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.learn.reconstruct import reconstruct
from hcal_root_ad.learn.reference import Reference, fit_activity
from hcal_root_ad.learn.series import MINIMUM_EVENTS, Series, series_of
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.occupancy import Floats

REACH = 1.5
"""How far (in log activity) conditions may lie outside of what the reference has seen."""
SETTLED = 0.6
"""Share of channels that must agree with an activity; with half of a sub-detector off, the fit may follow either."""
AGREE, AT_LEAST = 4.0, 0.25
"""Statistical standard deviations, or share of the expected digis, within which a channel agrees with an activity."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class _Task:
    """One sub-detector to judge: its series, the bundle as it will be used, the activity of each LS.

    ``blind``: nothing is known to hold the run against.
    """

    series: Series
    bundle: Bundle
    activity: Floats
    notes: tuple[str, ...] = ()
    blind: bool = False

    @cached_property
    def known(self) -> Floats:
        """(LS,) the activity, cut to what the reference has seen."""
        return np.clip(self.activity, *self.bundle.reference.activity)

    @cached_property
    def near(self) -> NDArray[np.bool_]:
        """(LS,) whether the activity is one that the reference can judge."""
        near: NDArray[np.bool_] = np.abs(self.activity - self.known) <= REACH
        return near & (not self.blind)

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
    # A bundle that was given for a silent sub-detector says that it should not be silent.
    served = [b for b in bundles if b in served or fits_channels(b, maps.channels)]
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
    return RunVerdict(
        maps, tuple(verdicts), notes=_not_judged([*maps.found, *(b.subdetector for b in served)], bundles)
    )


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
    near = np.flatnonzero(task.near)
    found = misfit(bundle, series.part(near), task.activity[near])
    if found > MISFIT:
        return _self_referenced_task(series, bundle, f"its typical deviation is {found:.1f} sigma")
    return task


def _self_referenced_task(series: Series, bundle: Bundle, why: str) -> _Task:
    note = (
        f"{bundle.subdetector}: bundle {bundle.name} does not know this detector ({why}); judged against this run "
        "itself, so what is wrong throughout the run is not seen; adapt the bundle with transfer on a clean run"
    )
    if len(series) < FEWEST:
        note = (
            f"{bundle.subdetector}: bundle {bundle.name} does not know this detector ({why}), and a run of "
            f"{len(series)} lumisections cannot be held against itself: not assessed; adapt the bundle with transfer"
        )
        return _Task(series, bundle, np.zeros(len(series)), (note,), blind=True)
    bundle = self_referenced(bundle, series)
    return _Task(series, bundle, fit_activity(bundle.reference, series.counts, series.events), (note,))


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
    if skipped.any() and not task.blind:
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
    return bundle, misfit(bundle, series) > MISFIT
