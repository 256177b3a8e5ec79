"""Each rule of the GUIs broken once, in a file that is right otherwise: each has a sentence of its own."""

import struct

import hist
import numpy as np
import pytest
import uproot
from uproot.writing import identify

from hcal_root_ad.errors import InputError
from hcal_root_ad.publish.gui_rules import check_file, content_of
from hcal_root_ad.publish.root_file import add_objects
from hcal_root_ad.root_io.layout import mark_gaps, read_layout

NAME = "DQM_V0001_R000370101__HcalAD__Run3-HcalRootAd-v1__DQMIO.root"
BASE = "DQMData/Run 370101/Hcal/Run summary"
TASK = f"{BASE}/HcalADTask/Occupancy/depth"
CLIENT = f"{BASE}/HcalADClient/StateSummary/depth"
EXPECT_84 = (84, 0.0, 84.0)


def th1(kind=">f4", axis="x", title="t"):
    axis = identify.to_TAxis("xaxis", axis, 5, 1.0, 6.0)
    return identify.to_TH1x(None, title, np.zeros(7, dtype=kind), 0.0, 0.0, 0.0, 0.0, 0.0, None, axis)


def th2(kind=">f4", value=3.0, ieta=EXPECT_84, contents=""):
    x = identify.to_TAxis("xaxis", "ieta", *ieta)
    y = identify.to_TAxis("yaxis", "iphi", 72, 0.5, 72.5)
    data = np.full((x.member("fNbins") + 2) * 74, value, dtype=kind)
    z = identify.to_TAxis("zaxis", contents, 1, 0.0, 1.0)
    return identify.to_TH2x(None, "t", data, *[0.0] * 8, None, x, y, z)


def th3():
    return identify.to_writable(hist.Hist(*[hist.axis.Regular(2, 0, 1)] * 3))


GOOD = [
    (TASK, "depth1", th2()),
    (CLIENT, "depth1", th2()),
    (f"{BASE}/HcalADTask/EventsvsLS/Subdet", "HE", th1(axis="LS")),
    (f"{BASE}/HcalADTask/PullvsLS/Subdet", "HE", th1(axis="LS")),
    (f"{BASE}/HcalADTask/PullvsLS/Subdet", *["<HE>e=1</HE>"] * 2),
    (f"{BASE}/EventInfo", "reportSummaryMap", th2()),
    (f"{BASE}/HcalADTask/EventsvsLS/Subdet", *["<HE.Test>qr=st:100:1:Algo:fine</HE.Test>"] * 2),
    (f"{BASE}/HcalADClient/EventInfo", *["<reportSummary>f=1</reportSummary>"] * 2),
]


def write(folder, *extra, name=NAME, objects=GOOD, mark=True, **options):
    folder.mkdir(exist_ok=True)
    path = folder / name
    with uproot.recreate(path, **options) as file:
        add_objects(file, [*objects, *extra])
    if mark:
        mark_gaps(path)
    return path


def text(content, folder=f"{BASE}/HcalADClient/EventInfo"):
    return (folder, content, content)


