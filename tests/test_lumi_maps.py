"""What ``LumiMaps`` answers, and the tensor file that it saves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from hcal_root_ad.detector import channel_table
from hcal_root_ad.errors import OutputError
from hcal_root_ad.lumi_maps import EventSource, LumiMaps

CHANNELS = channel_table().select("HB", "HE")


def maps_of(counts: np.ndarray, present: list[bool]) -> LumiMaps:
    n = len(present)
    return LumiMaps(
        run=370101,
        channels=CHANNELS,
        lumisections=np.arange(5, 5 + n, dtype=np.int32),
        events=np.where(present, 1000, 0).astype(np.int64),
        event_source=np.where(present, EventSource.HF_PLATEAU, EventSource.NONE).astype(np.uint8),
        counts=counts.astype(np.int32),
        present=np.array(present),
        definition="nanodqmio",
    )


@pytest.fixture
def maps() -> LumiMaps:
    """Three LS; the middle one without HCAL; HE +20/5/3 counts 7 in the first and 9 in the last."""
    counts = np.zeros((3, len(CHANNELS)))
    row = CHANNELS.rows_of_raw_ids(np.array([0x45385005]))[0]
    counts[:, row] = 7, -1, 9
    return maps_of(counts, [True, False, True])


def test_found_names_the_subdetectors_with_digis(maps: LumiMaps) -> None:
    assert len(maps) == 3
    assert maps.found == ("HE",)


def test_found_ignores_lumisections_without_hcal() -> None:
    assert maps_of(np.ones((1, len(CHANNELS))), [False]).found == ()
    assert maps_of(np.ones((1, len(CHANNELS))), [True]).found == ("HB", "HE")


def test_grid_holds_each_channel_in_its_cell_and_nothing_else(maps: LumiMaps) -> None:
    grid = maps.grid()
    assert grid.shape == (2, 64, 72, 7)
    # ieta +20 → 20 + 31, iphi 5 → 4, depth 3 → 2.
    assert grid[:, 51, 4, 2].tolist() == [7, 9]
    assert grid.sum() == 16


def test_saved_tensor_holds_present_lumisections_and_names_the_others(maps: LumiMaps, tmp_path: Path) -> None:
    path = tmp_path / "maps.npz"
    maps.save(path)
    with np.load(path) as saved:
        assert saved["run"] == 370101
        assert saved["lumisections"].tolist() == [5, 7]
        assert saved["events"].tolist() == [1000, 1000]
        assert saved["event_source"].tolist() == ["HF_PLATEAU", "HF_PLATEAU"]
        assert saved["skipped_lumisections"].tolist() == [6]
        assert saved["definition"] == "nanodqmio"
        assert_array_equal(saved["counts"], maps.grid())
    assert [entry.name for entry in tmp_path.iterdir()] == ["maps.npz"]


@pytest.fixture
def whole() -> LumiMaps:
    """Three LS of all of HCAL, the first without the map of HO, the second without any; counts are row numbers."""
    table = channel_table()
    maps = maps_of(np.tile(np.arange(len(table)), (3, 1)), [True, False, True])
    return replace(maps, channels=table, missing={"HO": np.array([True, False, False])})


def test_a_subdetector_without_its_element_is_not_present(whole: LumiMaps, maps: LumiMaps) -> None:
    assert {name: whole.present_of(name).tolist() for name in ("HB", "HE", "HO", "HF")} == {
        "HB": [True, False, True],
        "HE": [True, False, True],
        "HO": [False, False, True],
        "HF": [True, False, True],
    }
    assert whole.found == ("HB", "HE", "HO", "HF")
    assert maps.present_of("HE").tolist() == [True, False, True]
    assert not maps.present_of("HF").any()


def test_some_lumisections_of_the_maps(whole: LumiMaps) -> None:
    last = whole.rows(slice(1, None))
    assert last.lumisections.tolist() == [6, 7]
    assert last.present_of("HO").tolist() == [False, True]
    assert np.shares_memory(last.counts, whole.counts)
    first = whole.rows(np.array([0]))
    assert (len(first), first.present_of("HO").tolist()) == (1, [False])


def test_outer_grids_hold_each_channel_in_its_cell(whole: LumiMaps) -> None:
    table, grids = whole.channels, whole.outer_grids()
    assert {name: grid.shape for name, grid in grids.items()} == {"HO": (2, 30, 72, 1), "HF": (2, 26, 72, 4)}
    assert (grids["HO"][0] == -1).all()
    # HO −1/72 → −1 + 15, 71; HO +15/1 → 15 + 14, 0. HF −41/3/2 → 0, 2, 1; HF +29/71/4 → 29 − 16, 70, 3.
    cells = {("HO", -1, 72, 4): (14, 71, 0), ("HO", 15, 1, 4): (29, 0, 0), ("HF", -41, 3, 2): (0, 2, 1),
             ("HF", 29, 71, 4): (13, 70, 3)}  # fmt: skip
    for (name, *where), cell in cells.items():
        (row,) = [r for r in table.rows_of(name) if [table.ieta[r], table.iphi[r], table.depth[r]] == where]
        assert grids[name][1][cell] == row
    assert grids["HF"][0].sum() == table.rows_of("HF").sum()
    assert whole.grid()[0].sum() == table.rows_of("HB", "HE").sum()


def test_the_saved_tensor_holds_ho_and_hf_where_the_maps_do(whole: LumiMaps, maps: LumiMaps, tmp_path: Path) -> None:
    whole.save(tmp_path / "whole.npz")
    maps.save(tmp_path / "inner.npz")
    with np.load(tmp_path / "whole.npz") as saved:
        for name, grid in whole.outer_grids().items():
            assert_array_equal(saved[f"counts_{name}"], grid)
    with np.load(tmp_path / "inner.npz") as saved:
        assert not [key for key in saved if key.startswith("counts_")]


def test_saving_replaces_an_older_file(maps: LumiMaps, tmp_path: Path) -> None:
    path = tmp_path / "maps.npz"
    path.write_bytes(b"old")
    maps.save(path)
    with np.load(path) as saved:
        assert len(saved["counts"]) == 2


def test_a_folder_in_the_place_of_the_file_is_named_and_left_alone(maps: LumiMaps, tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    with pytest.raises(OutputError, match=r"maps is a folder"):
        maps.save(tmp_path / "maps")
    assert [path.name for path in tmp_path.rglob("*")] == ["maps"]


def test_an_error_while_saving_leaves_nothing(maps: LumiMaps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: BinaryIO, **_: object) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OutputError, match=r"/maps\.npz: cannot be written \(No space left on device\)"):
        maps.save(tmp_path / "maps.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_an_output_error(maps: LumiMaps, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        maps.save(tmp_path / "file" / "maps.npz")
