"""What people see: results on stdout, progress and remarks on stderr, a bar only where stderr is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from hcal_root_ad.cli.plain import plain, plain_line

Report = Callable[[int, int], None]
"""What the library calls while it works: ``report(done, total)``."""

CampaignReport = Callable[[int, int, int], None]
"""As :data:`Report`, for runs, and with the lumisections judged so far."""

_WIDTH_OF_A_PIPE = 160


_QUIET = False
"""Whether results are printed; for the process, which runs one verb."""


def be_quiet(quiet: bool = True) -> None:
    """Print no results from now on."""
    global _QUIET
    _QUIET = quiet


def show(*results: RenderableType) -> None:
    """Print results (text or rich tables) on stdout, uncut where it goes to a file or a pipe."""
    if _QUIET:
        return
    width = None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE
    console = _Console(width=width, highlight=False, markup=False, emoji=False)
    for result in results:
        console.print(plain(result) if isinstance(result, str) else _Plain(result), soft_wrap=isinstance(result, str))


class _Console(Console):
    """Leaves it to the front door to end where nobody reads any more."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


@dataclass(frozen=True)
class _Plain:
    """What rich draws, but for characters out of its texts that the terminal would act on."""

    drawn: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self.drawn, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))


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
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task(task, total=None)
        yield lambda done, total: bar.update(row, completed=done, total=total)


class _Throughput(ProgressColumn):
    """Lumisections so far, and how many a second."""

    def render(self, task: Task) -> Text:
        lumisections = int(task.fields["lumisections"])
        rate = lumisections / task.elapsed if task.elapsed else 0.0
        return Text(f"{lumisections} LS, {rate:.1f} LS/s,")


@contextmanager
def campaign_progress(task: str) -> Iterator[CampaignReport | None]:
    """Progress bar over runs and lumisections, with throughput and time left; gives None where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("runs,"), _Throughput(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    # A run may take minutes: the speed is that of the last hour.
    bar = Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=3600)
    with bar:
        row = bar.add_task(task, total=None, lumisections=0)
        yield lambda done, total, lumisections: bar.update(row, completed=done, total=total, lumisections=lumisections)
