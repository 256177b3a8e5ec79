"""What lies in files because a run is long gives what it gives in memory, to the last bit, and takes no memory."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad import machine
from hcal_root_ad.harvest.read import read_lumi_maps, stream_lumi_maps
from hcal_root_ad.judge.run import RunJudge, judge_run
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.machine import Cells, release, zeros
from hcal_root_ad.model.model import load_model
from hcal_root_ad.publish.publish import monitor_elements
from hcal_root_ad.publish.run_plots import draw_plots
from hcal_root_ad.publish.saved_verdict import record_of, save_record
from hcal_root_ad.simulate.formats import write_nanodqmio
from hcal_root_ad.simulate.scenario import mixed_faults, simulate_conditions
from hcal_root_ad.simulate.simulated_detector import simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run

MODELS = [load_model("hb-graphstad-from-he"), load_model("he-graphstad")]
LUMISECTIONS = 60
ARRAYS = ("observed", "expected", "score", "states")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nanoDQMIO file of a run with faults, one of whose lumisections has a counter that is too low."""
    detector, conditions = simulate_detector(2022), simulate_conditions(LUMISECTIONS, 5)
    run = simulate_run(detector, conditions, mixed_faults(detector, conditions, 5), 5, 370_123)
    run.maps.events[30] //= 2
    return write_nanodqmio(run, tmp_path_factory.mktemp("long"))


@pytest.fixture(scope="module")
def in_memory(path: Path) -> RunVerdict:
    (maps,) = read_lumi_maps(path)
    return judge_run(maps, MODELS)


@pytest.fixture(scope="module")
def in_files(path: Path) -> RunVerdict:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "LARGE", 1)
        (maps,) = read_lumi_maps(path)
        return judge_run(maps, MODELS)


def assert_same(found: RunVerdict, wanted: RunVerdict) -> None:
    for one, other in zip(found.verdicts, wanted.verdicts, strict=True):
        for field in fields(one):
            value, expected = getattr(one, field.name), getattr(other, field.name)
            if isinstance(value, np.ndarray | Cells):
                value, expected = np.asarray(value), np.asarray(expected)
                assert value.dtype == expected.dtype
                assert value.tobytes() == expected.tobytes(), field.name
            elif field.name != "channels":
                assert value == expected, field.name


def in_file(values: np.ndarray) -> bool:
    while isinstance(values.base, np.ndarray):
        values = values.base
    return values.base is not None


def test_the_counts_lie_where_they_should(in_memory: RunVerdict, in_files: RunVerdict) -> None:
    for run, where in ((in_memory, False), (in_files, True)):
        assert in_file(run.maps.counts) is where


def test_the_run_has_what_could_go_wrong(in_memory: RunVerdict) -> None:
    assert all(len(verdict.intervals) > 20 and np.any(verdict.score) for verdict in in_memory.verdicts)


def test_counts_are_the_same(path: Path, in_memory: RunVerdict, in_files: RunVerdict) -> None:
    assert in_files.maps.counts.tobytes() == in_memory.maps.counts.tobytes()
    assert in_files.maps.notes == in_memory.maps.notes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "LARGE", 1)
        pieces = [piece.counts for piece in stream_lumi_maps(path, lumisections=25)]
    assert np.concatenate(pieces).tobytes() == in_memory.maps.counts.tobytes()


def test_scores_and_flags_are_the_same(in_memory: RunVerdict, in_files: RunVerdict) -> None:
    assert_same(in_files, in_memory)


def test_a_run_that_grows_in_files_is_judged_the_same(in_memory: RunVerdict, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, found = RunJudge(MODELS), RunJudge(MODELS)
    for first in range(0, LUMISECTIONS, 17):
        wanted.add(in_memory.maps.rows(slice(first, first + 17)))
        with monkeypatch.context() as patch:
            patch.setattr(machine, "LARGE", 1)
            found.add(in_memory.maps.rows(slice(first, first + 17)))
            verdict = found.verdict()
        assert_same(verdict, wanted.verdict())


def test_what_is_published_is_the_same(in_memory: RunVerdict, in_files: RunVerdict, tmp_path: Path) -> None:
    found, wanted = monitor_elements(in_files), monitor_elements(in_memory)
    assert len(found.elements) == len(wanted.elements)
    for one, other in zip(found.elements, wanted.elements, strict=True):
        assert (one.path, one.title, one.entries) == (other.path, other.title, other.entries)
        assert one.histogram.values(flow=True).tobytes() == other.histogram.values(flow=True).tobytes(), one.path
    assert (found.scalars, found.quality) == (wanted.scalars, wanted.quality)
    for run, name in ((in_files, "files"), (in_memory, "memory")):
        save_record(record_of(run), tmp_path / name)
    assert (tmp_path / "files").read_bytes() == (tmp_path / "memory").read_bytes()


def test_plots_are_the_same(in_memory: RunVerdict, in_files: RunVerdict, tmp_path: Path) -> None:
    drawn = [draw_plots(run, tmp_path / name) for run, name in ((in_files, "files"), (in_memory, "memory"))]
    assert [one.name for one in drawn[0]] == [one.name for one in drawn[1]]
    pictures = [(one, other) for one, other in zip(*drawn, strict=True) if one.suffix == ".png"]
    assert pictures
    assert all(one.read_bytes() == other.read_bytes() for one, other in pictures)


def test_publishing_holds_a_long_run_a_few_rows_at_a_time(in_memory: RunVerdict, tmp_path: Path) -> None:
    times = 50
    run = replace(
        in_memory,
        maps=replace(
            in_memory.maps,
            lumisections=np.arange(1, times * LUMISECTIONS + 1, dtype=np.int32),
            events=np.tile(in_memory.maps.events, times),
        ),
        verdicts=tuple(
            replace(
                verdict,
                lumisections=np.arange(1, times * LUMISECTIONS + 1, dtype=np.int32),
                **{name: np.tile(getattr(verdict, name), times) for name in ("events", "assessed")},
                **{name: repeated(getattr(verdict, name), times) for name in ("observed", "states")},
                **{name: computed_again(getattr(verdict, name), times) for name in ("expected", "score")},
            )
            for verdict in in_memory.verdicts
        ),
    )
    size = sum(4 * len(ARRAYS) * verdict.states.size for verdict in run.verdicts) // 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
    before = memory("VmRSS")
    monitor_elements(run)
    save_record(record_of(run), tmp_path / "record")
    assert memory("VmHWM") - before < size / 5
    assert size > 500


def repeated(values: np.ndarray, times: int) -> np.ndarray:
    made = zeros((times * len(values), values.shape[1]), values.dtype)
    for first in range(0, len(made), len(values)):
        made[first : first + len(values)] = values
    release(made)
    return made


def computed_again(cells: Cells[np.float32], times: int) -> Cells[np.float32]:
    shape = times * len(cells), cells.shape[1]
    return Cells(shape, cells.dtype, lambda rows, columns: cells.compute(rows % len(cells), columns))


def memory(name: str) -> int:
    """MB of this process, by the name that the system gives it."""
    return int(Path("/proc/self/status").read_text().partition(f"{name}:")[2].split()[0]) // 1024
