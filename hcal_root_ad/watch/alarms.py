"""Alarms of a run: one for each fault, which grows, changes and ends; and one where a verdict is not to be trusted.

A fault raises an alarm when it is found in the newest lumisections. Where a larger unit turns out to fail, the alarm
of a part of it grows, and those of the other parts are folded into it. It is cleared after ``CLEARED_AFTER`` assessed
lumisections without a flag, or withdrawn where the judge, who knows more by then, no longer finds the fault at all.
A weak finding of a single channel raises none, nor one of a unit in fewer than three LS: most of the false ones that
are asked for are such.

``DIR/alarms.jsonl`` has every change of an alarm as one line of JSON, from which the alarms are known after a restart.
Keys: ``time`` (UTC), ``run``, ``lumisection`` (the newest one judged), ``event`` (raised, amended, grown, cleared,
withdrawn), ``severity`` (channel, module, box, sub-detector), ``subdetector``, ``unit``, ``what`` (in words),
``kind``, ``first`` and ``last`` (lumisections with the flag), ``channels``, ``rate`` and ``sure`` (in words),
``reason`` (of a verdict that cannot be used), ``parts`` (units whose place a grown alarm takes), and ``rows`` (ranges
of its channels in the sub-detector). What is neither cleared nor withdrawn lasted until the end of its run. The changes
below a line with the key ``provenance``, up to the next such line, were found with what it names.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.errors import InputError
from hcal_root_ad.judge.aggregate import LOSSES
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import Finding, Level, Named, Verdict, how_large, how_sure, what
from hcal_root_ad.lumi_maps import ranges_of
from hcal_root_ad.provenance import Provenance, provenance_of_table

CLEARED_AFTER = 5
"""Assessed lumisections without a flag after which an alarm is over (two minutes)."""
LASTING = 2
"""LS after its first in which a weak finding of a unit still stands when it raises an alarm."""
SHARED = 0.5
"""A new finding that has this share of an alarm's channels is the same fault under another name."""
_BOX, _SUBDETECTOR = 100, 1000
"""Channels from which a fault without a unit of its own is as severe as a box, or a sub-detector; few are a module."""
NOT_TRUSTED, NOT_JUDGED = "not trusted", "not judged"
CERTAINLY, WEAK = "certain", "weak"
Place = tuple[str, str, str]
"""Sub-detector, unit, and ``loss``, ``excess`` or ``verdict``: a module may be dead here and hot there."""


class Severity(StrEnum):
    """How much an alarm is about, from the least."""

    CHANNEL = "channel"
    MODULE = "module"
    BOX = "box"
    SUBDETECTOR = "sub-detector"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


_SEVERITY = {
    Level.CHANNEL: Severity.CHANNEL, Level.CARD: Severity.MODULE, Level.RM: Severity.MODULE, Level.RBX: Severity.BOX,
    Level.WEDGE: Severity.BOX, Level.UHTR: Severity.BOX,
}  # fmt: skip


class Event(StrEnum):
    """What happens to an alarm."""

    RAISED = "raised"
    AMENDED = "amended"
    """Another kind than thought before: degraded turned out as dead."""
    GROWN = "grown"
    """A larger unit, or the same fault under another name, takes the place of its parts."""
    CLEARED = "cleared"
    """Good again."""
    WITHDRAWN = "withdrawn"
    """With more lumisections the judge does not find it any more."""


@dataclass(frozen=True)
class Alarm:
    """A fault under alarm, or a verdict that cannot be used.

    Attributes:
        subdetector: ``HB``, ``HE``, ``HO``, ``HF``, or ``HCAL`` for the run as a whole.
        unit, what: where (``HEP07``), and in words (``RBX, 184 channels``).
        kind: a :class:`~hcal_root_ad.judge.verdict.Kind`, or ``not trusted``, ``not judged``.
        severity: how much it is about.
        first, last: lumisections with the flag.
        rate: digis over those expected, in words; "" where there are none.
        sure: ``certain``, ``likely`` or ``weak``.
        reason: a sentence where a verdict cannot be used, else "".
        rows: its channels, columns of the sub-detector.
    """

    subdetector: str
    unit: str
    what: str
    kind: str
    severity: Severity
    first: int
    last: int
    rate: str = ""
    sure: str = CERTAINLY
    reason: str = ""
    rows: tuple[int, ...] = ()

    @property
    def place(self) -> Place:
        if self.kind in (NOT_TRUSTED, NOT_JUDGED):
            return self.subdetector, self.unit, "verdict"
        return self.subdetector, self.unit, "loss" if self.kind in LOSSES else "excess"


@dataclass(frozen=True)
class Change:
    """An event and the alarm after it (before it where it is over); ``parts``: units that it takes the place of."""

    event: Event
    alarm: Alarm
    parts: tuple[str, ...] = ()
    louder: bool = True
    """False where an alarm only got another name, which nobody has to hear of."""


