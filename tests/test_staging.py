"""Folders to write in: gone at the end, and cleared by the next process if theirs was killed, never if it lives."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from hcal_root_ad.files import PREFIX, clear_left, staging_folder

_HOLDS = """
import sys
from pathlib import Path
from hcal_root_ad.files import staging_folder
with staging_folder(Path(sys.argv[1])) as folder:
    (folder / "half.root").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


def left(place: Path) -> list[str]:
    return [str(path) for path in place.glob(f"{PREFIX}*")]


def test_it_is_gone_at_the_end_whatever_happens(tmp_path: Path) -> None:
    place = tmp_path / "new" / "place"

    def fails() -> None:
        with staging_folder(place) as folder:
            (folder / "a").touch()
            assert left(place) == [str(folder)]
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert list(place.iterdir()) == []


def test_that_of_a_living_process_stays_and_that_of_a_killed_one_goes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLDS, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = other.stdout.readline().strip()
        with staging_folder(tmp_path) as mine:
            assert sorted(left(tmp_path)) == sorted([theirs, str(mine)])
            clear_left(tmp_path)  # our own is locked as well
            assert sorted(left(tmp_path)) == sorted([theirs, str(mine)])
        other.kill()
        other.wait()
    assert left(tmp_path) == [theirs]
    with staging_folder(tmp_path) as mine:
        assert left(tmp_path) == [str(mine)]


def test_without_locks_nothing_is_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    (tmp_path / f"{PREFIX}of-somebody").mkdir()
    with staging_folder(tmp_path) as mine:
        assert mine.is_dir()
    assert left(tmp_path) == [str(tmp_path / f"{PREFIX}of-somebody")]
