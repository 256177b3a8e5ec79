"""A simulated run replayed faster than it was taken, with disorder, while ``watch`` runs; then ``run`` on its files.

    python benchmarks/replay.py --lumisections 120 --format per_lumisection

Files come late, out of order, half-written first, twice, or never; the watch is killed (-9) once in the middle. Prints
a table of the time from a file's last byte in the folder to the run's file with its lumisection published, and whether
what was published last is what ``run`` publishes. Genuine ROOT writes the files.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from heapq import heappop, heappush
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from threading import Thread
from typing import IO, Any

import numpy as np
import uproot

from hcal_root_ad.publish.gui_rules import with_version
from hcal_root_ad.simulate.formats import simulate_campaign

LUMISECTION = 23.31
"""Seconds of a lumisection (2^18 orbits)."""
PATIENCE = 60.0
"""Seconds of the run that a missing lumisection is waited for."""
_STATUS = re.compile(r"^(\S+Z) run \d+ \| LS ([\d–, ]+) \|")
COMMAND = (sys.executable, "-m", "hcal_root_ad")


@dataclass
class Replay:
    """Places and pace of a replay, and what happened: when each lumisection was whole, and when it was published."""

    folder: Path
    output: Path
    pace: float
    whole: dict[int, float] = field(default_factory=dict)
    shown: dict[int, float] = field(default_factory=dict)
    style: dict[int, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    down: tuple[float, float] = (0.0, 0.0)

    def watch(self) -> subprocess.Popen[str]:
        """Start the watch and listen to it."""
        words = (
            "watch",
            "--digest=1",
            str(self.folder),
            "-o",
            str(self.output),
            "--patience",
            f"{PATIENCE / LUMISECTION * self.pace}",
        )
        process = subprocess.Popen((*COMMAND, *words), stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        Thread(target=self._listen, args=(process.stdout,), daemon=True).start()
        return process

    def _listen(self, lines: IO[str]) -> None:
        for line in lines:
            self.lines.append(line.rstrip())
            if status := _STATUS.match(line):
                said = datetime.fromisoformat(status[1]).timestamp()
                for ls in _numbers(status[2]):
                    self.shown.setdefault(ls, said)

    def until(self, done: Callable[[], bool], limit: float = 300.0) -> None:
        """Wait for something. Raises TimeoutError."""
        end = time.time() + limit
        while not done():
            if time.time() > end:
                raise TimeoutError("\n".join(["the watch did not come so far; its last lines:", *self.lines[-20:]]))
            time.sleep(0.05)


def _numbers(said: str) -> Iterator[int]:
    """Lumisections from words such as ``3, 5–8``."""
    for part in said.split(","):
        first, _, last = part.strip().partition("–")
        yield from range(int(first), int(last or first) + 1)


def styles(lumisections: int, draw: Random) -> dict[int, str]:
    """How the file of each lumisection comes; the first and the last come in order, so that both are there."""
    kinds, weights = zip(
        ("in order", 70), ("out of order", 10), ("half first", 8), ("late", 4), ("twice", 4), ("never", 4), strict=True
    )
    inner = {ls: draw.choices(kinds, weights)[0] for ls in range(2, lumisections)}
    return {1: "in order", **inner, lumisections: "in order"}


def acts(replay: Replay, files: dict[int, Path], draw: Random) -> list[tuple[float, int, Callable[[], None]]]:
    """What happens in the folder, at which time (in lumisections)."""
    plan: list[tuple[float, int, Callable[[], None]]] = []

    def at(when: float, act: Callable[[], None]) -> None:
        heappush(plan, (when, len(plan), act))

    for ls, path in files.items():
        delay = {"out of order": draw.uniform(1, 2), "late": draw.uniform(6, 12)}.get(replay.style[ls], 0.0)
        if replay.style[ls] == "half first":
            at(ls, partial(_half, path, replay.folder))
            delay = draw.uniform(0.5, 2)
        if replay.style[ls] != "never":
            at(ls + delay, partial(_whole, path, replay, ls))
        if replay.style[ls] == "twice":
            at(ls + 1.5, partial(_again, path, replay.folder))
    return plan


def _half(path: Path, folder: Path) -> None:
    content = path.read_bytes()
    (folder / path.name).write_bytes(content[: len(content) // 2])


def _whole(path: Path, replay: Replay, ls: int) -> None:
    shutil.copy(path, replay.folder / f"{path.name}.tmp")
    (replay.folder / f"{path.name}.tmp").rename(replay.folder / path.name)
    replay.whole[ls] = time.time()


def _again(path: Path, folder: Path) -> None:
    """The same file in a folder of its own."""
    (folder / "again").mkdir(exist_ok=True)
    shutil.copy(path, folder / "again" / path.name)


def play(replay: Replay, files: dict[int, Path], draw: Random) -> None:
    """Let the run come, kill the watch in its middle, and wait until all is published."""
    process = replay.watch()
    replay.until(lambda: any("watching" in line for line in replay.lines))
    plan, begun, middle = acts(replay, files, draw), time.time(), len(files) / 2
    try:
        while plan:
            when, _, act = heappop(plan)
            time.sleep(max(0.0, begun + when * replay.pace - time.time()))
            act()
            if when > middle and not replay.down[0]:
                process.kill()
                process.wait()
                replay.down = time.time(), 0.0
                process = replay.watch()
                Thread(target=_note_return, args=(replay, len(replay.lines)), daemon=True).start()
        replay.until(lambda: replay.whole.keys() <= replay.shown.keys())
        time.sleep(2 * PATIENCE / LUMISECTION * replay.pace + 5)  # what is published twice settles
    finally:
        process.terminate()
        process.wait()


def _note_return(replay: Replay, lines: int) -> None:
    """When the watch that was started again has published all that came while it was down."""
    replay.until(lambda: any(_STATUS.match(line) for line in replay.lines[lines:]))
    replay.down = replay.down[0], time.time()


def contents(folder: Path) -> dict[str, Any]:
    """Name, objects, bins and errors of the newest ROOT file in a folder; which verb made it is no difference."""
    path = max(folder.glob("*.root"))
    with uproot.open(path) as file:
        kinds = {key.replace('"verb": "watch"', '"verb": "run"'): kind for key, kind in file.classnames().items()}
        found = {key: file[key] for key, kind in kinds.items() if kind.startswith(("TH", "TP"))}
        bins = {key: (one.values(flow=True).tobytes(), one.errors(flow=True).tobytes()) for key, one in found.items()}
    return {with_version(path.name, 1): "", **kinds, **bins}


def table(replay: Replay) -> Iterator[str]:
    """Latency (s) by how the files came, as Markdown."""
    yield "| files that came | LS | median (s) | 95 % (s) | longest (s) |"
    yield "|---|---:|---:|---:|---:|"
    latency = {ls: replay.shown[ls] - whole for ls, whole in replay.whole.items()}
    missed = {ls for ls in latency if replay.whole[ls] <= replay.down[1] and replay.shown[ls] >= replay.down[0]}
    third = max(replay.whole) / 3

    def came(style: str, ls: int) -> bool:
        return ls not in missed and replay.style[ls] == style

    rows: dict[str, Callable[[int], bool]] = {
        "all, but for the restart": lambda ls: ls not in missed,
        "in order, first third": lambda ls: came("in order", ls) and ls <= third,
        "in order, last third": lambda ls: came("in order", ls) and ls > 2 * third,
        **{style: partial(came, style) for style in ("out of order", "half first", "late", "twice")},
        "came before the restart was over": lambda ls: ls in missed,
    }
    for name, chosen in rows.items():
        if values := [seconds for ls, seconds in latency.items() if chosen(ls)]:
            median, most, longest = np.quantile(values, [0.5, 0.95, 1.0])
            yield f"| {name} | {len(values)} | {median:.2f} | {most:.2f} | {longest:.2f} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lumisections", type=int, default=120)
    parser.add_argument("--format", choices=("per_lumisection", "snapshots"), default="per_lumisection")
    parser.add_argument("--speed", type=float, default=100.0, help="times faster than the run was taken")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--verbose", action="store_true", help="print what the watch said")
    arguments = parser.parse_args()
    with TemporaryDirectory() as place:
        made = simulate_campaign(Path(place) / "made", arguments.format, arguments.lumisections, 1, 2022, 5, "mixed")
        files = dict(enumerate(made[:-1], start=1))
        replay = Replay(Path(place) / "dqm", Path(place) / "out", LUMISECTION / arguments.speed)
        replay.folder.mkdir()
        draw = Random(arguments.seed)
        replay.style = styles(len(files), draw)
        play(replay, files, draw)
        subprocess.run((*COMMAND, "run", str(replay.folder), "-o", f"{place}/offline"), check=True, capture_output=True)
        same = contents(replay.output) == contents(Path(place) / "offline")
    if arguments.verbose:
        print(*replay.lines, "", sep="\n")
    print(
        f"{arguments.lumisections} LS as {arguments.format}, {arguments.speed:g} times as fast as taken "
        f"(one LS each {replay.pace:.2f} s), {os.cpu_count()} cores; the watch was killed once.\n"
    )
    print(*table(replay), "", sep="\n")
    print(
        f"The file that was published last is {'' if same else 'NOT '}the one that `run` publishes, object by object."
    )
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
