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

from hcal_root_ad.cli.options import SEVERITIES
from hcal_root_ad.detector import channel_table
from hcal_root_ad.errors import InputError
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import Finding, Kind, Level, ModelInfo, Trust, Verdict
from hcal_root_ad.provenance import Material, Provenance
from hcal_root_ad.reproduce.read_back import origins
from hcal_root_ad.watch.alarms import (
    CLEARED_AFTER,
    Alarm,
    AlarmLog,
    Change,
    Event,
    Place,
    Severity,
    changes,
    log_provenances,
    severity_of,
)
from hcal_root_ad.watch.messages import alarm_sentence

from .conftest import DqmFolder, maps_of

MADE = Provenance("watch", (Material("model", "he-graphstad", "00ff"),), {"online": True})
HE = channel_table().select("HE")


def rows_of(unit: str) -> tuple[int, ...]:
    """Columns of a box or of one of its modules in HE."""
    side, rbx, module = unit[2], int(unit[3:5]), int(unit[-1]) if "-RM" in unit else 0
    inside = ((HE.ieta > 0) == (side == "P")) & (HE.rbx == rbx) & ((HE.rm == module) | (module == 0))
    return tuple(np.flatnonzero(inside).tolist())


def finding(
    unit: str, first: int, last: int, kind: Kind = Kind.DEAD, rows: tuple[int, ...] | None = None,
    level: Level | None = None, significance: float = 20.0,
) -> Finding:  # fmt: skip
    rows = rows_of(unit) if rows is None else rows
    level = level or (Level.RM if "-RM" in unit else Level.CHANNEL if "/" in unit else Level.RBX)
    return Finding("HE", level, unit, kind, ((first, last),), last - first + 1, 1.0, rows, 0, 1000.0, 0.0, 0.0,
                   significance)  # fmt: skip


def verdict(
    dqm: DqmFolder, length: int, *findings: Finding, unassessed: tuple[int, ...] = (), trust: Trust = Trust.ADAPTED
) -> RunVerdict:
    """What a judge would say of a run of that many lumisections."""
    lumisections = np.arange(1, length + 1, dtype=np.int32)
    nothing = np.zeros((length, 0))
    one = Verdict(
        subdetector="HE", channels=HE, lumisections=lumisections, events=np.full(length, 1000),
        assessed=~np.isin(lumisections, unassessed), observed=nothing.astype(np.int32),
        expected=nothing.astype(np.float32), score=nothing.astype(np.float32), states=nothing.astype(np.uint8),
        intervals=(), judge=ModelInfo("b", "1", "", 3.0, 0.5), findings=findings, trust=trust,
        trust_reason="" if trust.trusted else "The channels scatter 3.4 times as much.",
    )  # fmt: skip
    if not dqm.name(1).exists():
        dqm.leave(1)
    return RunVerdict(maps_of(dqm.path), (one,))


def told(found: tuple[Change, ...]) -> list[tuple[str, str]]:
    return [(str(change.event), change.alarm.unit) for change in found]


def test_raised_once_and_cleared_after_some_good_lumisections(dqm: DqmFolder) -> None:
    active: dict[Place, Alarm] = {}
    log = []
    for length in range(1, 20):
        found_now = [finding("HEP07", 6, min(length, 8))] if length >= 6 else []
        active, found = changes(active, verdict(dqm, length, *found_now))
        log += [(length, *one) for one in told(found)]
    assert log == [(6, "raised", "HEP07"), (8 + CLEARED_AFTER, "cleared", "HEP07")]
    assert active == {}


def test_what_the_judge_finds_no_more_is_withdrawn(dqm: DqmFolder) -> None:
    active, _ = changes({}, verdict(dqm, 6, finding("HEP07", 6, 6)))
    for length in range(7, 6 + CLEARED_AFTER):
        active, found = changes(active, verdict(dqm, length))
        assert found == ()
    active, found = changes(active, verdict(dqm, 6 + CLEARED_AFTER))
    assert (told(found), active) == ([("withdrawn", "HEP07")], {})


def test_lumisections_that_are_not_assessed_clear_nothing(dqm: DqmFolder) -> None:
    active, _ = changes({}, verdict(dqm, 8, finding("HEP07", 6, 8)))
    dark = tuple(range(9, 9 + CLEARED_AFTER))
    active, found = changes(active, verdict(dqm, 13, finding("HEP07", 6, 8), unassessed=dark))
    assert (list(active), found) == ([("HE", "HEP07", "loss")], ())


def test_a_flag_that_flickers_is_one_alarm(dqm: DqmFolder) -> None:
    active: dict[Place, Alarm] = {}
    events = []
    for length in range(1, 30):
        on = length in (5, 6, 9, 13)
        last = max((ls for ls in (5, 6, 9, 13) if ls <= length), default=0)
        now = [finding("HEM01-RM2", 5, last)] if last and (on or length > 13) else []
        active, found = changes(active, verdict(dqm, length, *now))
        events += [(length, *one) for one in told(found)]
    assert events == [(5, "raised", "HEM01-RM2"), (13 + CLEARED_AFTER, "cleared", "HEM01-RM2")]


