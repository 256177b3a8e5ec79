"""Cumulative snapshots of one run: lumisections are differences, within one job, of what has grown."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.lumi_maps import EventSource

RUN = 370_000
Made = Callable[..., Any]
EVENTS = {1: 100, 2: 150, 3: 70, 5: 200}


def snapshot(folder: Path, ls: int) -> Path:
    return folder / f"DQM_V0001_Hcal_R{RUN:09d}.root.ls{ls:08d}_hostdqm_pid00000042"


@pytest.fixture
def series(tmp_path: Path, write_harvested: Made, depth_maps: Made) -> Path:
    """Snapshots after LS 1, 2, 3 and 5; ``EVENTS`` were added each time."""
    grown = accumulate(depth_maps(events, seed=ls) for ls, events in EVENTS.items())
    for ls, maps in zip(EVENTS, grown, strict=True):
        write_harvested(snapshot(tmp_path, ls), {"Hcal/Run summary": maps})
    return tmp_path


def test_differences_are_the_lumisections(series: Path, depth_maps: Made, channel_counts: Made) -> None:
    (maps,) = read_lumi_maps(series)
    assert list(maps.lumisections) == [1, 2, 3, 5]
    assert list(maps.events) == list(EVENTS.values())
    assert set(maps.event_source) == {EventSource.HF_PLATEAU}
    assert maps.present.all()
    for row, (ls, events) in enumerate(EVENTS.items()):
        np.testing.assert_array_equal(maps.counts[row], channel_counts(depth_maps(events, seed=ls)))
    assert "LS 4–5 cannot be told apart and stand as LS 5, counts and events alike." in maps.notes
    assert any("snapshots that grow" in note for note in maps.notes)


def test_ho_is_not_known_where_the_snapshot_before_lacks_its_map(
    tmp_path: Path, write_harvested: Made, depth_maps: Made
) -> None:
    """What came between them is not told by the later one alone."""
    first, second, third = depth_maps(100, seed=1), depth_maps(150, seed=2, ho=True), depth_maps(70, seed=3, ho=True)
    padded = np.concatenate([first, np.zeros((1, 84, 72))])
    write_harvested(snapshot(tmp_path, 1), {"Hcal/Run summary": first})
    write_harvested(snapshot(tmp_path, 2), {"Hcal/Run summary": padded + second})
    write_harvested(snapshot(tmp_path, 3), {"Hcal/Run summary": padded + second + third})
    (maps,) = read_lumi_maps(tmp_path)
    assert maps.present.all()
    assert maps.present_of("HO").tolist() == [False, False, True]
    assert set(maps.counts[2, maps.channels.rows_of("HO")]) == {7}


def test_a_first_snapshot_after_a_while_holds_all_before(series: Path) -> None:
    snapshot(series, 1).unlink()
    (maps,) = read_lumi_maps(series)
    assert list(maps.lumisections) == [2, 3, 5]
    assert list(maps.events) == [250, 70, 200]
    assert "LS 1–2 cannot be told apart and stand as LS 2, counts and events alike." in maps.notes


def test_a_snapshot_that_holds_less_than_an_earlier_one_is_left_out(
    series: Path, write_harvested: Made, depth_maps: Made
) -> None:
    """Of one job, so the next one may be compared with the one before it."""
    grown = sum(depth_maps(events, seed=ls) for ls, events in EVENTS.items())
    write_harvested(snapshot(series, 6), {"Hcal/Run summary": depth_maps(50)})
    write_harvested(snapshot(series, 7), {"Hcal/Run summary": grown + depth_maps(90, seed=7)})
    (maps,) = read_lumi_maps(series)
    assert list(maps.lumisections) == [1, 2, 3, 5, 7]
    assert list(maps.events) == [100, 150, 70, 200, 90]
    assert maps.present.all()
    assert any(note.startswith("1 snapshots hold less than an earlier one") for note in maps.notes)


def of_job(folder: Path, ls: int, process: int) -> Path:
    return folder / snapshot(folder, ls).name.replace("00000042", f"{process:08d}")


@pytest.mark.parametrize(("begins", "known"), [(6, True), (8, False)])
def test_a_job_that_began_anew_counts_from_zero(
    series: Path, write_harvested: Made, depth_maps: Made, channel_counts: Made, begins: int, known: bool
) -> None:
    """Even where it holds more than the other one at once; behind a gap its first snapshot is of unknown LS."""
    grown = accumulate([depth_maps(3000, seed=begins), depth_maps(80, seed=9)])
    for ls, maps in zip((begins, begins + 1), grown, strict=True):
        write_harvested(of_job(series, ls, 7), {"Hcal/Run summary": maps})
    (maps,) = read_lumi_maps(series)
    assert list(maps.lumisections) == [1, 2, 3, 5, begins, begins + 1]
    assert list(maps.present) == [True] * 4 + [known, True]
    assert list(maps.events) == [100, 150, 70, 200, 3000 * known, 80]
    np.testing.assert_array_equal(maps.counts[-1], channel_counts(depth_maps(80, seed=9)))
    assert any("The snapshots are of 2 jobs" in note for note in maps.notes)
    assert any("a job that began again" in note for note in maps.notes) != known


def test_a_job_that_reads_the_run_again(series: Path, write_harvested: Made, depth_maps: Made) -> None:
    """What both hold alike counts once; what they hold otherwise is not assessed."""
    again = accumulate([depth_maps(100, seed=1), depth_maps(150, seed=2), depth_maps(70, seed=33)])
    for ls, maps in zip((1, 2, 3), again, strict=True):
        write_harvested(of_job(series, ls, 99), {"Hcal/Run summary": maps})
    (maps,) = read_lumi_maps(series)
    assert list(maps.lumisections) == [1, 2, 3, 5]
    assert list(maps.present) == [True, True, False, True]
    assert list(maps.events) == [100, 150, 0, 200]
    assert any("LS 3: in the snapshots of two jobs that do not agree" in note for note in maps.notes)


def test_snapshots_that_do_not_name_their_job(tmp_path: Path, write_harvested: Made, depth_maps: Made) -> None:
    """After a fall it may be another job, so nothing that reaches over the fall is one lumisection."""
    held = {1: 100, 2: 250, 3: 40, 4: 90, 5: 300, 6: 420}
    for ls, events in held.items():
        maps = np.rint(depth_maps(1000, seed=1) * events / 1000)
        write_harvested(tmp_path / f"DQM_V0001_Hcal_R000370000_L{ls:09d}.root", {"Hcal/Run summary": maps})
    (maps,) = read_lumi_maps(tmp_path)
    assert list(maps.lumisections) == [1, 2, 5, 6]
    assert list(maps.present) == [True, True, False, True]
    assert list(maps.events) == [100, 150, 0, 120]


def test_the_later_save_of_a_lumisection_counts(tmp_path: Path, write_harvested: Made, depth_maps: Made) -> None:
    first, more, other = depth_maps(100, seed=1), depth_maps(20, seed=2), depth_maps(130, seed=3)
    again = tmp_path / snapshot(tmp_path, 1).name.replace("42", "43")
    write_harvested(snapshot(tmp_path, 1), {"Hcal/Run summary": first + more})
    write_harvested(again, {"Hcal/Run summary": first})
    (maps,) = read_lumi_maps(tmp_path)
    assert list(maps.lumisections) == [1]
    assert list(maps.events) == [120]
    write_harvested(again, {"Hcal/Run summary": other})
    (maps,) = read_lumi_maps(tmp_path)
    assert not maps.present.any()


def test_one_snapshot_alone_is_an_ordinary_file(series: Path) -> None:
    (maps,) = read_lumi_maps(snapshot(series, 5))
    assert maps.coarse is not None
    assert maps.coarse.totals is not None
    assert not maps.present.any()


def write_growing(folder: Path, stem: str, write_harvested: Made, depth_maps: Made) -> list[int]:
    """Three files named after LS 1 to 3, none with fewer digis in any channel; returns the events that each holds."""
    grown = list(accumulate(depth_maps(events, seed=ls) for ls, events in enumerate((100, 150, 70), start=1)))
    for ls, maps in enumerate(grown, start=1):
        write_harvested(folder / f"{stem}_L{ls:09d}.root", {"Hcal/Run summary": maps})
    return [100, 250, 320]


def test_offline_files_named_after_an_ls_are_lumisections_even_where_counts_rise(
    tmp_path: Path, write_harvested: Made, depth_maps: Made
) -> None:
    events = write_growing(tmp_path, "DQM_V0001_R000370000__A__B__C", write_harvested, depth_maps)
    (maps,) = read_lumi_maps(tmp_path)
    assert list(maps.events) == events
    assert not any("snapshots" in note for note in maps.notes)


def test_online_files_named_after_an_ls_are_snapshots(tmp_path: Path, write_harvested: Made, depth_maps: Made) -> None:
    write_growing(tmp_path, "DQM_V0001_Hcal_R000370000", write_harvested, depth_maps)
    (maps,) = read_lumi_maps(tmp_path)
    assert list(maps.events) == [100, 150, 70]


def test_lumisections_and_snapshots_of_one_run_do_not_mix(
    tmp_path: Path, write_harvested: Made, depth_maps: Made
) -> None:
    write_harvested(snapshot(tmp_path, 1), {"Hcal/Run summary": depth_maps(100)})
    write_harvested(tmp_path / "DQM_V0001_R000370000__A__B__C_L000000002.root", {"Hcal/Run summary": depth_maps(200)})
    with pytest.raises(InputError, match="do not make all of them lumisections or all of them snapshots"):
        read_lumi_maps(tmp_path)


@pytest.fixture
def my_definition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], str]:
    """A definition of one's own that says whether files are cumulative; returns its name."""
    shipped = Path(__file__).parents[2] / "harvesters" / "dqm_file-occupancy.toml"
    folder = tmp_path / "mine" / "harvesters"

    def write(cumulative: bool) -> str:
        folder.mkdir(parents=True)
        (folder / "mine.toml").write_text(f"cumulative = {str(cumulative).lower()}\n{shipped.read_text()}")
        monkeypatch.setenv("HCAL_ROOT_AD_PATH", str(folder.parent))
        return "mine"

    return write


