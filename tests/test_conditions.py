"""Conditions of runs: selections, OMS exports, and what they say of each lumisection."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad.conditions import (
    CMS_NOT_ACTIVE,
    HBHE_OFF,
    NO_STABLE_BEAMS,
    NOT_SELECTED,
    Conditions,
    OmsRun,
    RunConditions,
    conditions_of_table,
    golden_text,
    read_oms,
    read_selection,
    selection_of,
)
from hcal_root_ad.errors import InputError
from hcal_root_ad.lumi_maps import ranges_of
from hcal_root_ad.state import run_facts as state

LS = np.arange(1, 6, dtype=np.int32)
OMS = OmsRun(
    np.array([1, 2, 4], dtype=np.int32), (NO_STABLE_BEAMS, "", ""), np.array([0.0, 50.0, np.nan]), *np.zeros((2, 3))
)


def test_nothing_given_leaves_all_open() -> None:
    assert RunConditions().standby(LS) == [""] * 5
    assert not RunConditions().unknown(LS).any()
    assert not RunConditions().exist


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


SELECTIONS = st.dictionaries(
    st.integers(1, 400_000), st.sets(st.integers(1, 50), min_size=1).map(ranges_of), min_size=1
)


def test_runs_are_texts_in_order_and_empty_ones_left_out() -> None:
    text = golden_text({355456: [(1, 501), (503, 510)], 355100: [(2, 2)], 355200: []})
    assert text == '{"355100": [[2, 2]],\n "355456": [[1, 501], [503, 510]]}\n'
    assert json.loads(golden_text({})) == {}


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
    assert conditions.of(12).for_state(since) == state.RunFacts(None, 0.0, "cosmics", 1.0)
    assert conditions.of(10).for_state(since) == state.RunFacts("menu/v1", 3.8, "collisions", -0.25)
    assert conditions.of(11).for_state(conditions.before(99)).luminosity is None
    assert conditions.of(99).for_state(since) == state.UNKNOWN
    assert RunConditions().for_state(since) == state.UNKNOWN
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


@given(SELECTIONS)
def test_what_is_written_is_read_back(selection: dict[int, list[tuple[int, int]]]) -> None:
    assert selection_of(json.loads(golden_text(selection)), Path("dcs.json")) == selection


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[1]", "is no selection of lumisections"),
        ("{}", "is no selection of lumisections"),
        ('{"a": [[1, 2]]}', "says 'a' where a run number was expected"),
        ('{"1": [[2, 1]]}', r"has the range \[2, 1\] of run 1, which ends before it begins"),
        ('{"1": [[1, 2, 3]]}', "does not list run 1 as ranges"),
        ('{"1": [[0, 2]]}', "says 0 where a lumisection of run 1 was expected"),
        ('{"1": [[true, 2]]}', "says True where a lumisection of run 1 was expected"),
        ('{"1": [[1, 2.5]]}', "says 2.5 where a lumisection of run 1 was expected"),
        ('{"1": [["1", 2]]}', "says '1' where a lumisection of run 1 was expected"),
        ('{"²": [[1, 2]]}', "says '²' where a run number was expected"),
        ('{"1": [[1, 2]]', "cannot be read"),
        ('{"1": [[1, NaN]]}', "says NaN where a number was expected"),
        ('{"1": [[1, 2]], "1": [[3, 4]]}', "says '1' twice in one table"),
    ],
)
def test_other_forms_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "dcs.json"
    path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_selection(path)


def test_ranges_that_overlap_are_one(tmp_path: Path) -> None:
    path = tmp_path / "dcs.json"
    path.write_text('\ufeff{"1": [[4, 9], [1, 2],\r\n [2.0, 3], [11, 12]]}', encoding="utf-8")
    assert read_selection(path) == {1: [(1, 9), (11, 12)]}


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        read_selection(tmp_path / "dcs.json")


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
