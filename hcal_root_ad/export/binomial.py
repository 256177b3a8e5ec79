"""The statistics of :mod:`hcal_root_ad.stats.binomial` as tensor operations that export.

Formulas, clips and precision (float64) are the same, and the tests hold them against each other. ONNX has neither
``expm1`` nor ``log1p``; probabilities stay within 1e-5 of 0 and 1, so a plain ``log(1 − p)`` keeps ten digits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hcal_root_ad.stats.binomial import LARGEST, SMALLEST


def probability(log_rate: Tensor) -> Tensor:
    """Digi probability of a log rate."""
    return torch.clamp(1 - torch.exp(-torch.exp(torch.clamp(log_rate, max=5.0))), SMALLEST, LARGEST)


def log_rate(p: Tensor) -> Tensor:
    """Log rate of a digi probability."""
    return torch.log(-torch.log(1 - torch.clamp(p, SMALLEST, LARGEST)))


def slope(p: Tensor) -> Tensor:
    """dp / dlog λ."""
    return -(1 - p) * torch.log(1 - p)


def pull(counts: Tensor, events: Tensor, p: Tensor) -> Tensor:
    """Binomial pull; ``events`` must not be 0."""
    return (counts - events * p) / torch.sqrt(events * p * (1 - p))


def information(events: Tensor, p: Tensor) -> Tensor:
    """Fisher information of a count on log λ."""
    return events * slope(p) ** 2 / (p * (1 - p))
