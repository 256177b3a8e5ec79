"""What people see: results on stdout, progress and remarks on stderr, a bar only where stderr is a terminal.

A terminal shows text and does not act on it: names out of files may hold escape sequences. Rich, which draws tables and
bars, is imported where there is one to draw.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

Report = Callable[[int, int], None]
"""What the library calls while it works: ``report(done, total)``."""

CampaignReport = Callable[[int, int, int], None]
"""As :data:`Report`, for runs, and with the lumisections judged so far."""

_ACTED_ON = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but for tab and line feed, marks that turn the direction of writing, and halves of characters."""
_OF_A_LINE = re.compile("[\t\n\u2028\u2029]")
_WIDTH_OF_A_PIPE = 160
_QUIET = False
"""Whether results are printed; for the process, which runs one verb."""


def plain(text: str) -> str:
    r"""The text with characters that a terminal acts on spelled out.

    >>> plain("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return _ACTED_ON.sub(_spelled, text)


def plain_line(text: str) -> str:
    """The same, in one line."""
    return _OF_A_LINE.sub(_spelled, plain(text))


def _spelled(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def be_quiet(quiet: bool = True) -> None:
    """Print no results from now on."""
    global _QUIET
    _QUIET = quiet


def show(*results: RenderableType) -> None:
    """Print results (text or rich tables) on stdout; what is too wide for a cell goes on below and is never cut."""
    if not _QUIET:
        for result in results:
            print(plain(result) if isinstance(result, str) else _drawn(result))


def _drawn(result: RenderableType) -> str:
    """What rich draws, but for characters out of its texts that the terminal would act on."""
    from rich.console import Console
    from rich.segment import Segments
    from rich.table import Table

    width = None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE
    for column in result.columns if isinstance(result, Table) else ():
        column.overflow = "fold"
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    drawn = (part if part.control else part._replace(text=plain(part.text)) for part in console.render(result))
    with console.capture() as capture:
        console.print(Segments(drawn), end="")
    return capture.get().rstrip("\n")


def remark(*sentences: str) -> None:
    """Print sentences on stderr."""
    for sentence in sentences:
        print(plain_line(sentence), file=sys.stderr)


@contextmanager
def progress(task: str) -> Iterator[Report | None]:
    """Progress bar for one task; gives None where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task(task, total=None)
        yield lambda done, total: bar.update(row, completed=done, total=total)


@contextmanager
def campaign_progress(task: str) -> Iterator[CampaignReport | None]:
    """Progress bar over runs and lumisections, with throughput and time left; gives None where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("runs, {task.fields[judged]}"),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    # A run may take minutes: the speed is that of the last hour.
    bar = Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=3600)
    with bar:
        row = bar.add_task(task, total=None, judged="")

        def advance(done: int, total: int, lumisections: int) -> None:
            elapsed = bar.tasks[row].elapsed
            rate = lumisections / elapsed if elapsed else 0.0
            bar.update(row, completed=done, total=total, judged=f"{lumisections} LS, {rate:.1f} LS/s,")

        yield advance
