"""The published file in the eyes of genuine ROOT, and of a sequential reader."""

import subprocess
import sys

import numpy as np
import pytest

from hcal_root_ad.publish.monitor_elements import monitor_elements
from hcal_root_ad.publish.object_text import quality_text, scalar_text
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
    """What is stored must be what ROOT finds when it computes the statistics anew."""

    def numbers(h):
        return [getattr(h, f"Get{what}")(axis) for what in ("Mean", "StdDev") for axis in range(1, dimensions + 1)]

    anew = histogram.Clone()
    anew.ResetStats()
    np.testing.assert_allclose(numbers(histogram), numbers(anew), rtol=1e-5, atol=1e-6, err_msg=path)


def test_root_finds_axis_titles_ranges_and_labels(root_file, elements):
    for element in elements.elements:
        histogram = root_file.Get(in_file(elements.run, element.path))
        axes = [histogram.GetXaxis(), histogram.GetYaxis(), histogram.GetZaxis()]
        for axis, mine in zip(axes, element.histogram.axes, strict=False):
            assert (axis.GetNbins(), axis.GetXmin(), axis.GetXmax()) == (mine.size, mine.edges[0], mine.edges[-1])
            assert axis.GetTitle() == mine.label
        assert axes[element.histogram.ndim].GetTitle() == element.histogram.label
        for axis, labels in zip(axes, element.bin_labels, strict=False):
            found = [axis.GetBinLabel(b) for b in range(1, axis.GetNbins() + 1)]
            assert found == (list(labels) or [""] * axis.GetNbins())


def test_root_labels_the_ieta_axis_as_hcaldqm_does(root_file):
    axis = root_file.Get(in_file(370101, "Hcal/HcalMLTask/Occupancy/depth/depth1")).GetXaxis()
    bins = {1: "-41", 13: "-29", 14: "-29", 42: "-1", 43: "1", 71: "29", 72: "29", 84: "41"}
    assert {b: axis.GetBinLabel(b) for b in bins} == bins


def test_root_reads_every_text(root_file, elements):
    texts = [(s.path, scalar_text(s)) for s in elements.scalars]
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
    expected += [(f"{s.path.rpartition('/')[0]}/{scalar_text(s)}", "TObjString") for s in elements.scalars]
    expected += [(f"{q.path.rpartition('/')[0]}/{quality_text(q)}", "TObjString") for q in elements.quality]
    assert sorted((f"{folder}/{name}", kind) for folder, name, kind in found) == sorted(expected)


def test_lumisection_axes_are_tight_and_hold_ls_in_its_own_bin(root_file):
    histogram = root_file.Get(in_file(370101, "Hcal/HcalMLTask/MLBadFlagedChannelsvsLS/Subdet/HE"))
    assert (histogram.GetNbinsX(), histogram.GetXaxis().GetXmin(), histogram.GetXaxis().GetXmax()) == (13, 1, 14)
    assert (histogram.GetXaxis().GetTitle(), histogram.GetYaxis().GetTitle()) == ("LS", "N")
    assert histogram.GetName() == histogram.GetTitle() == "HE"
    counts = {ls: histogram.GetBinContent(histogram.FindBin(ls)) for ls in range(1, 14)}
    assert counts == {ls: 188 if ls in (5, 6, 7, 9, 10, 11, 12) else 0 for ls in range(1, 14)}
