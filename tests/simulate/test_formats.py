"""Every container, read back by hand with uproot and opened by genuine ROOT; the truth file."""

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot

from hcal_root_ad.detector import Subdetector
from hcal_root_ad.errors import OutputError, UsageError
from hcal_root_ad.simulate.formats import FORMATS, write_format, write_truth
from hcal_root_ad.simulate.scenario import make_fault, simulate_conditions
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector
from hcal_root_ad.simulate.simulated_run import SimulatedRun, simulate_run

DATA = Path(__file__).parents[3] / "shared" / "data"
SAMPLES = {
    "nanodqmio": "nanodqmio_run370101.root",
    "dqm_file": "DQM_V0001_R000370101__ZeroBias__Run2023C-PromptReco-v1__DQMIO.root",
    "per_lumisection": "run306138_real/DQM_V0001_R000306138__JetHT__Run2017F-v1__DQMIO_L000000001.root",
    "online": "DQM_V0001_Hcal_R000370101.root",
    "hcalanalyzer": "hcalanalyzer_run370101.root",
}
N_LS = 4


@pytest.fixture(scope="session")
def simulated(detector: SimulatedDetector) -> SimulatedRun:
    faults = [make_fault(detector, "dead", "HEP07-RM2", 2, 3, 0.0), make_fault(detector, "ageing", "HBM01", 1, 4, 0.5)]
    return simulate_run(detector, simulate_conditions(N_LS, 4), faults, seed=5, run=370_004)


@pytest.fixture(scope="session")
def files(simulated: SimulatedRun, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, ...]]:
    pytest.importorskip("ROOT", reason="ROOT files of simulated runs are written by genuine ROOT")
    folder = tmp_path_factory.mktemp("containers")
    return {name: write_format(simulated, folder / name, name) for name in FORMATS}


@cache
def on_dqm_axes(simulated: SimulatedRun, ls: int, depth: int | str, cut: bool = False) -> np.ndarray:
    """(84, 72) digis of one LS (its index), cell by cell."""
    cells = np.zeros((84, 72), dtype=np.int64)
    table, counts = simulated.detector.channels, simulated.cut_counts if cut else simulated.maps.counts
    inside = table.subdetector == Subdetector.HO if depth == "HO" else table.subdetector != Subdetector.HO
    for row in np.flatnonzero(inside & (table.depth == (4 if depth == "HO" else depth))):
        cells[table.dqm_x[row], table.dqm_y[row]] += counts[ls, row]
    return cells


def test_names_are_those_of_the_dqm(files: dict[str, tuple[Path, ...]]) -> None:
    names = {container: [path.name for path in paths] for container, paths in files.items()}
    assert names["nanodqmio"] == ["nanodqmio_run370004.root"]
    assert names["dqm_file"] == ["DQM_V0001_R000370004__SimulatedZeroBias__Run3-v1__DQMIO.root"]
    assert names["per_lumisection"][3].endswith("__DQMIO_L000000004.root")
    assert names["online"] == ["DQM_V0001_Hcal_R000370004.root"]
    assert names["snapshots"][1].startswith("DQM_V0001_Hcal_R000370004.root.ls00000002_host")
    assert [len(paths) for paths in files.values()] == [1, 1, N_LS, N_LS, 1, 1, 1]


def test_nothing_unfinished_is_left(files: dict[str, tuple[Path, ...]]) -> None:
    for paths in files.values():
        assert sorted(paths[0].parent.iterdir()) == sorted(paths)


def test_genuine_root_opens_every_object(files: dict[str, tuple[Path, ...]]) -> None:
    ROOT = pytest.importorskip("ROOT")

    def count(directory: Any) -> int:
        total = 0
        for key in directory.GetListOfKeys():
            item = key.ReadObj()
            assert item, key.GetName()
            total += count(item) if item.InheritsFrom("TDirectory") else 1
        return total

    objects = {}
    for container, paths in files.items():
        if container != "dials":
            file = ROOT.TFile(str(paths[-1]))
            assert not file.IsZombie()
            assert not file.TestBit(ROOT.TFile.kRecovered)
            objects[container] = count(file)
            assert file.GetTitle() == ("1" if container == "nanodqmio" else "")
            file.Close()
    assert objects == {
        "nanodqmio": 14,  # 12 trees of elements, the index, the history
        "dqm_file": 8 + 4 + 3 + N_LS * 9,
        "per_lumisection": 8,
        "snapshots": 31,
        "online": 8 + 8 + 4 + 8 + 3,
        "hcalanalyzer": 8,
    }


