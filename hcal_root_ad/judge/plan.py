"""What the whole run decides about each sub-detector: what to hold it against, and which lumisections can be judged.

A run that grows may decide otherwise: a reference that seemed to fit does not, a sub-detector that was silent speaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.conditions import Conditions, activity_from
from hcal_root_ad.judge.fitness import FEWEST, MISFIT, fits_channels, self_referenced
from hcal_root_ad.judge.substitute import Substitutes
from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.learn.catalogue import FindReference
from hcal_root_ad.learn.series import Series, assessable, series_of
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.occupancy import Floats

PIECE = 48
"""Lumisections that are looked at together; nothing depends on it but the memory."""


@dataclass(frozen=True, eq=False)
class Plan:
    """How one sub-detector is judged.

    Attributes:
        bundle: the one that was given, or the same on a reference learned from the run itself.
        position: (LS,) positions in the run of the lumisections that are reconstructed.
        activity: (LS,) common log activity of each.
        skipped: (LS,) those that cannot be judged, because their conditions are far outside of what is known.
        notes: sentences for the user.
    """

    bundle: Bundle
    position: NDArray[np.intp]
    activity: Floats
    skipped: NDArray[np.bool_]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.position)

    def goes_on(self, earlier: Plan) -> bool:
        """Whether all that an earlier plan decided still holds."""
        size = len(earlier)
        return (
            self.bundle is earlier.bundle
            and np.array_equal(self.activity[:size], earlier.activity)
            and np.array_equal(self.skipped[:size], earlier.skipped)
        )


class Planner:
    """Plans for the bundles that serve a run, as the run grows; what was seen is not looked at again.

    ``find_reference`` gives a reference run for a detector that a bundle does not know.
    """

    def __init__(self, find_reference: FindReference | None = None) -> None:
        self._conditions: dict[str, Conditions] = {}
        self._substitutes = Substitutes(find_reference)

    def plans(self, maps: LumiMaps, bundles: Sequence[Bundle]) -> list[Plan]:
        """Use each bundle's reference if it knows this detector, else one made of the run itself."""
        seen = [self._look(maps, bundle) for bundle in bundles]
        if not any(one.near.any() for one, _ in seen):
            # Where one sub-detector sees what it knows, another that never does is at fault: its reference stays.
            why = "the activity of every lumisection is far outside of what it has seen"
            seen = [
                self._referenced_otherwise(maps, bundle, why) if len(one) else (one, notes)
                for bundle, (one, notes) in zip(bundles, seen, strict=True)
            ]
        return [_plan(maps, one, notes, [other for other, _ in seen if other is not one]) for one, notes in seen]

    def _look(self, maps: LumiMaps, bundle: Bundle) -> tuple[Conditions, tuple[str, ...]]:
        if not len(assessable(maps)):
            return Conditions(bundle), ()
        if not fits_channels(bundle, maps.channels):
            why = f"it was made for {bundle.channels.era.value}, the run is of {maps.channels.era.value}"
            return self._referenced_otherwise(maps, bundle, why)
        conditions = self._conditions.setdefault(bundle.subdetector, Conditions(bundle))
        look_at(maps, conditions)
        if conditions.misfit > MISFIT:
            return self._referenced_otherwise(maps, bundle, f"its typical deviation is {conditions.misfit:.1f} sigma")
        return conditions, ()

    def _referenced_otherwise(self, maps: LumiMaps, bundle: Bundle, why: str) -> tuple[Conditions, tuple[str, ...]]:
        """On a reference run that knows the detector, else on the run itself."""
        if (substitute := self._substitutes.of(maps, bundle)) is None:
            return _referenced_to_itself(maps, bundle, why)
        name = f"{bundle.subdetector} of {substitute.name}"
        conditions = self._conditions.setdefault(name, Conditions(substitute.bundle))
        look_at(maps, conditions)
        if conditions.misfit > MISFIT or not conditions.near.any():
            return _referenced_to_itself(maps, bundle, why)
        return conditions, (substitute.note(why),)


def pieces_of(maps: LumiMaps, subdetector: str, position: NDArray[np.intp]) -> list[Series]:
    """The lumisections at some positions, in pieces that fit into memory."""
    return [series_of(maps, subdetector, position[n : n + PIECE]) for n in range(0, len(position), PIECE)]


def look_at(maps: LumiMaps, conditions: Conditions) -> None:
    """Let conditions see what they have not seen yet."""
    for series in pieces_of(maps, conditions.bundle.subdetector, assessable(maps)[len(conditions) :]):
        conditions.add(series)


def _referenced_to_itself(maps: LumiMaps, bundle: Bundle, why: str) -> tuple[Conditions, tuple[str, ...]]:
    note = (
        f"{bundle.subdetector}: bundle {bundle.name} does not know this detector ({why}); judged against this run "
        "itself, so what is wrong throughout the run is not seen; adapt the bundle with transfer on a clean run"
    )
    series = series_of(maps, bundle.subdetector)
    if len(series) < FEWEST:
        note = (
            f"{bundle.subdetector}: bundle {bundle.name} does not know this detector ({why}), and a run of "
            f"{len(series)} lumisections cannot be held against itself: not assessed; adapt the bundle with transfer"
        )
    own = bundle if len(series) < FEWEST and fits_channels(bundle, maps.channels) else self_referenced(bundle, series)
    conditions = Conditions(own, blind=len(series) < FEWEST)
    look_at(maps, conditions)
    return conditions, (note,)


def _plan(maps: LumiMaps, seen: Conditions, notes: tuple[str, ...], others: Sequence[Conditions]) -> Plan:
    """Lumisections under unknown conditions are left out, and said."""
    position, name = assessable(maps)[: len(seen)], seen.bundle.subdetector
    activity, skipped = seen.activity.copy(), ~seen.near
    for other in others:
        # If another sub-detector sees ordinary collisions in the same LS, it is this one that fails, not the beam.
        there = dict(zip(other.lumisections[other.ordinary], other.known[other.ordinary], strict=True))
        for row in np.flatnonzero(~seen.ordinary & np.isin(seen.lumisections, list(there))):
            one = series_of(maps, name, position[[row]])
            activity[row] = activity_from(seen.bundle.reference, one, there[seen.lumisections[row]])
            skipped[row] = False
    if skipped.any() and not seen.blind:
        left_out = (
            f"{name}: {int(skipped.sum())} lumisections not assessed, their activity is far outside "
            f"of what the reference knows (no collisions?): LS {_listed(seen.lumisections[skipped])}"
        )
        notes = (*notes, left_out)
    return Plan(seen.bundle, position, activity, skipped, notes)


def _listed(lumisections: NDArray[np.int32], most: int = 8) -> str:
    shown = ", ".join(str(ls) for ls in lumisections[:most])
    return shown if len(lumisections) <= most else f"{shown} and {len(lumisections) - most} more"
