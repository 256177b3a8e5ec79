"""Alarms: raised once, cleared by themselves, and handed on where a larger unit explains them."""

from __future__ import annotations

import errno
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.detector import channel_table
from hcal_root_ad.errors import InputError
from hcal_root_ad.judge.channels import channel_names
from hcal_root_ad.judge.verdict import Group, Interval, Judge, Kind, RunVerdict, Verdict
from hcal_root_ad.publish.provenance import Material, Provenance
from hcal_root_ad.reproduce.reading import origins
from hcal_root_ad.watch.alarm_log import AlarmLog, log_provenances
from hcal_root_ad.watch.alarms import CLEARED_AFTER, Alarm, Change, Event, Place, changes

from .conftest import DqmFolder, maps_of

MADE = Provenance("watch", (Material("bundle", "he-graphstad", "00ff"),), {"online": True})
HE = channel_table().select("HE")
NAMES = channel_names(HE)


def group(unit: str, first: int, last: int, kind: Kind = Kind.DEAD, channels: int = 45) -> Group:
    return Group(unit, kind, first, last, channels, 0, 1000.0, -100.0)


def verdict(
    dqm: DqmFolder, length: int, *groups: Group, intervals: tuple[Interval, ...] = (), unassessed: tuple[int, ...] = ()
) -> RunVerdict:
    """What a judge would say of a run of that many lumisections."""
    lumisections = np.arange(1, length + 1, dtype=np.int32)
    nothing = np.zeros((length, 0))
    one = Verdict(
        subdetector="HE", channels=HE, lumisections=lumisections, events=np.full(length, 1000),
        assessed=~np.isin(lumisections, unassessed), observed=nothing.astype(np.int32),
        expected=nothing.astype(np.float32), score=nothing.astype(np.float32), states=nothing.astype(np.uint8),
        intervals=intervals, groups=groups, judge=Judge("b", "1", "", 3.0, 0.5),
    )  # fmt: skip
    if not dqm.name(1).exists():
        dqm.leave(1)
    return RunVerdict(maps_of(dqm.path), (one,))


def told(found: tuple[Change, ...]) -> list[tuple[str, str, str]]:
    return [(str(change.event), change.alarm.unit, change.into) for change in found]


def test_raised_once_and_cleared_after_some_good_lumisections(dqm: DqmFolder) -> None:
    active: dict[Place, Alarm] = {}
    log = []
    for length in range(1, 20):
        seen = [group("HEP07", 6, min(length, 8))] if length >= 6 else []
        active, found = changes(active, verdict(dqm, length, *seen))
        log += [(length, *one) for one in told(found)]
    assert log == [(6, "raised", "HEP07", ""), (8 + CLEARED_AFTER, "cleared", "HEP07", "")]
    assert active == {}


def test_lumisections_that_are_not_assessed_clear_nothing(dqm: DqmFolder) -> None:
    active, _ = changes({}, verdict(dqm, 8, group("HEP07", 6, 8)))
    dark = tuple(range(9, 9 + CLEARED_AFTER))
    active, found = changes(active, verdict(dqm, 13, group("HEP07", 6, 8), unassessed=dark))
    assert (list(active), found) == ([("HEP07", True)], ())


def test_a_flag_that_flickers_is_one_alarm(dqm: DqmFolder) -> None:
    active: dict[Place, Alarm] = {}
    events = []
    for length in range(1, 30):
        on = length in (5, 6, 9, 13)
        active, found = changes(active, verdict(dqm, length, *([group("HEM01-RM2", 5, length)] if on else [])))
        events += [(length, *one) for one in told(found)]
    assert events == [(5, "raised", "HEM01-RM2", ""), (13 + CLEARED_AFTER, "cleared", "HEM01-RM2", "")]


def test_what_ended_before_it_was_seen_is_no_alarm(dqm: DqmFolder) -> None:
    late = verdict(dqm, 50, group("HEP07", 3, 20), group("HEP08", 3, 50 - CLEARED_AFTER), group("HEP09", 46, 46))
    assert told(changes({}, late)[1]) == [("raised", "HEP09", "")]


def test_another_kind_amends_and_another_direction_is_another_alarm(dqm: DqmFolder) -> None:
    active, _ = changes({}, verdict(dqm, 5, group("HEP07", 5, 5, Kind.DEGRADED)))
    active, found = changes(active, verdict(dqm, 6, group("HEP07", 5, 6), group("HEP07", 6, 6, Kind.HOT)))
    assert told(found) == [("amended", "HEP07", ""), ("raised", "HEP07", "")]
    assert [change.alarm.kind for change in found] == [Kind.DEAD, Kind.HOT]
    assert changes(active, verdict(dqm, 6, group("HEP07", 5, 6), group("HEP07", 6, 6, Kind.HOT)))[1] == ()


