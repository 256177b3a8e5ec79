"""The statistics of ``occupancy``, ``evidence`` and ``pooling`` as tensor operations that export.

The formulas, clips and precision (float64) are those of the three modules, and the tests hold them against each
other. ONNX has neither ``expm1`` nor ``log1p``; probabilities stay within 1e-5 of 0 and 1, so a plain
``log(1 − p)`` keeps ten digits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hcal_root_ad.evidence import BAND, GAINS, LOSSES
from hcal_root_ad.pooling import UNLIKE
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


def log_likelihood_ratios(counts: Tensor, events: Tensor, log_rate: Tensor, error: Tensor) -> Tensor:
    """(hypotheses, channels) log-likelihood ratio of each fault against health, from (1, channels) inputs."""
    misses = events - counts
    factors = counts.new_tensor(LOSSES)[:, None]
    p = probability(log_rate - BAND * error)
    losses = counts * torch.log(factors) + misses * (torch.log(1 - factors * p) - torch.log(1 - p))
    p = probability(log_rate + BAND * error)
    log_q = torch.log(1 - p)
    q = torch.clamp(torch.exp(counts.new_tensor(GAINS)[:, None] * log_q), min=1 - LARGEST)
    gains = counts * (torch.log(1 - q) - torch.log(p)) + misses * (torch.log(q) - log_q)
    return torch.cat([losses, gains])


def tempered(ratios: Tensor) -> Tensor:
    """A channel's say in its unit, given its own log-likelihood ratios."""
    likelihood = torch.exp(torch.clamp(ratios, -30.0, 30.0))
    return torch.log((UNLIKE + (1 - UNLIKE) * likelihood) / ((1 - UNLIKE) + UNLIKE * likelihood))
