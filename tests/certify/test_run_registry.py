"""Ranges in the Run Registry's form."""

from __future__ import annotations

from hcal_root_ad.certify.certification import certify_run
from hcal_root_ad.certify.policy import Policy
from hcal_root_ad.certify.run_registry import registry_ranges
from hcal_root_ad.publish.saved_verdict import RunRecord


def test_ranges_are_those_in_which_no_flag_changes(dead_box: RunRecord, policy: Policy) -> None:
    ranges = registry_ranges(certify_run(dead_box, policy))
    assert [(one["start"], one["end"], one["hcal-hcal"]["status"], one["hcal-hb"]["status"], one["hcal-he"]["status"])
            for one in ranges] == [
        (1, 3, "GOOD", "GOOD", "GOOD"),
        (4, 6, "BAD", "GOOD", "BAD"),
        (7, 7, "GOOD", "GOOD", "GOOD"),
        (8, 8, "NOTSET", "NOTSET", "NOTSET"),
        (9, 9, "NOTSET", "NOTSET", "NOTSET"),
        (10, 12, "GOOD", "GOOD", "GOOD"),
    ]  # fmt: skip


def test_every_flag_has_status_cause_and_comment(dead_box: RunRecord, policy: Policy) -> None:
    bad = registry_ranges(certify_run(dead_box, policy))[1]
    assert bad["hcal-hcal"]["cause"] == "HE: lost readout box"
    assert bad["hcal-he"]["cause"] == "lost readout box"
    assert "lost HEP07" in bad["hcal-he"]["comment"]
    assert all(bad[column]["comment"].endswith(f"policy {policy.label}") for column in bad if column.startswith("hcal"))
