"""``Hcal/HcalMLTask``: what the network saw, what it expected, and how far apart they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_DEPTH, N_IPHI, N_RBX, SUBDET_PM
from hcal_root_ad.judge.verdict import StripVerdict, Verdict
from hcal_root_ad.publish.axes import RBX_LABELS, depth_map, lumi_map, strip_map, trend
from hcal_root_ad.publish.elements import TASK, MonitorElement
from hcal_root_ad.publish.reductions import (
    Array,
    ChannelSums,
    Floats,
    boxes_of,
    channel_sums,
    count_by_box,
    count_by_lumi,
    depth_maps,
    flagged,
    judged,
    on_axis,
    reconstruction_error,
    sum_by_box,
)

_SCORE = "log10 likelihood ratio"


def channel_maps(verdicts: tuple[Verdict, ...]) -> Iterator[MonitorElement]:
    """Maps per depth of HB and HE together, summed over the judged lumisections."""
    sums = [(verdict.channels, channel_sums(verdict)) for verdict in verdicts]
    quantities: dict[str, tuple[str, str, Callable[[ChannelSums], Floats]]] = {
        "Occupancy": ("digis seen, sum over judged LS", "digis", lambda of: of.observed),
        "ReconstructedOccupancy": ("digis expected, sum over judged LS", "digis", lambda of: of.expected),
        "ResidualOccupancy": (
            "digis seen - expected, sum over judged LS",
            "digis",
            lambda of: of.observed - of.expected,
        ),
        "ScoreMax": ("largest score over LS, with its sign (+ excess, - loss)", _SCORE, lambda of: of.score),
        "ScoreMean": ("mean of |score| over judged LS", _SCORE, lambda of: of.mean_score),
    }
    for name, (title, contents, quantity) in quantities.items():
        maps = sum((depth_maps(channels, quantity(of)) for channels, of in sums), np.zeros(()))
        for depth in range(1, N_DEPTH + 1):
            values = maps[depth - 1]
            entries = float(values.sum()) if name == "Occupancy" else None
            path = f"{TASK}/{name}/depth/depth{depth}"
            yield depth_map(path, values, f"depth{depth}: {title}", contents, entries)


def events_trend(name: str, events: Array, lumisections: NDArray[np.int32], length: int) -> MonitorElement:
    """(LS,) events of a sub-detector against LS."""
    values = on_axis(events, lumisections, length)
    return trend(f"{TASK}/EventsvsLS/Subdet/{name}", values, f"{name}: events", "events", float(values.sum()))


def trends(verdict: Verdict, length: int) -> Iterator[MonitorElement]:
    """Events, reconstruction error and flagged channels of one sub-detector against LS."""
    name, lumisections = verdict.subdetector, verdict.lumisections
    yield events_trend(name, verdict.events, lumisections, length)
    errors = on_axis(reconstruction_error(verdict), lumisections, length)
    title = f"{name}: reconstruction error, RMS pull of judged channels (1 is statistics alone)"
    yield trend(f"{TASK}/ReconstructionErrorvsLS/Subdet/{name}", errors, title, "RMS of (seen - expected)/sigma")
    flags = on_axis(count_by_lumi(verdict.states, flagged), lumisections, length)
    # Path, title and axes as CMSSW's HcalMLTask books it, its spelling included.
    path = f"{TASK}/MLBadFlagedChannelsvsLS/Subdet/{name}"
    yield trend(path, flags, name, "N", float(flags.sum()))


def box_maps(verdict: Verdict, length: int) -> Iterator[MonitorElement]:
    """Mean score and number of flagged channels, RBX × LS per side of one sub-detector."""
    boxes, states = boxes_of(verdict), verdict.states
    score = sum_by_box(verdict.score, boxes, states) / np.maximum(count_by_box(states, boxes, judged), 1)
    flags = count_by_box(states, boxes, flagged)
    for name, values, title, contents in (
        ("ScorevsRBXvsLS", score, "mean score of the judged channels (+ excess, - loss)", _SCORE),
        ("FlaggedChannelsvsRBXvsLS", flags, "flagged channels", "channels"),
    ):
        spread = on_axis(values, verdict.lumisections, length)
        for side in _sides(verdict.subdetector):
            half = SUBDET_PM[side]
            rows = spread[:, side * N_RBX : (side + 1) * N_RBX]
            yield lumi_map(
                f"{TASK}/{name}/SubdetPM/{half}", rows, f"{half}: {title}", contents, RBX_LABELS[half], "RBX"
            )


def strip_maps(strips: StripVerdict, length: int) -> Iterator[MonitorElement]:
    """Strips of iphi against LS: seen, expected, residual and score, per HBM, HBP, HEM and HEP."""
    expected = np.where(judged(strips.states), strips.expected, 0)
    residual = np.where(judged(strips.states), strips.observed - strips.expected, 0)
    for name, values, title, contents in (
        ("OccupancyvsiphivsLS", strips.observed, "digis seen", "digis"),
        ("ReconstructedOccupancyvsiphivsLS", expected, "digis expected", "digis"),
        ("ResidualOccupancyvsiphivsLS", residual, "digis seen - expected", "digis"),
        ("ScorevsiphivsLS", strips.score, "score (+ excess, - loss)", _SCORE),
    ):
        spread = on_axis(values, strips.lumisections, length)
        for index, half in enumerate(SUBDET_PM):
            rows = spread[:, index * N_IPHI : (index + 1) * N_IPHI]
            yield strip_map(f"{TASK}/{name}/SubdetPM/{half}", rows, f"{half}: {title}", contents)


def _sides(subdetector: str) -> tuple[int, int]:
    """Indices into SUBDET_PM of a sub-detector's two sides."""
    first = SUBDET_PM.index(f"{subdetector}M")
    return first, first + 1