def test_what_ended_before_it_was_found_is_no_alarm(dqm: DqmFolder) -> None:
    late = verdict(dqm, 50, finding("HEP07", 3, 20), finding("HEP08", 3, 50 - CLEARED_AFTER), finding("HEP09", 46, 46))
    assert told(changes({}, late)[1]) == [("raised", "HEP09")]


def test_another_kind_amends_and_another_direction_is_another_alarm(dqm: DqmFolder) -> None:
    active, _ = changes({}, verdict(dqm, 5, finding("HEP07", 5, 5, Kind.DEGRADED)))
    both = verdict(dqm, 6, finding("HEP07", 5, 6), finding("HEP07", 6, 6, Kind.HOT))
    active, found = changes(active, both)
    assert sorted(told(found)) == [("amended", "HEP07"), ("raised", "HEP07")]
    assert {change.alarm.kind for change in found} == {"dead", "hot"}
    assert changes(active, both)[1] == ()


def test_eleven_channels_that_turn_out_as_a_box_are_one_alarm_that_grows(dqm: DqmFolder) -> None:
    rows = rows_of("HEP07")
    singles = [finding(f"HE +20/{n}/3", 5, 5, rows=(rows[n],)) for n in range(11)]
    elsewhere = finding("HEM03", 5, 5)
    active, found = changes({}, verdict(dqm, 5, *singles, elsewhere))
    assert len(found) == 12
    active, found = changes(active, verdict(dqm, 7, finding("HEP07", 6, 7), finding("HEM03", 5, 7)))
    (grown,) = found
    assert (grown.event, grown.alarm.unit, grown.alarm.first, len(grown.parts)) == (Event.GROWN, "HEP07", 5, 11)
    assert (grown.alarm.severity, grown.louder) == (Severity.BOX, True)
    assert set(active) == {("HE", "HEP07", "loss"), ("HE", "HEM03", "loss")}
    words = alarm_sentence(370101, grown)
    assert words.startswith("run 370101: ALARM grown: HEP07 dead, RBX, 188 channels, LS 5–7, ×0, was HE +20/")
    assert words.endswith(" and 10 more [box]")


def test_parts_of_what_is_under_alarm_raise_nothing_and_keep_it(dqm: DqmFolder) -> None:
    active, _ = changes({}, verdict(dqm, 5, finding("HEP07", 3, 5)))
    active, found = changes(active, verdict(dqm, 14, finding("HEP07-RM1", 6, 14)))
    assert found == ()
    assert active[("HE", "HEP07", "loss")].last == 14


def test_another_name_for_the_same_channels_is_no_new_alarm(dqm: DqmFolder) -> None:
    rows = rows_of("HEP07")[:12]
    eleven = finding("11 channels of HEP07", 5, 5, rows=rows[:11], level=Level.CHANNELS)
    twelve = finding("12 channels of HEP07", 5, 6, rows=rows, level=Level.CHANNELS)
    active, _ = changes({}, verdict(dqm, 5, eleven))
    active, found = changes(active, verdict(dqm, 6, twelve))
    assert [(change.event, change.louder) for change in found] == [(Event.GROWN, False)]
    assert list(active) == [("HE", "12 channels of HEP07", "loss")]


def test_a_weak_channel_raises_nothing_until_it_is_surer_and_then_stays(dqm: DqmFolder) -> None:
    active: dict[Place, Alarm] = {}
    log = []
    for length, sigma in enumerate((5.2, 5.8, 6.1, 5.9, 5.9), start=5):
        weak = finding("HE +20/5/3", 5, length, rows=(9,), significance=sigma)
        active, found = changes(active, verdict(dqm, length, weak))
        log += [(length, *one) for one in told(found)]
    assert log == [(7, "raised", "HE +20/5/3")]
    assert active[("HE", "HE +20/5/3", "loss")].last == 9


def test_a_weak_unit_raises_an_alarm_once_it_lasts(dqm: DqmFolder) -> None:
    for last in (5, 6):
        assert changes({}, verdict(dqm, last, finding("HEP07-RM1", 5, last, significance=5.2)))[1] == ()
    module = finding("HEP07-RM1", 5, 7, significance=5.2)
    (raised,) = changes({}, verdict(dqm, 7, module))[1]
    assert alarm_sentence(1, raised).endswith(", LS 5–7, ×0, weak [module]")


@pytest.mark.parametrize(
    ("level", "channels", "severity"),
    [(Level.CHANNEL, 1, "channel"), (Level.CARD, 12, "module"), (Level.RM, 47, "module"), (Level.RBX, 188, "box"),
     (Level.UHTR, 60, "box"), (Level.RING, 72, "sub-detector"), (Level.HALF, 3300, "sub-detector"),
     (Level.CHANNELS, 99, "module"), (Level.CHANNELS, 100, "box"), (Level.CHANNELS, 4100, "sub-detector")],
)  # fmt: skip
def test_severity(level: Level, channels: int, severity: str) -> None:
    assert severity_of(finding("x", 1, 1, rows=tuple(range(channels)), level=level)) == severity


def test_severities_can_be_chosen() -> None:
    assert tuple(Severity) == SEVERITIES


