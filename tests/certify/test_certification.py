"""Policies on records, with numbers one can do by hand: 36 boxes of 252 channels in HB, 36 of 188 in HE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hcal_root_ad.certify.certification import (
    BAD_CHANNELS,
    HCAL,
    LOST_RBX,
    NO_MODEL,
    NOT_ASSESSED,
    NOT_IN_FILES,
    NOT_IN_OMS,
    NOT_JUDGED,
    NOT_TRUSTED,
    PROBLEMATIC_CHANNELS,
    RunCertification,
    certify_run,
)
from hcal_root_ad.certify.policy import Policy, Rules, Untrusted
from hcal_root_ad.conditions import OmsRun, RunConditions
from hcal_root_ad.judge.verdict import Trust
from hcal_root_ad.oms import NO_STABLE_BEAMS
from hcal_root_ad.publish.saved_verdict import PartRecord, RunRecord

MakeRecord = Callable[..., RunRecord]
HEP07, HBP09 = 3 * 18 + 6, 1 * 18 + 8


def with_rules(policy: Policy, **changes: float) -> Policy:
    return replace(policy, rules={name: replace(rules, **changes) for name, rules in policy.rules.items()})


def letters(run: RunCertification, of: str = HCAL) -> str:
    """One letter per LS: G, B, S (standby), N (not set)."""
    return "".join(ruling.status[0] for ruling in run.flags[of])


def test_a_dead_box_is_bad_in_its_lumisections_only(dead_box: RunRecord, policy: Policy) -> None:
    run = certify_run(dead_box, policy)
    assert letters(run) == "GGGBBBGNNGGG"
    assert letters(run, "HB") == "GGGGGGGNNGGG"
    assert run.good() == [(1, 3), (7, 7), (10, 12)]
    assert run.flags["HE"][3].cause == LOST_RBX
    assert run.flags[HCAL][3].cause == f"HE: {LOST_RBX}"
    assert run.flags[HCAL][7].cause == NOT_ASSESSED
    assert run.flags[HCAL][8].cause == NOT_IN_FILES


@pytest.mark.parametrize(("bad", "expected"), [(188 * 3 // 4, "B"), (188 * 3 // 4 - 1, "G")])
def test_a_box_is_lost_from_three_quarters_on(make_record: MakeRecord, policy: Policy, bad: int, expected: str) -> None:
    """141 of 188 channels; they are 2.08 % of HE, so the other rule is set aside."""
    run = certify_run(make_record(1, {(1, HEP07): bad}), with_rules(policy, bad_channels=1.0, problematic_channels=1.0))
    assert letters(run) == expected


@pytest.mark.parametrize(("bad", "expected"), [(181, "G"), (182, "B")])
def test_more_than_two_percent_bad(make_record: MakeRecord, policy: Policy, bad: int, expected: str) -> None:
    """2 % of HB's 9072 channels are 181.44; in two boxes, so that none is lost."""
    run = certify_run(make_record(1, {(1, 0): 100, (1, 1): bad - 100}), policy)
    assert letters(run) == expected
    assert run.flags["HB"][0].cause == (BAD_CHANNELS if expected == "B" else "")


@pytest.mark.parametrize(("problematic", "expected"), [(338, "G"), (339, "B")])
def test_problematic_counts_the_bad_ones_too(
    make_record: MakeRecord, policy: Policy, problematic: int, expected: str
) -> None:
    """5 % of HE's 6768 channels are 338.4."""
    counts = {(1, 40): 150, (1, 41): problematic - 250}
    run = certify_run(make_record(1, {(1, 42): 100}, counts), policy)
    assert letters(run, "HE") == expected
    assert run.flags["HE"][0].cause == (PROBLEMATIC_CHANNELS if expected == "B" else "")


