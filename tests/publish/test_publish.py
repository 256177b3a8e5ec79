from dataclasses import replace

import pytest

from hcal_root_ad.errors import OutputError
from hcal_root_ad.judge.verdict import RunVerdict
from hcal_root_ad.publish import publish as publishing
from hcal_root_ad.publish.check import check_file
from hcal_root_ad.publish.elements import Scalar
from hcal_root_ad.publish.monitor_elements import monitor_elements
from hcal_root_ad.publish.publish import publish


def test_published_file_is_accepted_and_named_for_the_gui(published):
    assert published.name == "DQM_V0001_R000370101__HcalML__Run3-HcalRootAd-v1__DQMIO.root"
    assert check_file(published) == ()
    assert [path.name for path in published.parent.iterdir()] == [published.name]


def test_online_name_on_request(verdict, tmp_path):
    path = publish(verdict, tmp_path, online=True)
    assert path == tmp_path / "DQM_V0001_HcalML_R000370101.root"
    assert check_file(path) == ()


def test_dataset_of_the_input_is_kept_with_a_mark(small_run, tmp_path):
    maps = small_run.maps("DQM_V0001_R000370101__ZeroBias__Run2023C-PromptReco-v1__DQMIO.root")
    path = publish(RunVerdict(maps, (small_run.verdict("HE"),)), tmp_path)
    assert path.name == "DQM_V0001_R000370101__ZeroBias__Run2023C-PromptReco_HcalML-v1__DQMIO.root"


def test_strips_and_run_totals_are_accepted_too(strip_verdict, small_run, tmp_path):
    he = small_run.verdict("HE")
    total = replace(
        he,
        granularity="run",
        **{name: getattr(he, name)[5:6] for name in ("lumisections", "events", "assessed", "observed", "expected")},
        **{name: getattr(he, name)[5:6] for name in ("score", "states")},
    )
    assert check_file(publish(replace(strip_verdict, verdicts=(total,)), tmp_path)) == ()


def test_publishing_again_replaces_the_file(verdict, tmp_path):
    first = publish(verdict, tmp_path).stat().st_size
    assert publish(verdict, tmp_path).stat().st_size == first
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_a_gui_would_refuse_is_not_published(verdict, tmp_path, monkeypatch):
    def spoiled(run, provenance):
        elements = monitor_elements(run, provenance)
        return replace(elements, scalars=(*elements.scalars, Scalar("Hcal/HcalMLClient/EventInfo/x", float("nan"))))

    monkeypatch.setattr(publishing, "monitor_elements", spoiled)
    with pytest.raises(OutputError, match="should hold a finite number"):
        publish(verdict, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_an_output_error(verdict, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        publish(verdict, tmp_path / "file")


def test_size_of_what_is_published_is_modest(verdict):
    elements = monitor_elements(verdict).elements
    assert sum(element.histogram.values(flow=True).size for element in elements) * 4 < 3e6
