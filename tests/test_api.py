"""What Python users call: names, paths and things alike, one or several; arrays that cannot be changed by accident."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import hcal_root_ad
from hcal_root_ad.api import certify_run, compare_run, inspect_file, judge_run, read_lumi_maps, transfer
from hcal_root_ad.certify.policy import load_policy
from hcal_root_ad.errors import HcalRootAdError, NoHcalError
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model
from hcal_root_ad.publish.published_run import PublishedRun
from hcal_root_ad.publish.saved_verdict import record_of
from hcal_root_ad.references import load_reference

CLEAN = Path(__file__).parents[1] / "reference_runs" / "clean"


@pytest.fixture(scope="module")
def maps() -> LumiMaps:
    (maps,) = read_lumi_maps(CLEAN)
    return maps


def test_paths_are_texts_or_paths_one_or_several(maps: LumiMaps) -> None:
    (file,) = CLEAN.glob("*.root")
    for paths in (str(file), file, [file], [str(CLEAN)]):
        (again,) = read_lumi_maps(paths)
        np.testing.assert_array_equal(again.counts, maps.counts)


@pytest.mark.usefixtures("own_models")
def test_models_are_names_folders_or_models_one_or_several(
    clean_run: LumiMaps, models: Mapping[str, Model], model_path: Path
) -> None:
    few = clean_run.loc[1:6]
    expected = judge_run(few, [models["HE"]]).verdicts[0]
    folder = model_path / "models" / "he-graphstad"
    for given in (models["HE"], "he-graphstad", folder, str(folder), [folder], ["he-graphstad"]):
        (verdict,) = judge_run(few, given).verdicts
        np.testing.assert_array_equal(verdict.score, expected.score)
    assert [one.subdetector for one in judge_run(few).verdicts] == ["HB", "HE", "HO", "HF"]
    with pytest.raises(HcalRootAdError, match="are both models for HE"):
        judge_run(few, [models["HE"], "he-graphstad"])


@pytest.mark.usefixtures("own_models")
def test_arrays_that_come_out_are_read_only(maps: LumiMaps) -> None:
    verdict = judge_run(maps.loc[1:6], "he-graphstad").verdicts[0]
    for array in (maps.counts, maps.events, verdict.states, verdict.score, verdict.observed, verdict.expected):
        with pytest.raises((ValueError, TypeError), match=r"read-only|does not support item assignment"):
            array[0] = 0


@pytest.mark.usefixtures("own_models")
def test_references_and_policies_by_name_and_as_they_are(maps: LumiMaps, clean_run: LumiMaps) -> None:
    assert compare_run(maps, "clean").drift == compare_run(maps, load_reference("clean")).drift
    verdict = judge_run(clean_run)
    policy = Path(__file__).parents[1] / "policies" / "standard.toml"
    answers = [
        certify_run(verdict).good(),
        certify_run(record_of(verdict), "standard").good(),
        certify_run(verdict, policy).good(),
        certify_run(verdict, load_policy("standard")).good(),
    ]
    assert answers == [[(1, 60)]] * 4


@pytest.mark.usefixtures("own_models")
def test_a_model_is_adapted_by_name_to_a_single_run(clean_run: LumiMaps, tmp_path: Path) -> None:
    model = transfer("hf", clean_run.loc[1:10], tmp_path / "my-hf")
    assert (model.name, model.subdetector) == ("my-hf", "HF")


def test_a_file_of_ours_says_what_it_holds(published: Path, tmp_path: Path) -> None:
    found = inspect_file(published)
    assert isinstance(found, PublishedRun)
    assert "trust         adapted model" in str(found)
    assert "Hcal/HcalADClient/StateSummary/FaultList" in str(found)
    (tmp_path / "other.root").write_bytes(b"root" + b"\0" * 100)
    with pytest.raises(HcalRootAdError):
        inspect_file(tmp_path / "other.root")


def test_another_file_without_hcal_is_refused_as_before(tmp_path: Path) -> None:
    import uproot

    with uproot.recreate(tmp_path / "empty.root") as file:
        file["DQMData/Run 370101/Ecal/Run summary/x"] = np.histogram([1.0])
    with pytest.raises(NoHcalError):
        inspect_file(tmp_path / "empty.root")


def test_the_package_knows_its_version() -> None:
    from importlib.metadata import version

    assert hcal_root_ad.__version__ == version("hcal-root-ad")
