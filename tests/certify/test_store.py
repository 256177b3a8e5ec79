"""What belongs together, what an item is known by, and what stays done until something asks for it again."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.certify.campaign import judging_with
from hcal_root_ad.certify.store import (
    CampaignJudging,
    Failure,
    Item,
    ItemResult,
    JudgedRun,
    ModelPlace,
    Store,
    SurveyedFile,
    items_of,
    result_of_table,
)
from hcal_root_ad.conditions import OmsRun, RunConditions
from hcal_root_ad.errors import InputError, ModelError, OutputError, UsageError
from hcal_root_ad.mask import Mask
from hcal_root_ad.oms import NO_STABLE_BEAMS

JUDGING = CampaignJudging((ModelPlace("/models/he", "d1"),), 0.5)
A = SurveyedFile("/data/a.root", 1, 1, "aa", (1,))
B = SurveyedFile("/data/b.root", 1, 1, "bb", (1,))
C = SurveyedFile("/data/c.root", 1, 1, "cc", (2, 3))
D = SurveyedFile("/data/d.root", 1, 1, "dd", (3, 4))
BROKEN = SurveyedFile("/data/e.root", 1, 1, problem="The file is empty.")


def items(
    *files: SurveyedFile, judging: CampaignJudging = JUDGING, conditions: RunConditions | None = None
) -> tuple[Item, ...]:
    return items_of(files, judging, lambda _: conditions or RunConditions())


def identity(*files: SurveyedFile, judging: CampaignJudging = JUDGING, conditions: RunConditions | None = None) -> str:
    (item,) = items(*files, judging=judging, conditions=conditions)
    return item.identity


def test_files_that_share_runs_are_one_item() -> None:
    found = items(D, A, BROKEN, C, B)
    assert [(item.runs, [file.digest for file in item.files]) for item in found] == [
        ((1,), ["aa", "bb"]),
        ((2, 3, 4), ["cc", "dd"]),
    ]


def test_a_file_that_joins_two_groups_makes_them_one() -> None:
    joining = SurveyedFile("/data/f.root", 1, 1, "ab", (1, 4))
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
    assert result_of_table(json.loads(json.dumps(asdict(result)))) == result


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


FILE = SurveyedFile("/data/a.root", 1, 1, "aa", (1, 2))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "campaign")


def item(identity: str, *runs: int) -> Item:
    return Item(identity, (FILE,), runs, {})


def done(store: Store, identity: str, *runs: int, failures: tuple[Failure, ...] = ()) -> ItemResult:
    """An item that was judged: its files, then its marker."""
    judged = []
    for run in runs:
        for path in (store.record(run), store.flags(run), store.folder / "root" / f"{run}.root"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        judged.append(JudgedRun(run, 10, 0, f"{run}.root"))
    result = ItemResult(identity, (FILE,), tuple(judged), failures)
    store.keep(result)
    return result


def test_a_done_item_is_found_by_its_identity(store: Store) -> None:
    result = done(store, "x", 1, 2)
    assert store.result(item("x", 1, 2)) == result
    assert store.result(item("y", 1, 2)) is None
    assert store.campaign().items == (result,)


@pytest.mark.parametrize("lost", ["records/R2.verdict.npz", "records/R1.flags.parquet", "root/2.root"])
def test_an_item_that_lost_a_file_is_not_done(store: Store, lost: str) -> None:
    done(store, "x", 1, 2)
    (store.folder / lost).unlink()
    assert store.result(item("x", 1, 2)) is None
    assert store.campaign().items == ()


def test_an_item_whose_run_another_one_wrote_since_is_not_done(store: Store) -> None:
    done(store, "x", 1, 2)
    latest = done(store, "y", 2)
    assert store.result(item("x", 1, 2)) is None
    assert store.campaign().items == (latest,)


def test_a_root_file_under_an_earlier_name_goes(store: Store) -> None:
    done(store, "x", 1)
    (store.folder / "root" / "1.root").rename(store.folder / "root" / "other.root")
    store.keep(ItemResult("y", (FILE,), (JudgedRun(1, 10, 0, "other.root"),)))
    done(store, "z", 1)
    assert [path.name for path in (store.folder / "root").iterdir()] == ["1.root"]


def test_what_failed_stays_failed_until_it_is_tried_again(store: Store) -> None:
    result = ItemResult("x", (FILE,), failures=(Failure(FILE.path, "damaged"),))
    store.records.mkdir(parents=True)
    store.keep(result)
    assert store.result(item("x", 1, 2)) == result
    assert store.result(item("x", 1, 2), retry_failed=True) is None
    assert store.campaign().items == ()
    assert done(store, "x", 1, 2) == store.result(item("x", 1, 2), retry_failed=True)


def test_a_part_that_failed_is_tried_again_with_the_rest(store: Store) -> None:
    result = done(store, "x", 1, failures=(Failure(FILE.path, "damaged"),))
    assert store.result(item("x", 1, 2)) == result
    assert store.result(item("x", 1, 2), retry_failed=True) is None


def test_one_campaign_at_a_time_and_leftovers_go(store: Store) -> None:
    left = store.records / ".partial-of-a-killed-one"
    left.mkdir(parents=True)
    with store.alone(print):
        assert not left.exists()
        with pytest.raises(OutputError, match="Another certify works in"), Store(store.folder).alone(print):
            pass
    with store.alone(print):
        pass


def test_conditions_are_kept_where_there_are_some(store: Store) -> None:
    store.keep_conditions(1, RunConditions())
    assert not store.records.exists()
    assert not store.conditions(1).exist
    oms = OmsRun(np.array([1, 2], dtype=np.int32), ("", "no stable beams"), *np.ones((3, 2)))
    store.keep_conditions(1, RunConditions(oms))
    assert store.conditions(1).standby(np.array([1, 2], dtype=np.int32)) == ["", "no stable beams"]
    store.keep_conditions(1, RunConditions())
    assert not store.conditions(1).exist


def test_an_unknown_run_names_those_that_there_are(store: Store) -> None:
    done(store, "x", 1)
    assert store.stored_record(1) == store.record(1)
    with pytest.raises(InputError, match="holds no record of run 7; it has R1"):
        store.stored_record(7)
