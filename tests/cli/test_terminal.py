"""Where words go, and that a pipe gets them uncut."""

from __future__ import annotations

import io

import pytest
from rich.table import Table

from hcal_root_ad.cli import terminal


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