def description(item: Any) -> tuple[Any, ...]:
    """Class, title, axes with titles, labels and ranges of a histogram."""
    axes = []
    for axis in item.axes:
        labels = axis.labels()
        edges = (len(axis.edges()) - 1, axis.low, axis.high)
        axes.append((axis.member("fTitle"), edges, tuple(labels) if labels else None))
    return item.classname, item.title, tuple(axes)


@pytest.mark.parametrize("container", ["dqm_file", "per_lumisection", "online", "hcalanalyzer"])
def test_paths_axes_and_labels_are_those_of_the_samples(files: dict[str, tuple[Path, ...]], container: str) -> None:
    sample = DATA / SAMPLES[container]
    if not sample.exists():
        pytest.skip("the sample files are not here")
    with uproot.open(sample) as theirs, uproot.open(files[container][0]) as ours:
        there = {path.split("/Hcal", 1)[-1].replace("All/", "/"): path for path in theirs.keys(cycle=False)}
        seen = 0
        for path, name in ours.classnames(cycle=False).items():
            if not name.startswith(("TH", "TProfile")):
                continue
            known = path.split("/Hcal", 1)[-1].replace("All/", "/")
            if "HO" in known:  # The samples have nothing of HO: its elements are like those of depth 4 and of HF.
                known = known.replace("depthHO", "depth4").replace("HO", "HF")
            match = there[known]
            of_ours, of_theirs = description(ours[path]), description(theirs[match])
            assert of_ours[:1] + of_ours[2:] == of_theirs[:1] + of_theirs[2:], path
            assert "HO" in path or of_ours == of_theirs, path
            seen += 1
        assert seen >= 7


def test_harvested_file_holds_totals_sections_and_events(
    files: dict[str, tuple[Path, ...]], simulated: SimulatedRun
) -> None:
    with uproot.open(files["dqm_file"][0]) as file:
        hcal = file["DQMData/Run 370004/Hcal"]
        for ls in range(N_LS):
            section = hcal[f"By Lumi Section {ls + 1}-{ls + 1}"]
            assert section["RunInfo/NumberOfEvents"].values().tolist() == [simulated.maps.events[ls]]
            for depth in (1, 4, 7, "HO"):
                cells = section[f"DigiTask/Occupancy/depth/depth{depth}"].values()
                np.testing.assert_array_equal(cells, on_dqm_axes(simulated, ls, depth))
        total = sum(on_dqm_axes(simulated, ls, 2) for ls in range(N_LS))
        np.testing.assert_array_equal(hcal["Run summary/DigiTask/Occupancy/depth/depth2"].values(), total)
        info = [key for key in hcal["Run summary/EventInfo"].keys(cycle=False) if "<" in key]
        assert f"<processedEvents>i={simulated.maps.events.sum()}</processedEvents>" in info
        assert {"<iRun>i=370004</iRun>", f"<iLumiSection>i={N_LS}</iLumiSection>"} < set(info)


def test_profiles_count_events_and_mean_digis(files: dict[str, tuple[Path, ...]], simulated: SimulatedRun) -> None:
    with uproot.open(files["online"][0]) as file:
        profile = file["DQMData/Run 370004/Hcal/Run summary/DigiTask/OccupancyvsLS/Subdet/HE"]
        he = simulated.maps.counts[:, simulated.detector.channels.rows_of("HE")].sum(axis=1)
        np.testing.assert_array_equal(profile.member("fBinEntries")[1 : N_LS + 1], simulated.maps.events)
        np.testing.assert_allclose(profile.values()[:N_LS], he / simulated.maps.events)
        assert profile.values()[N_LS:].sum() == 0
        # Digis of independent channels: the spread of a mean over some hundred events is around one digi.
        assert 0.1 < profile.errors()[0] < 10
        hf = file["DQMData/Run 370004/Hcal/Run summary/DigiTask/OccupancyvsLS/Subdet/HF"]
        assert hf.values()[0] == simulated.detector.select("HF").live.sum()


