"""Words for rulings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hcal_root_ad.certify.certification import HCAL, certify_run, comment, explanation
from hcal_root_ad.certify.policy import Policy, Untrusted
from hcal_root_ad.conditions import OmsRun, RunConditions
from hcal_root_ad.errors import UsageError
from hcal_root_ad.judge.verdict import Trust
from hcal_root_ad.publish.saved_verdict import RunRecord

MakeRecord = Callable[..., RunRecord]


def test_the_comment_of_a_bad_range_has_numbers_box_and_policy(dead_box: RunRecord, policy: Policy) -> None:
    run = certify_run(dead_box, policy)
    expected = f"HE up to 2.8% bad, 2.8% problematic or bad, lost HEP07, strongest: HEP07 dead; policy {policy.label}"
    assert comment(run, HCAL, 4, 6) == comment(run, "HE", 4, 6) == expected
    assert comment(run, "HB", 4, 6) == comment(run, HCAL, 1, 3) == f"policy {policy.label}"


def test_many_lost_rbx_are_counted(make_record: MakeRecord, policy: Policy) -> None:
    run = certify_run(make_record(1, {(1, box): 252 for box in range(5)}), policy)
    assert "lost HBM01 HBM02 HBM03 and 2 more" in comment(run, HCAL, 1, 1)


def test_a_bad_lumisection_is_explained_rule_by_rule(dead_box: RunRecord, policy: Policy) -> None:
    text = "\n".join(explanation(certify_run(dead_box, policy), 5))
    assert text.startswith("Run 370101, LS 5: BAD (HE: lost RBX)\n")
    assert f"policy      {policy.label}: {policy.description}" in text
    assert "HB          GOOD" in text
    assert "✖ 2.78% of 6768 channels bad, at most 2.00% may be   ← broken: bad channels" in text
    assert "✔ 2.78% problematic or bad, at most 5.00% may be\n" in text
    assert "✖ 1 RBX lost: HEP07, none may be   ← broken: lost RBX" in text
    assert "✔ 0 RBX lost, none may be\n" in text
    assert "finding: HEP07 dead (RBX, 188 channels), LS 4–6, ×0, certain: 0 digis observed, 9000 expected" in text
    assert "he-graphstad 1 (HE, ab12cd34ef56), adapted model" in text
    assert "file        nanodqmio.root" in text


def test_a_doubt_is_said_with_its_reason_and_no_rule_decides(dead_box: RunRecord, policy: Policy) -> None:
    reason = "the channels of HE scatter 3.4 times as much as the model allows for"
    hb, he = dead_box.parts
    doubtful = replace(dead_box, parts=(hb, replace(he, trust=Trust.OTHER_PERIOD, trust_reason=reason)))
    run = certify_run(doubtful, policy)
    text = "\n".join(explanation(run, 5))
    assert text.startswith("Run 370101, LS 5: NOTSET (HE: verdict not trusted (model of another period))\n")
    assert f"HE not trusted: model of another period ({reason})" in text
    assert "  2.78% of 6768 channels bad" in text
    assert "✖" not in text
    assert comment(run, HCAL, 5, 5) == (f"HE not trusted: model of another period ({reason}); policy {policy.label}")
    loose = certify_run(doubtful, replace(policy, untrusted=Untrusted.JUDGE))
    assert "HE not trusted but judged, as the policy says: model of another period" in comment(loose, HCAL, 1, 3)


def test_a_good_one_too_and_what_was_flagged_elsewhere_is_not_named(dead_box: RunRecord, policy: Policy) -> None:
    text = "\n".join(explanation(certify_run(dead_box, policy), 2))
    assert text.startswith("Run 370101, LS 2: GOOD\n")
    assert "0.00% of 6768 channels bad" in text
    assert "HEP07" not in text


def test_conditions_are_told(dead_box: RunRecord, policy: Policy) -> None:
    oms = OmsRun(np.array([5], dtype=np.int32), ("",), np.array([52.5]), np.array([1.0]), np.array([np.nan]))
    lines = list(explanation(certify_run(dead_box, policy, RunConditions(oms)), 5))
    assert lines[2] == "  conditions  fit to be judged, 1500 events, pileup 52.5"


def test_a_broken_rule_that_did_not_last(dead_box: RunRecord, policy: Policy) -> None:
    patient = replace(policy, rules={name: replace(one, consecutive=4) for name, one in policy.rules.items()})
    text = "\n".join(explanation(certify_run(dead_box, patient), 5))
    assert "LS 5: GOOD" in text
    assert "a rule is broken, but in fewer than 4 LS in a row" in text


def test_a_silent_subdetector_says_why(dead_box: RunRecord, policy: Policy) -> None:
    note = "HE: no digi in the whole run, its channels were not judged"
    record = replace(dead_box, parts=dead_box.parts[:1], notes=(note,))
    text = "\n".join(explanation(certify_run(record, policy), 2))
    assert f"not judged: {note}" in text


def test_an_lumisection_beyond_the_run(dead_box: RunRecord, policy: Policy) -> None:
    with pytest.raises(UsageError, match="Run 370101 has LS 1 to 12; LS 13 is not among them"):
        list(explanation(certify_run(dead_box, policy), 13))
    empty = replace(dead_box, lumisections=dead_box.lumisections[:0], events=dead_box.events[:0], parts=())
    with pytest.raises(UsageError, match="Run 370101 has no lumisection; LS 13 is not among them"):
        list(explanation(certify_run(empty, policy), 13))
