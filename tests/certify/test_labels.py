"""Flags that people set, in their forms, and how far a certification agrees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hcal_root_ad.certify.agreement import Agreement, Labels, MissingRuns, missing_runs, read_labels
from hcal_root_ad.certify.certification import certify_run
from hcal_root_ad.certify.outputs import registry_ranges
from hcal_root_ad.certify.policy import Policy
from hcal_root_ad.cli.main import main
from hcal_root_ad.errors import InputError
from hcal_root_ad.publish.saved_verdict import RunRecord

FLAGS = [(1, 3, "GOOD"), (4, 9, "BAD")]
RANGES = [{"start": a, "end": b, "hcal-hcal": {"status": s, "cause": "", "comment": ""}} for a, b, s in FLAGS]
WRITTEN = {
    "ranges by run": {"370101": RANGES},
    "ranges by run and column": {
        "370101": {"hcal-hcal": [{"start": a, "end": b, "status": s} for a, b, s in FLAGS], "dt-dt": []}
    },
    "one list": [{"run_number": 370101, **part} for part in RANGES],
    "bare flags": [{"run_number": 370101, "start": a, "end": b, "hcal-hcal": s} for a, b, s in FLAGS],
}


def read(folder: Path, table: object) -> Labels:
    path = folder / "labels.json"
    path.write_text(json.dumps(table))
    return read_labels(path)


@pytest.mark.parametrize("form", WRITTEN)
def test_every_form_says_the_same(tmp_path: Path, form: str) -> None:
    assert read(tmp_path, WRITTEN[form]).ranges == {370101: [((1, 3), "GOOD"), ((4, 9), "BAD")]}


def test_our_own_ranges_agree_with_themselves(tmp_path: Path, dead_box: RunRecord, policy: Policy) -> None:
    run = certify_run(dead_box, policy)
    agreement = Agreement(read(tmp_path, {"370101": registry_ranges(run)}))
    agreement.add(run)
    assert agreement.counts == {("GOOD", "GOOD"): 7, ("BAD", "BAD"): 3, ("NOTSET", "NOTSET"): 2}
    assert agreement.as_table()["share"] == 1.0


def test_disagreement_is_counted_by_lumisection(tmp_path: Path, dead_box: RunRecord, policy: Policy) -> None:
    """Here BAD in 4–6, NOTSET in 8 and 9; people said BAD from 4 to 9, and nothing of 10–12."""
    agreement = Agreement(read(tmp_path, WRITTEN["one list"]))
    agreement.add(certify_run(dead_box, policy))
    assert agreement.counts == {
        ("GOOD", "GOOD"): 3, ("BAD", "BAD"): 3, ("GOOD", "BAD"): 1, ("NOTSET", "BAD"): 2, ("GOOD", "no label"): 3,
    }  # fmt: skip
    table = agreement.as_table()
    assert (table["compared"], table["agreed"], table["share"]) == (7, 6, 6 / 7)


def test_a_golden_json_says_good_and_not_good(tmp_path: Path, dead_box: RunRecord, policy: Policy) -> None:
    agreement = Agreement(read(tmp_path, {"370101": [[1, 4], [7, 12]]}))
    agreement.add(certify_run(dead_box, policy))
    assert agreement.counts[("BAD", "GOOD")] == 1
    assert agreement.counts[("BAD", "not good")] == 2
    assert (agreement.as_table()["compared"], agreement.as_table()["agreed"]) == (10, 9)


def test_nothing_to_compare_has_no_share(dead_box: RunRecord, policy: Policy) -> None:
    agreement = Agreement(Labels({}))
    agreement.add(certify_run(dead_box, policy))
    assert agreement.as_table()["share"] is None


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"370101": [{"first": 1}]}, "holds no flag hcal-hcal"),
        ([{"start": 1}], "not of the Run Registry's form"),
        ([1], "not of the Run Registry's form"),
        (3, "not of the Run Registry's form"),
        ({"370101": [{"start": 1, "end": 2, "dt-dt": {"status": "GOOD"}}]}, "holds no flag hcal-hcal"),
        ({"x": RANGES}, "says 'x' where a run number was expected"),
    ],
)
def test_other_forms_are_refused(tmp_path: Path, table: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read(tmp_path, table)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ([{"run_number": 370101.5, "start": 1, "end": 2, "hcal-hcal": "GOOD"}], "says 370101.5 where a run number"),
        ([{"run_number": True, "start": 1, "end": 2, "hcal-hcal": "GOOD"}], "says True where a run number"),
        ([{"run_number": 370101, "start": 1.9, "end": 2, "hcal-hcal": "GOOD"}], "says 1.9 where a lumisection of run"),
        ([{"run_number": 370101, "start": "1", "end": 2, "hcal-hcal": "GOOD"}], "says '1' where a lumisection of run"),
        ([{"run_number": 370101, "start": 3, "end": 2, "hcal-hcal": "GOOD"}], "ends before it begins"),
        ([{"run_number": 370101, "start": 1, "end": 2, "hcal-hcal": "GODO"}], "'GODO'; the nearest known flag is GOOD"),
        ([{"run_number": 370101, "start": 1, "end": 2, "hcal-hcal": False}], "False; the nearest known flag"),
        ({"370101²": [[1, 2]]}, "where a run number was expected"),
        ({"0370101": [[1, 2]]}, "where a run number was expected"),
        ({"370101": [[1, 2**40]]}, "where a lumisection of run 370101 was expected"),
    ],
)
def test_what_is_no_number_or_flag_is_refused(tmp_path: Path, table: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read(tmp_path, table)


@pytest.mark.parametrize("second", [(3, 5), (1, 9), (2, 2)])
def test_two_flags_of_one_lumisection_are_refused(tmp_path: Path, second: tuple[int, int]) -> None:
    ranges = [(1, 3, "GOOD"), (*second, "BAD")]
    table = [{"run_number": 370101, "start": a, "end": b, "hcal-hcal": s} for a, b, s in ranges]
    with pytest.raises(InputError, match="of run 370101 both "):
        read(tmp_path, table)


def test_one_flag_in_ranges_that_overlap_is_one(tmp_path: Path) -> None:
    table = [{"run_number": 370101, "start": a, "end": b, "hcal-hcal": "GOOD"} for a, b in ((1, 3), (2, 5), (6.0, 6))]
    assert read(tmp_path, table).ranges == {370101: [((1, 6), "GOOD")]}


GOLDEN = {"355455": [[1, 40]], "355456": [[1, 5], [7, 9]], "355558": [[122, 409]]}


@pytest.mark.parametrize(
    ("run", "lumisections", "flags"),
    [
        (355456, [5, 6, 7, 10], ["GOOD", "not good", "GOOD", "not good"]),
        (355457, [1, 2], ["not good", "not good"]),  # left out between the first and the last run
        (355557, [122], ["not good"]),
        (355454, [1], ["no label"]),  # before what the file is about
        (355559, [122], ["no label"]),
        (355456, [], []),
    ],
)
def test_a_golden_json_covers_every_run_from_its_first_to_its_last(
    tmp_path: Path, run: int, lumisections: list[int], flags: list[str]
) -> None:
    assert read(tmp_path, GOLDEN).of(run, lumisections) == flags


def test_ranges_of_the_registry_speak_of_their_runs_alone(tmp_path: Path) -> None:
    labels = read(tmp_path, {"1": RANGES, "9": RANGES})
    assert labels.of(5, [1, 2]) == ["no label", "no label"]
    assert labels.of(9, [3, 4, 10]) == ["GOOD", "BAD", "no label"]
    assert (labels.covers(9), labels.covers(5)) == (True, False)


@pytest.mark.parametrize(("text", "sentence"), [(None, "There is no file"), ("{", "cannot be read")])
def test_what_is_no_json_is_refused(tmp_path: Path, text: str | None, sentence: str) -> None:
    path = tmp_path / "labels.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_labels(path)


OMS = "run_number,lumisection_number,beams_stable\n{run},1,1\n"
REGISTRY = '[{{"run_number": {run}, "start": 1, "end": 9, "hcal-hcal": "GOOD"}}]'
FORMS = {
    "--oms": ("oms.csv", OMS),
    "--dcs": ("dcs.json", '{{"{run}": [[1, 9]]}}'),
    "--labels": ("golden.json", '{{"{run}": [[1, 9]]}}'),
}


def test_by_hand(tmp_path: Path) -> None:
    path, runs = tmp_path / "x.csv", (1, 2, 3, 4, 5, 6, 7)
    assert missing_runs(path, runs.__contains__, runs) is None
    assert missing_runs(path, runs.__contains__, ()) is None
    assert missing_runs(path, (2,).__contains__, (1, 2)) == MissingRuns("x.csv holds nothing of run 1.", False)
    found = missing_runs(path, (9,).__contains__, runs)
    assert found == MissingRuns(
        "x.csv holds none of the runs that were judged (runs 1, 2, 3, 4, 5 and 2 more); give the export of these runs.",
        True,
    )


@pytest.mark.parametrize("option", [*FORMS, "registry"])
def test_an_export_of_other_runs_says_so_and_ends_with_1(
    campaign: Path, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, text = FORMS.get(option, ("registry.json", REGISTRY))
    (tmp_path / name).write_text(text.format(run=99))
    option = "--labels" if option == "registry" else option
    assert main(["certify", "-o", str(campaign), option, str(tmp_path / name)]) == 1
    sentence = f"{name} holds none of the runs that were judged (runs 371001, 371002"
    assert sentence in capsys.readouterr().err
    notes = json.loads((campaign / "certification.provenance.json").read_text())["notes"]
    assert any(sentence in note for note in notes)


@pytest.mark.parametrize("option", FORMS)
def test_an_export_that_lacks_a_run_says_so(
    campaign: Path, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, text = FORMS[option]
    (tmp_path / name).write_text(text.format(run=371001))
    assert main(["certify", "-o", str(campaign), option, str(tmp_path / name)]) == 0
    assert f"{name} holds nothing of run" in capsys.readouterr().err
