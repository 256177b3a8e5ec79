"""Numbers of the table, from scores of pairs (channel, LS) at fault and healthy ones.

Ranks come from the scores themselves, not from thresholded labels; ties count half.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.certify.agreement import bootstrap, detection, false_positive_rates
from hcal_root_ad.stats.binomial import Floats

__all__ = ["bootstrap", "delays", "detection", "false_intervals", "false_positive_rates", "ranking"]

PARTIAL = 1e-3
"""Largest false-positive rate of the partial AUC."""
CAPTURES = (0.90, 0.95, 0.99)


def ranking(positives: Floats, negatives: Floats) -> dict[str, float]:
    """AUC, partial AUC up to 1e-3 (1 is perfect), and false-positive rates at given captures.

    ``negatives`` must be sorted. The partial AUC is the mean over positives of 1 − FPR/1e-3, at least 0.
    """
    rates = false_positive_rates(positives, negatives)
    numbers = {"auc": float(1 - rates.mean()), "partial_auc": float(np.maximum(0, 1 - rates / PARTIAL).mean())}
    for capture in CAPTURES:
        numbers[f"fpr_at_{capture:.0%}"] = float(np.quantile(rates, capture))
    return numbers


def delays(flags: NDArray[np.bool_]) -> Floats:
    """(channels,) LS from the start of a fault until it is flagged, of flags (LS, channels); its length if never."""
    found = flags.any(axis=0)
    return np.where(found, flags.argmax(axis=0), len(flags)).astype(float)


def false_intervals(flags: NDArray[np.bool_], fault: NDArray[np.bool_]) -> int:
    """Number of runs of consecutive flagged LS, in flags (LS, channels), that touch no fault of their channel."""
    edges = np.diff(np.pad(flags.astype(np.int8), ((1, 1), (0, 0))), axis=0)
    channel, first = np.nonzero(edges.T == 1)
    _, end = np.nonzero(edges.T == -1)
    before = np.pad(np.cumsum(fault, axis=0), ((1, 0), (0, 0)))
    return int((before[end, channel] == before[first, channel]).sum())
