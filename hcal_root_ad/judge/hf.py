"""HF: not zero suppressed, so a channel that holds fewer digis than events is at fault for certain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable, Subdetector
from hcal_root_ad.judge.findings import Fault
from hcal_root_ad.judge.verdict import Level

AGREE = 0.5
"""Share of HF's live channels that must hold the event count; else the count is in doubt, and HF is not judged."""
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
    """(rows,) where HF's channels and the event count agree."""
    if not live.any():
        return np.zeros(len(events), dtype=bool)
    return np.asarray((counts[:, live] == events[:, None]).mean(axis=1) >= AGREE)


def channel_name(channels: ChannelTable, row: int) -> str:
    """For example ``HF +33/5/2``: sub-detector, ieta/iphi/depth."""
    sub = Subdetector(channels.subdetector[row]).name
    return f"{sub} {channels.ieta[row]:+d}/{channels.iphi[row]}/{channels.depth[row]}"
