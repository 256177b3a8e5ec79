"""The user's command: found at the start, never waited for, and told of where it fails."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from hcal_root_ad.errors import UsageError
from hcal_root_ad.watch.messages import PATIENCE, Command, Complaints


@pytest.fixture
def said() -> list[str]:
    return []


def start(command: str, said: list[str], clock: Callable[[], float] = time.time) -> Command:
    return Command("--on-alarm", command, Complaints(said.append), clock)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [("no-such-program -x", "there is no program no-such-program"), ("mail 'open", "No closing quotation")],
)
def test_what_cannot_be_run_is_said_at_the_start(command: str, sentence: str, said: list[str]) -> None:
    with pytest.raises(UsageError, match=sentence):
        start(command, said)


def test_one_that_does_not_read_and_ends_well_is_quiet(said: list[str]) -> None:
    on_alarm = start("true", said)
    for _ in range(3):
        on_alarm.start("ALARM", "x" * 1000)
    on_alarm.finish()
    assert said == []


def test_a_failure_is_told_once(said: list[str]) -> None:
    on_alarm = start("false", said)
    for _ in range(3):
        on_alarm.start("ALARM")
    on_alarm.finish()
    assert said == ["--on-alarm: false failed with exit code 1."]


def test_one_that_hangs_is_ended_and_never_waited_for(said: list[str]) -> None:
    now = [0.0]
    on_alarm = start("sh -c 'exec sleep 600'", said, lambda: now[0])
    on_alarm.start("ALARM")
    on_alarm.look()
    assert said == []
    now[0] = PATIENCE
    on_alarm.look()
    assert said == ["--on-alarm: sh did not end in 60 s, ended."]


def test_without_a_command_nothing_runs(said: list[str]) -> None:
    on_alarm = start("", said)
    on_alarm.start("ALARM")
    on_alarm.finish()
    assert said == []
