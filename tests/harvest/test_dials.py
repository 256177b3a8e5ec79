"""DIALS exports: rows are iphi, columns ieta."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from hcal_root_ad.detector import channel_table
from hcal_root_ad.errors import InputError, NoHcalError
from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.lumi_maps import EventSource

RUN = 370_000
Made = Callable[..., Any]


def write(path: Path, maps: dict[int, NDArray[np.float64]], quantity: str = "Occupancy") -> Path:
    """LS → (7, 84, 72) maps, or eight with HO's, each written as data[iphi][ieta]."""
    rows = [
        {
            "me": f"Hcal/DigiTask/{quantity}/depth/depth{depth}",
            "run_number": RUN,
            "ls_number": ls,
            "data": values.T.tolist(),
        }
        for ls, depths in maps.items()
        for depth, values in zip((*range(1, 8), "HO"), depths, strict=False)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_rows_are_iphi_and_columns_ieta(tmp_path: Path) -> None:
    """data[4][61] is iphi 5 and axis bin 61, which is HE +20."""
    data = np.zeros((7, 72, 84))
    data[2][4][61] = 17
    (maps,) = read_lumi_maps(write(tmp_path / "d.parquet", {6: data.transpose(0, 2, 1)}))
    table = channel_table().select("HB", "HE")
    (row,) = np.flatnonzero(maps.counts[0])
    assert (table.ieta[row], table.iphi[row], table.depth[row]) == (20, 5, 3)
    assert maps.counts[0, row] == 17


def test_lumisections_events_and_sums(tmp_path: Path, depth_maps: Made, channel_counts: Made) -> None:
    a, b = depth_maps(100, seed=1), depth_maps(90, seed=2)
    write(tmp_path / "1.parquet", {5: a, 2: b})
    write(tmp_path / "2.parquet", {5: b})
    (maps,) = read_lumi_maps(tmp_path)
    assert list(maps.lumisections) == [2, 5]
    assert list(maps.events) == [90, 190]
    assert set(maps.event_source) == {EventSource.HF_PLATEAU}
    assert maps.definition == "dials-occupancy"
    np.testing.assert_array_equal(maps.counts, [channel_counts(b), channel_counts(a + b)])


def test_a_lumisection_without_the_map_of_ho_is_no_zero_of_ho(
    tmp_path: Path, depth_maps: Made, channel_counts: Made
) -> None:
    made = {1: depth_maps(100, seed=1, ho=True), 2: depth_maps(100, seed=2), 3: depth_maps(120, seed=3, ho=True)}
    (maps,) = read_lumi_maps(write(tmp_path / "d.parquet", made))
    assert maps.present.all()
    assert maps.present_of("HO").tolist() == [True, False, True]
    assert maps.present_of("HF").all()
    np.testing.assert_array_equal(maps.counts, [channel_counts(one) for one in made.values()])
    assert "LS 2: without the map of HO, whose digis are not known there." in maps.notes


def test_the_cut_quantity_is_found(tmp_path: Path, depth_maps: Made) -> None:
    path = write(tmp_path / "d.parquet", {ls: depth_maps(500, seed=ls) for ls in range(1, 5)}, "OccupancyCut")
    (maps,) = read_lumi_maps(path)
    assert maps.definition == "dials-occupancycut"
    assert set(maps.event_source) == {EventSource.ESTIMATE}
    np.testing.assert_allclose(maps.events, 500, rtol=0.05)


def test_transposed_flat_and_other_tables_are_refused(tmp_path: Path, depth_maps: Made) -> None:
    with pytest.raises(InputError, match="84'] rows of \\['72'] bins; 72 rows"):
        read_lumi_maps(write(tmp_path / "t.parquet", {1: depth_maps(10).transpose(0, 2, 1)}))
    flat = pa.table({"me": [f"Hcal/DigiTask/Occupancy/depth/depth{d}" for d in range(1, 8)], "run_number": [RUN] * 7,
                     "ls_number": [1] * 7, "data": [[0.0] * 6048] * 7})  # fmt: skip
    pq.write_table(flat, tmp_path / "f.parquet")
    with pytest.raises(InputError, match=r"rows \[iphi\]\[ieta\] were expected"):
        read_lumi_maps(tmp_path / "f.parquet")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="lacks the column 'me'"):
        read_lumi_maps(tmp_path / "x.parquet")
    with pytest.raises(NoHcalError, match="holds no HCAL maps"):
        read_lumi_maps(write(tmp_path / "o.parquet", {1: depth_maps(10)}, "Timing"))
