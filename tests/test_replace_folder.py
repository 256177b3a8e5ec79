"""A new folder takes the place of an old one, wherever it is killed."""

from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.files import replace_folder


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_takes_the_place_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    if not exchange:
        monkeypatch.setattr("hcal_root_ad.files._exchanged", lambda *_: False)
    old, new = tmp_path / "b", tmp_path / ".b.partial"
    for folder, text in ((old, "old"), (new, "new")):
        folder.mkdir()
        (folder / "weights").write_text(text)
    (old / "notes.txt").write_text("mine")
    replace_folder(old, new)
    assert {path.name: path.read_text() for path in old.iterdir()} == {"weights": "new", "notes.txt": "mine"}
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_killed_while_the_old_folder_was_out_of_its_place(tmp_path: Path) -> None:
    for name, text in ((".b.before", "old"), (".b.partial", "new")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(text)
    (tmp_path / ".b.before" / "notes.txt").write_text("mine")
    replace_folder(tmp_path / "b", tmp_path / ".b.partial")
    assert {path.name: path.read_text() for path in (tmp_path / "b").iterdir()} == {
        "weights": "new",
        "notes.txt": "mine",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_new_folder(tmp_path: Path) -> None:
    (tmp_path / "n").mkdir()
    replace_folder(tmp_path / "b", tmp_path / "n")
    assert np.all([path.name == "b" for path in tmp_path.iterdir()])