def test_online_strips_sum_the_cut_digis(files: dict[str, tuple[Path, ...]], simulated: SimulatedRun) -> None:
    channels = simulated.detector.channels
    with uproot.open(files["online"][0]) as file:
        strips = file["DQMData/Run 370004/Hcal/Run summary/DigiTask/OccupancyCutvsiphivsLS/SubdetPM/HEP"].values()
    inside = (channels.half == 3) & (channels.iphi == 23)
    np.testing.assert_array_equal(strips[:N_LS, 22], simulated.cut_counts[:, inside].sum(axis=1))
    assert strips.sum() == simulated.cut_counts[:, channels.half == 3].sum()


def test_snapshots_add_up(files: dict[str, tuple[Path, ...]], simulated: SimulatedRun) -> None:
    for number, path in enumerate(files["snapshots"], start=1):
        with uproot.open(path) as file:
            summary = file["DQMData/Run 370004/Hcal/Run summary"]
            cells = summary["DigiTask/Occupancy/depth/depth3"].values()
            so_far = sum(on_dqm_axes(simulated, ls, 3) for ls in range(number))
            np.testing.assert_array_equal(cells, so_far)
            assert f"<iLumiSection>i={number}</iLumiSection>" in summary["EventInfo"].keys(cycle=False)


def test_files_per_lumisection_hold_the_map_of_theirs(
    files: dict[str, tuple[Path, ...]], simulated: SimulatedRun
) -> None:
    for ls, path in enumerate(files["per_lumisection"]):
        with uproot.open(path) as file:
            cells = file["DQMData/Run 370004/HcalAll/Run summary/DigiTask/Occupancy/depth/depth1"]
            np.testing.assert_array_equal(cells.values(), on_dqm_axes(simulated, ls, 1))
            assert cells.member("fEntries") == on_dqm_axes(simulated, ls, 1).sum()


def test_dqmio_index_leads_to_every_map(files: dict[str, tuple[Path, ...]], simulated: SimulatedRun) -> None:
    with uproot.open(files["nanodqmio"][0]) as file:
        index = file["Indices"].arrays(library="np")
        names, maps = (file["TH2Fs"][key].array(library="np") for key in ("FullName", "Value"))
        events = file["Ints/Value"].array(library="np")
        assert sorted(set(index["Lumi"].tolist())) == list(range(1, N_LS + 1))
        for row in range(len(index["Lumi"])):
            ls = int(index["Lumi"][row]) - 1
            rows = range(int(index["FirstIndex"][row]), int(index["LastIndex"][row]) + 1)
            if index["Type"][row] == 0:
                assert [events[r] for r in rows] == [simulated.maps.events[ls]]
                continue
            assert index["Type"][row] == 6
            found = {str(names[r]): maps[r] for r in rows}
            assert len(found) == 18
            for kind, cut in (("Occupancy", False), ("OccupancyCut", True)):
                for depth in (4, "HO"):
                    cells = found[f"Hcal/DigiTask/{kind}/depth/depth{depth}"]
                    np.testing.assert_array_equal(cells.values(), on_dqm_axes(simulated, ls, depth, cut))
            assert found["Ecal/Other/map000"].values().sum() > 0


def test_dqmio_trees_are_built_as_the_sample(files: dict[str, tuple[Path, ...]]) -> None:
    sample = DATA / SAMPLES["nanodqmio"]
    if not sample.exists():
        pytest.skip("the sample files are not here")

    def branches(path: Path) -> dict[str, str]:
        with uproot.open(path) as file:
            trees = {name: file[name] for name, kind in file.classnames(cycle=False).items() if kind == "TTree"}
            return {f"{name}/{b.name}": f"{b.classname} {b.typename}" for name, tree in trees.items() for b in tree}

    assert branches(files["nanodqmio"][0]) == branches(sample)


def test_dqmio_lumisections_come_out_of_order(detector: SimulatedDetector, tmp_path: Path) -> None:
    pytest.importorskip("ROOT")
    simulated = simulate_run(detector, simulate_conditions(8, 4), seed=5)
    with uproot.open(write_format(simulated, tmp_path, "nanodqmio")[0]) as file:
        order = file["Indices/Lumi"].array(library="np")[::2].tolist()
    assert sorted(order) == list(range(1, 9))
    assert order != sorted(order)


