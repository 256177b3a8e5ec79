"""Where words go, that a pipe gets them uncut, and that nothing that a terminal would act on reaches it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from hcal_root_ad.cli import terminal
from hcal_root_ad.cli.main import main
from hcal_root_ad.cli.references import entries_table
from hcal_root_ad.cli.terminal import plain, plain_line
from hcal_root_ad.detector import Era
from hcal_root_ad.references import ReferenceEntry

HOSTILE = ["\x1b[31mred", "\x1b]0;title\x07", "\x9b2J", "a\rb", "a\x08b", "\u202etxt.exe", "\x7f", "\x00"]


class Screen(io.StringIO):
    """A terminal as far as anyone can tell."""

    def isatty(self) -> bool:
        return True


def test_results_go_to_stdout_and_remarks_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show("a result")
    terminal.remark("a remark", "and another")
    assert capsys.readouterr() == ("a result\n", "a remark\nand another\n")


def test_brackets_and_long_lines_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    line = "out/[red]name[/red].root " + "long " * 60 + "end"
    terminal.show(line)
    assert capsys.readouterr().out == line + "\n"


def test_a_piped_table_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("unit", "remark")
    table.add_row("HEP07", "x" * 120)
    terminal.show(table)
    assert "x" * 120 in capsys.readouterr().out


def test_a_table_on_a_narrow_terminal_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "80")
    table = Table("unit", "file", "remark", box=None)
    table.add_row("HEP07", "A" * 90, "X" * 60)
    terminal.show(table)
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert (screen.getvalue().count("A"), screen.getvalue().count("X")) == (90, 60)


def test_names_of_reference_runs_are_whole_in_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "zerobias-2026C-after-the-stop-of-may"
    entry = ReferenceEntry(
        name, Path(), (399001, 399002), Era.RUN3, "Occupancy", (), "EphemeralZeroBias0",
        state="new high voltage", first_run=398000, rates="rates", lumisections=1200, what="clean",
    )  # fmt: skip
    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "80")
    terminal.show(entries_table([entry]))
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    (line,) = (line for line in lines if line.startswith(name))
    assert "1200" in line
    what = "".join(line[lines[0].index("what") :] for line in lines).replace(" ", "")
    assert "OccupancyofEphemeralZeroBias0;newhighvoltage;runs398000to" in what


def test_no_bar_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.progress("Reading") as report:
        assert report is None
    assert capsys.readouterr() == ("", "")


def test_bar_on_a_terminal_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with terminal.progress("Reading") as report:
        assert report is not None
        report(3, 7)
    assert "Reading" in screen.getvalue()
    assert "3/7" in screen.getvalue()


def test_a_campaign_shows_runs_lumisections_and_throughput(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with terminal.campaign_progress("Judging") as advance:
        assert advance is not None
        advance(3, 7, 600)
    shown = screen.getvalue()
    assert all(words in shown for words in ("Judging", "3/7", "600 LS", "LS/s", "left"))


def test_a_campaign_is_silent_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.campaign_progress("Judging") as advance:
        assert advance is None
    assert capsys.readouterr() == ("", "")


def test_colons_make_no_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    line = "<h.q>qr=st:100:1:A:m</h.q>"
    table = Table("text")
    table.add_row(line)
    terminal.show(line, table)
    assert capsys.readouterr().out.count(line) == 2


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
