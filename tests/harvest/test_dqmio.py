"""DQMIO trees as ROOT writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hcal_root_ad.errors import InputError, NoHcalError
from hcal_root_ad.harvest.dqmio import Row, contradictions
from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.lumi_maps import EventSource

RUN = 370_000
Made = Callable[..., Any]


@pytest.fixture(scope="module")
def elements(root_map: Made) -> Made:
    """(full name, TH2) of the seven depths of an LS."""

    def make(
        maps: NDArray[np.float64], classname: str = "TH2F", quantity: str = "Occupancy", subsystem: str = "Hcal"
    ) -> list[tuple[str, Any]]:
        return [
            (f"{subsystem}/DigiTask/{quantity}/depth/depth{depth}", root_map(values, classname))
            for depth, values in enumerate(maps, start=1)
        ]

    return make


def number_of_events(root: Any, classname: str, events: int) -> Any:
    made = getattr(root, classname)("NumberOfEvents", "NumberOfEvents", 1, 0.0, 1.0)
    made.SetDirectory(0)
    made.SetBinContent(1, events)
    return made


def test_rows_out_of_order_twice_and_without_hcal(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made, channel_counts: Made
) -> None:
    first, second, third = depth_maps(100, seed=1), depth_maps(200, seed=2), depth_maps(50, seed=3)
    ecal = "Ecal/EventInfo/processedEvents"
    rows = [(RUN, 7, [*elements(first), (ecal, 100)]), (RUN, 3, [*elements(second), (ecal, 200)]),
            (RUN, 5, [(ecal, 80)]), (RUN, 3, [*elements(third), (ecal, 50)])]  # fmt: skip
    (maps,) = read_lumi_maps(write_dqmio(tmp_path / "n.root", rows))
    assert list(maps.lumisections) == [3, 5, 7]
    assert list(maps.events) == [250, 80, 100]
    assert list(maps.present) == [True, False, True]
    assert set(maps.event_source) == {EventSource.OTHER_SUBSYSTEM}
    np.testing.assert_array_equal(maps.counts[0], channel_counts(second + third))
    np.testing.assert_array_equal(maps.counts[2], channel_counts(first))
    assert "LS 3: came more than once and were summed." in maps.notes
    assert "LS 5: without HCAL maps, not assessed." in maps.notes


@pytest.mark.parametrize("classname", ["TH2F", "TH2S", "TH2D"])
def test_every_class_of_map(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made, channel_counts: Made, classname: str
) -> None:
    made = depth_maps(300, seed=4)
    rows = [(RUN, ls, elements(made * ls, classname)) for ls in (1, 2)]
    (maps,) = read_lumi_maps(write_dqmio(tmp_path / "n.root", rows))
    np.testing.assert_array_equal(maps.counts, channel_counts(made) * np.array([[1], [2]]))
    assert list(maps.events) == [300, 600]
    assert set(maps.event_source) == {EventSource.HF_PLATEAU}


@pytest.mark.parametrize("classname", ["TH1F", "TH1D"])
def test_own_counter_in_branches_without_a_header(
    tmp_path: Path, root: Any, write_dqmio: Made, elements: Made, depth_maps: Made, classname: str
) -> None:
    counters = [("Hcal/RunInfo/NumberOfEvents", number_of_events(root, classname, n)) for n in (301, 302)]
    rows = [(RUN, ls, [*elements(depth_maps(300)), counter]) for ls, counter in zip((1, 2), counters, strict=True)]
    (maps,) = read_lumi_maps(write_dqmio(tmp_path / "n.root", rows))
    assert list(maps.events) == [301, 302]
    assert set(maps.event_source) == {EventSource.COUNTER}


def test_bin_entries_of_the_runs_profile(
    tmp_path: Path, root: Any, write_dqmio: Made, elements: Made, depth_maps: Made
) -> None:
    profile = root.TProfile("HB", "HB", 10, 1.0, 11.0)
    profile.SetDirectory(0)
    for ls, events in ((2, 4), (3, 5)):
        for _ in range(events):
            profile.Fill(ls, 2000.0)
    rows = [(RUN, 2, elements(depth_maps(4))), (RUN, 0, [("Hcal/DigiTask/OccupancyvsLS/Subdet/HB", profile)])]
    (maps,) = read_lumi_maps(write_dqmio(tmp_path / "n.root", rows))
    assert list(maps.lumisections) == [2, 3]
    assert list(maps.events) == [4, 5]
    assert list(maps.present) == [True, False]
    assert set(maps.event_source) == {EventSource.COUNTER}


def test_several_runs_and_several_files(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made, channel_counts: Made
) -> None:
    a, b, c = (depth_maps(100, seed=seed) for seed in (1, 2, 3))
    write_dqmio(tmp_path / "1.root", [(RUN + 1, 1, elements(a)), (RUN, 2, elements(b))])
    write_dqmio(tmp_path / "2.root", [(RUN, 1, elements(c)), (RUN, 2, elements(c))])
    done: list[tuple[int, int]] = []
    earlier, later = read_lumi_maps(tmp_path, progress=lambda n, of: done.append((n, of)))
    assert (earlier.run, later.run) == (RUN, RUN + 1)
    np.testing.assert_array_equal(earlier.counts, [channel_counts(c), channel_counts(b + c)])
    assert list(earlier.events) == [100, 200]
    assert "LS 2: came more than once and were summed." in earlier.notes
    assert [source.name for source in earlier.sources] == ["1.root", "2.root"]
    assert [source.name for source in later.sources] == ["1.root"]
    assert done == [(1, 2), (2, 2)]


def test_the_same_file_twice_is_read_once(tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made) -> None:
    path = write_dqmio(tmp_path / "1.root", [(RUN, 1, elements(depth_maps(100)))])
    copy = tmp_path / "2.root"
    copy.write_bytes(path.read_bytes())
    (maps,) = read_lumi_maps([path, copy])
    assert list(maps.events) == [100]
    assert f"{copy} is the same file as {path} and was read once." in maps.notes


def test_occupancy_is_the_default_and_the_other_is_asked_for(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made, channel_counts: Made
) -> None:
    full, cut = depth_maps(100, seed=1), depth_maps(60, seed=2)
    path = write_dqmio(tmp_path / "n.root", [(RUN, 1, [*elements(cut, quantity="OccupancyCut"), *elements(full)])])
    (maps,) = read_lumi_maps(path)
    assert maps.definition == "dqmio-occupancy"
    np.testing.assert_array_equal(maps.counts[0], channel_counts(full))
    for name in ("dqmio-occupancycut", "OccupancyCut"):
        (maps,) = read_lumi_maps(path, definition=name)
        assert maps.definition == "dqmio-occupancycut"
        np.testing.assert_array_equal(maps.counts[0], channel_counts(cut))
        assert maps.event_source[0] == EventSource.ESTIMATE


def test_a_missing_depth_is_not_zero(tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made) -> None:
    whole, partial = elements(depth_maps(100)), elements(depth_maps(100))[:6]
    (maps,) = read_lumi_maps(write_dqmio(tmp_path / "n.root", [(RUN, 1, whole), (RUN, 2, partial)]))
    assert list(maps.present) == [True, False]
    assert "LS 2: the maps of some depths are missing, not assessed." in maps.notes


def test_empty_maps_are_not_assessed(tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made) -> None:
    rows = [
        (RUN, 1, elements(depth_maps(100))),
        (RUN, 2, [*elements(depth_maps(0)), ("Ecal/EventInfo/processedEvents", 90)]),
    ]
    (maps,) = read_lumi_maps(write_dqmio(tmp_path / "n.root", rows))
    assert list(maps.present) == [True, False]
    assert any(note.startswith("LS 2: the HCAL maps are empty") for note in maps.notes)


def test_another_subsystem_folder(tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made) -> None:
    path = write_dqmio(tmp_path / "n.root", [(RUN, 1, elements(depth_maps(100), subsystem="Hcal2"))])
    (maps,) = read_lumi_maps(path)
    assert maps.present.all()


def test_a_map_of_a_new_source_needs_only_a_file(
    tmp_path: Path,
    write_dqmio: Made,
    elements: Made,
    depth_maps: Made,
    channel_counts: Made,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "harvesters"
    folder.mkdir()
    (folder / "rechits.toml").write_text(
        'description = "rec hits"\ncontainer = "dqmio"\nquantity = "RecHits"\n'
        'subsystems = ["Mine"]\nmaps = "{subsystem}/DigiTask/RecHits/depth/depth{depth}"\n'
    )
    monkeypatch.setenv("HCAL_ROOT_AD_PATH", str(tmp_path))
    made = depth_maps(100)
    path = write_dqmio(tmp_path / "n.root", [(RUN, 1, elements(made, quantity="RecHits", subsystem="Mine"))])
    (maps,) = read_lumi_maps(path)
    assert maps.definition == "rechits"
    np.testing.assert_array_equal(maps.counts[0], channel_counts(made))


def test_without_hcal_the_nearest_elements_are_named(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made
) -> None:
    path = write_dqmio(tmp_path / "n.root", [(RUN, 1, elements(depth_maps(100), subsystem="Hkal"))])
    with pytest.raises(
        NoHcalError, match=r"the nearest monitor elements that it has are Hkal/DigiTask/Occupancy/depth/depth1"
    ):
        read_lumi_maps(path)


def test_maps_with_other_bins_are_refused(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made, root_map: Made
) -> None:
    transposed = [(name, root_map(np.zeros((72, 84)))) for name, _ in elements(depth_maps(1))]
    path = write_dqmio(tmp_path / "n.root", [(RUN, 4, transposed)])
    with pytest.raises(InputError, match=r"depth1 of run 370000, LS 4 in .* has 72 × 84 bins"):
        read_lumi_maps(path)


def test_maps_of_the_run_only_are_no_maps_per_lumisection(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made
) -> None:
    path = write_dqmio(tmp_path / "n.root", [(RUN, 0, elements(depth_maps(100)))])
    with pytest.raises(NoHcalError, match="holds no HCAL maps per lumisection"):
        read_lumi_maps(path)


@pytest.mark.parametrize(
    ("spans", "wrong"),
    [
        ([(0, 2), (2, 5)], []),
        ([(2, 5), (0, 2), (3, 3)], []),  # in any order, and a row that names none
        ([(0, 2), (2, 4)], [1]),  # nobody has the last entry: the row before it may be wrong
        ([(0, 2), (3, 5)], [0, 1]),
        ([(0, 2), (0, 2), (2, 5)], [0, 1]),  # as hadd leaves it
        ([(0, 3), (1, 2), (3, 5)], [0, 1]),
        ([(0, 3), (3, 5), (5, 2**40)], [2]),
        ([(0, 5), (4, 3)], [1]),
        ([], []),
    ],
)
def test_each_entry_belongs_to_one_row_of_the_index(spans: list[tuple[int, int]], wrong: list[int]) -> None:
    rows = [Row(370_000, ls, "Ints", *span) for ls, span in enumerate(spans, start=1)]
    rows.append(Row(370_000, 1, "TProfiles", 0, 9))  # its number depends on the release, so it is not looked at
    assert {row.lumisection - 1 for row in contradictions({"Ints": 5, "TProfiles": 7}, rows)} == set(wrong)
