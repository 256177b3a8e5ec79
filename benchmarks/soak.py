"""A watch over a run of many lumisections: how much memory it holds, and how long it takes, as the run grows.

    python -m benchmarks.soak --lumisections 2000 -o docs/results/soak

The lumisections are those of the demonstration run, again and again under rising numbers, each in a file of its own;
the watch judges, publishes and keeps what it received as ever. Memory is what the process has of its own (``RssAnon``)
and the pages of files that it looked at (``RssFile``: its libraries, and of its scratch files what is looked at; the
system takes them back where it needs them), after each look, and the most within it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.machine import machine, program
from hcal_root_ad.files import write_text
from hcal_root_ad.harvest.gathering import LumisectionCounts, needed_depths, table_of_run
from hcal_root_ad.harvest.harvester import FileContent, choose_definitions
from hcal_root_ad.harvest.inputs import source_of
from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.lumi_maps import LumiMaps, Source
from hcal_root_ad.model.model import load_model
from hcal_root_ad.pipeline import Judging
from hcal_root_ad.watch.service import Watch, WatchSettings

RUN_FILE = Path("reference_runs/demonstration")
MODELS = ("he-graphstad",)
"""Of all that is received, HE is judged: most of the time of a look goes by the channels that are judged."""
DEFINITION = choose_definitions("dqmio-occupancy")[0]


class Look(NamedTuple):
    """Lumisections; memory of its own and pages of files (MB) after a look, and at most within it; CPU time (s)."""

    lumisections: int
    own: float
    files: float
    most_own: float
    most_files: float
    seconds: float


def resident() -> tuple[float, float]:
    """MB of its own, and of files, that this process holds."""
    status = Path("/proc/self/status").read_text()
    own, files = (int(status.partition(f"{name}:")[2].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))
    return own, files


@contextmanager
def most_resident() -> Iterator[list[float]]:
    """The most MB of its own, and of files, that this process holds meanwhile; looked at twenty times a second."""
    most, over = [0.0, 0.0], Event()

    def look() -> None:
        while not over.wait(0.05):
            most[:] = np.maximum(most, resident()).tolist()

    thread = Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


class Recurring:
    """Reads files that hold a number of a lumisection: its counts are those of a run's, in turn."""

    def __init__(self, maps: LumiMaps) -> None:
        self._maps = maps
        self._columns = table_of_run(maps.run).rows_of(*DEFINITION.subdetectors)

    def __call__(self, path: Path) -> tuple[FileContent, Source]:
        """What the harvest would find in a file of one lumisection."""
        run, number = self._maps.run, int(path.read_text())
        row = (number - 1) % len(self._maps)
        counts = np.zeros(len(table_of_run(run)), dtype=np.int32)
        counts[self._columns] = self._maps.counts[row]
        section = LumisectionCounts(run, number, counts=counts, own_events=int(self._maps.events[row]))
        section.seen[np.array(needed_depths(self._maps.channels.era)) - 1] = 1
        section.own_growth = section.own_events
        return FileContent(path, DEFINITION, (section,)), source_of(path)


def soak(lumisections: int, at_once: int) -> list[Look]:
    """What a watch holds after each look at ``at_once`` more files."""
    (maps,) = read_lumi_maps(RUN_FILE)
    judging = Judging(tuple(load_model(name) for name in MODELS))
    figures = []
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "dqm"
        folder.mkdir()
        watch = Watch(WatchSettings(folder, Path(scratch) / "out"), judging, lambda _: None, read=Recurring(maps))
        for first in range(1, lumisections + 1, at_once):
            last = min(first + at_once - 1, lumisections)
            for number in range(first, last + 1):
                (folder / f"DQM_V0001_Soak_R{maps.run:09d}_L{number:06d}.root").write_text(f"{number:06d}")
            begun = time.process_time()
            with most_resident() as most:
                watch.look()
            own, files = resident()
            figures.append(Look(last, own, files, most[0], most[1], time.process_time() - begun))
            print(figures[-1], flush=True)
    return figures


def slope(figures: Sequence[Look]) -> float:
    """kB of its own that the process held more for each lumisection, over the second half of the run."""
    half = figures[len(figures) // 2 :]
    return 1024 * float(np.polyfit([one.lumisections for one in half], [one.own for one in half], 1)[0])


def page(figures: Sequence[Look], facts: Mapping[str, str]) -> str:
    """The figures as Markdown."""
    rows = "\n".join(f"| {' | '.join(f'{number:,.0f}' for number in look)} |" for look in figures)
    about = "\n".join(f"- {name}: {fact}" for name, fact in facts.items())
    return f"""# Soak of the watch

One run of {figures[-1][0]:,} lumisections, watched from its first to its last, {figures[0][0]} new files at each look:
memory that the process has of its own, pages of files that it looked at (libraries included), and the CPU time of a
look, in which all new files are read, judged and kept, and the run so far is published. In its second half the run took
{slope(figures):.0f} kB more of its own for each lumisection. The counts that were received, and the large arrays of the
run, lie in scratch files; what of them a look brought into memory is released at its end, and the system takes it back
before where it needs the room. All sub-detectors are received, HE is judged.
`python -m benchmarks.soak -o docs/results/soak` makes this page again.

![Memory and time of a look](soak.png)

| lumisections | own memory (MB) | pages of files (MB) | own, most within the look | pages, most | CPU time (s) |
|---|---|---|---|---|---|
{rows}

{about}
"""


def draw(figures: Sequence[Look], path: Path) -> None:
    """Memory and time of a look against the lumisections so far."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    numbers, own, files, most_own, most_files, took = zip(*figures, strict=True)
    memory, seconds = figure.subplots(1, 2)
    memory.plot(numbers, own, marker=".", color="C0", label="of its own, after a look")
    memory.plot(numbers, most_own, marker=".", color="C0", ls=":", label="at most within it")
    memory.plot(numbers, files, marker=".", color="C1", label="pages of files, after a look")
    memory.plot(numbers, most_files, marker=".", color="C1", ls=":", label="at most within it")
    memory.legend(fontsize="x-small")
    seconds.plot(numbers, took, marker=".")
    for axis, name in ((memory, "memory [MB]"), (seconds, "CPU time of a look [s]")):
        axis.set(xlabel="lumisections so far", ylabel=name, xlim=(0, None), ylim=(0, None))
    figure.savefig(path, dpi=100)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lumisections", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=200, help="files between two looks")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/results/soak"))
    chosen = parser.parse_args(arguments)
    figures = soak(chosen.lumisections, chosen.at_once)
    about = machine() | program()
    chosen.output.mkdir(parents=True, exist_ok=True)
    draw(figures, chosen.output / "soak.png")
    facts = {name: about[name] for name in ("processor", "Python", "packages", "commit")}
    write_text(chosen.output / "table.md", page(figures, facts))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
