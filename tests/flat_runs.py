"""Hand-made runs and references: every channel has a digi in 3 of 10 events, so that numbers can be done by hand."""

from __future__ import annotations

import numpy as np

from hcal_root_ad.detector import ChannelTable, Era, channel_table
from hcal_root_ad.lumi_maps import CoarseMaps, EventSource, LumiMaps
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.stats.binomial import log_rate

P = 0.3
"""Digi probability of every channel at log pileup 0."""


def flat_reference(channels: ChannelTable) -> Reference:
    """Every channel alike, and known exactly."""
    size = len(channels)
    return Reference(
        channels=channels,
        level=np.full(size, log_rate(np.array(P))),
        level_error=np.zeros(size),
        power=np.ones(size),
        power_error=np.zeros(size),
        live=np.ones(size, dtype=bool),
        pileup_range=(-0.5, 0.5),
        clean="370100",
    )


def flat_maps(
    lumisections: int | list[int] = 12,
    events: int | list[int] = 1000,
    coarse: CoarseMaps | None = None,
    channels: ChannelTable | None = None,
) -> LumiMaps:
    """A healthy run without fluctuations: 300 digis of every channel in each LS of 1000 events."""
    numbers = list(range(1, lumisections + 1)) if isinstance(lumisections, int) else lumisections
    table = channel_table(Era.RUN3).select("HB", "HE") if channels is None else channels
    size = len(numbers)
    trials = np.broadcast_to(np.array(events, dtype=np.int64), (size,)).copy()
    counts = np.repeat(np.rint(trials * P).astype(np.int32)[:, None], len(table), axis=1)
    return LumiMaps(
        run=370101,
        channels=table,
        lumisections=np.array(numbers, dtype=np.int32),
        events=trials,
        event_source=np.full(size, EventSource.COUNTER, dtype=np.uint8),
        counts=counts if coarse is None else np.zeros_like(counts),
        present=np.full(size, coarse is None),
        definition="nanodqmio",
        coarse=coarse,
    )
