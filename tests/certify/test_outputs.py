"""What a campaign writes: Run Registry ranges, the table of lumisections, flags as parquet."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow.parquet as pq

from hcal_root_ad.certify.agreement import TABLE_COLUMNS
from hcal_root_ad.certify.certification import certify_run
from hcal_root_ad.certify.outputs import (
    flags_array,
    join_flags,
    lumisection_rows,
    registry_ranges,
    write_run_flags,
)
from hcal_root_ad.certify.policy import Policy
from hcal_root_ad.conditions import OmsRun, RunConditions
from hcal_root_ad.judge.views import COLUMNS
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
    assert bad["hcal-hcal"]["cause"] == "HE: lost RBX"
    assert bad["hcal-he"]["cause"] == "lost RBX"
    assert "lost HEP07" in bad["hcal-he"]["comment"]
    assert all(bad[column]["comment"].endswith(f"policy {policy.label}") for column in bad if column.startswith("hcal"))


def test_one_row_per_lumisection_with_what_was_counted(dead_box: RunRecord, policy: Policy) -> None:
    oms = OmsRun(np.arange(1, 13, dtype=np.int32), ("",) * 12, np.full(12, 51.25), np.full(12, np.nan), np.zeros(12))
    rows = [dict(zip(TABLE_COLUMNS, row, strict=True)) for row in
            lumisection_rows(certify_run(dead_box, policy, RunConditions(oms)))]  # fmt: skip
    nothing = {f"{name}_{what}": 0 for name in ("hf", "ho") for what in ("judged", "bad", "problematic")}
    nothing |= {f"{name}_{what}": "" for name in ("hf", "ho") for what in ("lost_rbx", "trust")}
    assert [row["lumisection"] for row in rows] == list(range(1, 13))
    assert rows[4] == {
        "run": 370101, "lumisection": 5, "status": "BAD", "cause": "HE: lost RBX", "hb": "GOOD", "he": "BAD",
        "hf": "NOTSET", "ho": "NOTSET", "events": 1500, "pileup": "51.25", "delivered": "", "recorded": "0",
        "hb_judged": 9072, "hb_bad": 0, "hb_problematic": 0, "hb_lost_rbx": "",
        "hb_trust": "adapted model", "he_trust": "adapted model", **nothing,
        "he_judged": 6768, "he_bad": 188, "he_problematic": 188, "he_lost_rbx": "HEP07", "policy": policy.label,
    }  # fmt: skip
    assert (rows[8]["events"], rows[8]["hb_judged"], rows[8]["status"]) == (0, 0, "NOTSET")


def test_a_run_in_which_nothing_was_judged_has_its_rows(dead_box: RunRecord, policy: Policy) -> None:
    rows = list(lumisection_rows(certify_run(replace(dead_box, parts=()), policy)))
    assert len(rows) == 12
    assert all(len(row) == len(TABLE_COLUMNS) for row in rows)


def test_a_run_without_a_verdict_has_an_empty_table_of_the_same_form(tmp_path: Path) -> None:
    write_run_flags(None, tmp_path / "none.parquet")
    join_flags([tmp_path / "none.parquet"], tmp_path / "flags.parquet", {"policy": "standard 1"})
    table = ak.from_parquet(tmp_path / "flags.parquet")
    assert len(table) == 0
    assert tuple(table.fields) == COLUMNS == tuple(flags_array(None).fields)
    assert pq.read_schema(tmp_path / "flags.parquet").metadata[b"policy"] == b"standard 1"


def test_the_campaign_holds_every_interval_of_its_runs(judged: Path) -> None:
    whole = ak.from_parquet(judged / "flags.parquet")
    parts = [ak.from_parquet(path) for path in sorted((judged / "records").glob("*.flags.parquet"))]
    assert whole.to_list() == [row for part in parts for row in part.to_list()]
    assert whole.type.content == flags_array(None).type.content
    dead = whole[(whole.run == 371001) & (whole.rbx == "HEP07") & (whole.kind == "dead")]
    assert len(dead) > 150
    assert set(dead.subdetector.to_list()) == {"HE"}
    assert ak.all(dead.ieta > 0)


def test_runs_are_row_groups_for_quick_reading(judged: Path) -> None:
    with (judged / "lumisections.csv").open(newline="") as file:
        runs = {int(row["run"]) for row in csv.DictReader(file)}
    parquet = pq.ParquetFile(judged / "flags.parquet")
    found = [set(parquet.read_row_group(n, ["run"])["run"].to_pylist()) for n in range(parquet.num_row_groups)]
    assert all(len(group) <= 1 for group in found)
    assert set().union(*found) <= runs
    assert sum(len(group) for group in found) == len(set().union(*found))