def test_a_definition_may_say_that_offline_files_are_cumulative(
    tmp_path: Path, write_harvested: Made, depth_maps: Made, my_definition: Callable[[bool], str]
) -> None:
    write_growing(tmp_path, "DQM_V0001_R000370000__A__B__C", write_harvested, depth_maps)
    (maps,) = read_lumi_maps(tmp_path, definition=my_definition(True))
    assert list(maps.events) == [100, 150, 70]


def test_a_definition_may_say_that_files_are_not_cumulative(
    tmp_path: Path, write_harvested: Made, depth_maps: Made, my_definition: Callable[[bool], str]
) -> None:
    for ls, events in ((1, 100), (2, 90)):
        write_harvested(snapshot(tmp_path, ls), {"Hcal/Run summary": depth_maps(events)})
    name = my_definition(False)
    (maps,) = read_lumi_maps(tmp_path, definition=name)
    assert list(maps.events) == [100, 90]
    (alone,) = read_lumi_maps(snapshot(tmp_path, 2), definition=name)
    assert (list(alone.lumisections), list(alone.events)) == ([2], [90])


def test_snapshots_by_their_event_info(tmp_path: Path, root: Any, write_harvested: Made, depth_maps: Made) -> None:
    """Files in folders of their own, whose LS is in EventInfo, and HCAL's own count of events."""
    grown = list(accumulate(depth_maps(events, seed=ls) for ls, events in enumerate((100, 150), start=1)))
    for ls, (maps, total) in enumerate(zip(grown, (101, 252), strict=True), start=1):
        (tmp_path / str(ls)).mkdir()
        path = tmp_path / str(ls) / "DQM_V0001_Hcal_R000370000.root"
        write_harvested(path, {"Hcal/Run summary": maps})
        file = root.TFile(str(path), "UPDATE")
        info = file.Get(f"DQMData/Run {RUN}/Hcal/Run summary").mkdir("EventInfo")
        for name, value in (("iLumiSection", ls), ("processedEvents", total)):
            text = root.TObjString(f"<{name}>i={value}</{name}>")
            info.WriteTObject(text, text.GetName())
        file.Close()
    (maps,) = read_lumi_maps(tmp_path)
    assert list(maps.lumisections) == [1, 2]
    assert list(maps.events) == [101, 151]
    assert set(maps.event_source) == {EventSource.COUNTER}
