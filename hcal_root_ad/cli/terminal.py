"""What people see: results on stdout, progress and remarks on stderr, a bar only where stderr is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Report = Callable[[int, int], None]
"""What the library calls while it works: ``report(done, total)``."""

_WIDTH_OF_A_PIPE = 160


def show(*results: RenderableType) -> None:
    """Print results (text or rich tables) on stdout, uncut where it goes to a file or a pipe."""
    width = None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    for result in results:
        console.print(result, soft_wrap=isinstance(result, str))


def remark(*sentences: str) -> None:
    """Print sentences on stderr."""
    for sentence in sentences:
        print(sentence, file=sys.stderr)


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
