"""The published file in the eyes of genuine ROOT, and of a sequential reader."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import Kind
from hcal_root_ad.publish.elements import efficiency_text, quality_text, scalar_text
from hcal_root_ad.publish.fault_elements import row_label
from hcal_root_ad.publish.publish import monitor_elements, publish
from hcal_root_ad.publish.root_file import file_folder


@pytest.fixture(scope="module")
def elements(verdict):
    return monitor_elements(verdict)


@pytest.fixture(scope="module")
def root_file(published):
    ROOT = pytest.importorskip("ROOT")
    ROOT.gErrorIgnoreLevel = ROOT.kError
    file = ROOT.TFile.Open(str(published))
    yield file
    file.Close()


def in_file(run, path):
    folder, _, name = path.rpartition("/")
    return f"{file_folder(run, folder)}/{name}"


def test_root_opens_the_file_as_it_is(root_file):
    assert not root_file.IsZombie()
    assert not root_file.TestBit(root_file.kRecovered)


def test_root_reads_every_histogram_with_class_title_contents_and_statistics(root_file, elements):
    for element in elements.elements:
        histogram = root_file.Get(in_file(elements.run, element.path))
        assert histogram.ClassName() == element.root_class
        assert histogram.GetTitle() == element.title
        shape = element.histogram.values(flow=True).shape
        found = np.frombuffer(histogram.GetArray(), dtype=np.float32, count=histogram.GetSize())
        np.testing.assert_array_equal(
            found.reshape(shape[::-1]).T, element.histogram.values(flow=True).astype(np.float32), element.path
        )
        entries = element.entries if element.entries is not None else np.count_nonzero(element.histogram.values())
        assert histogram.GetEntries() == entries
        _same_statistics(histogram, element.histogram.ndim, element.path)


def _same_statistics(histogram, dimensions, path):
    """What is stored must be what ROOT finds when it computes the statistics again."""

    def numbers(h):
        return [getattr(h, f"Get{what}")(axis) for what in ("Mean", "StdDev") for axis in range(1, dimensions + 1)]

    again = histogram.Clone()
    again.ResetStats()
    np.testing.assert_allclose(numbers(histogram), numbers(again), rtol=1e-5, atol=1e-6, err_msg=path)


def test_root_finds_axis_titles_ranges_and_labels(root_file, elements):
    for element in elements.elements:
        histogram = root_file.Get(in_file(elements.run, element.path))
        axes = [histogram.GetXaxis(), histogram.GetYaxis(), histogram.GetZaxis()]
        for axis, mine in zip(axes, element.histogram.axes, strict=False):
            assert (axis.GetNbins(), axis.GetXmin(), axis.GetXmax()) == (mine.size, mine.edges[0], mine.edges[-1])
            assert axis.GetTitle() == mine.label.strip()
        contents = element.histogram.label if element.histogram.ndim == 1 else ""
        assert axes[element.histogram.ndim].GetTitle() == contents
        for axis, labels in zip(axes, element.bin_labels, strict=False):
            found = [axis.GetBinLabel(b) for b in range(1, axis.GetNbins() + 1)]
            assert found == (list(labels) or [""] * axis.GetNbins())


def test_root_labels_the_ieta_axis_as_hcaldqm_does(root_file):
    axis = root_file.Get(in_file(370101, "Hcal/HcalADTask/Occupancy/Occupancy")).GetXaxis()
    bins = {1: "-41", 13: "-29", 14: "-29", 42: "-1", 43: "1", 71: "29", 72: "29", 84: "41"}
    assert {b: axis.GetBinLabel(b) for b in bins} == bins


def test_root_reads_every_text(root_file, elements):
    texts = [(e.path, efficiency_text(e.path)) for e in elements.elements if e.efficiency]
    texts += [(s.path, scalar_text(s)) for s in elements.scalars]
    texts += [(q.path, quality_text(q)) for q in elements.quality]
    for path, text in texts:
        folder = root_file.Get(file_folder(elements.run, path.rpartition("/")[0]))
        key = next(key for key in folder.GetListOfKeys() if key.GetName() == text)
        assert key.GetClassName() == "TObjString"
        assert key.ReadObj().GetString().Data() == text


def test_root_can_map_the_whole_file(published):
    pytest.importorskip("ROOT")
    code = f"import ROOT; ROOT.TFile.Open({str(published)!r}).Map()"
    lines = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True).stdout
    size = published.stat().st_size
    assert f"At:{size}" in lines.splitlines()[-1]
    assert lines.splitlines()[-1].rstrip().endswith("END")


def test_the_newer_gui_lists_exactly_what_was_published_once_each(published, elements, listing):
    found = listing(published.read_bytes())
    expected = [(e.path, e.root_class) for e in elements.elements]
    marked = [e.path for e in elements.elements if e.efficiency]
    expected += [(f"{path.rpartition('/')[0]}/{efficiency_text(path)}", "TObjString") for path in marked]
    expected += [(f"{s.path.rpartition('/')[0]}/{scalar_text(s)}", "TObjString") for s in elements.scalars]
    expected += [(f"{q.path.rpartition('/')[0]}/{quality_text(q)}", "TObjString") for q in elements.quality]
    assert sorted((f"{folder}/{name}", kind) for folder, name, kind in found) == sorted(expected)


def test_lumisection_axes_are_tight_and_hold_ls_in_its_own_bin(root_file):
    histogram = root_file.Get(in_file(370101, "Hcal/HcalADTask/EventsvsLS/EventsvsLS"))
    assert (histogram.GetNbinsX(), histogram.GetXaxis().GetXmin(), histogram.GetXaxis().GetXmax()) == (13, 1, 14)
    assert (histogram.GetXaxis().GetTitle(), histogram.GetYaxis().GetTitle()) == ("LS", "events")
    counts = {ls: histogram.GetBinContent(histogram.FindBin(ls)) for ls in range(1, 14)}
    assert counts == {ls: 0 if ls == 8 else 20 if ls == 3 else 1500 for ls in range(1, 14)}
    assert histogram.TestBit(1 << 22), "hcaldqm's mark of an axis of lumisections"
    assert histogram.GetSumw2N() == 0


def test_values_against_lumisections_have_true_errors(root_file, elements):
    pull = root_file.Get(in_file(370101, "Hcal/HcalADTask/PullvsLS/Subdet/HE"))
    mine = elements["Hcal/HcalADTask/PullvsLS/Subdet/HE"]
    assert [pull.GetBinError(ls) for ls in range(1, 14)] == pytest.approx(mine.errors.tolist())
    assert pull.GetBinError(3) == pull.GetBinContent(3) == 0, "not assessed"
    kinds = root_file.Get(in_file(370101, "Hcal/HcalADClient/FlaggedKindsvsLS/FlaggedKindsvsLS"))
    assert kinds.TestBit(1 << 21), "colours by order of magnitude"


def test_no_map_has_the_bit_of_lumisections(root_file, elements):
    """On maps the plugin goes by the first row, which may be sound from the first LS to the last."""
    for element in elements.elements:
        if element.root_class == "TH2F":
            assert not root_file.Get(in_file(elements.run, element.path)).TestBit(1 << 22)


def test_files_of_two_runs_are_merged_side_by_side_and_states_of_one_run_are_never_good(published, small_run, tmp_path):
    """``hadd`` adds: two outputs of one run give 3 + 3 = 6, which the plugin paints black."""
    ROOT = pytest.importorskip("ROOT")
    other = RunVerdict(replace(small_run.maps(), run=370102), (small_run.verdict("HE"),))
    second = publish(other, tmp_path)
    for name, inputs in (("two.root", [published, second]), ("twice.root", [published, published])):
        merger = ROOT.TFileMerger(False)
        merger.OutputFile(str(tmp_path / name), "RECREATE")
        for file in inputs:
            merger.AddFile(str(file))
        assert merger.Merge()
    place = "HcalADClient/StateSummaryvsLS/SubdetPM/HEM"
    merged = ROOT.TFile.Open(str(tmp_path / "two.root"))
    for run in (370101, 370102):
        assert merged.Get(f"DQMData/Run {run}/Hcal/Run summary/{place}").GetBinContent(1, 1) == 3
    merged.Close()
    twice = ROOT.TFile.Open(str(tmp_path / "twice.root"))
    assert twice.Get(f"DQMData/Run 370101/Hcal/Run summary/{place}").GetBinContent(1, 1) == 6
    twice.Close()


def test_titles_and_labels_are_whole_in_a_picture_of_480_by_360(elements):
    """Widths in the plugin's style: a title has 0.7 of the picture, a label the tenth that is its left margin."""
    ROOT = pytest.importorskip("ROOT")
    canvas = ROOT.TCanvas("measure", "", 484, 388)
    ROOT.gStyle.Reset("Default")

    def width(text, size):
        latex = ROOT.TLatex(0, 0, text)
        latex.SetNDC()
        latex.SetTextFont(ROOT.gStyle.GetTitleFont("") if size == 0.05 else ROOT.gStyle.GetLabelFont("y"))
        latex.SetTextSize(size)
        return latex.GetXsize()

    for element in elements.elements:
        assert width(element.title, 0.05) <= 0.7, element.title
    labels = [row_label("HBP05-RM1-card2", Kind.DEGRADED, ((1010, 1060),)),
              row_label("HE -29/71/7", Kind.NOISY, ((1, 2),))]  # fmt: skip
    for label in (*labels, *(row for row in elements["Hcal/HcalADClient/StateSummary/FaultList"].bin_labels[1] if row)):
        assert width(label, ROOT.gStyle.GetLabelSize("y")) <= 0.095, label
    canvas.Close()