def test_lost_rbx_may_be_allowed(make_record: MakeRecord, policy: Policy) -> None:
    patient = with_rules(policy, lost_rbx=1, bad_channels=1.0, problematic_channels=1.0)
    one, two = {(1, HEP07): 188}, {(1, HEP07): 188, (1, 40): 188}
    assert [letters(certify_run(make_record(1, bad), patient)) for bad in (one, two)] == ["G", "B"]


def test_any_lost_rbx_is_bad_in_a_single_lumisection(make_record: MakeRecord, policy: Policy) -> None:
    """Patience with everything else holds on: a tenth of HE bad in LS 3, HEP07 lost in LS 5."""
    many = {(3, box): 40 for box in range(40, 57)}
    record = make_record(6, {**many, (5, HEP07): 188})
    patient = with_rules(policy, lost_rbx=3, consecutive=4)
    assert letters(certify_run(record, patient)) == "GGGGGG"
    run = certify_run(record, with_rules(policy, lost_rbx=3, consecutive=4, any_lost_rbx=True))
    assert letters(run) == "GGGGBG"
    assert run.flags["HE"][4].cause == LOST_RBX


def test_fewer_in_a_row_than_asked_are_good_and_a_gap_in_the_assessment_interrupts_nothing(
    make_record: MakeRecord, policy: Policy
) -> None:
    record = make_record(9, {(ls, HEP07): 188 for ls in (2, 4, 6, 7, 8)}, unassessed=(5,), without=(3,))
    assert letters(certify_run(record, with_rules(policy, consecutive=1))) == "GBNBNBBBG"
    assert letters(certify_run(record, with_rules(policy, consecutive=2))) == "GBNBNBBBG"  # 2 4 6 7 8 stand in a row
    assert letters(certify_run(record, with_rules(policy, consecutive=6))) == "GGNGNGGGG"


def test_rules_of_one_subdetector_do_not_touch_the_other(make_record: MakeRecord, policy: Policy) -> None:
    lenient = Rules(1.0, 1.0, 1.0, 72, 1)
    record = make_record(1, {(1, HEP07): 188, (1, HBP09): 252})
    run = certify_run(record, replace(policy, rules={**policy.rules, "HE": lenient}))
    assert (letters(run, "HB"), letters(run, "HE"), letters(run)) == ("B", "G", "B")


def test_a_subdetector_that_is_not_needed_does_not_count(dead_box: RunRecord, policy: Policy) -> None:
    run = certify_run(dead_box, replace(policy, needed=("HB",)))
    assert letters(run) == letters(run, "HB") == "GGGGGGGNNGGG"


def test_a_subdetector_without_a_verdict_is_not_good(dead_box: RunRecord, policy: Policy) -> None:
    run = certify_run(replace(dead_box, parts=dead_box.parts[:1]), policy)
    assert letters(run, "HB").startswith("G")
    assert letters(run) == "N" * 12
    assert run.flags[HCAL][0].cause == f"HE: {NOT_JUDGED}"
    assert certify_run(replace(dead_box, parts=()), policy).good() == []


def test_standby_is_nobodys_fault_and_goes_before_what_was_judged(dead_box: RunRecord, policy: Policy) -> None:
    lumisections = np.arange(0, 13, dtype=np.int32)[1:]
    causes = tuple(NO_STABLE_BEAMS if ls in (1, 4, 8) else "" for ls in lumisections.tolist())
    oms = OmsRun(lumisections, causes, *np.zeros((3, 12)))
    run = certify_run(dead_box, policy, RunConditions(oms))
    assert letters(run) == "SGGSBBGSNGGG"
    assert run.flags[HCAL][0].cause == NO_STABLE_BEAMS


def test_what_oms_knows_and_the_file_lacks_is_told(make_record: MakeRecord, policy: Policy) -> None:
    oms = OmsRun(np.array([2, 3, 4, 5], dtype=np.int32), ("", "", "", NO_STABLE_BEAMS), *np.zeros((3, 4)))
    run = certify_run(make_record(3), policy, RunConditions(oms))
    assert run.lumisections.tolist() == [1, 2, 3, 4, 5]
    assert letters(run) == "NGGNS"
    assert [run.flags[HCAL][row].cause for row in (0, 3)] == [NOT_IN_OMS, NOT_IN_FILES]


