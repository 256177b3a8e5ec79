"""The judgement of a file without maps per lumisection, at the granularity that it has: strips, and run totals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hcal_root_ad.errors import NoHcalError
from hcal_root_ad.judge.fitness import MISFIT, misfit
from hcal_root_ad.judge.strips import judge_strips
from hcal_root_ad.judge.substitute import Substitutes
from hcal_root_ad.judge.totals import judge_totals, ring_reference
from hcal_root_ad.judge.verdict import RunVerdict
from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.learn.catalogue import FindReference
from hcal_root_ad.learn.series import MINIMUM_EVENTS, Series, series_of_totals
from hcal_root_ad.lumi_maps import LumiMaps


def judge_coarse(
    maps: LumiMaps,
    bundles: Sequence[Bundle],
    false_alarms: float | None,
    find_reference: FindReference | None = None,
) -> RunVerdict:
    """Judge strips and run totals; ``find_reference`` as in :class:`~hcal_root_ad.judge.running.RunJudge`.

    Raises:
        NoHcalError: if neither can be judged.
    """
    assert maps.coarse is not None
    rate = min((bundle.false_alarms for bundle in bundles), default=1.0) if false_alarms is None else false_alarms
    coarse, verdicts = maps.coarse, []
    notes: tuple[str, ...] = ()
    if coarse.totals is not None and maps.run_events >= MINIMUM_EVENTS:
        totals = {name: series_of_totals(maps, coarse.totals, name) for name in ("HB", "HE")}
        found = [name for name, series in totals.items() if series.counts.any()]
        notes, substitutes = not_judged(found, bundles), Substitutes(find_reference)
        for bundle in bundles:
            if bundle.subdetector in found:
                fitting, against_ring, said = _totals_bundle(maps, bundle, totals[bundle.subdetector], substitutes)
                notes = (*notes, *said)
                verdicts.append(judge_totals(maps, coarse.totals, fitting, rate, against_ring))
    strips = None if coarse.strips is None else judge_strips(maps, coarse.strips, rate)
    if not verdicts and (strips is None or not strips.assessed.any()):
        raise NoHcalError(
            f"run {maps.run}: neither strips per lumisection nor run totals could be judged; "
            f"at least {MINIMUM_EVENTS} events with digis are needed"
        )
    return RunVerdict(maps, tuple(verdicts), strips=strips, notes=notes)


def _totals_bundle(
    maps: LumiMaps, bundle: Bundle, series: Series, substitutes: Substitutes
) -> tuple[Bundle, bool, tuple[str, ...]]:
    """The bundle to use, whether channels must be held against their rings because nothing knows them, and notes."""
    same = np.array_equal(bundle.channels.raw_id, series.channels.raw_id)
    if same and misfit(bundle, series) <= MISFIT:
        return bundle, False, ()
    substitute = substitutes.of(maps, bundle)
    if substitute and misfit(substitute.bundle, series) <= MISFIT:
        return substitute.bundle, False, (substitute.note("by its run totals"),)
    if same:
        return bundle, True, ()
    return replace(bundle, channels=series.channels, reference=ring_reference(series)), True, ()


def not_judged(found: Sequence[str], bundles: Sequence[Bundle]) -> tuple[str, ...]:
    """Why a sub-detector has no verdict: a silent one must not pass for a good one."""
    have = {bundle.subdetector for bundle in bundles}
    silent = [
        f"{name}: no digi in the whole run, its channels were not judged (off, dead, or not in the file)"
        for name in ("HB", "HE")
        if name not in found
    ]
    return (*silent, *(f"no bundle for {name}: its channels were not judged" for name in found if name not in have))
