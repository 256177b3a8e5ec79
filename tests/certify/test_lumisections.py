"""The table of lumisections."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hcal_root_ad.certify.certification import certify_run
from hcal_root_ad.certify.conditions import OmsRun, RunConditions
from hcal_root_ad.certify.lumisections import COLUMNS, lumisection_rows
from hcal_root_ad.certify.policy import Policy
from hcal_root_ad.publish.saved_verdict import RunRecord


def test_one_row_per_lumisection_with_what_was_counted(dead_box: RunRecord, policy: Policy) -> None:
    oms = OmsRun(np.arange(1, 13, dtype=np.int32), ("",) * 12, np.full(12, 51.25), np.full(12, np.nan), np.zeros(12))
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in
            lumisection_rows(certify_run(dead_box, policy, RunConditions(oms)))]  # fmt: skip
    nothing = {f"{name}_{what}": 0 for name in ("hf", "ho") for what in ("judged", "bad", "problematic")}
    nothing |= {f"{name}_{what}": "" for name in ("hf", "ho") for what in ("lost_boxes", "trust")}
    assert [row["lumisection"] for row in rows] == list(range(1, 13))
    assert rows[4] == {
        "run": 370101, "lumisection": 5, "status": "BAD", "cause": "HE: lost readout box", "hb": "GOOD", "he": "BAD",
        "hf": "NOTSET", "ho": "NOTSET", "events": 1500, "pileup": "51.25", "delivered": "", "recorded": "0",
        "hb_judged": 9072, "hb_bad": 0, "hb_problematic": 0, "hb_lost_boxes": "",
        "hb_trust": "adapted model", "he_trust": "adapted model", **nothing,
        "he_judged": 6768, "he_bad": 188, "he_problematic": 188, "he_lost_boxes": "HEP07", "policy": policy.label,
    }  # fmt: skip
    assert (rows[8]["events"], rows[8]["hb_judged"], rows[8]["status"]) == (0, 0, "NOTSET")


def test_a_run_in_which_nothing_was_judged_has_its_rows(dead_box: RunRecord, policy: Policy) -> None:
    rows = list(lumisection_rows(certify_run(replace(dead_box, parts=()), policy)))
    assert len(rows) == 12
    assert all(len(row) == len(COLUMNS) for row in rows)
