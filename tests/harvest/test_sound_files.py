"""Files that ROOT reads are read, and those that are not whole are called what they are; genuine ROOT."""

from __future__ import annotations

import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.root_io.layout import Key, read_key

RUN = 370_000
NAME = f"DQM_V0001_R{RUN:09d}__A__B-v1__DQMIO.root"
Made = Callable[..., Any]


@pytest.fixture
def written(tmp_path: Path, root: Any, root_map: Made, depth_maps: Made) -> Path:
    """A harvested file of ROOT's own, two LS."""
    path = tmp_path / NAME
    file = root.TFile(str(path), "RECREATE", "", 101)
    for ls in (1, 2):
        folder = file.mkdir(f"DQMData/Run {RUN}/Hcal/By Lumi Section {ls}-{ls}/DigiTask/Occupancy/depth", "", True)
        for depth, values in enumerate(depth_maps(100 * ls, seed=ls), start=1):
            folder.WriteTObject(root_map(values), f"depth{depth}")
    file.Close()
    return path


def root_reads(root: Any, path: Path) -> bool:
    file = root.TFile(str(path))
    found = file.Get(f"DQMData/Run {RUN}/Hcal/By Lumi Section 1-1/DigiTask/Occupancy/depth/depth1")
    return bool(found) and found.Integral() > 0


def events(path: Path) -> list[int]:
    (maps,) = read_lumi_maps(path)
    assert maps.present.all()
    return list(maps.events)


@pytest.mark.parametrize("title", ["DQM data of the night", "x" * 300])
@pytest.mark.parametrize("folder", ["", "DQMData", f"DQMData/Run {RUN}/Hcal/By Lumi Section 2-2/DigiTask/Occupancy"])
def test_keys_whose_texts_outgrew_their_length(written: Path, root: Any, title: str, folder: str) -> None:
    file = root.TFile(str(written), "UPDATE")
    directory = file.GetDirectory(folder) if folder else file
    for key in directory.GetListOfKeys():
        key.SetTitle(title)
    directory.SaveSelf(True)
    file.Close()
    assert events(written) == [100, 200]


def records(data: bytes) -> list[tuple[int, Key]]:
    found, place = [], 100
    while place < len(data):
        (size,) = struct.unpack_from(">i", data, place)
        if size > 0:
            found.append((place, read_key(data, place)))
        place += abs(size)
    return found


@pytest.mark.parametrize(
    ("at", "layout", "change"),
    [(0, ">i", 8), (0, ">i", -8), (6, ">I", 4), (6, ">I", -4), (14, ">H", 4)],  # its length, object's, key's
)
def test_a_record_whose_own_sizes_are_others_than_its_keys(
    written: Path, root: Any, at: int, layout: str, change: int
) -> None:
    data = bytearray(written.read_bytes())
    for place, key in records(bytes(data)):
        if key.class_name == "TH2F":
            (value,) = struct.unpack_from(layout, data, place + at)
            struct.pack_into(layout, data, place + at, value + change)
    written.write_bytes(data)
    assert root_reads(root, written)
    assert events(written) == [100, 200]


@pytest.mark.parametrize("change", [16, -4])
def test_a_folder_whose_list_of_keys_has_another_size(written: Path, root: Any, change: int) -> None:
    data = bytearray(written.read_bytes())
    for place, key in records(bytes(data)):
        is_header = key.object_size < 100  # of a folder; its list of keys is longer
        if key.class_name.startswith("TDirectory") and key.name == "depth" and is_header:
            header = place + key.key_size
            (size,) = struct.unpack_from(">I", data, header + 10)
            struct.pack_into(">I", data, header + 10, size + change)
    written.write_bytes(data)
    assert root_reads(root, written)
    assert events(written) == [100, 200]


@pytest.mark.parametrize("end", ["", "file.Flush()", "file.SaveSelf(True); file.Flush()"])
def test_a_file_that_was_not_closed(tmp_path: Path, end: str) -> None:
    pytest.importorskip("ROOT")
    path = tmp_path / NAME
    code = f"""
import os, ROOT
file = ROOT.TFile({str(path)!r}, "RECREATE")
folder = file.mkdir("DQMData/Run {RUN}/Hcal/By Lumi Section 1-1/DigiTask/Occupancy/depth", "", True)
for depth in range(1, 8):
    folder.WriteTObject(ROOT.TH2F(f"depth{{depth}}", "", 84, 0, 84, 72, 0.5, 72.5))
{end}
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    with pytest.raises(InputError, match="was not closed by the job that wrote it"):
        read_lumi_maps(path)


@pytest.mark.parametrize("classname", ["TH2I", "TH2S", "TH2D"])
def test_maps_of_every_class_in_dqmio(
    tmp_path: Path, write_dqmio: Made, root_map: Made, depth_maps: Made, channel_counts: Made, classname: str
) -> None:
    made = depth_maps(300, seed=4)
    elements = [(f"Hcal/DigiTask/Occupancy/depth/depth{n}", root_map(one, classname)) for n, one in enumerate(made, 1)]
    (maps,) = read_lumi_maps(write_dqmio(tmp_path / "n.root", [(RUN, 1, elements), (RUN, 2, elements)]))
    assert list(maps.events) == [300, 300]
    np.testing.assert_array_equal(maps.counts, [channel_counts(made)] * 2)


def huge(root: Any, bins: int) -> Any:
    made = root.TH2F("depth1", "depth1", bins, 0.0, bins, bins, 0.5, bins + 0.5)
    made.SetDirectory(0)
    return made


@pytest.mark.parametrize("container", ["dqmio", "harvested"])
@pytest.mark.parametrize("bins", [600, 4000])
def test_a_huge_map_does_not_become_memory(
    tmp_path: Path, root: Any, write_dqmio: Made, root_map: Made, depth_maps: Made, container: str, bins: int
) -> None:
    maps = [huge(root, bins), *(root_map(one) for one in depth_maps(10)[1:])]
    path = tmp_path / NAME
    if container == "dqmio":
        names = (f"Hcal/DigiTask/Occupancy/depth/depth{depth}" for depth in range(1, 8))
        write_dqmio(path, [(RUN, 1, list(zip(names, maps, strict=True)))])
    else:
        file = root.TFile(str(path), "RECREATE")
        folder = file.mkdir(f"DQMData/Run {RUN}/Hcal/By Lumi Section 1-1/DigiTask/Occupancy/depth", "", True)
        for depth, one in enumerate(maps, start=1):
            folder.WriteTObject(one, f"depth{depth}")
        file.Close()
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=rf"{NAME}: (A|The) (TH2F|record).* would take .* MB of memory"):
            read_lumi_maps(path)
        assert tracemalloc.get_traced_memory()[1] < 150 * 2**20
    finally:
        tracemalloc.stop()


def test_a_huge_axis_of_lumisections_does_not_become_memory(
    tmp_path: Path, root: Any, write_harvested: Made, depth_maps: Made
) -> None:
    path = write_harvested(tmp_path / NAME, {"Hcal/Run summary": depth_maps(100)})
    file = root.TFile(str(path), "UPDATE")
    folder = file.mkdir(f"DQMData/Run {RUN}/Hcal/Run summary/DigiTask/OccupancyvsLS/Subdet", "", True)
    profile = root.TProfile("HB", "HB", 4_000_000, 1.0, 4_000_001.0)
    profile.SetDirectory(0)
    folder.WriteTObject(profile, "HB")
    file.Close()
    with pytest.raises(InputError, match=rf"{NAME}: The TProfile .*OccupancyvsLS/Subdet/HB;1 would take 96 MB"):
        read_lumi_maps(path)
