"""A run against a reference run: monitor elements, channels, readout units, and how far the detector has drifted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.compare.shifts import (
    BOX_LEVEL,
    HALF_LEVEL,
    Against,
    Changed,
    UnitShift,
    by_weight,
    changed,
    hold_against,
    unit_shifts,
)
from hcal_root_ad.detector import N_DEPTH, N_DQM_IETA, N_IPHI, N_RBX, SUBDET_PM
from hcal_root_ad.errors import CatalogueError, NoHcalError
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.mask import Mask
from hcal_root_ad.model.common_part import CommonPartFit
from hcal_root_ad.model.counts import MINIMUM_EVENTS
from hcal_root_ad.model.rates import Rates, comparable
from hcal_root_ad.model.reference import joint_reference
from hcal_root_ad.references import NamedReference, quantity_of, trigger_of
from hcal_root_ad.stats.root_tests import Chi2Result, KolmogorovResult, beyond_chance, chi2_test, kolmogorov_test

Counts = NDArray[np.floating]

SHAPE_LIMIT, TREND_LIMIT = 0.05, 0.01
"""RMS relative difference in shape beyond chance above which a map or projection, and one against LS, differs.

Clean simulated runs of one detector reach 0.031 and 0.001; a readout module lost throughout makes 0.07 of a map.
"""
DISTANCE_LIMIT = 0.01
"""Kolmogorov–Smirnov distance above which an element differs (clean simulated runs: up to 0.006)."""
TREND = "OccupancyvsLS"
"""First part of the paths of elements against LS."""
ELEMENT_CHANCE = 1e-3
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
        filled, there = self.observed.any(), self.expected.any()
        if not filled or not there:
            return Likeness.NO_DATA if not (filled or there) else Likeness.FILLED if filled else Likeness.EMPTY
        if self.shape_differs or self.distance_differs:
            return Likeness.DIFFERS
        return Likeness.WITHIN if min(self.chi2.p, self.kolmogorov.p) < ELEMENT_CHANCE else Likeness.SAME

    @property
    def shape_differs(self) -> bool:
        """Whether χ² tells a difference that is neither chance nor small."""
        return self.beyond > self.limit and self.chi2.p < ELEMENT_CHANCE

    @property
    def distance_differs(self) -> bool:
        """Whether Kolmogorov–Smirnov does."""
        return self.kolmogorov.distance > DISTANCE_LIMIT and self.kolmogorov.p < ELEMENT_CHANCE


def compared(path: str, observed: Counts, expected: Counts, reference: Counts | None = None) -> ComparedElement:
    """Test one element: whole digis, as ROOT's test of counts needs, in the single precision of a published file."""
    observed, expected = (_published(np.rint(values)) for values in (observed, expected))
    reference = None if reference is None else _published(reference)
    chi2 = chi2_test(observed, expected)
    return ComparedElement(
        path, observed, expected, reference, chi2, kolmogorov_test(observed, expected),
        plain_chi2=None if reference is None else chi2_test(observed, reference),
        plain_kolmogorov=None if reference is None else kolmogorov_test(observed, reference),
        beyond=beyond_chance(chi2, observed.sum(), expected.sum()),
    )  # fmt: skip


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
    at_depth = channels.depth == depth
    maps[:, channels.dqm_x[at_depth], channels.dqm_y[at_depth]] = _digis(against, scale)[:, at_depth]
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


STRANGER = 2.0
"""Typical deviation, in the reference's own errors, above which it knows another detector."""
COMPARED = ("HB", "HE")
"""Sub-detectors that are compared."""
DARK = -4.5
"""Below this log pileup (1 % of the clean runs') there were no collisions."""
LARGEST = 10
"""Pulls that are listed."""


@dataclass(frozen=True)
class ChannelPull:
    """One channel's digis against expectation: the binomial ``pull``, the rate's ratio and its error."""

    channel: str
    observed: int
    expected: float
    pull: float
    significance: float
    ratio: float
    ratio_error: float


