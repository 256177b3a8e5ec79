"""Exports as tables and flat files: columns of whole numbers, one dataset, and both orders of flat contents."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.read import read_lumi_maps, stream_lumi_maps
from hcal_root_ad.lumi_maps import EventSource

RUN = 370_000
Made = Callable[..., Any]
Maps = NDArray[np.float64]
NAMES = [f"Hcal/DigiTask/Occupancy/depth/depth{depth}" for depth in range(1, 8)]


def dials(lumisections: dict[int, Maps], **columns: Any) -> dict[str, list[Any]]:
    """Columns of a DIALS export; others replace them."""
    places = [(name, ls, values) for ls, maps in lumisections.items() for name, values in zip(NAMES, maps, strict=True)]
    names, numbers, data = (list(column) for column in zip(*places, strict=True))
    made = {
        "me": names,
        "run_number": [RUN] * len(names),
        "ls_number": numbers,
        "data": [one.T.tolist() for one in data],
    }
    return made | {key: [make(ls) for ls in numbers] if callable(make) else make for key, make in columns.items()}


def together_of(tables: list[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    """One table below the other."""
    return {key: [value for table in tables for value in table[key]] for key in tables[0]}


def write(path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"run_number": lambda _: RUN + 0.5}, "column run_number of .* holds 370000"),
        ({"ls_number": lambda ls: ls + 0.9}, r"column ls_number of .* holds 1\.9; whole numbers"),
        ({"ls_number": lambda _: True}, "column ls_number of .* holds bool; whole numbers"),
        ({"ls_number": lambda _: "1"}, "column ls_number of .* holds string"),
        ({"run_number": lambda _: datetime(2023, 6, 1, tzinfo=UTC)}, "column run_number of .* holds timestamp"),
        ({"run_number": lambda _: float("nan")}, "column run_number of .* holds nan"),
        ({"run_number": pa.array([2**63] * 7, pa.uint64())}, "column run_number of .* holds 9223372036854775808"),
        ({"me": lambda ls: ls}, "column me of .* holds int64; names were expected"),
        ({"dataset": lambda _: ["/A/B/DQMIO"]}, "column dataset of .* holds list<.*; names were expected"),
        ({"data": lambda _: [[True] * 84] * 72}, "column data of .* holds bool; counts"),
        ({"data": lambda _: [["1"] * 84] * 72}, "column data of .* holds string; counts"),
        ({"data": lambda _: [[0.5] * 84] * 72}, r"holds the fraction 0\.5"),
    ],
)
def test_columns_that_are_no_whole_numbers(tmp_path: Path, depth_maps: Made, columns: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_lumi_maps(write(tmp_path / "d.parquet", dials({1: depth_maps(100)}, **columns)))


@pytest.mark.parametrize("kind", [pa.uint8(), pa.float16(), pa.float32()])
def test_whole_numbers_in_other_types_are_numbers(tmp_path: Path, depth_maps: Made, kind: pa.DataType) -> None:
    ones = pa.array(np.ones(7, dtype=kind.to_pandas_dtype()), kind)
    columns = dials({1: depth_maps(100)}, run_number=lambda _: float(RUN), ls_number=ones)
    (maps,) = read_lumi_maps(write(tmp_path / "d.parquet", columns))
    assert (maps.run, maps.lumisections.tolist(), maps.events.tolist()) == (RUN, [1], [100])


@pytest.mark.parametrize(
    ("column", "names"), [("dataset", ("/A/Prompt/DQMIO", "/A/19Dec/DQMIO")), ("dataset_id", (7, 8))]
)
def test_two_datasets_of_a_run_in_one_export(tmp_path: Path, depth_maps: Made, column: str, names: Any) -> None:
    one = dials({1: depth_maps(90, seed=1)}, **{column: lambda _: names[0]})
    other = dials({1: depth_maps(99, seed=2)}, **{column: lambda _: names[1]})
    both = together_of([one, other])
    with pytest.raises(InputError, match=rf"holds run {RUN} in 2 datasets \({column} "):
        read_lumi_maps(write(tmp_path / "d.parquet", both))
    (maps,) = read_lumi_maps(write(tmp_path / "d.parquet", one))
    assert list(maps.events) == [90]
    write(tmp_path / "e.parquet", other)
    with pytest.raises(InputError, match=f"Run {RUN} comes from 2 datasets"):
        read_lumi_maps(tmp_path)


def test_rows_that_come_twice(tmp_path: Path, depth_maps: Made, channel_counts: Made) -> None:
    a, b = depth_maps(100, seed=1), depth_maps(120, seed=2)
    columns = [dials({1: a}), dials({1: a}), dials({2: a}), dials({2: b})]
    (maps,) = read_lumi_maps(write(tmp_path / "d.parquet", together_of(columns)))
    assert list(maps.events) == [100, 220]
    np.testing.assert_array_equal(maps.counts, [channel_counts(a), channel_counts(a + b)])


@pytest.mark.parametrize("content", [2**24, 2**24 + 2, 32767])
def test_contents_at_a_ceiling(tmp_path: Path, depth_maps: Made, content: int) -> None:
    full = depth_maps(100)
    full[0, 42, 10] = content
    (maps,) = read_lumi_maps(write(tmp_path / "d.parquet", dials({1: full, 2: depth_maps(100, seed=2)})))
    assert list(maps.present) == [False, True]


def test_a_row_of_absurdly_many_contents_does_not_become_memory(tmp_path: Path) -> None:
    values = pa.array(np.zeros(2**26 + 10_000, dtype=np.float32))
    rows = pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)
    data = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), rows)
    columns = {"me": [NAMES[0]], "run_number": [RUN], "ls_number": [1], "data": data}
    with pytest.raises(InputError, match=r"column data of .* has 67118864 contents in 1 rows"):
        read_lumi_maps(write(tmp_path / "d.parquet", columns))


# Flat exports


def flat_rows(maps: Maps, ls: int, *, flow: bool, depths: range = range(1, 8)) -> dict[str, list[Any]]:
    """As dqmiotools writes them: with flow iphi is slowest, without it ieta is."""
    contents = [(np.pad(maps[d - 1], 1).T if flow else maps[d - 1]).ravel().astype(int).tolist() for d in depths]
    n = len(contents)
    axes = {"Xmin": 0.0, "Xmax": 84.0, "Xbins": 84, "Ymin": 0.5, "Ymax": 72.5, "Ybins": 72}
    return {
        "fromrun": [RUN] * n, "fromlumi": [ls] * n, "hname": [NAMES[d - 1] for d in depths], "metype": [6] * n,
        "histo": contents, "entries": [sum(one) for one in contents],
        **{key: [value] * n for key, value in axes.items()},
    }  # fmt: skip


@pytest.mark.parametrize("flow", [True, False])
@pytest.mark.parametrize("together", [True, False])
def test_a_flat_table(tmp_path: Path, depth_maps: Made, channel_counts: Made, flow: bool, together: bool) -> None:
    """All depths in one file, or a file for each."""
    made = {ls: depth_maps(n, seed=ls) for ls, n in ((3, 100), (4, 120))}
    for number, depths in enumerate([range(1, 8)] if together else [range(d, d + 1) for d in range(1, 8)]):
        parts = [flat_rows(maps, ls, flow=flow, depths=depths) for ls, maps in made.items()]
        write(tmp_path / f"{number}.parquet", together_of(parts))
    (maps,) = read_lumi_maps(tmp_path)
    assert (maps.definition, maps.lumisections.tolist(), maps.events.tolist()) == ("flat-occupancy", [3, 4], [100, 120])
    assert set(maps.event_source) == {EventSource.HF_PLATEAU}
    np.testing.assert_array_equal(maps.counts, [channel_counts(one) for one in made.values()])
    assert not any("summed" in note for note in maps.notes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"histo": [[0] * 6000] * 7}, "has 6000 contents; 6048"),
        ({"histo": [0] * 7}, "column histo of .* holds int64; one list per map"),
        ({"Xmin": [-42.0] * 7}, r"has Xmin = -42\.0; a depth map of HCAL's DQM has 0"),
        ({"fromlumi": [1.5] * 7}, r"column fromlumi of .* holds 1\.5"),
    ],
)
def test_a_flat_table_of_other_making(tmp_path: Path, depth_maps: Made, change: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_lumi_maps(write(tmp_path / "f.parquet", flat_rows(depth_maps(10), 1, flow=False) | change))


def test_a_table_of_another_kind_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lacks the column 'fromlumi' of an .*; it has fromrun, histo, hname"):
        read_lumi_maps(write(tmp_path / "f.parquet", {"fromrun": [1], "hname": ["x"], "histo": [[1]]}))


@pytest.mark.parametrize("classname", ["TH2F", "TH2S"])
def test_a_flat_file(
    tmp_path: Path, root: Any, root_map: Made, depth_maps: Made, channel_counts: Made, classname: str
) -> None:
    made = {ls: depth_maps(n, seed=ls) for ls, n in ((12, 100), (3, 120))}
    path = tmp_path / "export.root"
    file = root.TFile(str(path), "RECREATE")
    for ls, maps in made.items():
        for name, values in zip(NAMES, maps, strict=True):
            file.WriteTObject(root_map(values, classname), f"run{RUN}_ls{ls}_{name.replace('/', '_')}")
    file.WriteTObject(root.TH1F("other", "", 2, 0.0, 1.0), f"run{RUN}_ls3_Ecal_other")
    file.Close()
    (maps,) = read_lumi_maps(path)
    assert maps.definition == "flat-occupancy"
    assert (maps.lumisections.tolist(), maps.events.tolist()) == ([3, 12], [120, 100])
    np.testing.assert_array_equal(maps.counts, [channel_counts(made[3]), channel_counts(made[12])])
    pieces = list(stream_lumi_maps(path, lumisections=10))
    assert [piece.lumisections.tolist() for piece in pieces] == [[3], [12]]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ([f"run{RUN}_ls1_A", f"run{RUN}_ls01_A"], "has the keys .* and .* of the same element and lumisection"),
        ([f"run{RUN}_ls999999_A"], "speaks of LS 999999"),
        ([f"run{RUN}_ls1_Hcal_DigiTask_Occupancy_depth_depth1"], "is a TH1F; a TH2 was expected"),
        ([f"run{RUN}_ls1_Hcal_DigiTask_Other_depth_depth1"], "holds no HCAL maps such as"),
    ],
)
def test_a_flat_file_of_other_making(tmp_path: Path, root: Any, keys: list[str], words: str) -> None:
    path = tmp_path / "export.root"
    file = root.TFile(str(path), "RECREATE")
    for key in keys:
        file.WriteTObject(root.TH1F(key, "", 2, 0.0, 1.0), key)
    file.Close()
    with pytest.raises(InputError, match=words):
        read_lumi_maps(path)
