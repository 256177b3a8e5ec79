"""Monitor elements of a run beside those of a reference: maps per depth, projections, and trends against LS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.compare.against import Against
from hcal_root_ad.compare.root_tests import Chi2Result, KolmogorovResult, beyond_chance, chi2_test, kolmogorov_test
from hcal_root_ad.detector import N_DEPTH, N_DQM_IETA, N_IPHI, N_RBX, SUBDET_PM

Counts = NDArray[np.floating]

SHAPE_LIMIT, TREND_LIMIT = 0.05, 0.01
"""RMS relative difference in shape beyond chance above which a map or projection, and one against LS, differs.

Clean simulated runs of one detector reach 0.031 and 0.001; a readout module lost throughout makes 0.07 of a map.
"""
DISTANCE_LIMIT = 0.01
"""Kolmogorov–Smirnov distance above which an element differs (clean simulated runs: up to 0.006)."""
TREND = "OccupancyvsLS"
"""First part of the paths of elements against LS."""
CHANCE = 1e-3
"""Probability above which a difference may be chance."""


class Likeness(StrEnum):
    """What a comparison says of one monitor element."""

    SAME = "same"
    """What differs may be chance."""
    WITHIN = "within limits"
    """More than chance, but less than the limits: drift, as clean runs have it."""
    DIFFERS = "differs"
    EMPTY = "empty"
    """Empty here, filled in the reference: a fault of its own kind."""
    FILLED = "filled"
    """Filled here, empty in the reference."""
    NO_DATA = "no data"
    """Empty in both."""


@dataclass(frozen=True, eq=False)
class ComparedElement:
    """One monitor element of the run beside the reference's, and ROOT's tests of the two.

    Attributes:
        path: place below the folder of the comparison, for example ``Occupancy/depth/depth3``.
        observed: digis of the run per bin. expected: those of the reference at the run's pileup, in whole digis,
            with the reference's statistics. reference: those of the reference as it was, where it has such bins.
        chi2, kolmogorov: tests of ``observed`` against ``expected``.
        plain_chi2, plain_kolmogorov: against ``reference``, whatever its pileup was.
        beyond: RMS relative difference in shape beyond chance (0.05 is 5 %).
    """

    path: str
    observed: Counts
    expected: Counts
    reference: Counts | None
    chi2: Chi2Result
    kolmogorov: KolmogorovResult
    plain_chi2: Chi2Result | None
    plain_kolmogorov: KolmogorovResult | None
    beyond: float

    @property
    def limit(self) -> float:
        """The limit of ``beyond``."""
        return TREND_LIMIT if self.path.startswith(TREND) else SHAPE_LIMIT

    @property
    def likeness(self) -> Likeness:
        """The worst of what the tests say."""
        here, there = self.observed.any(), self.expected.any()
        if not here or not there:
            return Likeness.NO_DATA if not (here or there) else Likeness.FILLED if here else Likeness.EMPTY
        if self.shape_differs or self.distance_differs:
            return Likeness.DIFFERS
        return Likeness.WITHIN if min(self.chi2.p, self.kolmogorov.p) < CHANCE else Likeness.SAME

    @property
    def shape_differs(self) -> bool:
        """Whether χ² tells a difference that is neither chance nor small."""
        return self.beyond > self.limit and self.chi2.p < CHANCE

    @property
    def distance_differs(self) -> bool:
        """Whether Kolmogorov–Smirnov does."""
        return self.kolmogorov.distance > DISTANCE_LIMIT and self.kolmogorov.p < CHANCE


def compared(path: str, observed: Counts, expected: Counts, reference: Counts | None = None) -> ComparedElement:
    """Test one element: whole digis, as ROOT's test of counts needs, in the single precision of a published file."""
    observed, expected = (_published(np.rint(values)) for values in (observed, expected))
    reference = None if reference is None else _published(reference)
    chi2 = chi2_test(observed, expected)
    return ComparedElement(
        path=path,
        observed=observed,
        expected=expected,
        reference=reference,
        chi2=chi2,
        kolmogorov=kolmogorov_test(observed, expected),
        plain_chi2=None if reference is None else chi2_test(observed, reference),
        plain_kolmogorov=None if reference is None else kolmogorov_test(observed, reference),
        beyond=beyond_chance(chi2, observed.sum(), expected.sum()),
    )


def _published(digis: Counts) -> Counts:
    return digis.astype(np.float32).astype(np.float64)


def compared_elements(parts: Mapping[str, Against]) -> Iterator[ComparedElement]:
    """Maps per depth (HB and HE together), projections on ieta, iphi and RBX, and digis against LS per half.

    The reference's digis are moved to the run's pileup channel by channel; how many they are in all stays, so that
    their statistics stay. Against LS, the reference is what it expects in each LS.
    """
    digis = sum(int(against.rates.digis.sum()) for against in parts.values())
    scale = digis / max(sum(float(against.sums.expected.sum()) for against in parts.values()), 1.0)
    for depth in range(1, N_DEPTH + 1):
        maps = [_map(against, depth, scale) for against in parts.values()]
        yield compared(f"Occupancy/depth/depth{depth}", *np.sum(maps, axis=0))
    for name, against in parts.items():
        x = against.series.channels.dqm_x
        yield compared(f"Occupancyvsieta/Subdet/{name}", *_projection(against, x, N_DQM_IETA, scale))
    for half, against, inside in _halves(parts):
        channels = against.series.channels
        yield compared(f"Occupancyvsiphi/SubdetPM/{half}", *_projection(against, channels.dqm_y, N_IPHI, scale, inside))
        yield compared(f"OccupancyvsRBX/SubdetPM/{half}", *_projection(against, channels.rbx - 1, N_RBX, scale, inside))
    for half, against, inside in _halves(parts):
        if len(against.series) > 1:
            yield compared(f"{TREND}/SubdetPM/{half}", *against.by_lumisection(inside))


def _halves(parts: Mapping[str, Against]) -> Iterator[tuple[str, Against, NDArray[np.bool_]]]:
    """Halves that were compared, each with where its channels are."""
    for index, half in enumerate(SUBDET_PM):
        if half[:2] in parts:
            yield half, parts[half[:2]], parts[half[:2]].series.channels.half == index


def _digis(against: Against, scale: float) -> Counts:
    """(3, channels) digis of the run, of the reference at the run's pileup, and of the reference as it was."""
    return np.stack([against.sums.observed, scale * against.sums.expected, against.rates.digis.astype(np.float64)])


def _map(against: Against, depth: int, scale: float) -> Counts:
    """(3, 84, 72) maps of a depth on the DQM axes."""
    channels, maps = against.series.channels, np.zeros((3, N_DQM_IETA, N_IPHI))
    here = channels.depth == depth
    maps[:, channels.dqm_x[here], channels.dqm_y[here]] = _digis(against, scale)[:, here]
    return maps


def _projection(
    against: Against, place: NDArray[np.int16], size: int, scale: float, inside: NDArray[np.bool_] | None = None
) -> list[Counts]:
    """Three projections on bins 0 … size − 1, of all channels or of those inside."""
    chosen = np.ones(len(place), dtype=bool) if inside is None else inside
    return [
        np.asarray(np.bincount(place[chosen], values[chosen], size), dtype=np.float64)
        for values in _digis(against, scale)
    ]
