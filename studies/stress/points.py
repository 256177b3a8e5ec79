"""Points of the stress suite: one judge in one world with one seed, each a JSON file, so that a study can go on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hcal_root_ad.certify.policy import load_policy
from hcal_root_ad.errors import HcalRootAdError, InputError
from hcal_root_ad.files import write_text
from hcal_root_ad.simulate.simulated_run import SimulatedRun
from studies.stress.judged import JudgeOf, refused
from studies.stress.measure import Numbers, measure
from studies.stress.truth import truth_of
from studies.stress.worlds import World, WorldRuns, simulate_clean, simulate_world

ASKED = (0.05, 0.5, 5.0)
"""False findings per 100 LS and sub-detector that are asked for in healthy worlds."""
DEFAULT = 0.5
"""What is asked for where faults are."""
POINTS, TABLE = "points", "table.json"


@dataclass(frozen=True)
class Point:
    """A judge (as rows are labelled), a world by name, and a seed."""

    judge: str
    world: str
    seed: int

    def path(self, folder: Path) -> Path:
        return folder / POINTS / f"{self.judge}" / f"{self.world}-{self.seed}.json"


class CleanRuns:
    """Clean runs that worlds share, the last one kept."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._runs: tuple[SimulatedRun, ...] = ()

    def of(self, world: World, seed: int) -> tuple[SimulatedRun, ...]:
        key = (world.clean, world.origin, seed)
        if key != self._key:
            self._key, self._runs = key, (simulate_clean(world, seed),)
        return self._runs


def measure_point(point: Point, judge_of: JudgeOf, world: World, clean: tuple[SimulatedRun, ...]) -> Numbers:
    """Everything that is measured at a point: ``healthy`` by what was asked for, or ``faulty``, and the time.

    A healthy world is measured with the standard faults too.
    """
    row: Numbers = {"judge": point.judge, "world": point.world, "seed": point.seed}
    runs = simulate_world(world, point.seed, clean)
    begin, judged = time.perf_counter(), 0
    if world.healthy:
        row["healthy"] = {f"{asked:g}": _measured(runs, judge_of, asked) for asked in ASKED}
        judged += len(ASKED) * len(runs.judged.maps)
        runs = simulate_world(world.with_standard_faults(), point.seed, clean)
    row["faulty"] = _measured(runs, judge_of, DEFAULT)
    judged += len(runs.judged.maps)
    return row | {"seconds": round(time.perf_counter() - begin, 2), "judged_lumisections": judged}


def _measured(runs: WorldRuns, judge_of: JudgeOf, asked: float) -> Numbers:
    try:
        answer = judge_of(runs)([run.maps for run in runs.clean], runs.judged.maps, asked)
    except HcalRootAdError as refusal:
        answer = refused(runs.judged.maps, str(refusal))
    return measure(runs, answer, truth_of(runs, load_policy()))


def save_point(point: Point, row: Numbers, folder: Path) -> None:
    """Write what was measured at a point."""
    write_text(point.path(folder), json.dumps(row, indent=1))


def earlier_rows(folder: Path) -> dict[Point, Numbers]:
    """What was measured before: the rows of the table, and points that came after it."""
    rows: dict[Point, Numbers] = {}
    for row in (*_table_rows(folder / TABLE), *map(_read, sorted((folder / POINTS).glob("*/*.json")))):
        rows[Point(row["judge"], row["world"], row["seed"])] = row
    return rows


def _table_rows(path: Path) -> Iterator[Numbers]:
    if path.exists():
        yield from _read(path)["rows"]


def _read(path: Path) -> Numbers:
    try:
        row: Numbers = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as numbers of the stress suite ({error}); remove it.") from error
    return row


def in_order(points: Sequence[Point], worlds: Sequence[World]) -> list[Point]:
    """Points in an order in which those that share a clean run follow each other."""
    by_name = {world.name: world for world in worlds}
    keys = list(dict.fromkeys((world.clean, world.origin) for world in worlds))

    def place(point: Point) -> tuple[str, int, int]:
        world = by_name[point.world]
        return point.judge, point.seed, keys.index((world.clean, world.origin))

    return sorted(points, key=place)
