"""HF: not zero suppressed, so a channel that holds fewer digis than events is at fault for certain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable, Subdetector
from hcal_root_ad.judge.findings import Fault
from hcal_root_ad.judge.verdict import Level

AGREE = 0.5
"""Share of HF's live channels that hold one other count: then the event count is in doubt, and HF is not judged."""
CERTAIN = 99.0
"""Significance of what is certain."""


def hf_faults(
    counts: NDArray[np.integer], events: NDArray[np.int64], channels: ChannelTable, live: NDArray[np.bool_]
) -> list[Fault]:
    """Faults of HF's channels; ``counts`` (rows, channels), ``events`` (rows,)."""
    lost = (counts < events[:, None]) & live
    return [
        Fault(Level.CHANNEL, channel_name(channels, int(column)), -1, np.array([column]), lost[:, column], CERTAIN)
        for column in np.flatnonzero(lost.any(axis=0))
    ]


def trusted_rows(counts: NDArray[np.integer], events: NDArray[np.int64], live: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(rows,) where HF does not contradict the event count: most of its channels do not agree on another one.

    Channels that hold different counts, or none, are at fault; channels that hold one and the same speak of the events.
    """
    trusted = np.zeros(len(events), dtype=bool)
    if live.any():
        for row, expected in enumerate(events):
            values, shares = np.unique(counts[row, live], return_counts=True)
            other = (values != expected) & (values > 0)
            trusted[row] = shares[other].max(initial=0) < AGREE * live.sum()
    return trusted


def channel_name(channels: ChannelTable, row: int) -> str:
    """For example ``HF +33/5/2``: sub-detector, ieta/iphi/depth."""
    sub = Subdetector(channels.subdetector[row]).name
    return f"{sub} {channels.ieta[row]:+d}/{channels.iphi[row]}/{channels.depth[row]}"
