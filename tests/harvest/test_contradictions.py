"""What contradicts itself is not assessed, or the better evidence wins; genuine ROOT files, numbers by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hcal_root_ad.detector import channel_table
from hcal_root_ad.errors import InputError, NoHcalError
from hcal_root_ad.harvest.read import LeftOut, read_lumi_maps, stream_lumi_maps
from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.lumi_maps import EventSource, LumiMaps

RUN = 370_000
STORE = "store/data/Run2023C/ZeroBias/DQMIO"
ECAL = "Ecal/EventInfo/processedEvents"
NAME = f"R{RUN:09d}__ZeroBias__Run2023C-PromptReco-v1__DQMIO.root"
Made = Callable[..., Any]
Maps = NDArray[np.float64]
EVENTS = (1000, 1100, 900, 1050)


@pytest.fixture(scope="module")
def elements(root_map: Made) -> Made:
    """(full name, TH2) of the seven depths of an LS."""

    def make(maps: Maps, classname: str = "TH2F") -> list[tuple[str, Any]]:
        names = (f"Hcal/DigiTask/Occupancy/depth/depth{depth}" for depth in range(1, 8))
        return [(name, root_map(values, classname)) for name, values in zip(names, maps, strict=True)]

    return make


def hf(change: Callable[[NDArray[np.float64]], NDArray[np.float64]], maps: Maps) -> Maps:
    """Maps with other counts in the HF channels."""
    table = channel_table("Run3").select("HF")
    places = (table.depth - 1, table.dqm_x, table.dqm_y)
    changed = maps.copy()
    changed[places] = change(maps[places])
    return changed


def events_and_sources(maps: LumiMaps) -> list[tuple[int, str]]:
    return [(int(n), EventSource(s).name) for n, s in zip(maps.events, maps.event_source, strict=True)]


# Events


@pytest.mark.parametrize("with_hf", [True, False])
@pytest.mark.parametrize("restart", [False, True])
def test_a_counter_of_the_job_so_far(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made, with_hf: bool, restart: bool
) -> None:
    so_far = [1000, 2100, 900, 1950] if restart else [1000, 2100, 3000, 4050]
    rows = [
        (RUN, ls, [*elements(depth_maps(n, seed=ls, hf=with_hf)), (ECAL, counted)])
        for ls, n, counted in zip((2, 3, 5, 6), EVENTS, so_far, strict=True)
    ]
    path = write_dqmio(tmp_path / "n.root", [rows[2], rows[0], rows[1], rows[3]])
    (maps,) = read_lumi_maps(path)
    assert maps.present.all()
    assert list(maps.events) == list(EVENTS)
    assert any("a job so far" in note for note in maps.notes)
    pieces = list(stream_lumi_maps(path, lumisections=3))
    assert [n for piece in pieces for n in piece.events] == list(EVENTS)


@pytest.mark.parametrize("with_hf", [True, False])
def test_a_counter_of_each_lumisection_is_still_used(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made, with_hf: bool
) -> None:
    growing = (1000, 1010, 1020, 1030, 1040)
    rows = [(RUN, ls, [*elements(depth_maps(n, seed=ls, hf=with_hf)), (ECAL, n)]) for ls, n in enumerate(growing, 1)]
    (maps,) = read_lumi_maps(write_dqmio(tmp_path / "n.root", rows))
    assert events_and_sources(maps) == [(n, "OTHER_SUBSYSTEM") for n in growing]


def test_hcal_s_own_counter_of_the_job_so_far(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made
) -> None:
    so_far = np.cumsum(EVENTS).tolist()
    rows = [
        (RUN, ls, [*elements(depth_maps(n, seed=ls, hf=False)), ("Hcal/EventInfo/processedEvents", counted)])
        for ls, (n, counted) in enumerate(zip(EVENTS, so_far, strict=True), start=1)
    ]
    (maps,) = read_lumi_maps(write_dqmio(tmp_path / "n.root", rows))
    assert events_and_sources(maps) == [(n, "COUNTER") for n in EVENTS]


@pytest.mark.parametrize("counted", [(500, 900, 2000, 5000, 9000), (1000, 1001, 1002, 1003, 1004, 1005)])
def test_a_counter_of_each_lumisection_that_rises_by_chance(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made, counted: tuple[int, ...]
) -> None:
    """It goes with the digis better than its differences do, or these are fewer than a channel has digis."""
    rows = [(RUN, ls, [*elements(depth_maps(n, seed=ls, hf=False)), (ECAL, n)]) for ls, n in enumerate(counted, 1)]
    (maps,) = read_lumi_maps(write_dqmio(tmp_path / "n.root", rows))
    assert events_and_sources(maps) == [(n, "OTHER_SUBSYSTEM") for n in counted]


@pytest.mark.parametrize("events", [(1000,) * 6, (900, 1000, 1100, 950, 1050, 1000)])
def test_a_counter_of_a_job_that_began_long_before(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made, events: tuple[int, ...]
) -> None:
    so_far = 5000 + np.cumsum(events)
    rows = [
        (RUN, ls, [*elements(depth_maps(n, seed=ls, hf=False)), (ECAL, int(said))])
        for ls, (n, said) in enumerate(zip(events, so_far, strict=True), start=1)
    ]
    (maps,) = read_lumi_maps(write_dqmio(tmp_path / "n.root", rows))
    assert maps.events[1:].tolist() == list(events[1:])


@pytest.mark.parametrize("counts", [(100_000, 1100, 300_000, 2150), (403_387, 495_302, 238_704, 446_178)])
def test_a_counter_that_has_nothing_to_do_with_the_digis_is_not_used(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made, counts: tuple[int, ...]
) -> None:
    """Two jobs that took the lumisections in turn, and count both; and numbers of which some rise, some fall."""
    rows = [
        (RUN, ls, [*elements(depth_maps(n, seed=ls, hf=False)), (ECAL, counted)])
        for ls, (n, counted) in enumerate(zip(EVENTS, counts, strict=True), start=1)
    ]
    (maps,) = read_lumi_maps(write_dqmio(tmp_path / "n.root", rows))
    assert set(maps.event_source) == {EventSource.ESTIMATE}
    np.testing.assert_allclose(maps.events, EVENTS, rtol=0.05)


def test_a_counter_of_many_times_the_events_is_not_used(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made
) -> None:
    """Without HF, the counts' own fluctuations tell that there were not so many."""
    rows = [
        (RUN, ls, [*elements(depth_maps(n, seed=ls, hf=False)), (ECAL, 200 * n)])
        for ls, n in enumerate(EVENTS, start=1)
    ]
    (maps,) = read_lumi_maps(write_dqmio(tmp_path / "n.root", rows))
    assert set(maps.event_source) == {EventSource.ESTIMATE}
    np.testing.assert_allclose(maps.events, EVENTS, rtol=0.05)