def test_a_run_without_lumisections_has_no_ruling(dead_box: RunRecord, policy: Policy) -> None:
    nothing = np.zeros(0, dtype=np.int64)
    record = replace(dead_box, lumisections=nothing.astype(np.int32), events=nothing, parts=())
    run = certify_run(record, policy)
    assert (len(run.lumisections), run.good(), list(run.stretches())) == (0, [], [])
    oms = OmsRun(np.array([2], dtype=np.int32), ("",), *np.zeros((3, 1)))
    assert letters(certify_run(record, policy, RunConditions(oms))) == "N"


def test_totals_of_the_run_stand_for_all_its_lumisections(make_record: MakeRecord, policy: Policy) -> None:
    whole = [replace(part, granularity="run") for part in make_record(1, {(1, HEP07): 188}).parts]
    record = replace(make_record(4), parts=tuple(whole))
    assert letters(certify_run(record, policy)) == "BBBB"
    assert letters(certify_run(record, policy), "HB") == "GGGG"


def test_strips_decide_with_the_totals(
    make_record: MakeRecord, make_strips: Callable[..., PartRecord], policy: Policy
) -> None:
    """288 strips, four to a box: HB is good in its totals, HBP09 dark in LS 2, LS 4 without events."""
    strips = make_strips(4, {(2, HBP09): 4}, unassessed=(4,))
    whole = [replace(part, granularity="run") for part in make_record(1).parts]
    run = certify_run(replace(make_record(4), parts=(*whole, strips)), policy)
    assert letters(run, "HB") == "GBGN"
    assert letters(run, "HE") == "GGGN"


def with_trust(record: RunRecord, name: str, trust: Trust) -> RunRecord:
    parts = (replace(part, trust=trust) if part.name == name else part for part in record.parts)
    return replace(record, parts=tuple(parts))


@pytest.mark.parametrize("trust", [Trust.OTHER_PERIOD, Trust.NONE])
@pytest.mark.parametrize("name", ["HB", "HE"])
def test_a_verdict_that_is_not_trusted_makes_nothing_good_or_bad(
    dead_box: RunRecord, policy: Policy, name: str, trust: Trust
) -> None:
    run = certify_run(with_trust(dead_box, name, trust), policy)
    assert letters(run, name) == "N" * 12
    assert run.good() == run.good(name) == []
    assert run.flags[name][0].cause == f"{NOT_TRUSTED} ({trust})"
    assert run.flags[HCAL][0].cause == f"{name}: {NOT_TRUSTED} ({trust})"
    assert run.untrusted == {name: str(trust)}


@pytest.mark.parametrize("trust", [Trust.ADAPTED, Trust.REFERENCE_RUN])
def test_a_trusted_verdict_decides(dead_box: RunRecord, policy: Policy, trust: Trust) -> None:
    run = certify_run(with_trust(dead_box, "HE", trust), policy)
    assert letters(run) == "GGGBBBGNNGGG"
    assert run.untrusted == {}


def test_a_policy_may_let_the_rules_decide_all_the_same(dead_box: RunRecord, policy: Policy) -> None:
    doubtful = with_trust(dead_box, "HE", Trust.OTHER_PERIOD)
    run = certify_run(doubtful, replace(policy, untrusted=Untrusted.JUDGE))
    assert letters(run) == "GGGBBBGNNGGG"
    assert run.untrusted == {"HE": "model of another period"}


def test_standby_goes_before_a_doubt_and_what_is_missing_too(dead_box: RunRecord, policy: Policy) -> None:
    lumisections = np.arange(1, 13, dtype=np.int32)
    oms = OmsRun(lumisections, (NO_STABLE_BEAMS, *[""] * 11), *np.zeros((3, 12)))
    run = certify_run(with_trust(dead_box, "HE", Trust.NONE), policy, RunConditions(oms))
    assert letters(run) == "S" + "N" * 11
    assert run.flags["HE"][8].cause == NOT_IN_FILES


