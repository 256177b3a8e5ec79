"""What is kept beside the output: whole or not at all, and damage is said."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hcal_root_ad.watch.received import Received, ReceivedFiles, Stamp, received_by_run

from .conftest import RUN, DqmFolder, read


def taken_of(dqm: DqmFolder, ls: int, run: int = RUN) -> Received:
    dqm.leave(ls, run=run)
    (received,) = received_by_run(*read(dqm.name(ls, run)), Stamp(ls, ls), float(ls))
    return received


@pytest.fixture
def files(tmp_path: Path, dqm: DqmFolder, said: list[str]) -> ReceivedFiles:
    return ReceivedFiles(tmp_path / "out", dqm.path, said.append)


def test_what_was_taken_comes_back(files: ReceivedFiles, dqm: DqmFolder, tmp_path: Path, said: list[str]) -> None:
    for ls in (1, 2):
        files.save(taken_of(dqm, ls))
    files.save(taken_of(dqm, 2))
    files.save(taken_of(dqm, 5, RUN + 1))
    again = ReceivedFiles(tmp_path / "out", dqm.path, said.append)
    assert again.runs() == [RUN, RUN + 1]
    assert again.stamps(RUN) == {dqm.name(ls): Stamp(ls, ls) for ls in (1, 2)}
    assert sorted(received.arrival.last for received in again.load(RUN)) == [1, 2]
    again.forget(RUN)
    assert (again.runs(), again.load(RUN), said) == ([RUN + 1], [], [])


def test_the_end_of_a_run(files: ReceivedFiles, dqm: DqmFolder) -> None:
    files.save(taken_of(dqm, 1))
    assert not files.is_over(RUN)
    files.end(RUN)
    assert files.is_over(RUN)
    files.reopen(RUN)
    assert not files.is_over(RUN)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", b"cut"])
def test_a_damaged_state_is_said_and_removed(
    files: ReceivedFiles, dqm: DqmFolder, tmp_path: Path, said: list[str], damage: bytes
) -> None:
    for ls in (1, 2):
        files.save(taken_of(dqm, ls))
    first = sorted((tmp_path / "out").rglob("*.npz"))[0]
    first.write_bytes(first.read_bytes()[:-200] if damage == b"cut" else damage)
    assert len(files.load(RUN)) == 1
    assert len(files.stamps(RUN)) == 1
    (sentence,) = said
    assert sentence.startswith(f"{first}: saved state that cannot be used")


def test_a_pickle_is_never_loaded(files: ReceivedFiles, dqm: DqmFolder, tmp_path: Path, said: list[str]) -> None:
    files.save(taken_of(dqm, 1))
    (path,) = (tmp_path / "out").rglob("*.npz")
    np.savez(path, head=np.array({"format": 1}, dtype=object))
    assert files.load(RUN) == []
    assert len(said) == 1


def test_a_full_disk_leaves_nothing_behind(
    files: ReceivedFiles, dqm: DqmFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.save(taken_of(dqm, 1))
    before = sorted((tmp_path / "out").rglob("*"))

    def full(file: Any, **_: object) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space left"):
        files.save(taken_of(dqm, 2))
    assert sorted((tmp_path / "out").rglob("*")) == before


def test_what_a_killed_process_was_writing_is_cleared(files: ReceivedFiles, dqm: DqmFolder, tmp_path: Path) -> None:
    files.save(taken_of(dqm, 1))
    (path,) = (tmp_path / "out").rglob("*.npz")
    half = path.with_name("half.npz.partial")
    half.write_bytes(b"half")
    assert len(ReceivedFiles(tmp_path / "out", dqm.path, print).load(RUN)) == 1
    assert not half.exists()
