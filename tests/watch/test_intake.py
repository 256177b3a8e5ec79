"""Files are received when they are whole, each once, and what is not whole is said once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hcal_root_ad.harvest.harvester import FileContent
from hcal_root_ad.lumi_maps import Source
from hcal_root_ad.watch.intake import Intake

from .conftest import Clock, DqmFolder, read


@pytest.fixture
def looked() -> list[Path]:
    return []


@pytest.fixture
def intake(dqm: DqmFolder, said: list[str], looked: list[Path]) -> Intake:
    def counted(path: Path) -> tuple[FileContent, Source]:
        looked.append(path)
        return read(path)

    return Intake(dqm.path, 60.0, said.append, counted)


def received(intake: Intake, clock: Clock) -> list[int]:
    return [one.arrival.last for one in intake.look(clock())]


def test_each_file_is_taken_once(intake: Intake, dqm: DqmFolder, clock: Clock) -> None:
    dqm.leave(2, 1)
    assert received(intake, clock) == [1, 2]
    dqm.leave(3)
    assert received(intake, clock) == [3]
    assert received(intake, clock) == []


def test_a_half_written_file_is_taken_when_it_is_whole(
    intake: Intake, dqm: DqmFolder, clock: Clock, said: list[str]
) -> None:
    dqm.leave_half(1)
    assert received(intake, clock) == []
    clock.passes(5)
    dqm.leave(1)
    assert received(intake, clock) == [1]
    assert said == []


def test_a_file_that_stays_half_is_said_once_and_left_alone_until_it_changes(
    intake: Intake, dqm: DqmFolder, clock: Clock, said: list[str], looked: list[Path]
) -> None:
    dqm.leave_half(1)
    for _ in range(400):
        assert received(intake, clock) == []
        clock.passes(0.5)
    (sentence,) = said
    assert sentence.startswith(f"{dqm.name(1).name} is not whole (The file {dqm.name(1)} is damaged.)")
    assert len(looked) < 15
    dqm.leave(1)
    assert received(intake, clock) == [1]


def test_a_changed_file_is_taken_again(intake: Intake, dqm: DqmFolder, clock: Clock) -> None:
    dqm.leave(1)
    assert received(intake, clock) == [1]
    dqm.name(1).write_text(dqm.text(1, more=50))
    (again,) = intake.look(clock())
    assert again.content.sections[0].counts is not None
    assert again.content.sections[0].counts.min() > 310
    os.utime(dqm.name(1), ns=(0, 5))
    assert received(intake, clock) == [1]


def test_foreign_files_are_said_once_for_all_of_their_kind(
    intake: Intake, dqm: DqmFolder, clock: Clock, said: list[str], looked: list[Path]
) -> None:
    for ls in range(1, 6):
        (dqm.path / f"DQM_V0001_Ecal_R000370101_L{ls:09d}.root").write_text("{}")
    (dqm.path / "notes.root").write_text("{}")
    for _ in range(3):
        assert received(intake, clock) == []
        clock.passes(100)
    assert len(said) == 2
    assert said[0].endswith("holds no HCAL maps. Files of such names are passed over.")
    assert len(looked) == 6


def test_what_breaks_the_reader_blocks_nobody(dqm: DqmFolder, clock: Clock, said: list[str]) -> None:
    def breaking(path: Path) -> tuple[FileContent, Source]:
        if path == dqm.name(1):
            raise RecursionError("deep")
        return read(path)

    intake = Intake(dqm.path, 60.0, said.append, breaking)
    dqm.leave(1, 2)
    assert received(intake, clock) == [2]
    clock.passes(60)
    assert received(intake, clock) == []
    assert said == [f"{dqm.name(1).name} is not whole (RecursionError: deep); passed over until it changes."]


def test_a_file_that_goes_again_is_forgotten(intake: Intake, dqm: DqmFolder, clock: Clock, said: list[str]) -> None:
    dqm.leave_half(1)
    assert received(intake, clock) == []
    dqm.name(1).unlink()
    clock.passes(100)
    assert received(intake, clock) == []
    assert said == []


def test_the_folder_may_go(intake: Intake, dqm: DqmFolder, clock: Clock) -> None:
    dqm.path.rmdir()
    with pytest.raises(FileNotFoundError):
        received(intake, clock)