@dataclass(frozen=True, eq=False)
class _Part:
    """What is judged together: its findings, and the assessed lumisections."""

    subdetectors: tuple[str, ...]
    findings: tuple[Named, ...]
    assessed: NDArray[np.int32]

    def quiet(self, last: int) -> bool:
        """Whether enough assessed lumisections came after one."""
        return int((self.assessed > last).sum()) >= CLEARED_AFTER

    def shown(self) -> dict[Place, Alarm]:
        """What the newest lumisections show, larger ones first; of several kinds in a unit the latest."""
        alarms = [alarm_of(finding, noun) for finding, noun in self.findings]
        latest: dict[Place, Alarm] = {}
        for alarm in sorted(alarms, key=lambda alarm: (alarm.last, len(alarm.rows))):
            if not self.quiet(alarm.last):
                latest[alarm.place] = alarm
        return dict(sorted(latest.items(), key=lambda item: -len(item[1].rows)))


def alarm_of(finding: Finding, noun: str = "channel") -> Alarm:
    """The alarm that a finding raises; ``noun``: what its rows are."""
    return Alarm(
        finding.subdetector, finding.unit, what(finding, noun), str(finding.kind), severity_of(finding), finding.first,
        finding.last, how_large(finding), how_sure(finding), rows=finding.rows,
    )  # fmt: skip


def severity_of(finding: Finding) -> Severity:
    """By the level; channels that fail alike without a unit of their own count by their number."""
    if finding.level is Level.CHANNELS:
        many = ((_SUBDETECTOR, Severity.SUBDETECTOR), (_BOX, Severity.BOX))
        return next((severity for least, severity in many if finding.channels >= least), Severity.MODULE)
    return _SEVERITY.get(finding.level, Severity.SUBDETECTOR)


def changes(active: Mapping[Place, Alarm], verdict: RunVerdict) -> tuple[dict[Place, Alarm], tuple[Change, ...]]:
    """Alarms after a verdict on the run so far, and what changed."""
    after = dict(active)
    changed = [*_of_trust(after, verdict)]
    for judgement in _parts(verdict):
        shown = judgement.shown()
        for alarm in shown.values():
            changed += _take(alarm, after, shown)
        changed += _over(judgement, after, shown)
    return after, tuple(changed)


def _take(alarm: Alarm, after: dict[Place, Alarm], shown: Mapping[Place, Alarm]) -> Iterator[Change]:
    """Enter an alarm that the newest lumisections show."""
    standing = after.get(alarm.place)
    if standing:
        after[alarm.place] = alarm
        if standing.kind != alarm.kind:
            yield Change(Event.AMENDED, alarm)
        return
    alike = [other for other in after.values() if other.place[::2] == alarm.place[::2]]
    parts = [other for other in alike if _share(other.rows, alarm.rows) >= SHARED and
             (other.place not in shown or len(other.rows) < len(alarm.rows))]  # fmt: skip
    if parts:
        for smaller in parts:
            del after[smaller.place]
        grown = replace(alarm, first=min(alarm.first, *(smaller.first for smaller in parts)))
        after[grown.place] = grown
        louder = grown.severity.rank > max(smaller.severity.rank for smaller in parts)
        yield Change(Event.GROWN, grown, tuple(smaller.unit for smaller in parts), louder)
    elif holders := [other for other in alike if _share(alarm.rows, other.rows) == 1]:
        holder = holders[0]  # a part of what is under alarm already, which goes on
        after[holder.place] = replace(holder, last=max(holder.last, alarm.last))
    elif alarm.sure != WEAK or (alarm.severity is not Severity.CHANNEL and alarm.last - alarm.first >= LASTING):
        after[alarm.place] = alarm
        yield Change(Event.RAISED, alarm)


def _share(rows: Iterable[int], others: Iterable[int]) -> float:
    """Share of some channels that are among others."""
    rows = set(rows)
    return len(rows.intersection(others)) / len(rows) if rows else 0.0


def _over(judgement: _Part, after: dict[Place, Alarm], shown: Mapping[Place, Alarm]) -> Iterator[Change]:
    """Alarms of a part that have ended."""
    places = {alarm_of(finding, noun).place for finding, noun in judgement.findings}
    for place, alarm in list(after.items()):
        own = place[2] != "verdict" and alarm.subdetector in judgement.subdetectors
        if own and place not in shown and judgement.quiet(alarm.last):
            yield Change(Event.CLEARED if place in places else Event.WITHDRAWN, after.pop(place))


def _of_trust(after: dict[Place, Alarm], verdict: RunVerdict) -> Iterator[Change]:
    """Verdicts that are not trusted, and those that are again."""
    newest = int(verdict.maps.lumisections[-1])
    for judged in verdict.verdicts:
        standing = after.get((judged.subdetector, judged.subdetector, "verdict"))
        if not judged.trust.trusted:
            alarm = untrusted(judged, standing.first if standing else newest, newest)
            after[alarm.place] = alarm
            if standing is None:
                yield Change(Event.RAISED, alarm)
        elif standing:
            yield Change(Event.CLEARED, after.pop(standing.place))


