"""Files of a campaign: by name and list, and a first look at each."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from hcal_root_ad.certify.campaign import campaign_files, survey
from hcal_root_ad.certify.store import Survey, SurveyedFile
from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.inputs import InputFile, RemoteFile, input_file
from tests.certify.conftest import Simulated


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("era/b.root", "era/a.root", "era/deep/c.parquet", "era/notes.md", "d.root"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def one(name: str) -> tuple[InputFile, ...]:
    return (input_file(name),)


def files(*names: str | Path, known: tuple[str, ...] = ()) -> list[InputFile]:
    return list(campaign_files([str(name) for name in names], known, one))


def test_folders_patterns_and_files_once_each_and_in_order(folder: Path) -> None:
    found = files(folder / "era", folder / "d.root", folder / "era" / "*.root")
    assert found == [folder / name for name in ("d.root", "era/a.root", "era/b.root", "era/deep/c.parquet")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("set.txt", "# an era\nera/a.root\n\n  d.root\n"),
        ("set.list", "era/a*.root\nd.root\n"),
        ("set.json", json.dumps(["era/a.root", "d.root"])),
        ("set.json", json.dumps({"/ZeroBias/Run2023C/DQMIO": ["era/a.root"], "/Jet": {"files": ["d.root"]}})),
    ],
)
def test_a_dataset_list_is_relative_to_its_folder(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    assert files(folder / name) == [folder / "d.root", folder / "era" / "a.root"]


def test_what_the_campaign_wrote_is_no_input(folder: Path) -> None:
    (folder / "era" / "out").mkdir()
    (folder / "era" / "out" / "flags.parquet").touch()
    found = campaign_files([str(folder / "era")], (), one, folder / "era" / "out")
    assert list(found) == [folder / "era" / name for name in ("a.root", "b.root", "deep/c.parquet")]


def test_lists_may_hold_addresses(folder: Path) -> None:
    (folder / "set.txt").write_text("root://eos//store/x.root\n")
    assert files(folder / "set.txt") == [RemoteFile("root://eos//store/x.root")]


def test_what_is_gone_is_what_was_known_by_that_name(tmp_path: Path) -> None:
    known = tuple(str(tmp_path / name) for name in ("era/a.root", "era/deep/b.root", "other/c.root"))
    a, b, _ = map(Path, known)
    assert files(tmp_path / "era", known=known) == [a, b]
    assert files(tmp_path / "era" / "a*.root", known=known) == [a]
    assert files(a, known=known) == [a]
    with pytest.raises(InputError, match="There is no file"):
        files(tmp_path / "era" / "x.root", known=known)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("set.txt", "# nothing\n", "names no file"),
        ("set.json", "{", "cannot be read"),
        ("set.json", "[1]", "holds 1 where a file's name was expected"),
    ],
)
def test_lists_that_cannot_be_used(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=sentence):
        files(tmp_path / name)


def test_runs_from_dials_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hcal_root_ad.certify.store import Store
    from hcal_root_ad.cli.certify import _resolver

    fetched = []

    def fetch(wanted: object, path: Path, *_: object) -> None:
        fetched.append(wanted)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    monkeypatch.setattr("hcal_root_ad.cli.certify.fetch", fetch)
    monkeypatch.setattr("hcal_root_ad.cli.certify.open_client", lambda: None)
    (tmp_path / "set.txt").write_text("dials:370101\ndials:370102\n")
    names = [str(tmp_path / "set.txt"), "dials:370101"]
    for _ in range(2):
        found = campaign_files(names, (), _resolver(Store(tmp_path)), tmp_path)
        assert list(found) == [tmp_path / "dials" / f"dials_run{run}.parquet" for run in (370101, 370102)]
    assert len(fetched) == 2


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
    Survey(store).add([survey(file)])
    known = Survey(store)
    assert known.paths == (str(file),)
    assert known.find(file) == survey(file)
    os.utime(file, ns=(0, 0))
    assert known.find(file) is None
    assert known.find(tmp_path / "other.parquet") is None


def test_a_file_that_is_gone_stays_known(file: Path, tmp_path: Path) -> None:
    known = Survey(tmp_path / "files.json")
    known.add([survey(file)])
    file.unlink()
    found = known.find(file)
    assert found is not None
    assert found.runs == (371001,)


def test_damaged_files_are_looked_at_again_on_request(tmp_path: Path) -> None:
    path = tmp_path / "broken.parquet"
    path.write_bytes(b"")
    known = Survey(tmp_path / "files.json")
    known.add([survey(path)])
    assert isinstance(known.find(path), SurveyedFile)
    assert known.find(path, retry_failed=True) is None
