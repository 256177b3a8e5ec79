"""What is kept beside the output: whole or not at all, and damage is said."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hcal_root_ad.watch.folder import Stamp
from hcal_root_ad.watch.ledger import Ledger
from hcal_root_ad.watch.taken import Taken, taken_by_run

from .conftest import RUN, DqmFolder, read


def taken_of(dqm: DqmFolder, ls: int, run: int = RUN) -> Taken:
    dqm.leave(ls, run=run)
    (taken,) = taken_by_run(*read(dqm.name(ls, run)), Stamp(ls, ls), float(ls))
    return taken


@pytest.fixture
def ledger(tmp_path: Path, dqm: DqmFolder, said: list[str]) -> Ledger:
    return Ledger(tmp_path / "out", dqm.path, said.append)


def test_what_was_taken_comes_back(ledger: Ledger, dqm: DqmFolder, tmp_path: Path, said: list[str]) -> None:
    for ls in (1, 2):
        ledger.save(taken_of(dqm, ls))
    ledger.save(taken_of(dqm, 2))
    ledger.save(taken_of(dqm, 5, RUN + 1))
    again = Ledger(tmp_path / "out", dqm.path, said.append)
    assert again.runs() == [RUN, RUN + 1]
    assert again.stamps(RUN) == {dqm.name(ls): Stamp(ls, ls) for ls in (1, 2)}
    assert sorted(taken.arrival.last for taken in again.load(RUN)) == [1, 2]
    again.forget(RUN)
    assert (again.runs(), again.load(RUN), said) == ([RUN + 1], [], [])


def test_the_end_of_a_run(ledger: Ledger, dqm: DqmFolder) -> None:
    ledger.save(taken_of(dqm, 1))
    assert not ledger.is_over(RUN)
    ledger.end(RUN)
    assert ledger.is_over(RUN)
    ledger.reopen(RUN)
    assert not ledger.is_over(RUN)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", b"cut"])
def test_a_damaged_state_is_said_and_removed(
    ledger: Ledger, dqm: DqmFolder, tmp_path: Path, said: list[str], damage: bytes
) -> None:
    for ls in (1, 2):
        ledger.save(taken_of(dqm, ls))
    first = sorted((tmp_path / "out").rglob("*.npz"))[0]
    first.write_bytes(first.read_bytes()[:-200] if damage == b"cut" else damage)
    assert len(ledger.load(RUN)) == 1
    assert len(ledger.stamps(RUN)) == 1
    (sentence,) = said
    assert sentence.startswith(f"{first}: saved state that cannot be used")


def test_a_pickle_is_never_loaded(ledger: Ledger, dqm: DqmFolder, tmp_path: Path, said: list[str]) -> None:
    ledger.save(taken_of(dqm, 1))
    (path,) = (tmp_path / "out").rglob("*.npz")
    np.savez(path, head=np.array({"format": 1}, dtype=object))
    assert ledger.load(RUN) == []
    assert len(said) == 1


def test_a_full_disk_leaves_nothing_behind(
    ledger: Ledger, dqm: DqmFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.save(taken_of(dqm, 1))
    before = sorted((tmp_path / "out").rglob("*"))

    def full(file: Any, **_: object) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space left"):
        ledger.save(taken_of(dqm, 2))
    assert sorted((tmp_path / "out").rglob("*")) == before


def test_what_a_killed_process_was_writing_is_cleared(ledger: Ledger, dqm: DqmFolder, tmp_path: Path) -> None:
    ledger.save(taken_of(dqm, 1))
    (path,) = (tmp_path / "out").rglob("*.npz")
    half = path.with_name("half.npz.partial")
    half.write_bytes(b"half")
    assert len(Ledger(tmp_path / "out", dqm.path, print).load(RUN)) == 1
    assert not half.exists()
