from __future__ import annotations

import json
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.certify import outputs, policy, store
from hcal_root_ad.certify.agreement import TABLE, TABLE_COLUMNS
from hcal_root_ad.certify.certification import Status
from hcal_root_ad.cli.main import main
from hcal_root_ad.errors import InputError
from hcal_root_ad.publish.saved_verdict import RunRecord, load_record, record_name, save_record
from hcal_root_ad.report import campaign_page as campaign
from hcal_root_ad.report.campaign_page import BadStretch, campaign_page, is_campaign, load_campaign, runs_figure


def test_names_are_those_of_certify() -> None:
    """Written down twice, because certify brings the judge, which a page does not need."""
    assert (campaign.GOLDEN, campaign.REGISTRY, campaign.PROVENANCE, campaign.TABLE) == (
        outputs.GOLDEN, outputs.REGISTRY, outputs.PROVENANCE, TABLE,
    )  # fmt: skip
    assert campaign.RECORDS == store.RECORDS
    assert tuple(Status) == campaign.STATUSES
    assert campaign.SUBDETECTORS == policy.SUBDETECTORS
    assert {field.name for field in fields(campaign.Lumisections)} <= set(TABLE_COLUMNS)


def test_a_folder_is_read_as_certify_writes_it(campaign_folder: Path) -> None:
    found = load_campaign(campaign_folder)
    assert found.runs == [370101, 370102]
    assert found.good == {370101: ((1, 2), (4, 4))}
    assert found.bad == (BadStretch(370101, 3, 3, "HE: lost RBX", "HE up to 60.0% bad, lost HEP07; policy"),)
    assert found.lumisections.status.tolist() == ["GOOD", "GOOD", "BAD", "GOOD", "STANDBY", "NOTSET"]
    assert found.lumisections.cause.tolist()[2] == "HE: lost RBX"
    assert found.lumisections.pileup[:2].tolist() == [50.9, 40]
    assert np.isnan(found.lumisections.recorded[5])
    assert found.failed[0][1] == "broken.root is damaged <here>."
    assert found.judges == ("hb 1", "he 1 ab12")


@pytest.mark.usefixtures("undrawn")
def test_the_page_gives_the_numbers_first(campaign_folder: Path) -> None:
    page = campaign_page(load_campaign(campaign_folder), {370101: "c_runs/R370101.html"})
    body = page[page.index("<body>") :]
    assert "3 of 6 lumisections in 2 runs are good for HCAL (50.0%); 1 input could not be judged." in body
    assert body.index("3 of 6 lumisections") < body.index("<table")
    assert "75.00% of the recorded luminosity" in body  # 3 of 4 units; LS 6 is not known
    assert "broken.root is damaged &lt;here&gt;." in body
    assert '<a href="c_runs/R370101.html">370101</a>' in body
    assert "370102</a>" not in body
    assert "40–51" in body.replace("\u2060", "")
    assert '<th scope="row">HE: lost RBX</th><td class="n">1</td><td class="n">1</td>' in body


@pytest.mark.usefixtures("undrawn")
def test_the_page_says_at_the_top_how_far_to_trust_it(campaign_folder: Path, tmp_path: Path) -> None:
    assert "Every verdict rests on a model of the detector as it is" in campaign_page(load_campaign(campaign_folder))
    folder = shutil.copytree(campaign_folder, tmp_path / "doubtful")
    path = folder / "certification.provenance.json"
    table = json.loads(path.read_text())
    doubt = {"trust": "model of another period", "reason": "HE <scatters>.", "sensitivity": 2.0}
    for run in table["runs"].values():
        run["trust"] = run["trust"] | {"HE": doubt}
    table["policy"]["untrusted"] = "judge"
    path.write_text(json.dumps(table))
    page = campaign_page(load_campaign(folder))
    body = page[page.index("<body>") :]
    sentence = "HE of 370101, 370102 is not trusted: model of another period (HE &lt;scatters&gt;)."
    assert body.index(sentence) < body.index("<table")
    assert "The policy lets its rules decide about these all the same." in body
    table["runs"]["370101"]["trust"]["HE"]["trust"] = "a word of another version"
    path.write_text(json.dumps(table))
    with pytest.raises(InputError, match="of another form"):
        load_campaign(folder)