def test_the_file_without_a_violation_is_accepted(tmp_path):
    assert check_file(write(tmp_path)) == ()


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ((TASK, "h", th1(">i4")), "is a TH1I, which the newer GUI silently drops"),
        ((TASK, "h", th2(">i4")), "is a TH2I, which the newer GUI silently drops"),
        ((TASK, "h", th3()), "is a TH3D, which the newer GUI silently drops"),
        ((TASK, "a.b", th1()), "has a '.' in its name"),
        ((TASK, "a:b", th1()), "has characters in its name that the classic GUI refuses: ':'"),
        ((f"{BASE}/HcalADTask/a,b", "h", th1()), "has characters that the classic GUI refuses: ','"),
        (("DQMData/Run 370102/Hcal/Run summary/HcalADTask", "h", th1()), "of 'Run 370102', but the file name is of"),
        (("DQMData/Run 0370101/Hcal/Run summary/HcalADTask", "h", th1()), "of 'Run 0370101', but the file name is of"),
        (("DQMData/Run 370101/Hcal/By Lumi Section 1-1/HcalADTask", "h", th1()), "accepts only 'Run summary'"),
        (("DQMData/Run 370101/Hcal/HcalADTask/depth", "h", th1()), "accepts only 'Run summary'"),
        (("Hcal/HcalADTask", "h", th1()), "is not below DQMData/Run N/Subsystem/Run summary"),
        ((TASK, "depth1", th2()), "is there 2 times"),
        ((CLIENT, "h", th1()), "has 'Summary' in its path but is a TH1F"),
        ((CLIENT, "h", th2(value=7.0)), "other values than the states 0 to 6"),
        ((CLIENT, "h", th2(value=2.5)), "other values than the states 0 to 6"),
        ((CLIENT, "h", th2(value=-1.0)), "other values than the states 0 to 6"),
        ((TASK, "h", th2(ieta=(83, -41.5, 41.5))), "has an ieta axis of 83 bins from -41.5 to 41.5"),
        ((TASK, "h", th2(value=-1.0)), "is a map with a sign"),
        ((f"{BASE}/HcalADTask/PullvsLS/Subdet", "HB", th1(axis="LS")), "lacks e=1"),
        ((f"{BASE}/HcalADClient/EventInfo", "reportSummaryMap", th2()), "is not in the subsystem's own EventInfo"),
        ((TASK, "h", th1(title="n" * 39)), "cut in the GUIs' pictures from 38 characters on"),
        ((TASK, "h", th1(axis="n" * 29)), "cut in the GUIs' pictures from 28 characters on"),
        ((TASK, "h", th2(contents="digis")), "has the z title 'digis', which the GUIs cut off"),
        (text("<depth1.T>qr=st:100:1:A:dead;hot</depth1.T>", TASK), "holds a ';' in its message"),
        (text('<record>s={"options": {}}</record>', f"{BASE}/HcalMLClient/Provenance"), "takes the place of CMSSW's"),
        (text("a plain note"), "is not one of <name>i="),
        (text("<a>b=1</a>"), "is not one of <name>i="),
        (text("<a>i=one</a>"), "should hold an integer"),
        (text("<a>f=inf</a>"), "should hold a finite number"),
        (text("<a>s=x<y</a>"), "holds < or >"),
        (text("<HE.T>qr=st:100:1:A:m</HE.T>"), "judges the monitor element 'HE', which is not in the same folder"),
        (text("<depth1.T>qr=st:123:1:A:m</depth1.T>", TASK), "has the unknown status 123"),
        (text("<depth1.T>qr=st:100:nan:A:m</depth1.T>", TASK), "is not a finite number"),
        (text("<depth1.T>qr=st:100:1</depth1.T>", TASK), "is not a quality result"),
        ((f"{BASE}/HcalADClient/EventInfo", "<a>i=1</a>", "<a>i=2</a>"), "is another one inside"),
    ],
)  # fmt: skip
def test_each_violation_has_its_own_sentence(tmp_path, extra, sentence):
    found = check_file(write(tmp_path, extra))
    assert len(found) == 1, found
    assert sentence in found[0]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("verdict.root", "is neither"),
        ("DQM_V0001_Hcal_ML_R000370101.root", "is neither"),
        ("DQM_V0001_R370101__HcalAD__Run3-v1__DQMIO.root", "nine"),
        ("DQM_V0000_HcalAD_R000370101.root", "none of 0001 to 9999"),
        ("DQM_V0001_R000370101__HcalAD__CMSSW_13_0_0-v1__DQMIO.root", "CMSSW release"),
    ],
)
def test_each_bad_file_name_has_its_own_sentence(tmp_path, name, sentence):
    found = check_file(write(tmp_path, name=name))
    assert len(found) == 1, found
    assert sentence in found[0]


def test_run_of_the_file_name_must_be_that_of_the_folders(tmp_path):
    found = check_file(write(tmp_path, name="DQM_V0001_HcalAD_R000370100.root"))
    assert found
    assert all("but the file name is of run 370100" in sentence for sentence in found)


def test_other_codecs_than_zlib_are_named(tmp_path):
    found = check_file(write(tmp_path, compression=uproot.LZMA(3)))
    assert any("is compressed with 'XZ'; the newer GUI decodes zlib only" in sentence for sentence in found)
    assert check_file(write(tmp_path, compression=None)) == ()


def test_production_s_names_are_accepted_where_they_were_asked_for_or_are_production_s(tmp_path):
    asked = '<record>s={"options": {"as_hcalmltask": true}}</record>'
    assert check_file(write(tmp_path / "a", text(asked, f"{BASE}/HcalMLClient/Provenance"))) == ()
    theirs = (f"{BASE}/HcalMLTask/MLBadFlagedChannelsvsLS/Subdet", "HE", th1(axis="LS"))
    assert check_file(write(tmp_path / "b", theirs)) == ()


