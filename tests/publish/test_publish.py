from dataclasses import replace

import pytest

from hcal_root_ad.errors import OutputError
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.provenance import provenance_of_run
from hcal_root_ad.publish import publish as publishing
from hcal_root_ad.publish.elements import Scalar
from hcal_root_ad.publish.gui_rules import check_file
from hcal_root_ad.publish.publish import monitor_elements, publish


def test_published_file_is_accepted_and_named_for_the_gui(published):
    assert published.name == "DQM_V0001_R000370101__HcalAD__Run3-HcalRootAd-v1__DQMIO.root"
    assert check_file(published) == ()
    assert [path.name for path in published.parent.iterdir()] == [published.name]


def test_online_name_on_request(verdict, tmp_path):
    path = publish(verdict, tmp_path, online=True)
    assert path == tmp_path / "DQM_V0001_HcalAD_R000370101.root"
    assert check_file(path) == ()


def test_dataset_of_the_input_is_kept_with_a_mark(small_run, tmp_path):
    maps = small_run.maps("DQM_V0001_R000370101__ZeroBias__Run2023C-PromptReco-v1__DQMIO.root")
    path = publish(RunVerdict(maps, (small_run.verdict("HE"),)), tmp_path)
    assert path.name == "DQM_V0001_R000370101__ZeroBias__Run2023C-PromptReco_HcalAD-v1__DQMIO.root"


def test_strips_and_run_totals_are_accepted_too(strip_verdict, small_run, tmp_path):
    he = small_run.verdict("HE")
    total = replace(
        he,
        granularity="run",
        **{name: getattr(he, name)[5:6] for name in ("lumisections", "events", "assessed", "observed", "expected")},
        **{name: getattr(he, name)[5:6] for name in ("score", "states")},
    )
    assert check_file(publish(replace(strip_verdict, verdicts=(total,)), tmp_path)) == ()
    assert check_file(publish(RunVerdict(small_run.maps(), (total,)), tmp_path)) == ()


def test_publishing_again_replaces_the_file(verdict, tmp_path):
    first = publish(verdict, tmp_path).stat().st_size
    assert publish(verdict, tmp_path).stat().st_size == first
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_a_gui_would_refuse_is_not_published(verdict, tmp_path, monkeypatch):
    def spoiled(run, provenance, **options):
        elements = monitor_elements(run, provenance, **options)
        return replace(elements, scalars=(*elements.scalars, Scalar("Hcal/HcalADClient/EventInfo/x", float("nan"))))

    monkeypatch.setattr(publishing, "monitor_elements", spoiled)
    with pytest.raises(OutputError, match="should hold a finite number"):
        publish(verdict, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_production_s_names_on_request_and_only_then(verdict, tmp_path):
    provenance = replace(provenance_of_run(verdict), options={"as_hcalmltask": True})
    path = publish(verdict, tmp_path / "asked", as_production=True, provenance=provenance)
    assert check_file(path) == ()
    with pytest.raises(OutputError, match="takes the place of CMSSW's own HcalMLTask"):
        publish(verdict, tmp_path / "not", as_production=True)


def test_what_is_published_goes_beside_production_s_task(verdict, tmp_path):
    """An online file that holds CMSSW's HcalMLTask already."""
    ROOT = pytest.importorskip("ROOT")
    source = tmp_path / "DQM_V0001_Hcal_R000370101.root"
    file = ROOT.TFile(str(source), "RECREATE")
    file.mkdir("DQMData/Run 370101/Hcal/Run summary/HcalMLTask/MLBadFlagedChannelsvsLS/Subdet").cd()
    production = ROOT.TH1D("HE", "HE", 4000, 1, 4001)
    production.GetXaxis().SetTitle("LS")
    production.Write()
    file.Close()
    path = publish(verdict, tmp_path / "out", attach_to=source)
    assert check_file(path) == ()
    file = ROOT.TFile.Open(str(path))
    assert (
        file.Get("DQMData/Run 370101/Hcal/Run summary/HcalMLTask/MLBadFlagedChannelsvsLS/Subdet/HE").GetNbinsX() == 4000
    )
    assert file.Get("DQMData/Run 370101/Hcal/Run summary/HcalADClient/StateSummary/FaultList")
    file.Close()


def test_a_folder_that_cannot_be_written_is_an_output_error(verdict, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        publish(verdict, tmp_path / "file")


def test_size_of_what_is_published_is_modest(verdict):
    elements = monitor_elements(verdict).elements
    assert sum(element.histogram.values(flow=True).size for element in elements) * 4 < 3e6
