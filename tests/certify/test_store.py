"""What is done stays done until other files, bundles or conditions ask for it anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.certify.conditions import OmsRun, RunConditions
from hcal_root_ad.certify.items import Failure, Item, ItemResult, JudgedRun
from hcal_root_ad.certify.store import Store, known_run
from hcal_root_ad.certify.survey import Surveyed
from hcal_root_ad.errors import InputError, OutputError

FILE = Surveyed("/data/a.root", 1, 1, "aa", (1, 2))


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
    assert store.results() == (result,)


@pytest.mark.parametrize("lost", ["records/R2.verdict.npz", "records/R1.flags.parquet", "root/2.root"])
def test_an_item_that_lost_a_file_is_not_done(store: Store, lost: str) -> None:
    done(store, "x", 1, 2)
    (store.folder / lost).unlink()
    assert store.result(item("x", 1, 2)) is None
    assert store.results() == ()


def test_an_item_whose_run_another_one_wrote_since_is_not_done(store: Store) -> None:
    done(store, "x", 1, 2)
    latest = done(store, "y", 2)
    assert store.result(item("x", 1, 2)) is None
    assert store.results() == (latest,)


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
    assert store.results() == ()
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
    assert not store.conditions(1).given
    oms = OmsRun(np.array([1, 2], dtype=np.int32), ("", "no stable beams"), *np.ones((3, 2)))
    store.keep_conditions(1, RunConditions(oms))
    assert store.conditions(1).standby(np.array([1, 2], dtype=np.int32)) == ["", "no stable beams"]
    store.keep_conditions(1, RunConditions())
    assert not store.conditions(1).given


def test_an_unknown_run_names_those_that_there_are(store: Store) -> None:
    done(store, "x", 1)
    assert known_run(store, 1) == store.record(1)
    with pytest.raises(InputError, match="holds no record of run 7; it has R1"):
        known_run(store, 7)
