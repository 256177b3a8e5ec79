"""ROOT's tests of whether two histograms of counts have the same shape: ``Chi2Test`` and ``KolmogorovTest``.

Contents are those inside the axes, of one or two dimensions, errors are √n; totals may differ. Bin for bin as
``hist/hist/src/TH1.cxx`` (``Chi2TestX`` with option "UU", ``KolmogorovTest``) and ``TH2.cxx``
(``KolmogorovTest``) of ROOT 6.40 do it, so that a number here is the number that ROOT gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc, kolmogorov

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Chi2Result:
    """``chi2`` over ``ndf``, and the probability ``p`` of a larger one; ROOT's empty histogram gives 0, 0, 0."""

    chi2: float
    ndf: int
    p: float


@dataclass(frozen=True)
class KolmogorovResult:
    """Largest ``distance`` between the cumulative shares (0…1), and the probability ``p`` of a larger one."""

    distance: float
    p: float


def chi2_test(first: ArrayLike, second: ArrayLike) -> Chi2Result:
    """χ² of homogeneity of two histograms of counts, as ``first.Chi2Test(second, "UU")`` has it.

    ``χ² = Σ (M·n − N·m)² / (n + m) / (N·M)`` over bins n, m with totals N, M (N. D. Gagunashvili,
    arXiv:physics/0605123, eq. 4). Bins in which both contents are below 1 have no say, and take a degree of
    freedom with them.
    """
    n, m = _contents(first, second)
    total, other = float(n.sum()), float(m.sum())
    if total == 0 or other == 0:
        return Chi2Result(0.0, 0, 0.0)
    seen = (np.trunc(n) != 0) | (np.trunc(m) != 0)
    n, m = n[seen], m[seen]
    chi2 = float(((other * n - total * m) ** 2 / (n + m)).sum() / (total * other))
    ndf = len(n) - 1
    return Chi2Result(chi2, ndf, _chi2_probability(chi2, ndf))


def kolmogorov_test(first: ArrayLike, second: ArrayLike) -> KolmogorovResult:
    """Kolmogorov–Smirnov test of two histograms of counts, as ``first.KolmogorovTest(second)`` has it.

    Of a map, the distance is the average over the two orders of bins: x outermost, and y outermost. An empty
    histogram gives 0, 0 (where ROOT leaves the distance out).
    """
    n, m = _contents(first, second)
    total, other = float(n.sum()), float(m.sum())
    if total == 0 or other == 0:
        return KolmogorovResult(0.0, 0.0)
    difference = n / total - m / other
    orders = (difference,) if difference.ndim == 1 else (difference, difference.T)
    distance = float(np.mean([np.abs(order.ravel().cumsum()).max() for order in orders]))
    return KolmogorovResult(distance, float(kolmogorov(distance * np.sqrt(total * other / (total + other)))))


def beyond_chance(result: Chi2Result, total: float, other: float) -> float:
    """RMS relative difference in shape beyond counting statistics, ``√((χ² − ndf)·(1/N + 1/M))``; 0 where none is.

    The excess of χ² grows with the counts, its root over them does not: a run of any length is held to one limit.
    Each bin's difference is relative to the mean of both by their counts, and weighs as that does.
    """
    if total <= 0 or other <= 0:
        return 0.0
    return float(np.sqrt(max(result.chi2 - result.ndf, 0.0) * (1 / total + 1 / other)))


def _contents(first: ArrayLike, second: ArrayLike) -> tuple[Array, Array]:
    n, m = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if n.shape != m.shape or n.ndim not in (1, 2):
        raise ValueError(f"histograms of the same bins in one or two dimensions, not {n.shape} and {m.shape}")
    return n, m


def _chi2_probability(chi2: float, ndf: int) -> float:
    """``TMath::Prob``: 0 without a degree of freedom."""
    return float(chdtrc(ndf, chi2)) if ndf > 0 else 0.0
