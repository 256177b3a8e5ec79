"""What a worker says where something is wrong: always a sentence, never a fault of one file for all."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from hcal_root_ad.certify import work
from hcal_root_ad.certify.items import CampaignJudging, Item, ModelPlace
from hcal_root_ad.certify.survey import Surveyed
from hcal_root_ad.certify.work import _model, _sentence, do_item
from hcal_root_ad.detector import Era
from hcal_root_ad.errors import CatalogueError, InputError, ModelError, NoHcalError
from hcal_root_ad.judge.run import RunJudge
from hcal_root_ad.judge.verdict import RunVerdict
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.mask import Mask, MaskEntry
from hcal_root_ad.pipeline import Judging
from hcal_root_ad.provenance import Material
from hcal_root_ad.references.catalogue import Entry, NamedReference, catalogue_digest
from hcal_root_ad.simulate.conditions import simulate_conditions
from hcal_root_ad.simulate.detector import simulate_detector
from hcal_root_ad.simulate.run import simulate_run


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (InputError("a.root: expected this, found that."), "a.root: expected this, found that."),
        (OSError(28, "No space left on device", "out/a.root"), "out/a.root: No space left on device."),
        (ZeroDivisionError("division by zero"), "A fault of the program (ZeroDivisionError"),
        (OSError("odd"), "A fault of the program (OSError"),
    ],
)
def test_every_error_is_a_sentence(error: Exception, sentence: str) -> None:
    assert _sentence(error).startswith(sentence)


def test_a_model_that_changed_since_is_not_used() -> None:
    with pytest.raises(ModelError, match="another one here than where the campaign began"):
        _model(ModelPlace("he-graphstad", "00ff"))


def test_a_file_that_is_none_is_a_failure_of_its_item(tmp_path: Path) -> None:
    path = tmp_path / "no.root"
    path.write_text("no ROOT file")
    seen = Surveyed(str(path), 12, 0, "d", (370101,))
    result = do_item(Item("identity", (seen,), (370101,), {}), CampaignJudging(()), tmp_path)
    (failure,) = result.failures
    assert failure.file == str(path)
    assert "neither a ROOT nor a parquet file" in failure.sentence
    assert not result.runs


@pytest.fixture
def maps() -> LumiMaps:
    return simulate_run(simulate_detector(1), simulate_conditions(2, 1), seed=1).maps


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that asks for a reference run, and then finds nothing to judge."""
    flat = NamedReference(Entry("flat", Path(), (1,), Era.RUN3, "Occupancy", (), rates="r", sha256={"r": "ab"}), {})

    def judge(judging: Judging, maps: LumiMaps, **_: object) -> NoReturn:
        judging._reference(maps)
        raise NoHcalError("nothing to judge")

    monkeypatch.setattr(Judging, "judge", judge)
    monkeypatch.setattr(work, "fitting_reference", lambda _: flat)


@pytest.mark.usefixtures("asking")
def test_an_unknown_detector_may_be_held_against_a_reference_which_is_recorded(maps: LumiMaps) -> None:
    verdict, record, provenance = work._judge(maps, CampaignJudging((), None, catalogue_digest()), {})
    assert verdict is None
    assert Material("reference", "flat", "ab") in provenance.materials
    assert record.provenance == provenance


def test_what_is_masked_is_in_no_record_and_named_in_it(maps: LumiMaps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunJudge, "verdict", lambda _: RunVerdict(maps, ()))
    mask = Mask("known.toml", "ab12", (MaskEntry("no high voltage", units=("HEP07",)),))
    _, record, provenance = work._judge(maps, CampaignJudging((), mask=mask), {})
    assert record.masked == ("HEP07 (188 channels): no high voltage",)
    assert Material("mask", "known.toml", "ab12") in provenance.materials


@pytest.mark.usefixtures("asking")
def test_references_that_changed_since_are_not_used(maps: LumiMaps) -> None:
    with pytest.raises(CatalogueError, match="others than where the campaign began"):
        work._judge(maps, CampaignJudging((), None, "another catalogue"), {})
