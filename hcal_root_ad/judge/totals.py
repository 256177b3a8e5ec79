"""The judgement of run totals: channels per run, where a file holds no maps per lumisection.

A fault of a few lumisections is diluted here; what is seen is what was wrong for a good part of the run.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.channels import judge_channels
from hcal_root_ad.judge.verdict import Verdict
from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.learn.reconstruct import Reconstruction, reference_log_rate
from hcal_root_ad.learn.reference import Reference
from hcal_root_ad.learn.series import Series, series_of_totals
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.occupancy import log_rate

MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
RING_ERROR = 0.05
"""Least spread of log λ between channels of a ring."""
RING_REACH = 3.0
"""A channel's own response is not known here: only what is far out of its ring's spread is told."""


def ring_reference(series: Series) -> Reference:
    """A reference made of the ring's other channels, where no reference knows the detector.

    Every channel is expected at its ring's median; the spread of the ring is its error. A channel
    without a digi cannot be told from one that is not connected.
    """
    ring, counts, events = series.channels.ring, series.counts[0], series.events[0]
    rate, live = log_rate((counts + 0.5) / (events + 1)), counts > 0
    level, error = np.zeros(len(ring)), np.full(len(ring), RING_ERROR)
    for label in range(int(ring.max()) + 1):
        mates = ring == label
        if (mates & live).any():
            level[mates] = np.median(rate[mates & live])
            spread = MAD * float(np.median(np.abs(rate[mates & live] - level[mates][0])))
            error[mates] = RING_REACH * max(RING_ERROR, spread)
    return Reference(level, error, np.ones(len(ring)), np.zeros(len(ring)), live, (0.0, 0.0))


def judge_totals(
    maps: LumiMaps, totals: NDArray[np.int64], bundle: Bundle, false_alarms: float, against_ring: bool
) -> Verdict:
    """Judge the run totals of one sub-detector against the bundle's reference, or against the rings.

    The network is left out: it has learned lumisections, not runs.
    """
    series = series_of_totals(maps, totals, bundle.subdetector)
    notes = ["run totals: channels per run against the reference; faults of few lumisections are not seen"]
    if against_ring:
        bundle = replace(bundle, reference=ring_reference(series), model_error=np.zeros(len(series.channels)))
        empty = int((~bundle.reference.live).sum())
        notes = [
            f"run totals of {bundle.subdetector}: no reference knows this detector, so each channel is held against "
            f"its ring; {empty} channels without a digi cannot be told from ones that are not connected"
        ]
    activity, eta = reference_log_rate(bundle.reference, series, bundle.ring_normalisation)
    whole_run = _whole_run(maps, totals)
    verdict = judge_channels(
        whole_run,
        series,
        Reconstruction(activity, eta, eta),
        bundle,
        false_alarms,
        np.zeros(1, dtype=bool),
        tuple(notes),
    )
    last = int(maps.lumisections[-1])
    return replace(
        verdict,
        intervals=tuple(replace(interval, last=last) for interval in verdict.intervals),
        groups=tuple(replace(group, last=last) for group in verdict.groups),
        granularity="run",
    )


def _whole_run(maps: LumiMaps, totals: NDArray[np.int64]) -> LumiMaps:
    events = maps.run_events
    return replace(
        maps,
        lumisections=maps.lumisections[:1],
        events=np.array([events]),
        event_source=maps.event_source[:1],
        counts=np.minimum(totals, events)[None].astype(np.int32),
        present=np.array([True]),
    )
