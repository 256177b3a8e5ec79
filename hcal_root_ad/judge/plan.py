"""What the whole run decides about each sub-detector: what to hold it against, and which lumisections can be judged.

A run that grows may decide otherwise: a reference that seemed to fit does not, a sub-detector that was silent speaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.conditions import Conditions
from hcal_root_ad.judge.fitness import FEWEST, MISFIT, fits_channels, self_referenced
from hcal_root_ad.judge.side_by_side import side_by_side
from hcal_root_ad.judge.substitute import Substitutes
from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.references.catalogue import FindReference
from hcal_root_ad.learn.reconstruct import Rings
from hcal_root_ad.learn.reference import thinning
from hcal_root_ad.learn.series import assessable, blocks, series_of
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.stats.binomial import Floats


@dataclass(frozen=True, eq=False)
class Plan:
    """How one sub-detector is judged.

    Attributes:
        bundle: the one that was given, or the same on a reference learned from the run itself.
        position: (LS,) positions in the run of the lumisections that are reconstructed.
        activity: (LS,) common log activity of each. ring_shift: (LS, rings) shifts of log λ.
        rings: what a shift of a ring means for its channels.
        skipped: (LS,) those that cannot be judged, because their conditions are far outside of what is known.
        notes: sentences for the user.
    """

    bundle: Bundle
    position: NDArray[np.intp]
    activity: Floats
    ring_shift: NDArray[np.float32]
    rings: Rings
    skipped: NDArray[np.bool_]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.position)

    def part(self, rows: slice | NDArray[np.intp]) -> Plan:
        """Some of the lumisections."""
        names = ("position", "activity", "ring_shift", "skipped")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

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
        known = [self._seen(one.subdetector, one) for one in bundles if fits_channels(one, maps.channels)]
        new = max((len(assessable(maps)) - len(one) for one in known), default=0)
        list(side_by_side(partial(look_at, maps), known, lumisections=new))
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
        if len(assessable(maps)) and not fits_channels(bundle, maps.channels):
            why = f"it was made for {bundle.channels.era.value}, the run is of {maps.channels.era.value}"
            return self._referenced_otherwise(maps, bundle, why)
        conditions = self._seen(bundle.subdetector, bundle)
        look_at(maps, conditions)
        if conditions.misfit > MISFIT:
            return self._referenced_otherwise(maps, bundle, f"its typical deviation is {conditions.misfit:.1f} sigma")
        return conditions, ()

    def _seen(self, name: str, bundle: Bundle) -> Conditions:
        """What the reference of a bundle has seen so far."""
        if name not in self._conditions:
            self._conditions[name] = Conditions(bundle, bundle.channels)
        return self._conditions[name]

    def _referenced_otherwise(self, maps: LumiMaps, bundle: Bundle, why: str) -> tuple[Conditions, tuple[str, ...]]:
        """On a reference run that knows the detector, else on the run itself."""
        if (substitute := self._substitutes.of(maps, bundle)) is None:
            return _referenced_to_itself(maps, bundle, why)
        name = f"{bundle.subdetector} of {substitute.name}"
        conditions = self._seen(name, substitute.bundle)
        look_at(maps, conditions)
        if conditions.misfit > MISFIT or not conditions.near.any():
            return _referenced_to_itself(maps, bundle, why)
        return conditions, (substitute.note(why),)


def look_at(maps: LumiMaps, conditions: Conditions) -> None:
    """Let conditions see what they have not seen yet."""
    new = assessable(maps)[len(conditions) :]
    for rows in blocks(len(new)):
        conditions.add(series_of(maps, conditions.bundle.subdetector, new[rows]))


def _referenced_to_itself(maps: LumiMaps, bundle: Bundle, why: str) -> tuple[Conditions, tuple[str, ...]]:
    note = (
        f"{bundle.subdetector}: bundle {bundle.name} does not know this detector ({why}); judged against this run "
        "itself, so what is wrong throughout the run is not seen; adapt the bundle with transfer on a clean run"
    )
    position = assessable(maps)
    blind = len(position) < FEWEST
    if blind:
        note = (
            f"{bundle.subdetector}: bundle {bundle.name} does not know this detector ({why}), and a run of "
            f"{len(position)} lumisections cannot be held against itself: not assessed; adapt the bundle with transfer"
        )
    if not (blind and fits_channels(bundle, maps.channels)):
        bundle = self_referenced(bundle, series_of(maps, bundle.subdetector, position[:: thinning(len(position))]))
    conditions = Conditions(bundle, bundle.channels, blind=blind)
    look_at(maps, conditions)
    return conditions, (note,)


def _plan(maps: LumiMaps, seen: Conditions, notes: tuple[str, ...], others: Sequence[Conditions]) -> Plan:
    """Lumisections under unknown conditions are left out, and said."""
    position, name = assessable(maps)[: len(seen)], seen.bundle.subdetector
    activity, shift, skipped = seen.activity.copy(), seen.ring_shift.copy(), ~seen.near
    for other in others:
        # If another sub-detector sees ordinary collisions in the same LS, it is this one that fails, not the beam.
        there = dict(zip(other.lumisections[other.ordinary], other.known[other.ordinary], strict=True))
        for row in np.flatnonzero(~seen.ordinary & np.isin(seen.lumisections, list(there))):
            one = series_of(maps, name, position[[row]])
            activity[row], shift[row] = seen.seen_from(one, there[seen.lumisections[row]])
            skipped[row] = False
    if skipped.any() and not seen.blind:
        left_out = (
            f"{name}: {int(skipped.sum())} lumisections not assessed, their activity is far outside "
            f"of what the reference knows (no collisions?): LS {_listed(seen.lumisections[skipped])}"
        )
        notes = (*notes, left_out)
    return Plan(seen.bundle, position, activity, shift, seen.rings, skipped, notes)


def _listed(lumisections: NDArray[np.int32], most: int = 8) -> str:
    shown = ", ".join(str(ls) for ls in lumisections[:most])
    return shown if len(lumisections) <= most else f"{shown} and {len(lumisections) - most} more"
