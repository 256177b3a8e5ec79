"""What OMS and brilcalc say of runs, out of their exports."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hcal_root_ad.conditions import UNKNOWN, Conditions, OmsRun, RunConditions, RunFacts, conditions_of_table
from hcal_root_ad.errors import InputError
from hcal_root_ad.oms import CMS_NOT_ACTIVE, HBHE_OFF, NO_STABLE_BEAMS, read_oms

RUNS = """run_number,lumisection_number,beams_stable,delivered_lumi_per_lumisection,hlt_key,b_field,fill_type_runtime
11,1,1,500,menu/v1,3.80,PROTONS
11,2,1,500,menu/v1,3.79,PROTONS
10,1,1,250,menu/v1,3.80,PROTONS
12,1,1,0,menu/v2,0.0,COSMICS
12,2,1,0,menu/v3,0.0,COSMICS
13,1,1,,,,IONS
"""


def test_menu_field_events_and_luminosity_of_a_run_for_a_detector_state(tmp_path: Path) -> None:
    path = tmp_path / "oms.csv"
    path.write_text(RUNS)
    runs, _ = read_oms(path)
    assert [(run.menu, run.field, run.events) for run in (runs[11], runs[12], runs[13])] == [
        ("menu/v1", 3.8, "collisions"), (None, 0.0, "cosmics"), (None, None, "ions"),
    ]  # fmt: skip
    # In inverse picobarn, by run and not by row: 250 before run 11, 1250 before the next two.
    assert [runs[run].before for run in (10, 11, 12, 13)] == [0.0, 0.25, 1.25, 1.25]
    conditions = Conditions(runs)
    since = conditions.before(11)
    assert conditions.of(12).for_state(since) == RunFacts(None, 0.0, "cosmics", 1.0)
    assert conditions.of(10).for_state(since) == RunFacts("menu/v1", 3.8, "collisions", -0.25)
    assert conditions.of(11).for_state(conditions.before(99)).luminosity is None
    assert conditions.of(99).for_state(since) == UNKNOWN
    assert RunConditions().for_state(since) == UNKNOWN
    again = conditions_of_table(json.loads(json.dumps(conditions.of(11).as_table())))
    assert again.for_state(since) == conditions.of(11).for_state(since)


@pytest.mark.parametrize(
    "time",
    ["2023-10-03T12:00:00Z", "2023-10-03 12:00:00", "10/03/23 12:00:00", "1696334400"],
    ids=["ISO", "plain", "bril", "s"],
)
def test_when_a_run_began(tmp_path: Path, time: str) -> None:
    path = tmp_path / "oms.csv"
    path.write_text(
        f"run_number,lumisection_number,beams_stable,start_time\n7,2,1,2024-01-01T00:00:00Z\n7,1,1,{time}\n"
    )
    run = read_oms(path)[0][7]
    assert run.day == 19_633.5
    conditions = Conditions({7: run})
    assert conditions.for_state(7, 7).day == run.day
    assert conditions_of_table(conditions.of(7).as_table()).for_state(None).day == run.day


def test_a_time_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "oms.csv"
    path.write_text("run_number,lumisection_number,beams_stable,start_time\n7,1,1,yesterday\n")
    with pytest.raises(InputError, match="start_time = 'yesterday'; a time was expected"):
        read_oms(path)


def test_the_unit_of_brilcalc_counts(tmp_path: Path) -> None:
    path = tmp_path / "byls.csv"
    head = "#run:fill,ls,time,beamstatus,E(GeV),delivered(/ub),recorded(/ub),avgpu,source"
    rows = [f"{run}:9000,1:1,06/05/24,STABLE BEAMS,6800,2000000000.0,0,50.0,HFET" for run in (11, 12)]
    path.write_text("\n".join([head, *rows]) + "\n")
    runs, _ = read_oms(path)
    assert [runs[run].before for run in (11, 12)] == [0.0, 2.0]
    assert runs[12].menu is None


def test_an_export_without_luminosity_does_not_count_it(tmp_path: Path) -> None:
    path = tmp_path / "oms.csv"
    path.write_text("run_number,lumisection_number,beams_stable\n11,1,1\n12,1,1\n")
    assert read_oms(path)[0][12].before is None


def test_a_field_that_is_no_number_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "oms.csv"
    path.write_text(RUNS.replace("3.79", "full"))
    with pytest.raises(InputError, match=r"Row 2 of .*oms.csv says b_field = 'full'; a field in T was expected\."):
        read_oms(path)


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
    assert notes == (f"{name} has no columns hbheb_ready, hbhec_ready: not looked at.",)


def test_packed(tmp_path: Path) -> None:
    (tmp_path / "oms.csv.gz").write_bytes(gzip.compress(csv_text().encode()))
    assert read_oms(tmp_path / "oms.csv.gz")[0].keys() == {370101, 370102}


def test_true_as_a_word_is_set(tmp_path: Path) -> None:
    text = "run_number,lumisection_number,beam1_stable,beam2_stable\n1,1,True,true\n1,2,True,False\n"
    assert read(tmp_path, "oms.csv", text)[0][1].causes == ("", NO_STABLE_BEAMS)


def test_equal_rows_count_once_and_others_are_refused(tmp_path: Path) -> None:
    assert read(tmp_path, "a.csv", csv_text() + "370101,2,51.5,12.0,1,1,1\n")[0][370101].lumisections.tolist()[1] == 2
    for other in ("370101,2,51.5,12.0,0,1,1\n", "370101,2,51.4,12.0,1,1,1\n", "370101,2,,12.0,1,1,1\n"):
        with pytest.raises(InputError, match="two different things of run 370101, LS 2"):
            read(tmp_path, "b.csv", csv_text() + other)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.csv", csv_text().replace("run_number", "run"), "lacks the column run_number.*nearest that it has: .*run"),
        ("a.csv", csv_text().replace("beams_stable", "beams"), "lacks the column beams_stable.*: beams"),
        ("a.csv", csv_text().replace("370102,1", "370102,x"), "Row 5 of .* says lumisection_number = 'x'"),
        ("a.csv", csv_text().replace("51.5", "many"), "Row 1 of .* says pileup = 'many'; a number was expected"),
        ("a.csv", csv_text().replace("51.5", "nan"), "says pileup = 'nan'; a number was expected"),
        ("a.csv", csv_text().replace("51.5", "inf"), "says pileup = 'inf'; a number was expected"),
        (
            "a.csv",
            csv_text().replace("12.0,1,0,0", "12.0,1,2,0"),
            "Row 3 of .* says cms_active = '2'; 1 or 0 was",
        ),
        ("a.csv", csv_text().replace("370102,1", "370102,1.9"), "Row 5 of .* says lumisection_number = '1.9'"),
        ("a.csv", csv_text().replace("370102,1", "370102,²"), "Row 5 of .* says lumisection_number = '²'"),
        ("a.csv", csv_text().replace("370102,1", "370102,0"), "Row 5 of .* says lumisection_number = '0'"),
        ("a.csv", csv_text().replace("370102,1", "1686945344123,1"), "Row 5 of .* says run_number = '1686945344123'"),
        ("a.csv", csv_text().replace("370102,1", "3701029999999999999999999999,1"), "Row 5 of .* says run_number = "),
        ("a.csv", csv_text().replace("beams_stable", "beam1_stable"), "lacks the column beam2_stable"),
        ("a.csv", csv_text().replace("cms_active", "pileup"), "has the column 'pileup' twice"),
        ("a.csv", "", "holds no lumisection"),
        ("a.csv", csv_text().partition("\n")[0], "holds no lumisection"),
        ("a.csv", csv_text() + "370103,1\n", "row 6 has 2 cells below a head of 7"),
        ("a.json", "[1, 2]", "rows or columns of a table were expected"),
        ("a.json", '{"data": 3}', "rows or columns of a table were expected"),
        ("a.json", WRITTEN["rows.json"].replace("370102", "true"), "Row 5 of .* says run_number = True"),
        ("a.json", WRITTEN["rows.json"].replace("51.5", "NaN"), "says NaN where a number was expected"),
        ("a.csv.gz", "text", "lacks the column run_number"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read(tmp_path, name, text)


BRIL = """#Data tag : 19v2 , Norm tag: None
#run:fill,ls,time,beamstatus,E(GeV),delivered(/pb),recorded(/pb),avgpu,source
370101:9000,1:0,06/16/23 20:55:44,FLAT TOP,6800,0.01,0.0,0.3,HFET
370101:9000,2:2,06/16/23 20:56:07,STABLE BEAMS,6800,0.16,0.15,40.3,HFET
370101:9000,3:0,06/16/23 20:56:30,STABLE BEAMS,6800,0.16,0.0,40.1,HFET
370102:9000,1:1,06/16/23 21:55:44,STABLE BEAMS,6800,0.14,0.13,38.0,HFET
#Summary:
#nfill,nrun,nls,ncms,totdelivered(/pb),totrecorded(/pb)
#1,2,4,2,0.47,0.28
"""


@pytest.mark.parametrize(
    "text",
    [
        BRIL,
        BRIL.replace("\n", "\r\n"),
        "\ufeff" + BRIL,
        BRIL.replace("#run", "run"),
        BRIL.replace("(/pb)", "(hz/ub)"),
        BRIL.replace("#run", "# run").replace("370101:9000,2:2", " 370101:9000 , 2:2 "),
    ],
)
def test_what_brilcalc_writes(tmp_path: Path, text: str) -> None:
    runs, notes = read(tmp_path, "bril.csv", text)
    assert runs[370101].lumisections.tolist() == [1, 2, 3]
    assert runs[370101].causes == (NO_STABLE_BEAMS, "", CMS_NOT_ACTIVE)
    assert runs[370101].pileup.tolist() == [0.3, 40.3, 40.1]
    assert runs[370102].delivered.tolist() == [0.14]
    assert runs[370102].recorded.tolist() == [0.13]
    assert notes == ("bril.csv has no columns hbhea_ready, hbheb_ready, hbhec_ready: not looked at.",)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("370101:9000,2:2", "370101,2:2"), "Row 2 of .* says run:fill = '370101'; two numbers with a colon"),
        (("370101:9000,2:2", "370101:9000,2"), "Row 2 of .* says ls = '2'; two numbers with a colon"),
        (("9000,2:2", "9000,2:-2"), "Row 2 of .* says ls = '2:-2'"),
        (("9000,2:2", "9000,0:0"), "Row 2 of .* says lumisection_number = '0'"),
        ((",40.3,", ",many,"), "Row 2 of .* says pileup = 'many'"),
        (("run:fill,ls,time,beamstatus", "run:fill,time,nls,ncms"), "lacks the column ls"),
        (("beamstatus", "beam"), "lacks the column beamstatus of an OMS export; the nearest that it has: beam"),
        (("9000,3:0", "9000,2:0"), "two different things of run 370101, LS 2"),
    ],
)
def test_what_brilcalc_does_not_write(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    assert change[0] in BRIL
    with pytest.raises(InputError, match=sentence):
        read(tmp_path, "bril.csv", BRIL.replace(*change))


@pytest.mark.parametrize(
    "text", [csv_text().replace("370102,1", "370102.0,1.0"), "# on Monday\n# again, by hand\n" + csv_text()]
)
def test_numbers_with_a_point_and_comments(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, "oms.csv", text)[0][370102].lumisections.tolist() == [1]


def test_parquet(tmp_path: Path) -> None:
    columns = {key: [row[key] for row in DICTS] for key in COLUMNS}
    pq.write_table(pa.table(columns), tmp_path / "oms.parquet")
    runs, _ = read_oms(tmp_path / "oms.parquet")
    assert runs[370101].causes == (NO_STABLE_BEAMS, "", CMS_NOT_ACTIVE, HBHE_OFF)


@pytest.mark.skipif(not REAL.exists(), reason="the real OMS lumisections are not here")
def test_real_lumisections_of_2024() -> None:
    runs, notes = read_oms(REAL)
    assert sum(len(run.lumisections) for run in runs.values()) == 34_619
    stable = sum(cause == "" for run in runs.values() for cause in run.causes)
    assert 0 < stable < 34_619
    assert runs[387203].causes[:2] == (NO_STABLE_BEAMS, NO_STABLE_BEAMS)
    assert "hbhea_ready" in notes[0]
