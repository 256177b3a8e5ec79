import pytest

from hcal_root_ad.errors import OutputError
from hcal_root_ad.publish.gui_rules import name_complaints, offline_name, online_name, run_of_name


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("", "DQM_V0001_R000370101__HcalAD__Run3-HcalRootAd-v1__DQMIO.root"),
        ("nanodqmio.root", "DQM_V0001_R000370101__HcalAD__Run3-HcalRootAd-v1__DQMIO.root"),
        (
            "DQM_V0001_R000370101__ZeroBias__Run2023C-PromptReco-v1__DQMIO.root",
            "DQM_V0001_R000370101__ZeroBias__Run2023C-PromptReco_HcalAD-v1__DQMIO.root",
        ),
        (
            "DQM_V0001_R000370101__JetHT__Run2017F-v1__DQMIO_L000000004.root",
            "DQM_V0001_R000370101__JetHT__Run2017F_HcalAD-v1__DQMIO.root",
        ),
        (
            "DQM_V0001_R000370101__JetHT__Express__DQMIO.root",
            "DQM_V0001_R000370101__JetHT__Express_HcalAD__DQMIO.root",
        ),
    ],
)
def test_offline_name_takes_the_dataset_but_never_the_name_of_the_input(source, name):
    assert offline_name(370101, source) == name
    assert name != source
    assert run_of_name(name) == 370101


def test_default_dataset_names_the_era():
    assert "__Run2017-HcalRootAd-v1__" in offline_name(306138)


def test_our_own_file_keeps_its_name_when_it_is_judged_again():
    name = offline_name(370101)
    assert offline_name(370101, name) == name


def test_online_name():
    assert online_name(370101) == "DQM_V0001_HcalAD_R000370101.root"
    with pytest.raises(OutputError, match="letters and digits"):
        online_name(370101, tag="Hcal_ML")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("run.root", "is neither"),
        ("DQM_V0001_R000370101__A__B.root", "is neither"),
        ("DQM_V0001_Hcal_ML_R000370101.root", "is neither"),
        ("DQM_V0001_R000370101__A__B.x__C.root", "is neither"),
        ("DQM_V0001_R000370101__A__B__C.root.ls00000001_host_pid1", "is neither"),
        ("DQM_V0000_R000370101__A__B__C.root", "none of 0001 to 9999"),
        ("DQM_V0001_R370101__A__B__C.root", "6 digits"),
        ("DQM_V0001_Hcal_R000000001.root", "runs above 10000"),
        ("DQM_V0001_Hcal_R000010000.root", "runs above 10000"),
        ("DQM_V0001_R000370101__A__CMSSW_13_0_0-B-v1__DQMIO.root", "CMSSW release"),
    ],
)
def test_names_that_a_gui_would_refuse(name, sentence):
    assert any(sentence in found for found in name_complaints(name))


@pytest.mark.parametrize(
    "name",
    [
        "DQM_V0001_R000370101__RelValTTbar__CMSSW_13_0_0-PU-v1__DQMIO.root",
        "DQM_V0001_Hcal_R000370101.root",
        "DQM_V0001_Hcal_R000010001.root",
        "DQM_V0001_R000370101.root",
    ],
)
def test_names_that_a_gui_takes(name):
    assert not list(name_complaints(name))