@pytest.mark.usefixtures("undrawn")
def test_a_row_says_whose_state_judged_and_what_was_open(campaign_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(campaign_folder, tmp_path / "state")
    path = folder / "certification.provenance.json"
    table = json.loads(path.read_text())
    aged = {"trust": "detector state", "reason": "state of run 370100, 2 runs old", "sensitivity": 1.0}
    table["runs"]["370102"] |= {"trust": {"HB": aged, "HE": aged}, "open_findings": ["370100-1: HEP07 degraded ×0.90"]}
    path.write_text(json.dumps(table))
    page = campaign_page(load_campaign(folder))
    first, second = (page[page.index(f'<tr id="run-{run}">') :].partition("</tr>")[0] for run in (370101, 370102))
    cells = '<td data-name="rests on">{}</td><td class="why" data-name="open findings before it">{}</td>'
    assert first.endswith(cells.format("adapted model", "–"))
    state, finding = "state of run 370100, 2 runs old", "370100-1: HEP07 degraded ×0.90"
    assert second.endswith(cells.format(state, finding))


@pytest.mark.usefixtures("undrawn")
def test_an_era_that_is_all_good(campaign_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(campaign_folder, tmp_path / "good")
    lines = (folder / "lumisections.csv").read_text().splitlines()
    (folder / "lumisections.csv").write_text("\n".join(lines[:3]) + "\n")
    (folder / "run_registry.json").write_text("{}")
    provenance = json.loads((folder / "certification.provenance.json").read_text()) | {"failed": []}
    (folder / "certification.provenance.json").write_text(json.dumps(provenance))
    page = campaign_page(load_campaign(folder))
    assert "2 of 2 lumisections in 1 run are good for HCAL (100.0%)." in page
    assert "No lumisection is bad." in page
    assert "None: every input was judged." in page


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("run_registry.json", None, "no such file"),
        ("run_registry.json", "{", "expected JSON, found damage"),
        ("run_registry.json", "[]", "expected a JSON object"),
        ("run_registry.json", '{"370101": [{"start": 1}]}', "of another form"),
        ("certification.provenance.json", "{}", "of another form"),
        ("certification.json", '{"x": 3}', "of another form"),
        ("lumisections.csv", None, "no such file"),
        ("lumisections.csv", "run,ls\n1,2\n", "expected certify's table"),
        ("lumisections.csv", "", "expected certify's table"),
    ],
)
def test_what_is_missing_or_damaged_is_told(
    campaign_folder: Path, tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    folder = shutil.copytree(campaign_folder, tmp_path / "damaged")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(InputError, match=said):
        load_campaign(folder)


def test_runs_are_rows_from_the_top() -> None:
    states = np.array([[3, 1], [3, 2], [5, 0]], dtype=np.uint8)
    figure = runs_figure([370101, 370102], states, {"GOOD": 3, "BAD": 5})
    axis = figure.axes[1]
    shown = axis.collections[0].get_array().reshape(2, 3)
    assert shown[0].tolist() == [3, 3, 5]
    assert shown[1].mask.tolist() == [False, False, True]
    assert axis.get_ylim() == (2, 0)
    assert [label.get_text() for label in axis.get_yticklabels()] == ["370101", "370102"]
    many = runs_figure(list(range(1500)), np.full((2000, 1500), 3, dtype=np.uint8), {"GOOD": 3})
    assert len(many.axes[1].get_yticklabels()) <= 45


@pytest.mark.usefixtures("undrawn")
def test_verb_writes_the_campaign_and_on_request_its_runs(
    campaign_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "era.html"
    assert main(["report", str(campaign_folder), "-o", str(page)]) == 0
    assert capsys.readouterr().out == f"report:    {page}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["era.html"]
    assert is_campaign(campaign_folder)
    assert main(["report", str(campaign_folder), "-o", str(page), "--runs"]) == 0
    assert sorted(path.name for path in (tmp_path / "era_runs").iterdir()) == ["R370101.html", "R370102.html"]
    assert 'href="era_runs/R370102.html"' in page.read_text()
    assert "<dt>Pileup</dt><dd>40\u2060–\u206051</dd>" in (tmp_path / "era_runs" / "R370101.html").read_text()
    assert "<dt>Pileup</dt><dd>not known</dd>" in (tmp_path / "era_runs" / "R370102.html").read_text()


@pytest.mark.usefixtures("undrawn")
def test_verb_takes_a_record(record: RunRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, page = tmp_path / record_name(record.run), tmp_path / "new" / "run.html"
    save_record(record, path)
    before = path.read_bytes()
    assert main(["report", str(path), "-o", str(page)]) == 0
    assert "Run 370101: HCAL verdict" in page.read_text()
    assert main(["report", str(path), "-o", str(path)]) == 2
    assert "would be replaced" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert load_record(path).run == record.run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("missing.verdict.npz",), "no such file"),
        (("missing",), "no such file, and no reference run of that name"),
        (("demonstration", "--runs"), "--runs goes with the folder of a campaign"),
    ],
)
def test_verb_refuses_in_one_sentence(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", *words, "-o", str(tmp_path / "page.html")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
