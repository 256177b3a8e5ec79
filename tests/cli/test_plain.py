"""Nothing that a terminal would act on reaches it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from hcal_root_ad.cli import terminal
from hcal_root_ad.cli.main import main
from hcal_root_ad.cli.plain import plain, plain_line

HOSTILE = ["\x1b[31mred", "\x1b]0;title\x07", "\x9b2J", "a\rb", "a\x08b", "\u202etxt.exe", "\x7f", "\x00"]


@pytest.mark.parametrize("name", HOSTILE)
def test_characters_that_act_are_spelled_out(name: str) -> None:
    assert plain(name).isprintable()
    assert plain(name) != name


@given(st.text())
def test_what_is_plain_stays_plain(text: str) -> None:
    assert plain(plain(text)) == plain(text)
    assert "\x1b" not in plain(text)
    assert len(plain_line(text).splitlines()) <= 1


def test_letters_of_every_script_and_line_feeds_stay() -> None:
    assert plain("ieta −5…8 · Ω\tä\n日本") == "ieta −5…8 · Ω\tä\n日本"
    assert plain_line("a\nb\tc") == "a\\nb\\tc"


@pytest.mark.parametrize("name", HOSTILE)
def test_texts_tables_and_remarks(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("unit", title=name)
    table.add_row(name)
    terminal.show(name, table)
    terminal.remark(f"{name}\nand a second line", "last")
    out, err = capsys.readouterr()
    assert plain(out + err) == out + err
    assert len(err.splitlines()) == 2


@pytest.mark.parametrize("name", ["\x1b[31mred\x1b[0m", "two\nlines", "tab\tname", "back\\slash", "b\udcffd"])
def test_a_file_of_such_a_name(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / f"{name}.root").write_bytes(b"nothing")
    assert main(["inspect", str(tmp_path / f"{name}.root")]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert plain(err) == err


def test_words_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["\x1b[31m"], ["inspect", "a", "\x1b[31m"], ["run", "a", "-o", "b", "--\x1b[31m"]):
        with pytest.raises(SystemExit):
            main(words)
        err = capsys.readouterr().err
        assert plain(err) == err
