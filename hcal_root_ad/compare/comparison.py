"""A run against a reference run: monitor elements, channels, readout units, and how far the detector has drifted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.compare.against import Against, hold_against
from hcal_root_ad.compare.changes import BOX_LEVEL, HALF_LEVEL, Changed, UnitShift, by_weight, changed, unit_shifts
from hcal_root_ad.compare.compared_elements import ComparedElement, Likeness, compared_elements
from hcal_root_ad.errors import CatalogueError, NoHcalError
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.common_part import CommonPartFit
from hcal_root_ad.model.counts import MINIMUM_EVENTS
from hcal_root_ad.model.joint import joint_reference
from hcal_root_ad.references.catalogue import NamedReference, quantity_of, trigger_of
from hcal_root_ad.references.rates import comparable

STRANGER = 2.0
"""Typical deviation, in the reference's own errors, above which it knows another detector."""
COMPARED = ("HB", "HE")
"""Sub-detectors that are compared."""
DARK = -4.5
"""Below this log pileup (1 % of the clean runs') there were no collisions."""
LARGEST = 10
"""Pulls that are listed."""


@dataclass(frozen=True)
class Pull:
    """One channel's digis against expectation: the binomial ``pull``, the rate's ratio and its error."""

    channel: str
    observed: int
    expected: float
    pull: float
    significance: float
    ratio: float
    ratio_error: float


@dataclass(frozen=True)
class Drift:
    """Mean shifts of log λ of one run, per half and per readout box: a point in a series of runs."""

    run: int
    halves: tuple[UnitShift, ...]
    boxes: tuple[UnitShift, ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """All that was compared of one run.

    Attributes:
        maps: the run. reference: what it was held against.
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
    pulls: tuple[Pull, ...]
    drift: Drift
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


def compare(maps: LumiMaps, reference: NamedReference) -> Comparison:
    """Hold a run against a reference, at the run's own pileup.

    Raises:
        CatalogueError: the reference is of another detector era, or counts something else.
        NoHcalError: there is no lumisection, or no run total, that can be compared.
    """
    _refuse_another(maps, reference)
    parts, notes = _parts(maps, reference)
    shifts = (
        tuple(one for part in parts.values() for one in unit_shifts(part, depth)) for depth in (HALF_LEVEL, BOX_LEVEL)
    )
    lines = [line for part in parts.values() for line in changed(part)]
    return Comparison(
        maps=maps,
        reference=reference,
        parts=parts,
        lumisections=next(iter(parts.values())).series.lumisections,
        elements=tuple(compared_elements(parts)),
        changes=tuple(sorted(lines, key=by_weight)),
        pulls=_largest_pulls(parts),
        drift=Drift(maps.run, *shifts),
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


def _parts(maps: LumiMaps, reference: NamedReference) -> tuple[dict[str, Against], list[str]]:
    """Sub-detectors of the reference at the lumisections that can be compared, and sentences on what was left out."""
    rates = {name: reference.rates[name] for name in COMPARED if name in reference.rates}
    series = {name: comparable(maps, name) for name in rates}
    events = next(iter(series.values())).events
    joint = joint_reference([one.reference for one in rates.values()], maps.channels).reference
    counts = np.concatenate([one.counts for one in series.values()], axis=1)
    log_pileup = CommonPartFit(joint).fit(counts, events.astype(np.int64)).log_pileup.astype(np.float64)
    kept = np.flatnonzero((log_pileup > DARK) & (events >= MINIMUM_EVENTS))
    if not len(kept):
        raise NoHcalError(
            f"run {maps.run}: no lumisection and no run total with digis and at least {MINIMUM_EVENTS} events; "
            "nothing can be compared"
        )
    notes = [f"{name}: the reference {reference.name} has none, its channels were not compared"
             for name in maps.found if name in COMPARED and name not in rates]  # fmt: skip
    if left := len(maps) - len(kept) if maps.coarse is None else 0:
        notes.append(f"{left} of {len(maps)} lumisections not compared: no maps, few events, or no collisions")
    return {name: hold_against(one, series[name].rows(kept), log_pileup[kept]) for name, one in rates.items()}, notes


def _about(maps: LumiMaps, reference: NamedReference, parts: Mapping[str, Against]) -> Iterator[str]:
    """Sentences on how well the reference fits."""
    yield from maps.notes
    trigger = trigger_of(maps)
    if reference.entry.trigger not in ("", trigger):
        yield (
            f"the reference {reference.name} is of the trigger {reference.entry.trigger}, the run of "
            f"{trigger or 'one that its file does not name'}: rings may differ by that alone"
        )
    for name, part in parts.items():
        if part.misfit > STRANGER:
            yield (
                f"{name}: the reference {reference.name} knows another detector (its typical deviation is "
                f"{part.misfit:.1f} times what its errors explain); only what stands out of that is told"
            )


def _largest_pulls(parts: Mapping[str, Against]) -> tuple[Pull, ...]:
    """The most significant channels, those that chance may explain included."""
    found = []
    for part in parts.values():
        z = part.significance
        for row in np.argsort(-np.abs(z))[:LARGEST]:
            ratio = float(np.exp(part.sums.shift[row]))
            found.append(
                Pull(
                    channel=part.series.channels.name_of(int(row)),
                    observed=int(part.sums.observed[row]),
                    expected=float(part.sums.expected[row]),
                    pull=float(part.pull[row]),
                    significance=float(z[row]),
                    ratio=ratio,
                    ratio_error=ratio * float(part.error[row]),
                )
            )
    return tuple(sorted(found, key=lambda one: -abs(one.significance))[:LARGEST])
