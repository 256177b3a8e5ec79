"""``DIR/alarms.jsonl``: every change of an alarm as one line of JSON, from which the alarms are known after a restart.

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
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from hcal_root_ad.errors import InputError
from hcal_root_ad.lumi_ranges import ranges_of
from hcal_root_ad.publish.provenance import Provenance, provenance_of_table
from hcal_root_ad.watch.alarms import Alarm, Change, Event, Place, Severity

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