def test_a_larger_unit_takes_the_place_of_its_parts(dqm: DqmFolder) -> None:
    row = 40
    singles = [group(NAMES[row], 5, 5, channels=1), group("HEP07-RM1", 5, 5), group("HEM03", 5, 5)]
    active, _ = changes({}, verdict(dqm, 5, *singles))
    inside = Interval(row, Kind.DEAD, 5, 6, 0, 100.0, -50.0, group="HEP07")
    active, found = changes(active, verdict(dqm, 6, group("HEP07", 5, 6), intervals=(inside,)))
    assert told(found) == [
        ("raised", "HEP07", ""),
        ("cleared", NAMES[row], "HEP07"),
        ("cleared", "HEP07-RM1", "HEP07"),
    ]
    assert list(active) == [("HEM03", True), ("HEP07", True)]


def test_a_run_judged_as_a_whole_raises_nothing(dqm: DqmFolder) -> None:
    whole = verdict(dqm, 1, group("HEP07", 1, 1))
    object.__setattr__(whole.verdicts[0], "granularity", "run")
    assert changes({}, whole) == ({}, ())


@pytest.fixture
def log(tmp_path: Path) -> AlarmLog:
    return AlarmLog(tmp_path / "alarms.jsonl", MADE)


def change(event: Event, unit: str, kind: Kind = Kind.DEAD) -> Change:
    return Change(event, Alarm(unit, kind, 3, 4, 45, -12.345))


def test_the_log_tells_what_is_active(log: AlarmLog, tmp_path: Path) -> None:
    log.add([change(Event.RAISED, "HEP07", Kind.DEGRADED), change(Event.RAISED, "HEP08")], 370101, 4, 1_700_000_000.25)
    log.write()
    log.add([change(Event.AMENDED, "HEP07"), change(Event.CLEARED, "HEP08")], 370101, 5, 1_700_000_023.0)
    log.add([change(Event.RAISED, "HEP08")], 370102, 1, 1_700_000_100.0)
    log.write()
    lines = [json.loads(line) for line in (tmp_path / "alarms.jsonl").read_text().splitlines()]
    assert lines[0] == {"time": "2023-11-14T22:13:20.250Z", "provenance": json.loads(MADE.text())}
    assert lines[1] == {
        "time": "2023-11-14T22:13:20.250Z", "run": 370101, "lumisection": 4, "event": "raised", "unit": "HEP07",
        "kind": "degraded", "first": 3, "last": 4, "channels": 45, "score": -12.35, "into": "",
    }  # fmt: skip
    again = AlarmLog(tmp_path / "alarms.jsonl", MADE)
    assert again.active(370101) == {("HEP07", True): Alarm("HEP07", Kind.DEAD, 3, 4, 45, -12.35)}
    assert list(again.active(370102)) == [("HEP08", True)]
    assert again.active(1) == {}


def test_what_alarms_are_found_with_is_told_once_until_it_changes(tmp_path: Path) -> None:
    path, other = tmp_path / "alarms.jsonl", replace(MADE, options={"false_alarms": 5.0})
    for provenance in (MADE, MADE, other, MADE):
        log = AlarmLog(path, provenance)
        log.add([], 370101, 3, 0.0)  # nothing changed, nothing told
        for lumisection in (4, 5):
            log.add([change(Event.RAISED, "HEP07")], 370101, lumisection, 0.0)
        log.write()
    keys = ["provenance" if "provenance" in line else "alarm" for line in path.read_text().splitlines()]
    assert keys == ["provenance", *["alarm"] * 4, *["provenance", "alarm", "alarm"] * 2]
    assert log_provenances(path) == (MADE, other, MADE)
    assert [origin.provenance for origin in origins(path)] == [MADE, other, MADE]


def test_a_torn_line_is_cut_off(log: AlarmLog, tmp_path: Path) -> None:
    log.add([change(Event.RAISED, "HEP07")], 370101, 4, 0.0)
    log.write()
    path = tmp_path / "alarms.jsonl"
    whole = path.read_bytes()
    for torn in (whole[:-1], whole + whole[:20]):
        path.write_bytes(torn)
        again = AlarmLog(path, MADE)
        assert path.read_bytes() in (whole.splitlines(keepends=True)[0], whole)
        assert len(again.active(370101)) == len(path.read_bytes().splitlines()) - 1


def test_a_log_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "alarms.jsonl").write_text("no JSON\n")
    with pytest.raises(InputError, match=r"alarms.jsonl is no log of alarms .* move it away"):
        AlarmLog(tmp_path / "alarms.jsonl", MADE).active(370101)


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may grow beyond a size, which a process meets as it meets a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_the_disk_does_not_take_is_written_later_and_never_half(log: AlarmLog, tmp_path: Path) -> None:
    log.add([change(Event.RAISED, "HEP07")], 370101, 4, 0.0)
    log.write()
    path = tmp_path / "alarms.jsonl"
    whole = path.read_bytes()
    log.add([change(Event.RAISED, "HEP08")], 370101, 5, 0.0)
    with room_for(len(whole) + 10), pytest.raises(OSError, match="space") as caught:
        log.write()
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == whole
    assert log.waits
    log.write()
    assert [json.loads(line)["unit"] for line in path.read_text().splitlines()[1:]] == ["HEP07", "HEP08"]
    assert not log.waits
