"""Which lumisections are on standby, and what is known of the others."""

from __future__ import annotations

import json

import numpy as np

from hcal_root_ad.certify.conditions import (
    NO_STABLE_BEAMS,
    NOT_SELECTED,
    Conditions,
    OmsRun,
    RunConditions,
    conditions_of_table,
)

LS = np.arange(1, 6, dtype=np.int32)
OMS = OmsRun(
    np.array([1, 2, 4], dtype=np.int32), (NO_STABLE_BEAMS, "", ""), np.array([0.0, 50.0, np.nan]), *np.zeros((2, 3))
)


def test_nothing_given_leaves_all_open() -> None:
    assert RunConditions().standby(LS) == [""] * 5
    assert not RunConditions().unknown(LS).any()
    assert not RunConditions().given


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