def test_analyzer_holds_iphi_72_in_the_overflow(files: dict[str, tuple[Path, ...]], simulated: SimulatedRun) -> None:
    channels = simulated.detector.channels
    with uproot.open(files["hcalanalyzer"][0]) as file:
        cells = file["Hcal4DQMAnalyzer/hist3D_depth3"].values(flow=True)
        events = file["Hcal4DQMAnalyzer/evttree"].arrays(library="np")
    rows = (channels.depth == 3) & (channels.subdetector <= Subdetector.HE)
    at = channels.ieta[rows] + 33, channels.iphi[rows] + 1
    for ls in range(N_LS):
        np.testing.assert_array_equal(cells[ls + 2][at], simulated.maps.counts[ls, rows])
    assert cells.sum() == simulated.maps.counts[:, rows].sum()
    iphi_72 = simulated.maps.counts[:, rows & (channels.iphi == 72)].sum()
    assert cells[..., 73].sum() == iphi_72 > 0
    assert cells[:, 33].sum() == cells[..., 1].sum() == 0  # ieta 0 and iphi 0
    np.testing.assert_array_equal(np.bincount(events["LumiSec"])[1:], simulated.maps.events)
    assert set(events["RunNum"]) == {370_004}


def test_analyzer_refuses_lumisections_beyond_its_axis(detector: SimulatedDetector, tmp_path: Path) -> None:
    pytest.importorskip("ROOT")
    simulated = simulate_run(detector, simulate_conditions(1, 4))
    simulated.maps.lumisections[:] = 2000
    with pytest.raises(OutputError, match="LS 2000"):
        write_format(simulated, tmp_path, "hcalanalyzer")
    assert not list(tmp_path.iterdir())


def test_dials_rows_are_iphi_by_ieta(files: dict[str, tuple[Path, ...]], simulated: SimulatedRun) -> None:
    table = pq.read_table(files["dials"][0]).to_pydict()
    assert list(table) == ["me", "run_number", "ls_number", "data"]
    assert set(table["run_number"]) == {370_004}
    assert len(table["me"]) == N_LS * 16
    at = [k for k, me in enumerate(table["me"]) if me == "Hcal/DigiTask/OccupancyCut/depth/depth2"]
    assert [table["ls_number"][k] for k in at] == [1, 2, 3, 4]
    cells = np.array(table["data"][at[2]])
    assert cells.shape == (72, 84)
    np.testing.assert_array_equal(cells.T, on_dqm_axes(simulated, 2, 2, cut=True))


def test_the_truth_says_what_was_done(simulated: SimulatedRun, tmp_path: Path) -> None:
    truth = json.loads(write_truth(simulated, tmp_path / "deep" / "truth.json").read_text())
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["truth.json"]
    assert truth["run"] == 370_004
    assert truth["lumisections"] == N_LS
    assert truth["events"] == simulated.maps.events.tolist()
    dead, ageing = truth["faults"]
    assert (dead["kind"], dead["unit"], dead["scale"], dead["factor"]) == ("dead", "HEP07-RM2", "RM", 0.0)
    assert (dead["first_ls"], dead["last_ls"]) == (2, 3)
    assert len(dead["channels"]) == len(simulated.faults[0].rows)
    assert all(cell[0] == "HE" and 23 <= cell[2] <= 26 for cell in dead["channels"])
    assert ageing["factor"] == [0.875, 0.75, 0.625, 0.5]
    detector = simulated.detector
    assert len(truth["masked"]) == detector.masked.sum()
    row = int(np.flatnonzero(detector.masked)[0])
    c = detector.channels
    assert [c.names[row], int(c.ieta[row]), int(c.iphi[row]), int(c.depth[row])] in truth["masked"]


def test_the_truth_has_the_keys_of_the_sample(simulated: SimulatedRun, tmp_path: Path) -> None:
    sample = DATA / "run370101_truth.json"
    if not sample.exists():
        pytest.skip("the sample files are not here")
    theirs = json.loads(sample.read_text())
    ours = json.loads(write_truth(simulated, tmp_path / "truth.json").read_text())
    assert set(theirs) <= set(ours)
    assert set(theirs["faults"][0]) <= set(ours["faults"][0])


def test_without_root_one_sentence_says_what_to_install(
    simulated: SimulatedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ROOT", None)
    for container in set(FORMATS) - {"dials"}:
        with pytest.raises(OutputError, match="install the test extra"):
            write_format(simulated, tmp_path, container)
    assert not list(tmp_path.iterdir())
    assert write_format(simulated, tmp_path, "dials")[0].exists()


def test_unknown_formats_are_refused(simulated: SimulatedRun, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nanodqmio, dqm_file"):
        write_format(simulated, tmp_path, "hdf5")
