"""Alarms of a run: raised once, cleared by themselves.

An alarm is a readout unit or channel that loses digis, or has too many, in the newest lumisections. It is cleared
after ``CLEARED_AFTER`` assessed lumisections without a flag, and at once where a larger unit takes its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_RBX, SUBDET_PM, ChannelTable, box_name
from hcal_root_ad.judge.verdict import Finding, Kind, RunVerdict

CLEARED_AFTER = 5
"""Assessed lumisections without a flag after which an alarm is over (two minutes)."""
LOSSES = (Kind.DEAD, Kind.DEGRADED)
Place = tuple[str, bool]
"""Unit (without a number of channels), and whether it loses digis: a module may be dead here and hot there."""
_COUNTED = re.compile(r"^[\d,]+ (?=channels of )")
_CHANNEL = re.compile(r"(?P<subdetector>H\w) (?P<ieta>[-+]\d+)/(?P<iphi>\d+)/(?P<depth>\d+)")
_BOXES = len(SUBDET_PM) * N_RBX
_READOUT = re.compile(r"(?P<box>\w+)(?:-RM(?P<rm>\d))?")


class Event(StrEnum):
    """What happens to an alarm."""

    RAISED = "raised"
    AMENDED = "amended"
    """Another kind than thought before: degraded turned out as dead."""
    CLEARED = "cleared"


@dataclass(frozen=True)
class Alarm:
    """A unit under alarm: kind, first and last lumisection with the flag, channels, and its significance (σ)."""

    subdetector: str
    unit: str
    kind: Kind
    first: int
    last: int
    channels: int
    significance: float

    @property
    def place(self) -> Place:
        return _COUNTED.sub("", self.unit), self.kind in LOSSES


def alarm_of(finding: Finding) -> Alarm:
    """The alarm that a finding raises."""
    return Alarm(
        finding.subdetector, finding.unit, finding.kind, finding.first, finding.last, finding.channels,
        finding.significance,
    )  # fmt: skip


@dataclass(frozen=True)
class Change:
    """An event, the alarm after it (before it where it is cleared), and the larger unit that takes its place, or ""."""

    event: Event
    alarm: Alarm
    into: str = ""


@dataclass(frozen=True, eq=False)
class _Part:
    """What is judged together: its findings and assessed lumisections; ``channels`` of their rows, None for strips."""

    subdetectors: tuple[str, ...]
    findings: tuple[Finding, ...]
    assessed: NDArray[np.int32]
    channels: ChannelTable | None

    def quiet(self, last: int) -> int:
        """Assessed lumisections after one."""
        return int((self.assessed > last).sum())

    def shown(self) -> dict[Place, Finding]:
        """What the newest lumisections show; of several findings of a unit the last one."""
        newest = (finding for finding in self.findings if self.quiet(finding.last) < CLEARED_AFTER)
        return {alarm_of(finding).place: finding for finding in sorted(newest, key=lambda finding: finding.last)}


def changes(active: Mapping[Place, Alarm], verdict: RunVerdict) -> tuple[dict[Place, Alarm], tuple[Change, ...]]:
    """Alarms after a verdict on the run so far, and what changed."""
    after, events = dict(active), []
    for part in _parts(verdict):
        shown = part.shown()
        for place, finding in shown.items():
            before, alarm = after.get(place), alarm_of(finding)
            after[place] = alarm
            if before is None:
                events.append(Change(Event.RAISED, alarm))
            elif before.kind is not alarm.kind:
                events.append(Change(Event.AMENDED, alarm))
        for place, alarm in list(after.items()):
            if alarm.subdetector in part.subdetectors and place not in shown:
                into = _larger(alarm, part, shown.values())
                if into or part.quiet(alarm.last) >= CLEARED_AFTER:
                    events.append(Change(Event.CLEARED, after.pop(place), into))
    return after, tuple(events)


def _larger(alarm: Alarm, part: _Part, shown: Iterable[Finding]) -> str:
    """The unit under alarm that a unit or channel is a part of, or ""."""
    rows = set() if part.channels is None else set(_rows_of(alarm.unit, part.channels).tolist())
    for finding in shown:
        same = finding.subdetector == alarm.subdetector and (finding.kind in LOSSES) == (alarm.kind in LOSSES)
        named = alarm.unit.startswith(finding.unit) and alarm.unit != finding.unit
        inside = 2 * len(rows & set(finding.rows)) > len(rows) and finding.channels > len(rows)
        if same and (named or inside):
            return finding.unit
    return ""


def _rows_of(unit: str, channels: ChannelTable) -> NDArray[np.intp]:
    """Channels of ``HE +20/5/3``, ``HEP07`` or ``HEP07-RM2``; none of other units."""
    if match := _CHANNEL.fullmatch(unit):
        place = (int(match["ieta"]), int(match["iphi"]), int(match["depth"]))
        return np.flatnonzero((channels.ieta == place[0]) & (channels.iphi == place[1]) & (channels.depth == place[2]))
    boxes = {box_name(box): box for box in range(_BOXES)}
    match = _READOUT.fullmatch(unit)
    if match is None or match["box"] not in boxes:
        return np.zeros(0, dtype=np.intp)
    inside = channels.box == boxes[match["box"]]
    return np.flatnonzero(inside & (channels.rm == int(match["rm"])) if match["rm"] else inside)


def _parts(verdict: RunVerdict) -> Iterator[_Part]:
    """Judgements per lumisection."""
    for judged in verdict.verdicts:
        if judged.granularity == "lumisection":
            assessed = judged.lumisections[judged.assessed]
            yield _Part((judged.subdetector,), judged.findings, assessed, judged.channels)
    if verdict.strips:
        strips = verdict.strips
        yield _Part(("HB", "HE"), strips.findings, strips.lumisections[strips.assessed], None)
