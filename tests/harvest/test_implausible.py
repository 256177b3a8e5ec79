"""Numbers that cannot be: runs, lumisections, events, axes and labels, each refused in a sentence."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from benchmarks.fuzz.originals import originals
from hcal_root_ad.detector import IETA_LABELS, N_DQM_IETA
from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.gathering import LAST_LUMISECTION, check_axes, check_events, check_numbers
from hcal_root_ad.harvest.harvester import events_against_ls, first_lumisection
from hcal_root_ad.harvest.inputs import damage_as_input_error
from hcal_root_ad.harvest.read import read_lumi_maps, stream_lumi_maps

Made = Callable[..., Any]
RUN = 370_000
NAME = f"DQM_V0001_R{RUN:09d}__A__B-v1__DQMIO.root"


@pytest.mark.parametrize(
    ("run", "lumisection", "words"),
    [
        (0, 0, "FILE speaks of run 0; run numbers go from 1 to 999999999"),
        (10**9, 0, "FILE speaks of run 1000000000;"),
        (1, 0, "FILE holds run 1, of an era before 2017 or simulated without a run number"),
        (286_496, 0, "the channels are known from run 286497 on"),
        (RUN, -1, "FILE speaks of LS -1 of run 370000; no run has more than 100000"),
        (RUN, LAST_LUMISECTION + 1, "FILE speaks of LS 100001"),
    ],
)
def test_numbers_that_are_none(run: int, lumisection: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_numbers(Path("FILE"), run, lumisection)


def test_the_edges_are_numbers() -> None:
    for run, lumisection in ((286_497, 0), (999_999_999, LAST_LUMISECTION)):
        check_numbers(Path("FILE"), run, lumisection)


@pytest.mark.parametrize("events", [np.nan, np.inf, -1.0, 3e9])
def test_events_that_are_none(events: float) -> None:
    with pytest.raises(InputError, match=r"the counter counts .* events, which cannot be; fetch the file again"):
        check_events(events, "the counter")
    with pytest.raises(InputError, match="E counts"):
        events_against_ls(np.array([5.0, events]), 1.0, "E")


def test_events_against_ls_by_hand() -> None:
    assert events_against_ls(np.array([0.0, 7.0, 0.4]), 0.5, "E") == {2: 7}
    assert first_lumisection(0.5, 10, "E") == 1


@pytest.mark.parametrize("low", [np.nan, np.inf, -1.0, 99_995.0])
def test_an_axis_that_is_none_of_lumisections(low: float) -> None:
    with pytest.raises(InputError, match=r"E has 10 bins from .* on, which cannot be lumisections"):
        first_lumisection(low, 10, "E")


def test_a_huge_lumisection_ends_at_once_in_every_way_of_reading(
    tmp_path: Path, write_harvested: Made, depth_maps: Made
) -> None:
    folder = "Hcal/By Lumi Section 2499805186-2499805186"
    path = write_harvested(tmp_path / NAME, {folder: depth_maps(100)})
    for read in (read_lumi_maps, lambda path: list(stream_lumi_maps(path))):
        with pytest.raises(InputError, match="speaks of LS 2499805186 of run 370000"):
            read(path)


@pytest.mark.parametrize("number", [-5, 3 * 10**9])
def test_a_counter_that_cannot_be_one(tmp_path: Path, write_harvested: Made, depth_maps: Made, number: int) -> None:
    folder = "Hcal/By Lumi Section 1-1"
    path = write_harvested(tmp_path / NAME, {folder: depth_maps(100)}, events={folder: number})
    sentence = f"An event counter of run {RUN}, LS 1 in {NAME} counts {number:g} events, which cannot be"
    with pytest.raises(InputError, match=re.escape(sentence)):
        read_lumi_maps(path)


def test_missing_lumisections_are_told(tmp_path: Path, write_harvested: Made, depth_maps: Made) -> None:
    folders = {f"Hcal/By Lumi Section {ls}-{ls}": depth_maps(100) for ls in (2, 3, 6, 8)}
    (maps,) = read_lumi_maps(write_harvested(tmp_path / NAME, folders))
    assert maps.lumisections.tolist() == [2, 3, 6, 8]
    assert "LS 4–5, 7: missing in what was given, not assessed." in maps.notes


Change = Callable[[Any], object]


def shifted(histogram: Any) -> None:
    histogram.GetXaxis().Set(84, -42.0, 42.0)


def other_iphi(histogram: Any) -> None:
    histogram.GetYaxis().Set(72, 0.0, 72.0)


def uneven(histogram: Any) -> None:
    histogram.GetXaxis().Set(84, np.append(np.arange(84.0), 90.0))


def reversed_labels(histogram: Any) -> None:
    for number, label in enumerate(IETA_LABELS[::-1], start=1):
        histogram.GetXaxis().SetBinLabel(number, label)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (shifted, "the ieta axis of depth goes from -42 to 42; .* from 0 to 84 in steps of 1"),
        (other_iphi, "the iphi axis of depth goes from 0 to 72; .* from 0.5 to 72.5"),
        (uneven, "the ieta axis of depth goes from 0 to 90"),
        (reversed_labels, "bin 1 of the ieta axis of depth is labelled '41'; .* it is '-41'"),
    ],
)
@pytest.mark.parametrize("container", ["dqmio", "harvested"])
def test_axes_and_labels_that_contradict(
    tmp_path: Path, write_dqmio: Made, root_map: Made, depth_maps: Made, root: Any,
    change: Change, words: str, container: str,
) -> None:  # fmt: skip
    maps: NDArray[np.float64] = depth_maps(10)
    made = [(f"Hcal/DigiTask/Occupancy/depth/depth{depth}", root_map(one)) for depth, one in enumerate(maps, start=1)]
    for _, histogram in made:
        change(histogram)
    path = tmp_path / NAME
    if container == "dqmio":
        write_dqmio(path, [(RUN, 4, made)])
    else:
        file = root.TFile(str(path), "RECREATE")
        folder = file.mkdir(f"DQMData/Run {RUN}/Hcal/By Lumi Section 4-4/DigiTask/Occupancy/depth")
        for depth, (_, histogram) in enumerate(made, start=1):
            folder.WriteTObject(histogram, f"depth{depth}")
        file.Close()
    with pytest.raises(InputError, match=words):
        read_lumi_maps(path)


def test_labels_as_the_dqm_has_them_are_right() -> None:
    class Axis:
        def __init__(self, bins: int, low: float, labels: tuple[str, ...] | None) -> None:
            self.low, self.high, self._labels, self._bins = low, low + bins, labels, bins

        def member(self, _: str) -> int:
            return self._bins

        def edges(self) -> NDArray[np.float64]:
            return self.low + np.arange(self._bins + 1.0)

        def labels(self) -> tuple[str, ...] | None:
            return self._labels

    class Histogram:
        axes, name = (0, 1), "depth1"

        def axis(self, number: int) -> Axis:
            return (Axis(N_DQM_IETA, 0.0, IETA_LABELS), Axis(72, 0.5, None))[number]

    check_axes("FILE", Histogram())


@pytest.mark.parametrize("name", ["me", "run_number", "ls_number"])
def test_rows_of_a_parquet_file_that_lack_something(tmp_path: Path, name: str) -> None:
    columns: dict[str, list[object]] = {
        "me": ["Hcal/DigiTask/Occupancy/depth/depth1"], "run_number": [RUN], "ls_number": [1],
        "data": [[[0.0] * 84] * 72],
    }  # fmt: skip
    columns[name] = [None]
    types = {
        "me": pa.string(),
        "run_number": pa.int64(),
        "ls_number": pa.int64(),
        "data": pa.list_(pa.list_(pa.float32())),
    }
    pq.write_table(
        pa.table({key: pa.array(column, types[key]) for key, column in columns.items()}), tmp_path / "d.parquet"
    )
    with pytest.raises(InputError, match=rf"d\.parquet has rows without {name}; every map of an export has one"):
        read_lumi_maps(tmp_path / "d.parquet")


def test_claimed_sizes_do_not_become_memory(tmp_path: Path) -> None:
    """Every length of a file's header and of its first records, one after the other, becomes 2 GB."""
    data = originals("dqm_file")["zlib-DQM_V0001_R000370001__SimulatedZeroBias__Run3-v1__DQMIO.root"]
    path = tmp_path / NAME
    tracemalloc.start()
    try:
        for place in (*range(8, 60, 4), *range(100, 400, 6)):
            path.write_bytes(data[:place] + b"\x7f\xff\xff\xf0" + data[place + 4 :])
            with suppress(InputError):
                read_lumi_maps(path)
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()


def test_a_mistake_of_ours_is_not_called_damage(tmp_path: Path) -> None:
    with pytest.raises(TypeError), damage_as_input_error(tmp_path):
        check_events("many", "the counter")  # type: ignore[arg-type]