def untrusted(verdict: Verdict, first: int, last: int) -> Alarm:
    """The alarm of a sub-detector whose verdict is not trusted."""
    reason = verdict.trust_reason.rstrip(".") or str(verdict.trust)
    name = verdict.subdetector
    return Alarm(name, name, str(verdict.trust), NOT_TRUSTED, Severity.SUBDETECTOR, first, last, reason=reason)


def not_judged(sentence: str) -> Alarm:
    """The alarm of a run that cannot be judged; it belongs to no lumisection."""
    return Alarm("HCAL", "the run", "", NOT_JUDGED, Severity.SUBDETECTOR, 0, 0, reason=sentence.rstrip("."))


def _parts(verdict: RunVerdict) -> Iterator[_Part]:
    """Judgements per lumisection."""
    for judged in verdict.verdicts:
        if judged.granularity == "lumisection":
            findings = tuple((finding, "channel") for finding in judged.findings)
            yield _Part((judged.subdetector,), findings, judged.lumisections[judged.assessed])
    if strips := verdict.strips:
        findings = tuple((finding, "strip") for finding in strips.findings)
        yield _Part(("HB", "HE"), findings, strips.lumisections[strips.assessed])


NAME = "alarms.jsonl"


class AlarmLog:
    """Appends whole lines; those that the disk does not take are kept for the next time."""

    def __init__(self, path: Path, provenance: Provenance) -> None:
        self._path, self._provenance = path, provenance
        self._lines: list[str] = []
        self._mend()

    def _mend(self) -> None:
        """Cut off a line that a killed process left without its end."""
        if self._path.exists():
            content = self._path.read_bytes()
            if torn := len(content) - content.rfind(b"\n") - 1:
                with self._path.open("r+b") as file:
                    file.truncate(len(content) - torn)

    def active(self, run: int) -> dict[Place, Alarm]:
        """Alarms of a run that are raised and not cleared. Raises InputError where the log is not one of ours."""
        alarms: dict[Place, Alarm] = {}
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
            for entry in map(json.loads, lines):
                if "provenance" not in entry and entry["run"] == run:
                    alarm = _alarm(entry)
                    for unit in entry["parts"]:
                        alarms.pop((alarm.subdetector, unit, alarm.place[2]), None)
                    alarms[alarm.place] = alarm
                    if entry["event"] in (Event.CLEARED, Event.WITHDRAWN):
                        del alarms[alarm.place]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{self._path} is no log of alarms ({error}); move it away.") from error
        return alarms

    @cached_property
    def _told(self) -> bool:
        """Whether the log says already what the next changes are found with."""
        try:
            return self._provenance in log_provenances(self._path)[-1:]
        except ValueError:  # a log that cannot be read says nothing
            return False

    def add(self, changes: Sequence[Change], run: int, lumisection: int, now: float) -> None:
        """Take changes, to be written with :meth:`write`."""
        if changes and not self._told:
            self._lines.append(json.dumps({"time": utc(now), "provenance": self._provenance.as_table()}) + "\n")
            self._told = True
        self._lines += [json.dumps(_line(change, run, lumisection, now)) + "\n" for change in changes]

    @property
    def waits(self) -> bool:
        """Whether changes are not written yet."""
        return bool(self._lines)

    def write(self) -> None:
        """Append what is not written yet. Raises OSError where the disk does not take it; it stays to be written."""
        if not self._lines:
            return
        content = "".join(self._lines).encode()
        with self._path.open("ab", buffering=0) as file:
            size = file.tell()
            try:
                if file.write(content) < len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                file.truncate(size)
                raise
        self._lines = []


def log_provenances(path: Path) -> tuple[Provenance, ...]:
    """What the alarms of a log were found with, in its order. Raises ValueError where a line is damaged."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    tables = (json.loads(line) for line in lines if '"provenance"' in line)
    return tuple(provenance_of_table(table["provenance"]) for table in tables)


def utc(now: float) -> str:
    """A time (s) for people and machines, to the millisecond."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def entry_of(change: Change, run: int, lumisection: int, now: float) -> dict[str, Any]:
    """A change as the log and ``--on-alarm`` give it, but for the rows."""
    alarm = change.alarm
    return {
        "time": utc(now), "run": run, "lumisection": lumisection, "event": str(change.event),
        "severity": str(alarm.severity), "subdetector": alarm.subdetector, "unit": alarm.unit, "what": alarm.what,
        "kind": alarm.kind, "first": alarm.first, "last": alarm.last, "channels": len(alarm.rows), "rate": alarm.rate,
        "sure": alarm.sure,
        "reason": alarm.reason, "parts": list(change.parts),
    }  # fmt: skip


def _line(change: Change, run: int, lumisection: int, now: float) -> dict[str, Any]:
    return {**entry_of(change, run, lumisection, now), "rows": ranges_of(change.alarm.rows)}


def _alarm(entry: dict[str, Any]) -> Alarm:
    names = ("subdetector", "unit", "what", "kind", "first", "last", "rate", "sure", "reason")
    words = {name: entry[name] for name in names}
    rows = tuple(row for first, last in entry["rows"] for row in range(first, last + 1))
    return Alarm(**words, severity=Severity(entry["severity"]), rows=rows)
