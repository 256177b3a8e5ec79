"""A watch over a run of many lumisections: how much memory it holds, and how long it takes, as the run grows.

    python -m benchmarks.soak --lumisections 2000 -o docs/results/soak

The lumisections are those of the demonstration run, again and again under rising numbers, each in a file of its own;
the watch judges, publishes and keeps what it received as ever. Memory is what the process has of its own after each
look (``RssAnon``), and, beside it, the pages of files that it looked at (``RssFile``): those of its scratch files grow
with the run, and the system takes them back where it needs them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.machine import machine, program
from hcal_root_ad.files import write_text
from hcal_root_ad.harvest.definition import FileContent, choose_definitions
from hcal_root_ad.harvest.inputs import source_of
from hcal_root_ad.harvest.lumisection import LumisectionCounts, needed_depths, table_of_run
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
    """Lumisections so far, memory of its own and pages of files (MB) after a look, and how long it took (s)."""

    lumisections: int
    own: float
    files: float
    seconds: float


def resident(kind: str) -> float:
    """MB that this process holds: ``RssAnon`` or ``RssFile``."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(kind)).split()[1]) / 1024


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
            begun = time.perf_counter()
            watch.look()
            took = time.perf_counter() - begun
            figures.append(Look(last, resident("RssAnon"), resident("RssFile"), took))
            print(
                f"LS {last}: {figures[-1].own:.0f} MB and {figures[-1].files:.0f} MB of files, {took:.0f} s", flush=True
            )
    return figures


def slope(figures: Sequence[Look]) -> float:
    """kB of its own that the process held more for each lumisection, over the second half of the run."""
    half = figures[len(figures) // 2 :]
    return 1024 * float(np.polyfit([one.lumisections for one in half], [one.own for one in half], 1)[0])


def page(figures: Sequence[Look], facts: Mapping[str, str]) -> str:
    """The figures as Markdown."""
    rows = "\n".join(f"| {n:,} | {own:.0f} | {files:.0f} | {took:.0f} |" for n, own, files, took in figures)
    about = "\n".join(f"- {name}: {fact}" for name, fact in facts.items())
    return f"""# Soak of the watch

One run of {figures[-1][0]:,} lumisections, watched from its first to its last, {figures[0][0]} new files at each look:
memory that the process has of its own, pages of files that it looked at, and the time of a look, in which all new files
are read, judged and kept, and the run so far is published. In its second half the run took {slope(figures):.0f} kB more
of the former for each lumisection. The counts that were received, and the large arrays of the run, lie in scratch
files. All sub-detectors are received, HE is judged.
`python -m benchmarks.soak -o docs/results/soak` makes this page anew.

![Memory and time of a look](soak.png)

| lumisections | own memory (MB) | pages of files (MB) | this look (s) |
|---|---|---|---|
{rows}

{about}
"""


def draw(figures: Sequence[Look], path: Path) -> None:
    """Memory and time of a look against the lumisections so far."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    numbers, own, files, took = zip(*figures, strict=True)
    memory, seconds = figure.subplots(1, 2)
    memory.plot(numbers, own, marker=".", label="of its own")
    memory.plot(numbers, np.add(own, files), marker=".", label="with pages of files")
    memory.legend()
    seconds.plot(numbers, took, marker=".")
    for axis, name in ((memory, "memory [MB]"), (seconds, "one look [s]")):
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