@dataclass(frozen=True)
class DriftPoint:
    """Mean shifts of log λ of one run, per half and per readout box: a point in a series of runs."""

    run: int
    halves: tuple[UnitShift, ...]
    boxes: tuple[UnitShift, ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """All that was compared of one run.

    Attributes:
        maps: the run. reference: what it was compared with.
        parts: sub-detectors in both.
        lumisections: (LS,) those compared; one, where the file holds run totals only.
        elements: monitor elements with ROOT's tests.
        changes: channels and readout units that changed.
        pulls: channels with the largest pulls.
        drift: mean shifts of log λ.
        notes: sentences for the user.
    """

    maps: LumiMaps
    reference: NamedReference
    parts: Mapping[str, Against]
    lumisections: NDArray[np.int32]
    elements: tuple[ComparedElement, ...]
    changes: tuple[Changed, ...]
    pulls: tuple[ChannelPull, ...]
    drift: DriftPoint
    notes: tuple[str, ...]

    @property
    def differing(self) -> tuple[ComparedElement, ...]:
        """Elements that differ beyond their thresholds, or are empty on one side."""
        alike = (Likeness.SAME, Likeness.WITHIN, Likeness.NO_DATA)
        return tuple(element for element in self.elements if element.likeness not in alike)

    @property
    def differs(self) -> bool:
        """Whether anything is beyond its threshold."""
        return bool(self.changes or self.differing)


def compare(maps: LumiMaps, reference: NamedReference, mask: Mask | None = None) -> Comparison:
    """Hold a run against a reference, at the run's own pileup; channels that are masked count on neither side.

    Raises:
        CatalogueError: the reference is of another detector era, or counts something else.
        NoHcalError: there is no lumisection, or no run total, that can be compared.
    """
    _refuse_another(maps, reference)
    parts, notes = _parts(maps, reference, mask)
    shifts = (
        tuple(shift for fit in parts.values() for shift in unit_shifts(fit, depth)) for depth in (HALF_LEVEL, BOX_LEVEL)
    )
    lines = [line for fit in parts.values() for line in changed(fit)]
    return Comparison(
        maps=maps,
        reference=reference,
        parts=parts,
        lumisections=next(iter(parts.values())).series.lumisections,
        elements=tuple(compared_elements(parts)),
        changes=tuple(sorted(lines, key=by_weight)),
        pulls=_largest_pulls(parts),
        drift=DriftPoint(maps.run, *shifts),
        notes=(*_about(maps, reference, parts), *notes),
    )


def _refuse_another(maps: LumiMaps, reference: NamedReference) -> None:
    entry, quantity = reference.entry, quantity_of(maps.definition)
    if maps.channels.era != entry.era:
        raise CatalogueError(
            f"run {maps.run} is of the detector of {maps.channels.era.value}, the reference {entry.name} of that of "
            f"{entry.era.value}; choose another reference"
        )
    if quantity and quantity != entry.quantity:
        raise CatalogueError(
            f"run {maps.run} was read as {quantity}, the reference {entry.name} is of {entry.quantity}; "
            f"give --definition {entry.quantity}, or choose another reference"
        )


def _parts(maps: LumiMaps, reference: NamedReference, mask: Mask | None) -> tuple[dict[str, Against], list[str]]:
    """Sub-detectors of the reference at the lumisections that can be compared, and sentences on what was left out."""
    rates = {name: reference.rates[name] for name in COMPARED if name in reference.rates}
    series = {name: comparable(maps, name) for name in rates}
    notes = [f"masked {sentence}" for sentence in mask.sentences(maps.channels, maps.run)] if mask else []
    if mask:
        masked = np.isin(np.arange(len(maps.channels)), mask.rows(maps.channels, maps.run))
        for name, own in rates.items():
            there = ~masked[maps.channels.rows_of(name)]
            rates[name] = _only(own, there)
            series[name] = replace(series[name], counts=series[name].counts * there)
    events = next(iter(series.values())).events
    joint = joint_reference([subdetector.reference for subdetector in rates.values()], maps.channels).reference
    counts = np.concatenate([subdetector.counts for subdetector in series.values()], axis=1)
    log_pileup = CommonPartFit(joint).fit(counts, events.astype(np.int64)).log_pileup.astype(np.float64)
    kept = np.flatnonzero((log_pileup > DARK) & (events >= MINIMUM_EVENTS))
    if not len(kept):
        raise NoHcalError(
            f"run {maps.run}: no lumisection and no run total with digis and at least {MINIMUM_EVENTS} events; "
            "nothing can be compared"
        )
    notes += [f"{name}: the reference {reference.name} has none, its channels were not compared"
              for name in maps.found if name in COMPARED and name not in rates]  # fmt: skip
    if left := len(maps) - len(kept) if maps.coarse is None else 0:
        notes.append(f"{left} of {len(maps)} lumisections not compared: no maps, few events, or no collisions")
    return {
        name: hold_against(subdetector, series[name].rows(kept), log_pileup[kept])
        for name, subdetector in rates.items()
    }, notes


def _only(rates: Rates, there: NDArray[np.bool_]) -> Rates:
    """What the reference knows of some channels alone."""
    live = replace(rates.reference, live=rates.reference.live & there)
    return replace(rates, reference=live, digis=rates.digis * there)


def _about(maps: LumiMaps, reference: NamedReference, parts: Mapping[str, Against]) -> Iterator[str]:
    """Sentences on how well the reference fits."""
    yield from maps.notes
    trigger = trigger_of(maps)
    if reference.entry.trigger not in ("", trigger):
        yield (
            f"the reference {reference.name} is of the trigger {reference.entry.trigger}, the run of "
            f"{trigger or 'one that its file does not name'}: rings may differ by that alone"
        )
    for name, fit in parts.items():
        if fit.misfit > STRANGER:
            yield (
                f"{name}: the reference {reference.name} knows another detector (its typical deviation is "
                f"{fit.misfit:.1f} times what its errors explain); only what stands out of that is told"
            )


def _largest_pulls(parts: Mapping[str, Against]) -> tuple[ChannelPull, ...]:
    """The most significant channels, those that chance may explain included."""
    pulls = []
    for fit in parts.values():
        z, sums = fit.significance, fit.sums
        for row in np.argsort(-np.abs(z))[:LARGEST]:
            name, ratio = fit.series.channels.name_of(int(row)), float(np.exp(sums.shift[row]))
            digis = int(sums.observed[row]), float(sums.expected[row])
            error = ratio * float(fit.error[row])
            pulls.append(ChannelPull(name, *digis, float(fit.pull[row]), float(z[row]), ratio, error))
    return tuple(sorted(pulls, key=lambda pull: -abs(pull.significance))[:LARGEST])
