"""``Hcal/HcalADTask``: what was seen, what was expected, how far apart they are, and what is common to all channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hcal_root_ad.detector import N_DEPTH, N_DQM_IETA, SUBDET_PM
from hcal_root_ad.judge.aggregate import (
    Array,
    Floats,
    channel_sums,
    count_by_channel,
    count_by_lumi,
    flagged,
    judged,
    map_of,
    reconstruction_error,
)
from hcal_root_ad.judge.verdict import CommonPart, RunVerdict, Verdict
from hcal_root_ad.publish.axes import LumiAxis, counts_vs_ls, lumi_map, points_vs_ls, ring_map
from hcal_root_ad.publish.elements import TASK, MonitorElement


def occupancies(verdicts: Sequence[Verdict]) -> Iterator[MonitorElement]:
    """Mean digis per channel of the judged LS, seen and expected, ieta × depth: masked channels do not count."""
    sums = [(verdict, channel_sums(verdict)) for verdict in verdicts]
    for name, title, quantity in (
        ("Occupancy", "digis seen per channel", "observed"),
        ("ReconstructedOccupancy", "digis expected per channel", "expected"),
    ):
        totals, channels = np.zeros((2, N_DEPTH + 1, N_DQM_IETA))
        for verdict, of in sums:
            use = count_by_channel(verdict.states, judged) > 0
            place = map_of(verdict.channels)[use], verdict.channels.dqm_x[use]
            np.add.at(totals, place, getattr(of, quantity)[use])
            np.add.at(channels, place, 1)
        rows = N_DEPTH + bool(channels[N_DEPTH].any())
        means = (totals / np.maximum(channels, 1))[:rows].T
        labels = (*map(str, range(1, N_DEPTH + 1)), "HO")[:rows]
        yield ring_map(f"{TASK}/{name}/{name}", means, title, labels)


def events(run: RunVerdict, axis: LumiAxis) -> MonitorElement:
    """Events against LS."""
    values = axis.spread(run.maps.events, run.maps.lumisections)
    return counts_vs_ls(f"{TASK}/EventsvsLS/EventsvsLS", axis, values, "events", "events")


def pull(verdict: Verdict, axis: LumiAxis) -> MonitorElement:
    """Root mean square pull of the judged channels against LS: 1 is statistics alone. Its error is that of n pulls."""
    values, channels = reconstruction_error(verdict), count_by_lumi(verdict.states, judged)
    values[channels == 0] = np.nan
    errors = values / np.sqrt(2 * np.maximum(channels, 1))
    shown, widths = (axis.spread(part, verdict.lumisections, np.nan) for part in (values, errors))
    path = f"{TASK}/PullvsLS/Subdet/{verdict.subdetector}"
    return points_vs_ls(path, axis, shown, widths, f"{verdict.subdetector}: RMS pull (1 is chance)", "RMS pull")


def production_flags(verdict: Verdict, axis: LumiAxis) -> MonitorElement:
    """Flagged channels against LS: path, title and axes as CMSSW's ``HcalMLTask`` books it, its spelling included."""
    flags = axis.spread(count_by_lumi(verdict.states, flagged), verdict.lumisections)
    values, name = np.where(flags >= 0, flags, 0).astype(np.float64), verdict.subdetector
    path = f"{TASK}/MLBadFlagedChannelsvsLS/Subdet/{name}"
    assessed = axis.spread(verdict.assessed, verdict.lumisections)
    return points_vs_ls(path, axis, np.where(assessed, values, np.nan), np.zeros_like(values), name, "N")


def common_part(common: CommonPart, axis: LumiAxis) -> Iterator[MonitorElement]:
    """What the judge takes for conditions: pileup over that of the clean runs, and how far larger units moved."""
    pileup = np.exp(common.log_pileup.astype(np.float64))
    values, errors = (
        axis.spread(part, common.lumisections, np.nan) for part in (pileup, pileup * common.log_pileup_error)
    )
    yield points_vs_ls(f"{TASK}/CommonPart/PileupvsLS", axis, values, errors, "pileup over that of clean runs", "ratio")
    shifts = {f"{name}/HB": _percent(values) for name, values in common.subdetector.items()}
    shifts |= {half: _percent(common.half[:, index]) for index, half in enumerate(SUBDET_PM)}
    shifts |= {"ring": _largest(common.ring), "RBX": _largest(common.box)}
    rows = axis.spread(np.stack(list(shifts.values())[::-1], axis=1), common.lumisections)
    title = "shifts of common rates, size [%]"
    yield lumi_map(f"{TASK}/CommonPart/ShiftsvsLS", axis, rows, title, list(shifts)[::-1])


def _percent(shift: Array) -> Floats:
    """Size of a change of rate in percent, 0 where not assessed."""
    return np.asarray(np.nan_to_num(100 * np.abs(np.expm1(shift.astype(np.float64)))))


def _largest(shifts: Array) -> Floats:
    """(LS,) size of the largest shift of any unit."""
    return np.asarray(_percent(shifts).max(axis=1, initial=0.0))
