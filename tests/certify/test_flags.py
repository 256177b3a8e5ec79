"""The flags table as parquet, through awkward and back."""

from __future__ import annotations

import csv
from pathlib import Path

import awkward as ak
import pyarrow.parquet as pq

from hcal_root_ad.certify.flags import flags_array, join_flags, write_flags_part
from hcal_root_ad.publish.verdict_tables import COLUMNS


def test_a_run_without_a_verdict_has_an_empty_table_of_the_same_form(tmp_path: Path) -> None:
    write_flags_part(None, tmp_path / "none.parquet")
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
