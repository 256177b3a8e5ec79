"""OMS exports in their forms, with real lumisections where there are some."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.certify.conditions import CMS_NOT_ACTIVE, HBHE_OFF, NO_STABLE_BEAMS, OmsRun
from hcal_root_ad.certify.oms import read_oms
from hcal_root_ad.errors import InputError

REAL = Path(__file__).parents[3] / "shared" / "data" / "oms_lumisections_2024J.csv.gz"
COLUMNS = ("run_number", "lumisection_number", "pileup", "recorded_lumi_per_lumisection", "beams_stable", "cms_active",
           "hbhea_ready")  # fmt: skip
ROWS = [
    (370101, 2, 51.5, 12.0, 1, 1, 1),
    (370101, 1, None, 0.0, 0, 1, 1),
    (370101, 3, 51.0, 12.0, 1, 0, 0),
    (370101, 4, 50.0, 12.0, 1, 1, 0),
    (370102, 1, 40.0, 11.0, 1, 1, None),
]
DICTS = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]


def csv_text() -> str:
    cells = [["" if cell is None else str(cell) for cell in row] for row in ROWS]
    return "\n".join(",".join(row) for row in [list(COLUMNS), *cells]) + "\n"


WRITTEN = {
    "oms.csv": csv_text(),
    "rows.json": json.dumps(DICTS),
    "api.json": json.dumps({"data": [{"type": "lumisections", "attributes": row} for row in DICTS]}),
    "columns.json": json.dumps({key: [row[key] for row in DICTS] for key in COLUMNS}),
    "pandas.json": json.dumps({key: {str(n): row[key] for n, row in enumerate(DICTS)} for key in COLUMNS}),
}


def read(folder: Path, name: str, text: str) -> tuple[dict[int, OmsRun], tuple[str, ...]]:
    (folder / name).write_text(text, encoding="utf-8")
    return read_oms(folder / name)


@pytest.mark.parametrize("name", WRITTEN)
def test_every_form_says_the_same(tmp_path: Path, name: str) -> None:
    runs, notes = read(tmp_path, name, WRITTEN[name])
    assert runs[370101].lumisections.tolist() == [1, 2, 3, 4]
    assert runs[370101].causes == (NO_STABLE_BEAMS, "", CMS_NOT_ACTIVE, HBHE_OFF)
    assert runs[370102].causes == (HBHE_OFF,)  # a flag without a value is not set
    np.testing.assert_equal(runs[370101].pileup, [np.nan, 51.5, 51.0, 50.0])
    assert runs[370101].recorded.tolist() == [0.0, 12.0, 12.0, 12.0]
    assert np.isnan(runs[370101].delivered).all()
    assert notes == (f"{name} has no column hbheb_ready, hbhec_ready: not looked at.",)


def test_packed(tmp_path: Path) -> None:
    (tmp_path / "oms.csv.gz").write_bytes(gzip.compress(csv_text().encode()))
    assert read_oms(tmp_path / "oms.csv.gz")[0].keys() == {370101, 370102}


def test_true_as_a_word_is_set(tmp_path: Path) -> None:
    text = "run_number,lumisection_number,beam1_stable,beam2_stable\n1,1,True,true\n1,2,True,False\n"
    assert read(tmp_path, "oms.csv", text)[0][1].causes == ("", NO_STABLE_BEAMS)


def test_equal_rows_count_once_and_others_are_refused(tmp_path: Path) -> None:
    assert read(tmp_path, "a.csv", csv_text() + "370101,2,51.5,12.0,1,1,1\n")[0][370101].lumisections.tolist()[1] == 2
    with pytest.raises(InputError, match="two different things of run 370101, LS 2"):
        read(tmp_path, "b.csv", csv_text() + "370101,2,51.5,12.0,0,1,1\n")


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.csv", csv_text().replace("run_number", "run"), "lacks the column run_number.*nearest that it has: .*run"),
        ("a.csv", csv_text().replace("beams_stable", "beams"), "lacks the column beams_stable.*: beams"),
        ("a.csv", csv_text().replace("370102,1", "370102,x"), "Row 5 of .* says lumisection_number = 'x'"),
        ("a.csv", csv_text().replace("51.5", "many"), "holds 'many' where a number"),
        ("a.csv", "", "holds no lumisection"),
        ("a.json", "[1, 2]", "no OMS export in JSON"),
        ("a.json", '{"data": 3}', "no OMS export in JSON"),
        ("a.csv.gz", "text", "cannot be read"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read(tmp_path, name, text)


@pytest.mark.skipif(not REAL.exists(), reason="the real OMS lumisections are not here")
def test_real_lumisections_of_2024() -> None:
    runs, notes = read_oms(REAL)
    assert sum(len(run.lumisections) for run in runs.values()) == 34_619
    stable = sum(cause == "" for run in runs.values() for cause in run.causes)
    assert 0 < stable < 34_619
    assert runs[387203].causes[:2] == (NO_STABLE_BEAMS, NO_STABLE_BEAMS)
    assert "hbhea_ready" in notes[0]