def test_what_a_file_holds_is_counted(tmp_path):
    content = content_of(write(tmp_path))
    assert (content.histograms, content.texts) == (4, 3)
    assert content.bins == 2 * 84 * 72 + 2 * 5
    assert str(content).startswith("4 histograms with 12,106 bins, 3 texts, ")


def test_unmarked_gaps_are_named(tmp_path):
    many = [text(f"<name{number}>i=1</name{number}>") for number in range(40)]
    (found,) = check_file(write(tmp_path, *many, mark=False))
    assert "stops early: byte" in found


def test_an_object_hidden_from_the_sequential_reader_is_named(tmp_path):
    many = [text(f"<name{number}>i=1</name{number}>") for number in range(40)]
    path = write(tmp_path, *many)
    container = read_layout(path)
    by_start = {record.seek: record for record in container.objects}
    start, stop = next(gap for gap in container.gaps() if gap[1] in by_start)
    data = bytearray(path.read_bytes())
    struct.pack_into(">i", data, start, start - by_start[stop].end)
    path.write_bytes(data)
    (found,) = check_file(path)
    assert f"would not meet {by_start[stop].path!r}" in found


def test_a_deleted_object_that_was_not_marked_is_named(tmp_path):
    path = write(tmp_path)
    with uproot.update(path) as file:
        del file[TASK]["depth1"]
    found = check_file(path)
    assert any("which no directory lists" in sentence or "stops early" in sentence for sentence in found)
    mark_gaps(path)
    assert check_file(path) == ()


def test_a_record_that_names_another_folder_is_named(tmp_path):
    path = write(tmp_path)
    container = read_layout(path)
    record = next(record for record in container.objects if record.name == "HE")
    data = bytearray(path.read_bytes())
    struct.pack_into(">I", data, record.seek + 22, container.folders[TASK])
    path.write_bytes(data)
    (found,) = check_file(path)
    assert f"would show {record.path!r} elsewhere" in found


def test_a_file_without_elements_is_named(tmp_path):
    assert check_file(write(tmp_path, objects=[])) == ("The file holds no monitor elements.",)


def test_classes_of_no_dqm_are_named(tmp_path):
    ROOT = pytest.importorskip("ROOT")
    path = tmp_path / NAME
    file = ROOT.TFile(str(path), "RECREATE")
    file.mkdir(TASK).cd()
    ROOT.TGraph(3).Write("graph")
    file.Close()
    (found,) = check_file(path)
    assert "is a TGraph, which is not a class of DQM" in found


def test_rules_on_contents_spare_the_elements_of_others_where_ours_are_there(tmp_path):
    others = [
        ("DQMData/Run 370101/Ecal/Run summary/Summary", "h", th1(">i4")),
        (f"{BASE}/DigiTask/SummaryvsLS", "h", th1()),
        ("DQMData/Run 370101/Hcal/By Lumi Section 1-1/DigiTask", "h", th2()),
    ]
    assert check_file(write(tmp_path, *others)) == ()
    alone = check_file(write(tmp_path, objects=others))
    assert [sentence.rpartition("'")[2] for sentence in alone] == [
        " is a TH1I, which the newer GUI silently drops.",
        " in its path but is a TH1F; HCAL draws 2-D states there.",
    ]


def test_a_text_of_another_subsystem_that_aborts_the_import_is_named(tmp_path):
    (found,) = check_file(write(tmp_path, text("note", "DQMData/Run 370101/Ecal/Run summary/EventInfo")))
    assert "'note'" in found


@pytest.mark.parametrize("keep", [0, 50, 400, 3000])
def test_a_truncated_file_is_an_input_error(tmp_path, keep):
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=NAME):
        check_file(path)


def test_damaged_contents_are_an_input_error(tmp_path):
    path = write(tmp_path)
    record = next(r for r in read_layout(path).objects if r.path == f"{CLIENT}/depth1")
    data = bytearray(path.read_bytes())
    data[record.seek + record.key_size + 12 : record.end] = bytes(record.size - record.key_size - 12)
    path.write_bytes(data)
    with pytest.raises(InputError, match="damage"):
        check_file(path)
