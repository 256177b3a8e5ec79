"""Conditions of runs: selections, and what is said of each lumisection."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad.conditions import (
    NOT_SELECTED,
    Conditions,
    OmsRun,
    RunConditions,
    conditions_of_table,
    golden_text,
    read_selection,
    selection_of,
)
from hcal_root_ad.errors import InputError
from hcal_root_ad.lumi_maps import ranges_of
from hcal_root_ad.oms import NO_STABLE_BEAMS

LS = np.arange(1, 6, dtype=np.int32)
OMS = OmsRun(
    np.array([1, 2, 4], dtype=np.int32), (NO_STABLE_BEAMS, "", ""), np.array([0.0, 50.0, np.nan]), *np.zeros((2, 3))
)


def test_nothing_given_leaves_all_open() -> None:
    assert RunConditions().standby(LS) == [""] * 5
    assert not RunConditions().unknown(LS).any()
    assert not RunConditions().exist


def test_oms_gives_causes_and_says_what_it_does_not_know() -> None:
    conditions = RunConditions(OMS)
    assert conditions.standby(LS) == [NO_STABLE_BEAMS, "", "", "", ""]
    assert conditions.unknown(LS).tolist() == [False, False, True, False, True]
    np.testing.assert_equal(conditions.quantity("pileup", LS), [0, 50, np.nan, np.nan, np.nan])


def test_a_selection_leaves_out_the_rest_after_oms_had_its_say() -> None:
    conditions = RunConditions(OMS, ((2, 3),))
    assert conditions.standby(LS) == [NO_STABLE_BEAMS, "", "", NOT_SELECTED, NOT_SELECTED]


def test_a_run_that_the_exports_lack() -> None:
    conditions = Conditions({7: OMS}, {7: [(1, 2)]}).of(8)
    assert conditions.unknown(LS).all()
    assert conditions.standby(LS) == [NOT_SELECTED] * 5
    assert np.isnan(conditions.quantity("pileup", LS)).all()


def test_a_table_gives_them_back() -> None:
    conditions = RunConditions(OMS, ((2, 3),))
    again = conditions_of_table(json.loads(json.dumps(conditions.as_table())))
    assert again.as_table() == conditions.as_table()
    np.testing.assert_equal(again.quantity("pileup", LS), conditions.quantity("pileup", LS))
    empty = conditions_of_table(json.loads(json.dumps(RunConditions().as_table())))
    assert (empty.oms, empty.selected) == (None, None)


def test_what_is_left_out_and_the_pileup_matter_to_the_judgement() -> None:
    brighter = OmsRun(OMS.lumisections, OMS.causes, OMS.pileup, OMS.delivered + 1, OMS.recorded)
    other = OmsRun(OMS.lumisections, OMS.causes, OMS.pileup + 1, OMS.delivered, OMS.recorded)
    judging = RunConditions(OMS).judging
    assert (judging["standby"], judging["selected"]) == ([(1, 1)], None)
    assert RunConditions(brighter).judging == judging
    assert RunConditions(other).judging != judging


SELECTIONS = st.dictionaries(
    st.integers(1, 400_000), st.sets(st.integers(1, 50), min_size=1).map(ranges_of), min_size=1
)


def test_runs_are_texts_in_order_and_empty_ones_left_out() -> None:
    text = golden_text({355456: [(1, 501), (503, 510)], 355100: [(2, 2)], 355200: []})
    assert text == '{"355100": [[2, 2]],\n "355456": [[1, 501], [503, 510]]}\n'
    assert json.loads(golden_text({})) == {}


@given(SELECTIONS)
def test_what_is_written_is_read_back(selection: dict[int, list[tuple[int, int]]]) -> None:
    assert selection_of(json.loads(golden_text(selection)), Path("dcs.json")) == selection


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[1]", "is no selection of lumisections"),
        ("{}", "is no selection of lumisections"),
        ('{"a": [[1, 2]]}', "says 'a' where a run number was expected"),
        ('{"1": [[2, 1]]}', r"has the range \[2, 1\] of run 1, which ends before it begins"),
        ('{"1": [[1, 2, 3]]}', "does not list run 1 as ranges"),
        ('{"1": [[0, 2]]}', "says 0 where a lumisection of run 1 was expected"),
        ('{"1": [[true, 2]]}', "says True where a lumisection of run 1 was expected"),
        ('{"1": [[1, 2.5]]}', "says 2.5 where a lumisection of run 1 was expected"),
        ('{"1": [["1", 2]]}', "says '1' where a lumisection of run 1 was expected"),
        ('{"²": [[1, 2]]}', "says '²' where a run number was expected"),
        ('{"1": [[1, 2]]', "cannot be read"),
        ('{"1": [[1, NaN]]}', "says NaN where a number was expected"),
        ('{"1": [[1, 2]], "1": [[3, 4]]}', "says '1' twice in one table"),
    ],
)
def test_other_forms_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "dcs.json"
    path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_selection(path)


def test_ranges_that_overlap_are_one(tmp_path: Path) -> None:
    path = tmp_path / "dcs.json"
    path.write_text('\ufeff{"1": [[4, 9], [1, 2],\r\n [2.0, 3], [11, 12]]}', encoding="utf-8")
    assert read_selection(path) == {1: [(1, 9), (11, 12)]}


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        read_selection(tmp_path / "dcs.json")
