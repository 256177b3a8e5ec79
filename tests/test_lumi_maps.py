"""What ``LumiMaps`` answers, and the tensor file that it saves."""

from __future__ import annotations

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
