"""A first look at files: runs and digests, damage as a sentence, and no second look at what did not change."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from hcal_root_ad.certify.survey import KnownFiles, Surveyed, survey
from tests.certify.conftest import Simulated


@pytest.fixture
def file(simulated: Simulated, tmp_path: Path) -> Path:
    return Path(shutil.copy(simulated.files[0], tmp_path / "dials.parquet"))


def test_runs_and_digest(file: Path) -> None:
    found = survey(file)
    assert (found.path, found.runs, found.problem) == (str(file), (371001,), "")
    assert found.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert found.size == file.stat().st_size


@pytest.mark.parametrize("content", [b"", b"no data file", b"PAR1 and nothing more"])
def test_what_cannot_be_opened_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.parquet"
    path.write_bytes(content)
    found = survey(path)
    assert found.runs == ()
    assert str(path) in found.problem
    assert found.problem.endswith((".", "again."))


def test_a_file_that_may_not_be_read(file: Path) -> None:
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("this user may read everything")
    assert "cannot be read" in survey(file).problem


def test_what_is_known_is_kept_until_the_file_changes(file: Path, tmp_path: Path) -> None:
    store = tmp_path / "files.json"
    KnownFiles(store).add([survey(file)])
    known = KnownFiles(store)
    assert known.paths == (str(file),)
    assert known.find(file) == survey(file)
    os.utime(file, ns=(0, 0))
    assert known.find(file) is None
    assert known.find(tmp_path / "other.parquet") is None


def test_a_file_that_is_gone_stays_known(file: Path, tmp_path: Path) -> None:
    known = KnownFiles(tmp_path / "files.json")
    known.add([survey(file)])
    file.unlink()
    found = known.find(file)
    assert found is not None
    assert found.runs == (371001,)


def test_damaged_files_are_looked_at_again_on_request(tmp_path: Path) -> None:
    path = tmp_path / "broken.parquet"
    path.write_bytes(b"")
    known = KnownFiles(tmp_path / "files.json")
    known.add([survey(path)])
    assert isinstance(known.find(path), Surveyed)
    assert known.find(path, again=True) is None