def test_strips_are_trusted_no_further_than_they_say(
    make_record: MakeRecord, make_strips: Callable[..., PartRecord], policy: Policy
) -> None:
    whole = [replace(part, granularity="run") for part in make_record(1).parts]
    strips = replace(make_strips(4, {}), trust=Trust.NONE)
    run = certify_run(replace(make_record(4), parts=(*whole, strips)), policy)
    assert letters(run, "HB") == letters(run, "HE") == letters(run) == "NNNN"


MakeOuter = Callable[..., PartRecord]


def with_part(record: RunRecord, part: PartRecord) -> RunRecord:
    return replace(record, parts=(*record.parts, part))


def test_hf_counts_where_it_was_judged_and_holds_nothing_up_where_not(
    make_record: MakeRecord, make_outer: MakeOuter, policy: Policy
) -> None:
    """2 % of HF's 3456 channels are 69.12; LS 3 of HF has too few events."""
    record = make_record(4)
    assert letters(certify_run(record, policy)) == "GGGG"
    assert letters(certify_run(record, policy), "HF") == "NNNN"
    run = certify_run(with_part(record, make_outer("HF", 4, {(1, 0): 70, (2, 1): 69}, unassessed=(3,))), policy)
    assert letters(run, "HF") == "BGNG"
    assert letters(run) == "BGGG"
    assert run.flags[HCAL][0].cause == f"HF: {BAD_CHANNELS}"


def test_hf_that_is_in_the_files_but_has_no_model_is_no_reason_to_call_it_good(
    make_record: MakeRecord, policy: Policy
) -> None:
    run = certify_run(replace(make_record(), unjudged=("HF",)), policy)
    assert set(letters(run)) == {"N"}
    assert run.flags[HCAL][0].cause == f"HF: {NO_MODEL}"
    unused = certify_run(replace(make_record(), unjudged=("HO",)), policy)
    assert set(letters(unused)) == {"G"}
    assert unused.flags["HO"][0].cause == NO_MODEL


def test_hf_that_was_judged_but_is_not_trusted_is_a_doubt(
    make_record: MakeRecord, make_outer: MakeOuter, policy: Policy
) -> None:
    doubtful = replace(make_outer("HF", 2), trust=Trust.OTHER_PERIOD)
    assert letters(certify_run(with_part(make_record(2), doubtful), policy)) == "NN"


def test_ho_has_a_status_of_its_own_and_counts_only_by_a_policy_that_says_so(
    make_record: MakeRecord, make_outer: MakeOuter, policy: Policy
) -> None:
    """Three of five boxes are more than the two that may be lost."""
    record = with_part(make_record(2), make_outer("HO", 2, {(1, 0): 432, (1, 1): 432, (1, 3): 432}))
    run = certify_run(record, policy)
    assert (letters(run, "HO"), letters(run)) == ("BG", "GG")
    assert run.flags["HO"][0].cause == LOST_RBX
    assert run.counts["HO"][0].lost_names(policy.rules["HO"], slice(0, 1)) == ["HO001", "HO002", "HO1M02"]
    assert letters(certify_run(record, replace(policy, counted=("HF", "HO")))) == "BG"
    assert certify_run(record, replace(policy, needed=("HB", "HE", "HF"))).good() == []


def test_stretches_cover_every_lumisection_once(dead_box: RunRecord, policy: Policy) -> None:
    run = certify_run(dead_box, policy)
    covered = [ls for first, last, _ in run.stretches() for ls in range(first, last + 1)]
    assert covered == run.lumisections.tolist()
    assert [(first, last) for first, last, _ in run.stretches()] == [(1, 3), (4, 6), (7, 7), (8, 8), (9, 9), (10, 12)]
