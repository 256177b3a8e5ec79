"""Arrays in scratch files, and cells that are computed: like any other, but in memory only while they are looked at."""

from __future__ import annotations

import gc
import pickle
import resource
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad import machine
from hcal_root_ad.errors import OutputError
from hcal_root_ad.machine import (
    KEPT,
    LARGE,
    LOOKS,
    Cells,
    ScratchStore,
    extended,
    iter_chunks,
    release,
    release_all,
    row_maxima,
    transposed,
    zeros,
)

MB = 2**20


def resident() -> int:
    """MB of files (shared memory included) that this process holds in memory."""
    status = Path("/proc/self/status").read_text()
    return sum(int(status.partition(f"{name}:")[2].split()[0]) for name in ("RssFile", "RssShmem")) // 1024


def open_files() -> int:
    gc.collect()
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture
def all_in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LARGE", 1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rows", [LARGE // MB - 1, LARGE // MB])
def test_zeros_are_in_memory_or_in_a_file(rows: int) -> None:
    before = open_files()
    made = zeros((rows, MB // 4), np.float32)
    assert made.shape == (rows, MB // 4)
    assert made.dtype == np.float32
    assert not made[0].any()
    assert not made[-1].any()
    assert open_files() - before == (made.nbytes >= LARGE)
    del made
    assert open_files() == before


def test_what_was_let_go_takes_no_memory_and_comes_back(folder: Path) -> None:  # noqa: ARG001
    before, made = resident(), zeros((100, MB), np.uint8)
    for row in range(100):
        made[row] = row
    assert resident() - before >= 99
    release(made[10:])
    assert resident() - before <= 20
    assert made[:, ::4096].tolist() == [[row] * 256 for row in range(100)]
    release(made)
    for rows in iter_chunks(made, rows=10):
        assert made[rows].sum(axis=1, dtype=np.int64).tolist() == [row * MB for row in range(rows.start, rows.stop)]
        assert resident() - before <= 20


def test_all_are_released_at_once(all_in_files: None) -> None:  # noqa: ARG001
    before, kept = resident(), [zeros((20, MB), np.uint8) for _ in range(3)]
    for number, made in enumerate(kept, start=1):
        made[...] = number
    assert resident() - before >= 60
    release_all()
    assert resident() - before <= 2
    assert [made.mean() for made in kept] == [1, 2, 3]


def test_neighbours_that_came_along_are_let_go_too() -> None:
    before, made = resident(), zeros((1000, 84_000), np.uint8)
    for rows in iter_chunks(made):
        made[rows] = 1
    for rows in iter_chunks(made, rows=1):
        assert made[rows].all()
    assert resident() - before <= 10


def test_parts_whose_edges_are_within_a_page_lose_nothing(all_in_files: None) -> None:  # noqa: ARG001
    made = zeros((10, 1000), np.int32)
    made[...] = np.arange(10_000).reshape(10, 1000)
    release(made[3:7, 5:9], made[9], made[:0], made.T[2])
    assert made.ravel().tolist() == list(range(10_000))


def test_what_lies_in_memory_cannot_be_let_go() -> None:
    made = np.arange(10)
    release(made, made[2:5], np.zeros((0, 3)), np.frombuffer(b"abc", dtype=np.uint8))
    assert made.tolist() == list(range(10))


def test_a_disk_without_room_is_one_sentence(folder: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MB, limits[1]))
    try:
        with pytest.raises(OutputError, match=rf"{folder}: a long run needs 17 MB here .* TMPDIR\.$"):
            zeros((LARGE,), np.uint8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(OutputError, match=r"none: a long run needs .*No such file or directory"):
        zeros((LARGE,), np.uint8)


@given(st.integers(0, 70), st.integers(1, 40))
def test_chunks_meet_every_row_once(length: int, rows: int) -> None:
    met = [
        row for part in iter_chunks(np.zeros(length), np.zeros((length, 2)), rows=rows) for row in range(length)[part]
    ]
    assert met == list(range(length))


@pytest.mark.parametrize("length", [0, 1, 33])
def test_a_copy_has_zeros_behind_it(all_in_files: None, length: int) -> None:  # noqa: ARG001
    values = np.arange(2 * length, dtype=np.int32).reshape(length, 2)
    copy = extended(values, 40)
    assert copy[:length].tolist() == values.tolist()
    assert copy.shape == (40, 2)
    assert not copy[length:].any()
    copy[...] = 7
    assert values.ravel().tolist() == list(range(2 * length))


def test_the_largest_of_each_row() -> None:
    values = np.zeros((70, 3), dtype=np.int32)
    values[:, 1] = np.arange(70)
    values[69] = -1
    assert row_maxima(values).tolist() == [*range(69), 0]
    assert row_maxima(np.zeros((2, 0), dtype=np.int32)).tolist() == [0, 0]


def test_rows_are_turned_to_columns(all_in_files: None) -> None:  # noqa: ARG001
    values = np.arange(2500 * 3, dtype=np.int32).reshape(2500, 3)
    assert np.array_equal(transposed(lambda rows: values[rows], values.shape, np.int32), values.T)


def test_a_store_keeps_the_first_in_memory_and_others_in_files() -> None:
    before, store, row = open_files(), ScratchStore(), LARGE // 12
    kept = [store.keep(np.full((row // 4, 1), number, dtype=np.int32)) for number in range(3 + 12 + 1)]
    assert [int(one[0, 0]) for one in kept] == list(range(16))
    assert all((one == number).all() and one.shape == (row // 4, 1) for number, one in enumerate(kept))
    assert open_files() - before == 2
    del kept[:15]
    assert open_files() - before == 1
    large = store.keep(np.ones(2 * LARGE, dtype=np.uint8))
    assert large.all()
    del kept, store, large
    assert open_files() == before


@pytest.fixture
def cells() -> Cells[np.int32]:
    """(4, 3) numbers 10·row + column."""
    return Cells((4, 3), np.dtype(np.int32), lambda rows, columns: np.add.outer(10 * rows, columns).astype(np.int32))


@pytest.mark.parametrize(
    "key",
    [2, slice(1, 3), (slice(None), 1), (3, 2), (slice(0, 2), np.array([2, 0])), np.ix_([3, 0], [1, 2]),
     np.array([True, False, True, False]), (np.array([2, 2]), 1)],
)  # fmt: skip
def test_cells_that_are_computed_are_indexed_as_an_array(cells: Cells[np.int32], key: Any) -> None:
    np.testing.assert_array_equal(cells[key], np.asarray(cells)[key], strict=True)


def test_cells_are_computed_where_they_are_looked_at(cells: Cells[np.int32]) -> None:
    asked: list[tuple[int, int]] = []

    def compute(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        asked.append((len(rows), len(columns)))
        return np.zeros((len(rows), len(columns)))

    long = replace(cells, shape=(KEPT, 3), compute=compute)
    assert len(long) == KEPT
    long[1:3]
    long[1:3]
    assert asked == [(2, 3)] * 2


def test_cells_of_a_short_run_are_computed_once_and_no_caller_changes_them(cells: Cells[np.int32]) -> None:
    asked: list[int] = []

    def compute(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        asked.append(len(rows))
        return cells.compute(rows, columns)

    short = replace(cells, compute=compute)
    np.testing.assert_array_equal(short[1:3, 1], cells[1:3, 1])  # some channels are computed alone
    for _ in range(2):
        block = short[1:3]
        np.testing.assert_array_equal(block, np.asarray(cells)[1:3])
        block += 1
        part = short[:, 1:]
        part += 1
    np.testing.assert_array_equal(short[np.ix_([3, 0], [1, 2])], cells[np.ix_([3, 0], [1, 2])])
    assert asked == [2, 4]


def test_cells_of_a_short_run_are_kept_once_some_channels_were_looked_at_often(cells: Cells[np.int32]) -> None:
    asked: list[int] = []

    def compute(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        asked.append(len(columns))
        return cells.compute(rows, columns)

    short = replace(cells, compute=compute)
    for _ in range(LOOKS + 2):
        np.testing.assert_array_equal(short[1:3, 1], cells[1:3, 1])
    assert asked == [1] * LOOKS + [3]


def test_cells_one_by_one_need_a_grid(cells: Cells[np.int32]) -> None:
    with pytest.raises(IndexError, match=r"np\.ix_"):
        cells[np.array([0, 1]), np.array([0, 1])]


def test_cells_are_an_array_elsewhere(cells: Cells[np.int32]) -> None:
    assert pickle.loads(pickle.dumps(cells)).tolist() == np.asarray(cells).tolist()
