import csv
from dataclasses import replace

import pytest

from hcal_root_ad.errors import OutputError
from hcal_root_ad.judge.verdict import Trust
from hcal_root_ad.publish.verdict_tables import write_flags

HEADER = "run,subdetector,ieta,iphi,depth,rbx,rm,kind,ls_first,ls_last,observed,expected,score,group,trust"


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_row_per_channel_and_interval(verdict, tmp_path):
    path = tmp_path / "flags.csv"
    write_flags(verdict, path)
    assert path.read_text().splitlines()[0] == HEADER
    rows = rows_of(path)
    assert len(rows) == 189
    assert rows[0] == {
        "run": "370101", "subdetector": "HB", "ieta": "4", "iphi": "33", "depth": "2", "rbx": "HBP09", "rm": "3",
        "kind": "hot", "ls_first": "10", "ls_last": "13", "observed": rows[0]["observed"],
        "expected": "2131.03", "score": "40.0", "group": "HB +4/33/2",
        "trust": "adapted model",
    }  # fmt: skip
    assert {row["rbx"] for row in rows[1:]} == {row["group"] for row in rows[1:]} == {"HEP07"}
    assert {row["rm"] for row in rows[1:]} == {"1", "2", "3", "4"}
    assert {row["observed"] for row in rows[1:]} == {"0"}


def test_strips_have_no_ieta_depth_and_module(strip_verdict, tmp_path):
    write_flags(strip_verdict, tmp_path / "flags.csv")
    rows = rows_of(tmp_path / "flags.csv")
    assert [row["iphi"] for row in rows] == ["23", "24", "25", "26"]
    for row in rows:
        assert row["trust"] == "no reference"
        assert (row["subdetector"], row["ieta"], row["depth"], row["rbx"], row["rm"]) == ("HE", "", "", "HEP07", "")


def test_a_doubt_is_in_every_row(verdict, tmp_path):
    hb, he = verdict.verdicts
    doubtful = replace(verdict, verdicts=(hb, replace(he, trust=Trust.OTHER_PERIOD)))
    write_flags(doubtful, tmp_path / "flags.csv")
    trust = {row["subdetector"]: row["trust"] for row in rows_of(tmp_path / "flags.csv")}
    assert trust == {"HB": "adapted model", "HE": "model of another period"}


def test_several_runs_share_one_table(verdict, strip_verdict, tmp_path):
    write_flags([verdict, strip_verdict], tmp_path / "flags.csv")
    assert len(rows_of(tmp_path / "flags.csv")) == 189 + 4
    write_flags([], tmp_path / "flags.csv")
    assert (tmp_path / "flags.csv").read_text() == HEADER + "\n"


def test_a_file_in_the_place_of_the_folder_is_an_output_error(verdict, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_flags(verdict, tmp_path / "file" / "flags.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
