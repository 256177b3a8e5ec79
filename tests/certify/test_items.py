"""What belongs together, and what an item is known by."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from hcal_root_ad.certify.conditions import NO_STABLE_BEAMS, OmsRun, RunConditions
from hcal_root_ad.certify.items import (
    CampaignJudging,
    Failure,
    Item,
    ItemResult,
    JudgedRun,
    ModelPlace,
    items_of,
    judging_with,
    result_of_table,
)
from hcal_root_ad.certify.survey import Surveyed
from hcal_root_ad.errors import ModelError, UsageError
from hcal_root_ad.mask import Mask

JUDGING = CampaignJudging((ModelPlace("/models/he", "d1"),), 0.5)
A = Surveyed("/data/a.root", 1, 1, "aa", (1,))
B = Surveyed("/data/b.root", 1, 1, "bb", (1,))
C = Surveyed("/data/c.root", 1, 1, "cc", (2, 3))
D = Surveyed("/data/d.root", 1, 1, "dd", (3, 4))
BROKEN = Surveyed("/data/e.root", 1, 1, problem="The file is empty.")


def items(
    *files: Surveyed, judging: CampaignJudging = JUDGING, conditions: RunConditions | None = None
) -> tuple[Item, ...]:
    return items_of(files, judging, lambda _: conditions or RunConditions())


def identity(*files: Surveyed, judging: CampaignJudging = JUDGING, conditions: RunConditions | None = None) -> str:
    (item,) = items(*files, judging=judging, conditions=conditions)
    return item.identity


def test_files_that_share_runs_are_one_item() -> None:
    found = items(D, A, BROKEN, C, B)
    assert [(item.runs, [file.digest for file in item.files]) for item in found] == [
        ((1,), ["aa", "bb"]),
        ((2, 3, 4), ["cc", "dd"]),
    ]


def test_a_file_that_joins_two_groups_makes_them_one() -> None:
    joining = Surveyed("/data/f.root", 1, 1, "ab", (1, 4))
    (item,) = items(A, D, C, joining)
    assert item.runs == (1, 2, 3, 4)


def test_neither_place_nor_order_nor_copies_matter() -> None:
    moved = replace(B, path="/elsewhere/x.root", changed=9)
    assert identity(A, B) == identity(moved, A) == identity(A, B, replace(A, path="/data/copy.root"))


def oms(*causes: str) -> RunConditions:
    return RunConditions(OmsRun(np.arange(1, len(causes) + 1, dtype=np.int32), causes, *np.zeros((3, len(causes)))))


def test_content_models_false_alarms_references_and_what_is_left_out_matter() -> None:
    other_model = CampaignJudging((ModelPlace("/models/he", "d2"),), 0.5)
    found = {
        identity(A),
        identity(A, B),
        identity(A, judging=other_model),
        identity(A, judging=replace(JUDGING, false_alarms=1.0)),
        identity(A, judging=replace(JUDGING, references="another catalogue")),
        identity(A, judging=replace(JUDGING, without_reference=True)),
        identity(A, judging=replace(JUDGING, mask=Mask("known.toml", "ab12", ()))),
        identity(A, conditions=oms("", NO_STABLE_BEAMS)),
        identity(A, conditions=RunConditions(selected=((1, 1),))),
    }
    assert len(found) == 9


def test_where_a_model_lies_does_not_matter() -> None:
    assert identity(A) == identity(A, judging=CampaignJudging((ModelPlace("/copy/he", "d1"),), 0.5))


def test_a_result_comes_back_from_json() -> None:
    result = ItemResult("1234", (A, C), (JudgedRun(1, 50, 3, "a.root"),), (Failure("/data/c.root", "damaged"),))
    assert result_of_table(json.loads(json.dumps(result.as_table()))) == result


def test_shipped_models_by_name_have_their_digests() -> None:
    judging = judging_with(["he-graphstad", "hb-graphstad-from-he"], None)
    assert [model.folder.rsplit("/", 1)[-1] for model in judging.models] == ["hb-graphstad-from-he", "he-graphstad"]
    assert all(len(model.digest) == 64 for model in judging.models)
    assert judging_with(["hb-graphstad-from-he", "he-graphstad"], None) == judging
    every = judging_with(None, None)
    assert [model.folder.rsplit("/", 1)[-1] for model in every.models] == [
        "hb-graphstad-from-he", "he-graphstad", "hf", "ho",
    ]  # fmt: skip


def test_models_that_cannot_be_used() -> None:
    with pytest.raises(ModelError, match="both models for HE"):
        judging_with(["he-graphstad", "he-graphstad"], None)
    with pytest.raises(ModelError, match="no model 'none'"):
        judging_with(["none"], None)
    with pytest.raises(UsageError, match="choose a number above 0 and up to 50"):
        judging_with(["he-graphstad"], 1e9)
