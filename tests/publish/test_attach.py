"""Attaching to harvested files: all that was there stays, and both GUIs read old and new."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import uproot

from hcal_root_ad.errors import OutputError
from hcal_root_ad.publish.gui_rules import check_file
from hcal_root_ad.publish.publish import monitor_elements, publish
from hcal_root_ad.root_io.layout import read_layout

DATA = Path(__file__).parents[3] / "shared" / "data"
HARVESTED = (
    "DQM_V0001_R000370101__ZeroBias__Run2023C-PromptReco-v1__DQMIO.root",
    "DQM_V0001_Hcal_R000370101.root",
)


@pytest.fixture
def own_harvested_file(tmp_path):
    """A harvested file written by ROOT, in which an object was deleted and a folder grew later."""
    ROOT = pytest.importorskip("ROOT")
    path = tmp_path / "input" / "DQM_V0001_R000370101__ZeroBias__Run2023C-v1__DQMIO.root"
    path.parent.mkdir()
    file = ROOT.TFile(str(path), "RECREATE")
    folder = file.mkdir("DQMData/Run 370101/Hcal/Run summary/DigiTask/Occupancy/depth")
    folder.cd()
    for depth in range(1, 8):
        histogram = ROOT.TH2F(f"depth{depth}", f"depth{depth}", 84, 0, 84, 72, 0.5, 72.5)
        histogram.GetXaxis().SetTitle("ieta")
        histogram.Fill(40 + depth, depth, 1000 * depth)
        histogram.Write()
    other = file.mkdir("DQMData/Run 370101/Ecal/Run summary/EventInfo")
    other.cd()
    ROOT.TObjString("<processedEvents>i=5</processedEvents>").Write()
    folder.Delete("depth7;1")
    other.cd()
    for number in range(30):
        ROOT.TH1I(f"counts{number}", "counts", 10, 0, 10).Write()
    file.Close()
    return path


def objects_of(path):
    """Digest of every object's bytes as ROOT hands them out, by path."""
    with uproot.open(path) as file:
        container = read_layout(path)
        return {
            f"{record.path};{record.cycle}": hashlib.sha256(
                container.data[record.seek + record.key_size : record.end]
            ).hexdigest()
            for record in container.objects
        } | {"keys": len(file.keys())}


def check_attached(source, target, verdict, listing):
    before, after = objects_of(source), objects_of(target)
    new = monitor_elements(verdict, beside_digi_task=True)
    count = len(new.elements) + len(new.scalars) + len(new.quality) + sum(one.efficiency for one in new.elements)
    assert {path: digest for path, digest in after.items() if path in before and path != "keys"} == {
        path: digest for path, digest in before.items() if path != "keys"
    }
    assert len(after) == len(before) + count
    assert check_file(target) == ()
    old_list, new_list = listing(source.read_bytes()), listing(target.read_bytes())
    assert set(old_list) <= set(new_list)
    assert len(new_list) == len(old_list) + count
    compare_in_root(source, target, new)


def compare_in_root(source, target, elements):
    ROOT = pytest.importorskip("ROOT")
    old, new = ROOT.TFile.Open(str(source)), ROOT.TFile.Open(str(target))
    assert not new.TestBit(new.kRecovered)
    for record in read_layout(source).objects:
        if record.class_name != "TObjString":
            a, b = old.Get(record.path), new.Get(record.path)
            assert ROOT.TBufferJSON.ToJSON(a) == ROOT.TBufferJSON.ToJSON(b)
    element = elements["Hcal/HcalADTask/ReconstructedOccupancy/ReconstructedOccupancy"]
    folder = f"DQMData/Run {elements.run}/Hcal/Run summary/HcalADTask"
    found = new.Get(f"{folder}/ReconstructedOccupancy/ReconstructedOccupancy")
    assert not new.Get(f"{folder}/Occupancy/Occupancy"), "DigiTask's own stands beside it"
    assert found.Integral() == pytest.approx(element.histogram.values().sum(), rel=1e-6)
    old.Close()
    new.Close()


