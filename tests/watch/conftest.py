"""A folder whose files are a line of JSON each, so that a test can leave, cut, move and change them at will.

What stands in a file is which lumisection it is for; its counts follow from that: 300 digis of every channel in 1000
events, a few more or less. A snapshot holds all lumisections up to its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hcal_root_ad.detector import N_MAPS, era_of_run
from hcal_root_ad.errors import InputError, NoHcalError
from hcal_root_ad.harvest.gathering import LumisectionCounts, needed_depths, table_of_run
from hcal_root_ad.harvest.harvester import Definition, FileContent, RunTotal, choose_definitions
from hcal_root_ad.harvest.inputs import source_of
from hcal_root_ad.harvest.read import lumi_maps_of
from hcal_root_ad.lumi_maps import LumiMaps, Source

RUN = 370_101
EVENTS = 1000
DEFINITION: Definition = choose_definitions("dqm_file-occupancy")[0]


def digis(run: int, lumisection: int, more: int = 0) -> NDArray[np.int32]:
    """Counts of all channels in one lumisection."""
    table = table_of_run(run)
    counts = np.full(len(table), 300 + more, dtype=np.int32)
    counts += np.random.default_rng([run, lumisection]).integers(-5, 6, len(table)).astype(np.int32)
    counts[table.rows_of("HF")] = EVENTS
    return counts


def section(run: int, lumisection: int, counts: NDArray[np.int32], events: int) -> LumisectionCounts:
    seen = np.zeros(N_MAPS, dtype=np.int64)
    seen[np.array(needed_depths(era_of_run(run))) - 1] = 1
    return LumisectionCounts(run, lumisection, counts=counts, seen=seen, own_events=events)


def read(path: Path) -> tuple[FileContent, Source]:
    """What a file says, as the harvest would find it; one that is cut is damaged, one without a run is foreign."""
    try:
        said = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"The file {path} is damaged.") from error
    if "run" not in said:
        raise NoHcalError(f"{path} holds no HCAL maps.")
    run, ls, more = said["run"], said["ls"], said.get("more", 0)
    if said.get("snapshot"):
        counts = sum((digis(run, n, more) for n in range(2, ls + 1)), digis(run, 1, more))
        total = RunTotal(section(run, ls, counts, EVENTS * ls), path, ls, "snapshot")
        return FileContent(path, DEFINITION, (), (total,)), source_of(path)
    return FileContent(path, DEFINITION, (section(run, ls, digis(run, ls, more), EVENTS),)), source_of(path)


def maps_of(folder: Path, run: int = RUN) -> LumiMaps:
    """What ``run`` would read from the files of a run."""
    found = [read(path) for path in sorted(folder.rglob("*.root*")) if json.loads(path.read_text())["run"] == run]
    (maps,) = lumi_maps_of([content for content, _ in found], {content.path: source for content, source in found})
    return maps


def same_maps(a: LumiMaps, b: LumiMaps) -> bool:
    """Whether two runs hold the same, sources and notes included."""
    names = ("lumisections", "events", "event_source", "counts", "present")
    equal = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)
    return equal and a.sources == b.sources and a.notes == b.notes


@dataclass
class DqmFolder:
    """The folder that is watched."""

    path: Path

    def name(self, ls: int, run: int = RUN, snapshot: bool = False) -> Path:
        suffix = f".ls{ls:08d}_hosta-01.cms_pid00000001" if snapshot else ""
        return self.path / f"DQM_V0001_R{run:09d}__A__B__C_L{ls:09d}.root{suffix}"

    def text(self, ls: int, run: int = RUN, snapshot: bool = False, more: int = 0) -> str:
        return json.dumps({"run": run, "ls": ls, "snapshot": snapshot, "more": more})

    def leave(self, *lumisections: int, run: int = RUN, snapshot: bool = False) -> None:
        for ls in lumisections:
            self.name(ls, run, snapshot).write_text(self.text(ls, run, snapshot))

    def leave_half(self, ls: int, run: int = RUN) -> None:
        self.name(ls, run).write_text(self.text(ls, run)[:-9])


@pytest.fixture
def dqm(tmp_path: Path) -> DqmFolder:
    path = tmp_path / "dqm"
    path.mkdir()
    return DqmFolder(path)


@dataclass
class Clock:
    """A time that passes when it is told to."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def said() -> list[str]:
    return []


Says = Callable[[str], None]
