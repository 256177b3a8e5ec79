"""``Hcal/HcalMLClient``: states, counts of faults by kind, and the summary of the run.

Only maps whose contents are states have ``Summary`` in their path: HCAL's render plugin draws those in the colours of
the states (``dqmgui`` ``plugins/HcalRenderPlugin.cc``).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hcal_root_ad.detector import N_DEPTH, N_IPHI, N_RBX, SUBDET_PM
from hcal_root_ad.judge.verdict import RunVerdict, State, StripVerdict, Verdict
from hcal_root_ad.publish import reductions
from hcal_root_ad.publish.axes import RBX_LABELS, box_summary, depth_map, lumi_map, strip_map, trend
from hcal_root_ad.publish.elements import CLIENT, MonitorElement, Scalar
from hcal_root_ad.publish.reductions import (
    N_BOXES,
    States,
    boxes_of,
    count_by_channel,
    depth_maps,
    exactly,
    flagged,
    flagged_fraction,
    judged,
    kind_counts,
    on_axis,
    worst_state,
)

SUMMARY = f"{CLIENT}/EventInfo"
"""Folder of the summary of the ML part; ``Hcal/EventInfo`` belongs to HCAL's own harvesting and stays untouched."""


def channel_maps(verdicts: tuple[Verdict, ...]) -> Iterator[MonitorElement]:
    """Worst state and fraction of flagged lumisections of every channel, HB and HE together, per depth."""
    states = sum((depth_maps(v.channels, worst_state(v.states)) for v in verdicts), np.zeros(()))
    fractions = sum((depth_maps(v.channels, flagged_fraction(v)) for v in verdicts), np.zeros(()))
    for depth in range(1, N_DEPTH + 1):
        name, index = f"depth{depth}", depth - 1
        yield depth_map(
            f"{CLIENT}/StateSummary/depth/{name}", states[index], f"{name}: worst state of the run", "state"
        )
        title = f"{name}: fraction of judged LS flagged"
        yield depth_map(f"{CLIENT}/FlaggedFraction/depth/{name}", fractions[index], title, "fraction of LS")


def kind_trends(verdict: Verdict, length: int) -> Iterator[MonitorElement]:
    """Number of dead, degraded, warm, hot and noisy channels against LS."""
    for kind, counts in kind_counts(verdict).items():
        values = on_axis(counts.sum(axis=1), verdict.lumisections, length)
        path = f"{CLIENT}/{kind.capitalize()}ChannelsvsLS/Subdet/{verdict.subdetector}"
        title = f"{verdict.subdetector}: {kind} channels"
        yield trend(path, values, title, "channels", float(values.sum()))


def box_states(verdicts: tuple[Verdict, ...], length: int) -> Iterator[MonitorElement]:
    """States RBX × LS per side, and sub-detector × LS."""
    states = run_box_states(verdicts, length)
    for index, half in enumerate(SUBDET_PM):
        rows = states[:, index * N_RBX : (index + 1) * N_RBX]
        if rows.any():
            path = f"{CLIENT}/StateSummaryvsLS/SubdetPM/{half}"
            yield lumi_map(path, rows, f"{half}: state", "state", RBX_LABELS[half], "RBX")
    names = tuple(verdict.subdetector for verdict in verdicts)
    columns = np.stack([worst_state(_rows_of(states, name).T) for name in names], axis=1)
    path = f"{CLIENT}/StateSummaryvsLS/StateSummaryvsLS"
    yield lumi_map(path, columns, "state of the worst readout box", "state", names, "sub-detector")


def strip_states(strips: StripVerdict, length: int) -> Iterator[MonitorElement]:
    """States iphi × LS per side, and the number of flagged strips per sub-detector against LS."""
    states = on_axis(strips.states, strips.lumisections, length, State.NOT_ASSESSED)
    for index, half in enumerate(SUBDET_PM):
        rows = states[:, index * N_IPHI : (index + 1) * N_IPHI]
        yield strip_map(f"{CLIENT}/StateSummaryvsiphivsLS/SubdetPM/{half}", rows, f"{half}: state of strips", "state")
    for index, name in enumerate(("HB", "HE")):
        values = flagged(states[:, 2 * index * N_IPHI : 2 * (index + 1) * N_IPHI]).sum(axis=1)
        path = f"{CLIENT}/FlaggedStripsvsLS/Subdet/{name}"
        yield trend(path, values, f"{name}: flagged strips of one iphi", "strips", float(values.sum()))


def run_box_states(verdicts: tuple[Verdict | StripVerdict, ...], length: int) -> States:
    """(LS, 72) states of readout boxes: not assessed at LS that are not there, 0 for boxes that were never judged."""
    states = np.zeros((length, N_BOXES), dtype=np.uint8)
    for verdict in verdicts:
        boxes = boxes_of(verdict)
        found = reductions.box_states(verdict)
        if isinstance(verdict, Verdict) and verdict.granularity == "run":
            spread = np.repeat(found.max(axis=0, keepdims=True), length, axis=0)
        else:
            spread = on_axis(found, verdict.lumisections, length, State.NOT_ASSESSED)
        there = np.unique(boxes)
        states[:, there] = np.maximum(states[:, there], spread[:, there])
    return states


def summary(run: RunVerdict, length: int) -> tuple[MonitorElement, list[Scalar]]:
    """The map of boxes, and the share of good (LS, channel) pairs in all and per sub-detector (−1: none judged)."""
    sources = judgements(run)
    states = worst_state(run_box_states(sources, length)).reshape(len(SUBDET_PM), N_RBX)
    element = box_summary(f"{SUMMARY}/reportSummaryMap", states, "ML: worst state of each RBX over the run")
    counts = dict.fromkeys(("HB", "HE"), (0, 0))
    for source in sources:
        barrel = boxes_of(source) < 2 * N_RBX
        found = [count_by_channel(source.states, which) for which in (exactly(State.GOOD), judged)]
        for name, columns in (("HB", barrel), ("HE", ~barrel)):
            good, total = (int(one[columns].sum()) for one in found)
            counts[name] = counts[name][0] + good, counts[name][1] + total
    good, total = (sum(column) for column in zip(*counts.values(), strict=True))
    scalars = [Scalar(f"{SUMMARY}/reportSummary", _share(good, total))]
    scalars += [Scalar(f"{SUMMARY}/reportSummaryContents/{name}", _share(*pair)) for name, pair in counts.items()]
    return element, scalars


def judgements(run: RunVerdict) -> tuple[Verdict | StripVerdict, ...]:
    """All that was judged: sub-detectors by channel, and strips."""
    return (*run.verdicts, run.strips) if run.strips else run.verdicts


def _rows_of(states: States, subdetector: str) -> States:
    first = SUBDET_PM.index(f"{subdetector}M") * N_RBX
    return states[:, first : first + 2 * N_RBX]


def _share(good: int, total: int) -> float:
    return good / total if total else -1.0