def test_folders_are_added_and_nothing_else_is_touched(own_harvested_file, verdict, tmp_path, listing):
    digest = hashlib.sha256(own_harvested_file.read_bytes()).hexdigest()
    target = publish(verdict, tmp_path / "out", attach_to=own_harvested_file)
    assert target.name == own_harvested_file.name
    check_attached(own_harvested_file, target, verdict, listing)
    assert hashlib.sha256(own_harvested_file.read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("name", HARVESTED)
def test_sample_files_can_be_attached_to(name, verdict, tmp_path, listing):
    source = DATA / name
    if not source.exists():
        pytest.skip("the sample data are not here")
    check_attached(source, publish(verdict, tmp_path, attach_to=source), verdict, listing)


def test_a_file_written_by_uproot_can_be_attached_to_although_it_was_broken(tmp_path, verdict, listing):
    source = tmp_path / "DQM_V0001_Hcal_R000370101.root"
    with uproot.recreate(source) as file:
        for number in range(40):
            file[f"DQMData/Run 370101/Hcal/Run summary/DigiTask/h{number}"] = np.histogram(np.arange(10.0))
    assert any("stops early" in sentence for sentence in check_file(source))
    target = publish(verdict, tmp_path / "out", attach_to=source)
    assert check_file(target) == ()
    assert len([name for _, name, _ in listing(target.read_bytes()) if name.startswith("h")]) == 40


def test_attached_file_keeps_a_name_of_its_own_where_the_input_has_none_for_the_gui(
    own_harvested_file, verdict, tmp_path
):
    source = own_harvested_file.with_name("harvest.root")
    shutil.copy(own_harvested_file, source)
    target = publish(verdict, tmp_path / "out", attach_to=source)
    assert target.name == "DQM_V0001_R000370101__HcalAD__Run3-HcalRootAd-v1__DQMIO.root"


def test_attaching_twice_is_refused(own_harvested_file, verdict, tmp_path):
    once = publish(verdict, tmp_path / "once", attach_to=own_harvested_file)
    with pytest.raises(OutputError, match="without our folders"):
        publish(verdict, tmp_path / "twice", attach_to=once)
    assert not (tmp_path / "twice").exists() or not list((tmp_path / "twice").iterdir())


def test_attaching_over_the_input_is_refused(own_harvested_file, verdict):
    before = own_harvested_file.read_bytes()
    with pytest.raises(OutputError, match="would replace the input"):
        publish(verdict, own_harvested_file.parent, attach_to=own_harvested_file)
    assert own_harvested_file.read_bytes() == before


def test_attaching_to_a_tree_is_refused(tmp_path, verdict):
    source = tmp_path / "nanodqmio.root"
    with uproot.recreate(source) as file:
        file.mktree("Indices", {"Run": np.uint32}).extend({"Run": np.ones(10, dtype=np.uint32)})
    with pytest.raises(OutputError, match="without --attach"):
        publish(verdict, tmp_path / "out", attach_to=source)
    assert not (tmp_path / "out").exists()


def test_a_file_that_uproot_cannot_extend_is_one_sentence(own_harvested_file, verdict, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("strange streamers")

    monkeypatch.setattr(uproot, "update", fail)
    with pytest.raises(OutputError, match=r"cannot be added to \(strange streamers\)"):
        publish(verdict, tmp_path / "out", attach_to=own_harvested_file)
    assert not list((tmp_path / "out").iterdir())


def test_attaching_to_a_file_of_another_run_is_refused_and_leaves_nothing(own_harvested_file, small_run, tmp_path):
    from dataclasses import replace

    from hcal_root_ad.judge.run_verdict import RunVerdict

    other = RunVerdict(replace(small_run.maps(), run=370102), (small_run.verdict("HE"),))
    with pytest.raises(OutputError, match="of run 370101"):
        publish(other, tmp_path / "out", attach_to=own_harvested_file)
    assert not list((tmp_path / "out").iterdir())
