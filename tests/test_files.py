"""Files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from hcal_root_ad.errors import OutputError
from hcal_root_ad.files import plain_name, whole_file, write_text


def test_a_file_is_there_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with whole_file(path) as partial:
        partial.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


def test_what_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def breaks_off() -> None:
        with whole_file(path) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        breaks_off()
    assert path.read_text() == "old\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"a\.txt: cannot be written"):
        write_text(tmp_path / "file" / "a.txt", "text")


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("a.root", "a.root"),
        ("a b−é.root", "a b−é.root"),
        ("a\tb\n.root", "a%09b%0A.root"),
        ("a\\b.root", "a%5Cb.root"),
        ("a\udcffb.root", "a%FFb.root"),
        ("\x1b[31m", "%1B[31m"),
        ("\u202ea", "%E2%80%AEa"),
    ],
)
def test_names_that_outputs_can_hold(name: str, plain: str) -> None:
    assert plain_name(name) == plain
    assert plain_name(plain) == plain