def test_a_counter_with_fewer_events_than_channels_have_digis_and_no_hf(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made
) -> None:
    counted = (1000, 1100, 500, 1050)
    rows = [
        (RUN, ls, [*elements(depth_maps(n, seed=ls, hf=False)), (ECAL, said)])
        for ls, (n, said) in enumerate(zip(EVENTS, counted, strict=True), start=1)
    ]
    (maps,) = read_lumi_maps(write_dqmio(tmp_path / "n.root", rows))
    assert list(maps.present) == [True, True, False, True]
    assert events_and_sources(maps)[2] == (0, "NONE")
    assert "LS 3: the event counter and the maps contradict each other, not assessed." in maps.notes


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda n: np.where(np.arange(len(n)) % 10 == 0, n - 300, n), [(1000, "HF_PLATEAU")]),  # some lost digis
        (lambda n: np.where(np.arange(len(n)) < len(n) // 2, 0, n), [(1000, "HF_PLATEAU")]),  # a half is dead
        (lambda n: np.where(np.arange(len(n)) < 1728, 900 - np.arange(len(n)) % 400, n), [(1000, "HF_PLATEAU")]),
        (lambda n: np.where(np.arange(len(n)) % 2 == 0, n - 300, n), None),  # two values, equally often
        (lambda n: n - np.arange(len(n)) % 700, None),  # any value
        (lambda n: n // 2, None),  # HB and HE have more digis than HF says there are events
    ],
)
def test_hf_that_lost_digis(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made, change: Made, expected: Any
) -> None:
    made = [elements(hf(change, depth_maps(1000, seed=1)))]
    (maps,) = read_lumi_maps(write_dqmio(tmp_path / "n.root", [(RUN, 1, made[0])]))
    if expected:
        assert events_and_sources(maps) == expected
    else:
        assert set(maps.event_source) == {EventSource.ESTIMATE}
    (maps,) = read_lumi_maps(write_dqmio(tmp_path / "n.root", [(RUN, 1, [*made[0], (ECAL, 1001)])]))
    assert events_and_sources(maps) == [(1001, "OTHER_SUBSYSTEM")]


# The same events twice


def test_identical_lumisections_count_once_and_honest_halves_are_summed(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made, channel_counts: Made
) -> None:
    a, b, c = (depth_maps(n, seed=seed) for seed, n in enumerate((400, 600, 500), start=1))
    write_dqmio(tmp_path / "1.root", [(RUN, 1, [*elements(a), (ECAL, 400)]), (RUN, 2, [*elements(b), (ECAL, 600)])])
    write_dqmio(tmp_path / "2.root", [(RUN, 1, [*elements(a), (ECAL, 400)]), (RUN, 2, [*elements(c), (ECAL, 500)])])
    (maps,) = read_lumi_maps(tmp_path)
    assert events_and_sources(maps) == [(400, "OTHER_SUBSYSTEM"), (1100, "OTHER_SUBSYSTEM")]
    np.testing.assert_array_equal(maps.counts, [channel_counts(a), channel_counts(b + c)])
    assert "LS 1: came more than once with the same counts, used once." in maps.notes
    assert "LS 2: came more than once and were summed." in maps.notes


def test_identical_rows_of_a_merged_file_count_once(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made, channel_counts: Made
) -> None:
    a, b = depth_maps(400, seed=1), depth_maps(300, seed=2)
    rows = [(RUN, 1, [*elements(maps), (ECAL, n)]) for maps, n in ((a, 400), (b, 300), (a, 400))]
    (maps,) = read_lumi_maps(write_dqmio(tmp_path / "n.root", rows))
    assert list(maps.events) == [700]
    np.testing.assert_array_equal(maps.counts[0], channel_counts(a + b))


@pytest.mark.parametrize("same", [slice(0, 3), slice(6, 7), slice(0, 6)])
def test_partly_equal_lumisections_are_refused(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made, same: slice
) -> None:
    a, b = depth_maps(1000, seed=1), depth_maps(1000, seed=2)
    b[same] = a[same]
    for name, maps in (("1.root", a), ("2.root", b)):
        write_dqmio(tmp_path / name, [(RUN, 1, elements(maps))])
    with pytest.raises(InputError, match=r"LS 1 of run 370000 comes twice, from .*1\.root and .*2\.root, and the two"):
        read_lumi_maps(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: np.where((a < 1000) & (np.indices(a.shape)[2] % 7 == 0), np.maximum(a, 1) - 1, a),  # a seventh
        lambda a: np.where(a < 1000, np.rint(0.93 * a), a),  # a higher threshold
        lambda a: hf(lambda _: np.array(700.0), np.random.default_rng(5).binomial(a.astype(int), 0.7).astype(float)),
        lambda a: np.maximum(a - np.random.default_rng(5).integers(0, 3, a.shape), 0),  # everywhere, HF as well
    ],
)
def test_another_reconstruction_of_the_same_events_is_refused(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made, change: Made
) -> None:
    a = depth_maps(1000, seed=1)
    b = change(a)
    for name, maps in (("1.root", a), ("2.root", b)):
        write_dqmio(tmp_path / name, [(RUN, 1, elements(maps))])
    with pytest.raises(InputError, match="the same events in two versions"):
        read_lumi_maps(tmp_path)


