"""Alarms of a run: raised once, cleared by themselves.

An alarm is a readout unit or channel that loses digis, or has too many, in the newest lumisections. It is cleared
after ``CLEARED_AFTER`` assessed lumisections without a flag, and at once where a larger unit takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.channels import channel_names
from hcal_root_ad.judge.verdict import Group, Kind, RunVerdict, Verdict

CLEARED_AFTER = 5
"""Assessed lumisections without a flag after which an alarm is over (two minutes)."""
LOSSES = (Kind.DEAD, Kind.DEGRADED)
Place = tuple[str, bool]
"""Unit, and whether it loses digis: a module may be dead here and hot there."""


class Event(StrEnum):
    """What happens to an alarm."""

    RAISED = "raised"
    AMENDED = "amended"
    """Another kind than thought before: degraded turned out as dead."""
    CLEARED = "cleared"


@dataclass(frozen=True)
class Alarm:
    """A unit under alarm: kind, first and last lumisection with the flag, channels, score (log10 likelihood ratio)."""

    unit: str
    kind: Kind
    first: int
    last: int
    channels: int
    score: float

    @property
    def place(self) -> Place:
        return self.unit, self.kind in LOSSES


@dataclass(frozen=True)
class Change:
    """An event, the alarm after it (before it where it is cleared), and the larger unit that takes its place, or ""."""

    event: Event
    alarm: Alarm
    into: str = ""


@dataclass(frozen=True, eq=False)
class _Part:
    """What is judged together: its groups, the assessed lumisections, and the group of each flagged channel."""

    subdetectors: tuple[str, ...]
    groups: tuple[Group, ...]
    assessed: NDArray[np.int32]
    group_of: Mapping[Place, str]

    def quiet(self, last: int) -> int:
        """Assessed lumisections after one."""
        return int((self.assessed > last).sum())

    def flagged(self) -> dict[Place, Alarm]:
        """What the newest lumisections show; of several intervals of a unit the last one."""
        shown: dict[Place, Alarm] = {}
        for group in sorted(self.groups, key=lambda group: group.last):
            if self.quiet(group.last) < CLEARED_AFTER:
                alarm = Alarm(group.unit, group.kind, group.first, group.last, group.channels, group.score)
                shown[alarm.place] = alarm
        return shown


def changes(active: Mapping[Place, Alarm], verdict: RunVerdict) -> tuple[dict[Place, Alarm], tuple[Change, ...]]:
    """Alarms after a verdict on the run so far, and what changed."""
    after, found = dict(active), []
    for part in _parts(verdict):
        shown = part.flagged()
        for place, alarm in shown.items():
            known = after.get(place)
            after[place] = alarm
            if known is None:
                found.append(Change(Event.RAISED, alarm))
            elif known.kind is not alarm.kind:
                found.append(Change(Event.AMENDED, alarm))
        for place, alarm in list(after.items()):
            if alarm.unit[:2] in part.subdetectors and place not in shown:
                into = _larger(place, part, shown)
                if into or part.quiet(alarm.last) >= CLEARED_AFTER:
                    found.append(Change(Event.CLEARED, after.pop(place), into))
    return after, tuple(found)


def _larger(place: Place, part: _Part, shown: Mapping[Place, Alarm]) -> str:
    """The unit under alarm that a unit or channel is a part of, or ""."""
    unit, loss = place
    holder = part.group_of.get(place, "")
    larger = (other for other, same in shown if same == loss and (other == holder or unit.startswith(other)))
    return next(larger, "")


def _parts(verdict: RunVerdict) -> Iterator[_Part]:
    """Judgements per lumisection."""
    for one in verdict.verdicts:
        if one.granularity == "lumisection":
            yield _Part((one.subdetector,), one.groups, one.lumisections[one.assessed], _group_of(one))
    if verdict.strips:
        strips = verdict.strips
        yield _Part(("HB", "HE"), strips.groups, strips.lumisections[strips.assessed], {})


def _group_of(verdict: Verdict) -> dict[Place, str]:
    grouped = [interval for interval in verdict.intervals if interval.group]
    rows, which = np.unique([interval.channel for interval in grouped], return_inverse=True)
    names = channel_names(verdict.channels.take(rows.astype(np.intp)))
    return {(names[n], one.kind in LOSSES): one.group for n, one in zip(which, grouped, strict=True)}
