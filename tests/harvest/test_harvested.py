"""Harvested files: folders per lumisection, one file per lumisection, and ordinary ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from numpy.typing import NDArray

from hcal_root_ad.errors import InputError, NoHcalError
from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.lumi_maps import EventSource

RUN = 370_000
NAME = f"DQM_V0001_R{RUN:09d}__ZeroBias__Run2023C-v1__DQMIO"
Made = Callable[..., Any]


def by_ls(first: int, last: int | None = None, subsystem: str = "Hcal") -> str:
    return f"{subsystem}/By Lumi Section {first}-{last or first}"


def profile(entries: dict[int, int], mean: float) -> Any:
    """A TProfile with bins 1…10 for LS 1…10 and its bin entries."""
    number = np.zeros(12)
    for ls, n in entries.items():
        number[ls] = n
    write = uproot.writing.identify
    return write.to_TProfile(
        fName="HB", fTitle="HB", data=number * mean, fEntries=number.sum(), fTsumw=number.sum(), fTsumw2=number.sum(),
        fTsumwx=0.0, fTsumwx2=0.0, fTsumwy=0.0, fTsumwy2=0.0, fSumw2=number * mean**2, fBinEntries=number,
        fBinSumw2=np.array([]), fXaxis=write.to_TAxis("xaxis", "LS", 10, 1.0, 11.0),
    )  # fmt: skip


def test_folders_per_lumisection(tmp_path: Path, write_harvested: Made, depth_maps: Made, channel_counts: Made) -> None:
    first, second = depth_maps(100, seed=1), depth_maps(120, seed=2)
    folders = {by_ls(9): second, by_ls(2): first, "Hcal/Run summary": first + second}
    path = write_harvested(tmp_path / f"{NAME}.root", folders, events={by_ls(2): 101, by_ls(9): 121})
    (maps,) = read_lumi_maps(path)
    assert list(maps.lumisections) == [2, 9]
    assert list(maps.events) == [101, 121]
    assert set(maps.event_source) == {EventSource.COUNTER}
    np.testing.assert_array_equal(maps.counts, [channel_counts(first), channel_counts(second)])
    assert maps.coarse is None


def test_a_folder_over_several_lumisections_stands_as_the_last(
    tmp_path: Path, write_harvested: Made, depth_maps: Made
) -> None:
    folders = {by_ls(1): depth_maps(100), by_ls(2, 4): depth_maps(330)}
    (maps,) = read_lumi_maps(write_harvested(tmp_path / f"{NAME}.root", folders))
    assert list(maps.lumisections) == [1, 4]
    assert list(maps.events) == [100, 330]
    assert "LS 2–4 cannot be told apart and stand as LS 4, counts and events alike." in maps.notes


def test_folders_that_overlap_are_refused(tmp_path: Path, write_harvested: Made, depth_maps: Made) -> None:
    folders = {by_ls(3): depth_maps(100), by_ls(2, 4): depth_maps(330)}
    with pytest.raises(InputError, match="LS 2–4 as one piece and LS 3 as another"):
        read_lumi_maps(write_harvested(tmp_path / f"{NAME}.root", folders))


def test_one_file_per_lumisection(
    tmp_path: Path, write_harvested: Made, depth_maps: Made, channel_counts: Made
) -> None:
    made = {3: depth_maps(110, seed=3), 1: depth_maps(100, seed=1), 2: depth_maps(90, seed=2)}
    for ls, maps in made.items():
        write_harvested(tmp_path / f"{NAME}_L{ls:09d}.root", {"HcalAll/Run summary": maps})
    (maps,) = read_lumi_maps(tmp_path)
    assert list(maps.lumisections) == [1, 2, 3]
    assert list(maps.events) == [100, 90, 110]
    assert set(maps.event_source) == {EventSource.HF_PLATEAU}
    np.testing.assert_array_equal(maps.counts, [channel_counts(made[ls]) for ls in (1, 2, 3)])


def test_one_such_file_alone_and_twice(
    tmp_path: Path, write_harvested: Made, depth_maps: Made, channel_counts: Made
) -> None:
    a, b = depth_maps(100, seed=1), depth_maps(90, seed=2)
    paths = []
    for folder, maps in (("a", a), ("b", b)):
        (tmp_path / folder).mkdir()
        paths.append(write_harvested(tmp_path / folder / f"{NAME}_L000000004.root", {"Hcal/Run summary": maps}))
    (alone,) = read_lumi_maps(paths[0])
    assert list(alone.lumisections) == [4]
    np.testing.assert_array_equal(alone.counts[0], channel_counts(a))
    (both,) = read_lumi_maps(paths)
    np.testing.assert_array_equal(both.counts[0], channel_counts(a + b))
    assert both.events[0] == 190
    assert "LS 4: came more than once and were summed." in both.notes


def test_an_ordinary_file_gives_strips_and_totals(
    tmp_path: Path, write_harvested: Made, depth_maps: Made, channel_counts: Made
) -> None:
    totals = depth_maps(300, seed=1)
    path = write_harvested(tmp_path / f"DQM_V0001_Hcal_R{RUN:09d}.root", {"Hcal/Run summary": totals})
    strip = np.zeros((10, 72))
    strip[2, 6] = 42  # LS 3, iphi 7
    with uproot.update(path) as file:
        task = f"DQMData/Run {RUN}/Hcal/Run summary/DigiTask"
        for half in ("HBM", "HBP", "HEM", "HEP"):
            values = strip if half == "HEM" else np.zeros_like(strip)
            edges = np.arange(1.0, 12.0), np.arange(0.5, 73.0)
            file[f"{task}/OccupancyCutvsiphivsLS/SubdetPM/{half}"] = (values, *edges)
        for name, mean in (("HB", 2000.0), ("HE", 1500.0)):
            file[f"{task}/OccupancyvsLS/Subdet/{name}"] = profile({2: 120, 3: 180}, mean)
    (maps,) = read_lumi_maps(path)
    assert list(maps.lumisections) == [2, 3]
    assert list(maps.events) == [120, 180]
    assert set(maps.event_source) == {EventSource.COUNTER}
    assert not maps.present.any()
    assert maps.coarse is not None
    assert maps.coarse.strips is not None
    assert maps.coarse.strips.shape == (2, 4, 72)
    assert maps.coarse.strips[1, 2, 6] == maps.coarse.strips.sum() == 42
    np.testing.assert_array_equal(maps.coarse.totals, channel_counts(totals))
    np.testing.assert_allclose(maps.coarse.mean_digis, [[2000, 1500], [2000, 1500]])
    assert maps.coarse.strip_element == "Hcal/DigiTask/OccupancyCutvsiphivsLS/SubdetPM"
    assert maps.coarse.total_element == "Hcal/DigiTask/Occupancy/depth"
    assert any(
        "holds no depth maps per LS: judged as strips per LS and channels per run" in note for note in maps.notes
    )


def test_totals_alone_are_judged_per_run(tmp_path: Path, write_harvested: Made, depth_maps: Made) -> None:
    path = write_harvested(tmp_path / f"{NAME}.root", {"Hcal/Run summary": depth_maps(300)})
    (maps,) = read_lumi_maps(path)
    assert maps.coarse is not None
    assert maps.coarse.strips is None
    assert any("judged as channels per run" in note for note in maps.notes)


def test_two_totals_of_one_run_are_refused(tmp_path: Path, write_harvested: Made, depth_maps: Made) -> None:
    write_harvested(tmp_path / f"{NAME}.root", {"Hcal/Run summary": depth_maps(300)})
    (tmp_path / "other").mkdir()
    write_harvested(tmp_path / "other" / f"{NAME}.root", {"Hcal/Run summary": depth_maps(310)})
    with pytest.raises(InputError, match="do not say up to which lumisection"):
        read_lumi_maps(tmp_path)


def test_maps_per_lumisection_and_totals_of_one_run_are_refused(
    tmp_path: Path, write_harvested: Made, depth_maps: Made
) -> None:
    write_harvested(tmp_path / f"{NAME}.root", {by_ls(1): depth_maps(100)})
    write_harvested(tmp_path / f"DQM_V0001_Hcal_R{RUN:09d}.root", {"Hcal/Run summary": depth_maps(310)})
    with pytest.raises(InputError, match="maps per LS in one file and as totals"):
        read_lumi_maps(tmp_path)


def test_missing_depths_and_missing_hcal(tmp_path: Path, write_harvested: Made, depth_maps: Made) -> None:
    partial = write_harvested(tmp_path / f"{NAME}.root", {by_ls(1): depth_maps(100)[:5]})
    with pytest.raises(NoHcalError, match=r"lacks Hcal/DigiTask/Occupancy/depth/depth6, .*depth7"):
        read_lumi_maps(partial)
    other = tmp_path / f"other_{NAME}.root"
    with uproot.recreate(other) as file:
        file[f"DQMData/Run {RUN}/Ecal/Run summary/DigiTask/Occupancy"] = np.histogram([1.0])
    with pytest.raises(NoHcalError, match=r"nearest monitor elements that it has are Ecal/DigiTask/Occupancy"):
        read_lumi_maps(other)


@pytest.mark.parametrize("content", [np.nan, -3.0, 0.25])
def test_contents_that_are_no_counts_name_element_and_ls(
    tmp_path: Path, write_harvested: Made, depth_maps: Made, content: float
) -> None:
    maps: NDArray[np.float64] = depth_maps(100)
    maps[2, 20, 20] = content
    with pytest.raises(InputError, match=r"Hcal/DigiTask/Occupancy/depth/depth3 of run 370000, LS 8"):
        read_lumi_maps(write_harvested(tmp_path / f"{NAME}.root", {by_ls(8): maps}))


def test_more_digis_than_events_and_stray_digis_are_told(
    tmp_path: Path, write_harvested: Made, depth_maps: Made
) -> None:
    maps: NDArray[np.float64] = depth_maps(100)
    maps[0, 42, 10] = 500  # HB +1
    maps[1, 66, 1] = 7  # HE +25, iphi 2
    (read,) = read_lumi_maps(write_harvested(tmp_path / f"{NAME}.root", {by_ls(8): maps}))
    assert "LS 8: 1 channels hold more digis than there are events." in read.notes
    assert "LS 8: 7 digis in bins that are no channel of this era were left out." in read.notes


def test_a_definition_of_another_kind_of_file(tmp_path: Path, write_harvested: Made, depth_maps: Made) -> None:
    path = write_harvested(tmp_path / f"{NAME}.root", {by_ls(8): depth_maps(10)})
    with pytest.raises(Exception, match="'dqmio-occupancy' is for a harvested DQM file"):
        read_lumi_maps(path, definition="dqmio-occupancy")


def test_a_new_source_in_a_folder_of_its_own_needs_only_a_definition(
    tmp_path: Path, write_harvested: Made, depth_maps: Made, channel_counts: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "harvesters").mkdir()
    (tmp_path / "harvesters" / "private.toml").write_text(
        'description = "mine"\ncontainer = "dqm_file"\nquantity = "Hits"\nsubsystems = ["Private"]\n'
        'maps = "{subsystem}/DigiTask/Hits/depth/depth{depth}"\nhf_holds_events = true\n'
    )
    monkeypatch.setenv("HCAL_ROOT_AD_PATH", str(tmp_path))
    made = depth_maps(100)
    folders = {by_ls(4, subsystem="Private"): made}
    path = write_harvested(tmp_path / f"{NAME}.root", folders, quantity="Hits")
    with uproot.update(path) as file:
        file[f"DQMData/Run {RUN}/Hcal/Run summary/EventInfo/other"] = np.histogram([1.0])
    (maps,) = read_lumi_maps(path)
    assert maps.definition == "private"
    assert list(maps.events) == [100]
    np.testing.assert_array_equal(maps.counts[0], channel_counts(made))


def test_an_old_online_file_with_event_info_per_lumisection_is_ordinary(
    tmp_path: Path, write_harvested: Made, depth_maps: Made
) -> None:
    path = write_harvested(tmp_path / f"DQM_V0001_Hcal_R{RUN:09d}.root", {"Hcal/Run summary": depth_maps(300)})
    with uproot.update(path) as file:
        file[f"DQMData/Run {RUN}/Hcal/By Lumi Section 1-48/EventInfo/other"] = np.histogram([1.0])
    (maps,) = read_lumi_maps(path)
    assert maps.coarse is not None
    assert maps.coarse.totals is not None
