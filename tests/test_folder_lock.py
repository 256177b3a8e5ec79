"""Two processes on one folder, and file systems that cannot tell."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from hcal_root_ad.certify.store import Store
from hcal_root_ad.errors import OutputError, UsageError
from hcal_root_ad.files import folder_lock
from hcal_root_ad.watch.received import sole_watch


def test_one_wins_and_the_next_may_when_it_is_done(tmp_path: Path) -> None:
    said: list[str] = []
    with folder_lock(tmp_path / "lock", "watch", said.append) as lock:
        lock.write("1")
        with pytest.raises(BlockingIOError), folder_lock(tmp_path / "lock", "watch", said.append):
            pass
    with folder_lock(tmp_path / "lock", "watch", said.append) as lock:
        lock.seek(0)
        assert lock.read() == "1"
    assert said == []


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    said: list[str] = []
    with sole_watch(tmp_path / "w", said.append), Store(tmp_path / "c").alone(said.append):
        assert len(said) == 2
    assert "w/.watch is on a file system without locks: make sure that no other watch works there." in said[0]
    assert said[1].endswith("c/records is on a file system without locks: make sure that no other certify works there.")


def test_the_second_one_says_so(tmp_path: Path) -> None:
    with (
        sole_watch(tmp_path, print),
        pytest.raises(UsageError, match="another watch writes there; stop it, or choose another place with -o"),
        sole_watch(tmp_path, print),
    ):
        pass
    store = Store(tmp_path)
    with store.alone(print), pytest.raises(OutputError, match="Another certify works in"), store.alone(print):
        pass