def test_a_verdict_that_is_not_trusted_is_an_alarm_of_its_own(dqm: DqmFolder) -> None:
    active, found = changes({}, verdict(dqm, 3, trust=Trust.OTHER_PERIOD))
    (raised,) = found
    assert alarm_sentence(1, raised) == (
        "run 1: ALARM raised: HE not trusted: The channels scatter 3.4 times as much [sub-detector]"
    )
    active, found = changes(active, verdict(dqm, 20, trust=Trust.OTHER_PERIOD))
    assert found == ()
    active, found = changes(active, verdict(dqm, 21))
    assert (told(found), active) == ([("cleared", "HE")], {})


def test_a_run_judged_as_a_whole_raises_nothing(dqm: DqmFolder) -> None:
    whole = verdict(dqm, 1, finding("HEP07", 1, 1))
    object.__setattr__(whole.verdicts[0], "granularity", "run")
    assert changes({}, whole) == ({}, ())


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Event.RAISED, "run 1: ALARM raised: HEP07 dead, RBX, 2 channels, LS 3–4, ×0 [box]"),
        (Event.CLEARED, "run 1: alarm cleared: HEP07 dead, RBX, 2 channels, LS 3–4, ×0, good for 5 LS [box]"),
        (Event.WITHDRAWN, "run 1: alarm withdrawn: HEP07 dead, RBX, 2 channels, LS 3–4, ×0, "
                          "with more LS it is not found any more [box]"),
    ],
)  # fmt: skip
def test_sentences(event: Event, words: str) -> None:
    assert alarm_sentence(1, change(event, "HEP07")) == words


@pytest.fixture
def log(tmp_path: Path) -> AlarmLog:
    return AlarmLog(tmp_path / "alarms.jsonl", MADE)


def alarm(unit: str, kind: Kind = Kind.DEAD) -> Alarm:
    return Alarm("HE", unit, "RBX, 2 channels", str(kind), Severity.BOX, 3, 4, "×0", rows=(7, 8))


def change(event: Event, unit: str, kind: Kind = Kind.DEAD, parts: tuple[str, ...] = ()) -> Change:
    return Change(event, alarm(unit, kind), parts)


def test_the_log_tells_what_is_active(log: AlarmLog, tmp_path: Path) -> None:
    log.add([change(Event.RAISED, "HEP07", Kind.DEGRADED), change(Event.RAISED, "HEP08")], 370101, 4, 1_700_000_000.25)
    log.write()
    log.add([change(Event.AMENDED, "HEP07"), change(Event.CLEARED, "HEP08")], 370101, 5, 1_700_000_023.0)
    log.add([change(Event.RAISED, "HEP08")], 370102, 1, 1_700_000_100.0)
    log.write()
    lines = [json.loads(line) for line in (tmp_path / "alarms.jsonl").read_text().splitlines()]
    assert lines[0] == {"time": "2023-11-14T22:13:20.250Z", "provenance": json.loads(MADE.text())}
    assert lines[1] == {
        "time": "2023-11-14T22:13:20.250Z", "run": 370101, "lumisection": 4, "event": "raised", "severity": "box",
        "subdetector": "HE", "unit": "HEP07", "what": "RBX, 2 channels", "kind": "degraded", "first": 3, "last": 4,
        "channels": 2, "rate": "×0", "sure": "certain", "reason": "", "parts": [], "rows": [[7, 8]],
    }  # fmt: skip
    again = AlarmLog(tmp_path / "alarms.jsonl", MADE)
    assert again.active(370101) == {("HE", "HEP07", "loss"): alarm("HEP07")}
    assert list(again.active(370102)) == [("HE", "HEP08", "loss")]
    assert again.active(1) == {}


def test_what_grew_or_was_withdrawn_is_known_after_a_restart(log: AlarmLog, tmp_path: Path) -> None:
    raised = [change(Event.RAISED, unit) for unit in ("HEP07-RM1", "HEP07-RM2", "HEM03")]
    log.add([*raised, change(Event.GROWN, "HEP07", parts=("HEP07-RM1", "HEP07-RM2"))], 1, 4, 0.0)
    log.add([change(Event.WITHDRAWN, "HEM03")], 1, 9, 0.0)
    log.write()
    assert list(AlarmLog(tmp_path / "alarms.jsonl", MADE).active(1)) == [("HE", "HEP07", "loss")]


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


@pytest.mark.parametrize("content", [b"no JSON\n", b"\xff\n", b"[1]\n", b'{"provenance": 3}\n7\n', b"[" * 9999 + b"\n"])
def test_a_log_of_something_else_is_refused_and_keeps_no_change_from_being_written(
    content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "alarms.jsonl").write_bytes(content)
    log = AlarmLog(tmp_path / "alarms.jsonl", MADE)
    with pytest.raises(InputError, match=r"alarms.jsonl is no log of alarms .* move it away"):
        log.active(370101)
    log.add([change(Event.RAISED, "HEP07")], 370101, 4, 0.0)
    log.write()
    assert (tmp_path / "alarms.jsonl").read_bytes().startswith(content)
    assert not log.waits


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