@pytest.mark.parametrize("events", [(1000, 1000), (1000, 150)])
def test_different_events_are_summed_however_many(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made, events: tuple[int, int]
) -> None:
    for seed, number in enumerate(events):
        write_dqmio(tmp_path / f"{seed}.root", [(RUN, 1, elements(depth_maps(number, seed=seed)))])
    (maps,) = read_lumi_maps(tmp_path)
    assert list(maps.events) == [sum(events)]


def test_the_newest_version_of_a_file(tmp_path: Path, write_harvested: Made, depth_maps: Made) -> None:
    for version, events in ((1, 100), (3, 120), (2, 110)):
        folders = {f"Hcal/By Lumi Section {ls}-{ls}": depth_maps(events) for ls in (1, 2)}
        write_harvested(tmp_path / f"DQM_V{version:04d}_{NAME}", folders)
    (maps,) = read_lumi_maps(tmp_path)
    assert list(maps.events) == [120, 120]
    assert [source.name[:9] for source in maps.sources] == ["DQM_V0003"]
    assert sum("is a newer version of it" in note for note in maps.notes) == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("DQM_V0001_" + NAME, "DQM_V0001_" + NAME.replace("PromptReco-v1", "19Dec2023-v1")),
        ("DQM_V0001_" + NAME, "DQM_V0001_" + NAME.replace("ZeroBias", "JetHT")),
        (f"{STORE}/PromptReco-v1/a.root", f"{STORE}/19Dec2023/a.root"),
    ],
)
def test_two_datasets_of_a_run_are_refused_by_name(
    tmp_path: Path, write_harvested: Made, depth_maps: Made, first: str, second: str
) -> None:
    for name, events in ((first, 100), (second, 130)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_harvested(tmp_path / name, {"Hcal/By Lumi Section 1-1": depth_maps(events)})
    with pytest.raises(InputError, match=r"comes from 2 datasets, /\w+/Run2023C-.*/DQMIO .* and /.*/DQMIO"):
        read_lumi_maps(tmp_path)


# Index against content


def test_a_file_put_together_by_hadd(
    tmp_path: Path, root: Any, write_dqmio: Made, elements: Made, depth_maps: Made
) -> None:
    """The index of the second file points at the entries of the first."""
    for name, lumisections in (("1.root", (1, 2, 3)), ("2.root", (4,))):
        write_dqmio(tmp_path / name, [(RUN, ls, elements(depth_maps(1000, seed=ls))) for ls in lumisections])
    merger = root.TFileMerger(False)
    merger.OutputFile(str(tmp_path / "merged.root"), "RECREATE")
    for name in ("1.root", "2.root"):
        merger.AddFile(str(tmp_path / name))
    assert merger.Merge()
    with pytest.raises(
        InputError, match=r"merged\.root cannot be used: the index of the file and its trees contradict"
    ):
        read_lumi_maps(tmp_path / "merged.root")


def lying_index(root: Any, path: Path, spans: dict[int, tuple[int, int]]) -> None:
    """Write the index again, with other entries for the TH2F of some lumisections."""
    file = root.TFile(str(path), "UPDATE")
    old = file.Get("Indices")
    rows = [(row.Run, row.Lumi, row.Type, row.FirstIndex, row.LastIndex) for row in old]
    file.Delete("Indices;*")
    tree = root.TTree("Indices", "Indices")
    places = {name: np.zeros(1, kind) for name, kind in
              (("Run", "u4"), ("Lumi", "u4"), ("Type", "u4"), ("FirstIndex", "u8"), ("LastIndex", "u8"))}  # fmt: skip
    for name, place in places.items():
        tree.Branch(name, place, f"{name}/{'i' if place.itemsize == 4 else 'l'}")
    for run, ls, kind, first, last in rows:
        span = spans.get(ls, (first, last)) if kind == 6 else (first, last)
        for place, value in zip(places.values(), (run, ls, kind, *span), strict=True):
            place[0] = value
        tree.Fill()
    tree.Write()
    file.Close()


@pytest.mark.parametrize(
    ("spans", "doubted"),
    [
        ({3: (14, 2**40)}, {3}),  # rows beyond the tree
        ({3: (2**62, 2**62 + 6)}, {1, 2, 3}),
        ({1: (7, 13), 2: (14, 20), 3: (21, 27)}, {1, 2, 3}),  # all of them a lumisection further
        ({2: (0, 6), 3: (7, 13)}, {1, 2, 3}),  # claimed twice, and the last ones by nobody
        ({2: (8, 13)}, {1, 2}),  # one entry of nobody, between the two
        ({1: (0, 7)}, {1, 2}),
        ({2: (13, 7)}, {2}),  # ends before it begins: its entries are nobody else's
        ({2: (13, 5)}, {2}),  # the same, and reaches into those of another
        ({1: (2**63, 2**63)}, {1, 2, 3}),
    ],
)
def test_an_index_that_lies(
    tmp_path: Path, root: Any, write_dqmio: Made, elements: Made, depth_maps: Made,
    spans: dict[int, tuple[int, int]], doubted: set[int],
) -> None:  # fmt: skip
    path = write_dqmio(tmp_path / "n.root", [(RUN, ls, elements(depth_maps(500, seed=ls))) for ls in (1, 2, 3)])
    lying_index(root, path, spans)
    if doubted == {1, 2, 3}:
        with pytest.raises(InputError, match=r"n\.root cannot be used: the index|FirstIndex holds 9223372036854775808"):
            read_lumi_maps(path)
        return
    (maps,) = read_lumi_maps(path)
    assert set(maps.lumisections[~maps.present].tolist()) == doubted
    assert not maps.events[~maps.present].any()


@pytest.mark.parametrize(
    "folders", [("5-3",), ("0-4",), ("1-1", "01-01"), ("1-1", "1-01"), ("-1--1",), ("3",), ("2-x",), ("",), ("1-1 ",)]
)
def test_folders_that_are_no_lumisections(
    tmp_path: Path, write_harvested: Made, depth_maps: Made, folders: tuple[str, ...]
) -> None:
    made = {f"Hcal/By Lumi Section {folder}": depth_maps(100) for folder in folders}
    with pytest.raises(InputError, match=rf"By Lumi Section {folders[-1]}"):
        read_lumi_maps(write_harvested(tmp_path / f"DQM_V0001_{NAME}", made))


def test_maps_of_the_run_beside_those_of_lumisections_are_named(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made
) -> None:
    """LS 0 of an index is the run."""
    rows = [(RUN, ls, elements(depth_maps(500, seed=ls))) for ls in (0, 1, 2)]
    (maps,) = read_lumi_maps(write_dqmio(tmp_path / "n.root", rows))
    assert maps.lumisections.tolist() == [1, 2]
    assert "LS 0: maps that belong to no lumisection, left out." in maps.notes


# Ceilings


@pytest.mark.parametrize(("classname", "most"), [("TH2S", 32767), ("TH2F", 16777216), ("TH2I", 2**31 - 1)])
@pytest.mark.parametrize("place", [(0, 42, 10), (2, 5, 2)])  # a channel of HB, and one of HF
def test_contents_at_the_ceiling(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made, classname: str, most: int, place: Any
) -> None:
    full, fine = depth_maps(1000, seed=1), depth_maps(1000, seed=2)
    full[place] = most
    rows = [(RUN, 1, elements(full, classname)), (RUN, 2, elements(fine, classname))]
    (maps,) = read_lumi_maps(write_dqmio(tmp_path / "n.root", rows))
    assert list(maps.present) == [False, True]
    assert events_and_sources(maps)[0] == (0, "NONE")
    assert any(note.startswith("LS 1: contents at the ceiling") for note in maps.notes)


def test_a_file_of_contents_at_the_ceiling_alone_says_why_it_cannot_be_judged(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made
) -> None:
    full = np.where(depth_maps(1000) > 0, 32767, 0)
    path = write_dqmio(tmp_path / "n.root", [(RUN, ls, elements(full, "TH2S")) for ls in (1, 2)])
    (maps,) = read_lumi_maps(path)
    assert not maps.present.any()
    with pytest.raises(NoHcalError, match="contents at the ceiling of their type"):
        judge_run(maps, [])


@pytest.mark.parametrize(("classname", "most"), [("TH1S", 32767), ("TH1F", 2**24), ("TH1D", 40_000)])
def test_a_counter_at_the_ceiling_counts_nothing(
    tmp_path: Path, root: Any, write_harvested: Made, depth_maps: Made, classname: str, most: int
) -> None:
    """Only the last one may have counted them all."""
    path = write_harvested(tmp_path / f"DQM_V0001_{NAME}", {"Hcal/By Lumi Section 1-1": depth_maps(40_000, hf=False)})
    counter = getattr(root, classname)("NumberOfEvents", "", 1, 0, 1)
    counter.SetDirectory(0)
    counter.SetBinContent(1, most)
    file = root.TFile(str(path), "UPDATE")
    folder = file.mkdir(f"DQMData/Run {RUN}/Hcal/By Lumi Section 1-1/RunInfo", "", True)
    folder.WriteTObject(counter, "NumberOfEvents")
    file.Close()
    (maps,) = read_lumi_maps(path)
    assert events_and_sources(maps)[0][1] == ("COUNTER" if classname == "TH1D" else "ESTIMATE")


@pytest.mark.parametrize(("classname", "most"), [("TH2S", 32767), ("TH2F", 2**24), ("TH2D", 4000)])
def test_strips_at_the_ceiling(tmp_path: Path, root: Any, classname: str, most: int) -> None:
    """Of LS × iphi, too: that LS is not assessed."""
    path, place = tmp_path / f"DQM_V0001_Hcal_R{RUN:09d}.root", f"DQMData/Run {RUN}/Hcal/Run summary/DigiTask"
    file = root.TFile(str(path), "RECREATE")
    for half in ("HBM", "HBP", "HEM", "HEP"):
        strips = getattr(root, classname)(half, "", 4, 1, 5, 72, 0.5, 72.5)
        strips.SetDirectory(0)
        for ls, iphi in np.ndindex(4, 72):
            strips.SetBinContent(ls + 1, iphi + 1, most if (half, ls, iphi) == ("HEM", 2, 9) else 4000)
        file.mkdir(f"{place}/OccupancyCutvsiphivsLS/SubdetPM", "", True).WriteTObject(strips, half)
    file.mkdir(f"{place}/OccupancyvsLS/Subdet", "", True).WriteTObject(profile(root, "HB", 4, EVENTS), "HB")
    file.Close()
    (maps,) = read_lumi_maps(path)
    full = classname != "TH2D"
    assert events_and_sources(maps)[2] == ((0, "NONE") if full else (900, "COUNTER"))
    assert any(note.startswith("LS 3: contents at the ceiling") for note in maps.notes) == full


def test_sums_that_leave_32_bits_are_refused(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made
) -> None:
    for name, seed in (("1.root", 1), ("2.root", 2)):
        maps = depth_maps(1000, seed=seed)
        maps[0, 42, 10] = 1.5e9
        write_dqmio(tmp_path / name, [(RUN, 1, elements(maps, "TH2D"))])
    with pytest.raises(InputError, match="adds up to more than 2147483647 digis of a channel"):
        read_lumi_maps(tmp_path)


# One bad file among good ones


def test_an_empty_file_among_good_ones(tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made) -> None:
    write_dqmio(tmp_path / "good.root", [(RUN, 1, elements(depth_maps(100)))])
    write_dqmio(tmp_path / "empty.root", [])
    left_out: list[LeftOut] = []
    for found in (read_lumi_maps(tmp_path), read_lumi_maps(tmp_path, left_out=left_out)):
        (maps,) = found
        assert list(maps.events) == [100]
        assert any(note.startswith("empty.root was left out: ") for note in maps.notes)
    assert left_out == []
    with pytest.raises(InputError, match="holds no run at all"):
        read_lumi_maps(tmp_path / "empty.root", left_out=left_out)


@pytest.mark.parametrize("content", [b"", b"root", b"no file of ours", None])
def test_a_damaged_file_among_good_ones(
    tmp_path: Path, write_dqmio: Made, elements: Made, depth_maps: Made, content: bytes | None
) -> None:
    path = write_dqmio(tmp_path / "good.root", [(RUN, 1, elements(depth_maps(100)))])
    (tmp_path / "bad.root").write_bytes(path.read_bytes()[:2000] if content is None else content)
    with pytest.raises(InputError, match=r"bad\.root"):
        read_lumi_maps(tmp_path)
    left_out: list[LeftOut] = []
    (maps,) = read_lumi_maps(tmp_path, left_out=left_out)
    assert list(maps.events) == [100]
    assert [one.path.name for one in left_out] == ["bad.root"]
    assert any(note.startswith("bad.root was left out: ") for note in maps.notes)


# Run totals


def profile(root: Any, name: str, bins: int, events: tuple[int, ...]) -> Any:
    made = root.TProfile(name, name, bins, 1.0, 1.0 + bins)
    made.SetDirectory(0)
    for ls, number in enumerate(events, start=1):
        for _ in range(number):
            made.Fill(ls + 0.5, 100.0)
    return made


@pytest.mark.parametrize("with_hf", [True, False])
@pytest.mark.parametrize("bins", [4, 2])
def test_totals_hold_what_is_beyond_the_axis(
    tmp_path: Path, root: Any, write_harvested: Made, depth_maps: Made, bins: int, with_hf: bool
) -> None:
    path = write_harvested(tmp_path / f"DQM_V0001_{NAME}", {"Hcal/Run summary": depth_maps(4050, hf=with_hf)})
    file = root.TFile(str(path), "UPDATE")
    folder = file.mkdir(f"DQMData/Run {RUN}/Hcal/Run summary/DigiTask/OccupancyvsLS/Subdet", "", True)
    folder.WriteTObject(profile(root, "HB", bins, EVENTS), "HB")
    file.Close()
    (maps,) = read_lumi_maps(path)
    assert maps.run_events == 4050
    assert maps.lumisections.tolist() == list(range(1, bins + 1))
    assert any("beyond LS 2" in note for note in maps.notes) == (bins == 2)


def test_totals_that_hf_contradicts_and_totals_without_a_counter(
    tmp_path: Path, root: Any, write_harvested: Made, depth_maps: Made
) -> None:
    path = write_harvested(tmp_path / f"DQM_V0001_{NAME}", {"Hcal/Run summary": depth_maps(4050)})
    (maps,) = read_lumi_maps(path)
    assert maps.coarse is not None
    assert (maps.run_events, maps.coarse.event_source, len(maps)) == (4050, EventSource.HF_PLATEAU, 1)
    file = root.TFile(str(path), "UPDATE")
    folder = file.mkdir(f"DQMData/Run {RUN}/Hcal/Run summary/DigiTask/OccupancyvsLS/Subdet", "", True)
    folder.WriteTObject(profile(root, "HB", 4, (100, 100)), "HB")
    file.Close()
    (maps,) = read_lumi_maps(path)
    assert maps.coarse is not None
    assert (maps.run_events, maps.coarse.event_source) == (4050, EventSource.HF_PLATEAU)
    assert any("200 against 4050" in note for note in maps.notes)


def test_totals_without_hf_that_no_counter_fits(
    tmp_path: Path, root: Any, write_harvested: Made, depth_maps: Made
) -> None:
    path = write_harvested(tmp_path / f"DQM_V0001_{NAME}", {"Hcal/Run summary": depth_maps(4050, hf=False)})
    file = root.TFile(str(path), "UPDATE")
    folder = file.mkdir(f"DQMData/Run {RUN}/Hcal/Run summary/DigiTask/OccupancyvsLS/Subdet", "", True)
    folder.WriteTObject(profile(root, "HB", 4, (100, 100)), "HB")
    file.Close()
    with pytest.raises(InputError, match=r"holds nothing of run 370000 that can be judged.* contradict each other"):
        read_lumi_maps(path)


@pytest.mark.parametrize("folder", ["Hcal/Run summary", "Hcal/By Lumi Section 1-1"])
def test_a_sum_of_runs(tmp_path: Path, write_harvested: Made, depth_maps: Made, folder: str) -> None:
    path = write_harvested(tmp_path / "DQM_V0001_R000999999__A__B-v1__DQMIO.root", {folder: depth_maps(9)}, run=999_999)
    with pytest.raises(InputError, match="999999, which is no run but a sum of runs"):
        read_lumi_maps(path)
