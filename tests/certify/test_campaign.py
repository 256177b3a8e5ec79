"""Campaigns by the command line: what they find, and that nothing depends on how and when they were run."""

from __future__ import annotations

import csv
import json
import multiprocessing
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from hcal_root_ad import content
from hcal_root_ad.certify import campaign as campaign_module
from hcal_root_ad.certify.campaign import _model, _sentence, judge_item
from hcal_root_ad.certify.certification import certify_run
from hcal_root_ad.certify.policy import load_policy
from hcal_root_ad.certify.store import CampaignJudging, Item, ItemResult, ModelPlace, Store, SurveyedFile
from hcal_root_ad.cli.main import main
from hcal_root_ad.conditions import RunConditions, read_selection
from hcal_root_ad.detector import Era
from hcal_root_ad.errors import CatalogueError, InputError, ModelError, NoHcalError
from hcal_root_ad.judge.run import RunJudge
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import Trust
from hcal_root_ad.lumi_maps import LumiMaps, within
from hcal_root_ad.mask import Mask, MaskEntry
from hcal_root_ad.pipeline import Judging
from hcal_root_ad.provenance import Material
from hcal_root_ad.publish.gui_rules import check_file
from hcal_root_ad.publish.saved_verdict import load_record, save_record
from hcal_root_ad.references import NamedReference, ReferenceEntry, catalogue_digest
from hcal_root_ad.simulate.scenario import simulate_conditions
from hcal_root_ad.simulate.simulated_detector import simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run
from studies.true_certification import near_edges, read_truth, true_record
from tests.certify.conftest import Simulated

WRITTEN = (
    "certification.json",
    "run_registry.json",
    "lumisections.csv",
    "flags.parquet",
    "certification.provenance.json",
)
LAST = 12


def certify(*words: object) -> int:
    return main(["certify", *map(str, words)])


def same(one: Path, other: Path, names: tuple[str, ...] = WRITTEN) -> bool:
    """Whether two campaigns wrote the same bytes."""
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def statuses(folder: Path) -> dict[tuple[int, int], dict[str, str]]:
    """Rows of the LS table by run and LS."""
    with (folder / "lumisections.csv").open(newline="") as file:
        return {(int(row["run"]), int(row["lumisection"])): row for row in csv.DictReader(file)}


@pytest.mark.parametrize("name", ["standard", "strict"])
def test_the_good_lumisections_are_those_of_the_truth(simulated: Simulated, campaign: Path, name: str) -> None:
    assert certify("-o", campaign, "--policy", name) == 0
    found, axis = read_selection(campaign / "certification.json"), np.arange(1, LAST + 1)
    for path in simulated.truths:
        truth = read_truth(path)
        wanted = certify_run(true_record(truth), load_policy(name)).good()
        differ = within(axis, wanted) != within(axis, found.get(truth["run"], ()))
        assert not (differ & ~within(axis, near_edges(truth))).any(), truth["run"]


def distrust(folder: Path, run: int, name: str) -> None:
    """Make the stored verdict on a sub-detector one of another period."""
    path = folder / "records" / f"R{run}.verdict.npz"
    record = load_record(path)
    parts = (replace(part, trust=Trust.OTHER_PERIOD, trust_reason="The channels scatter 3.4 times as much.")
             if part.name == name else part for part in record.parts)  # fmt: skip
    save_record(replace(record, parts=tuple(parts)), path)


def test_a_run_that_is_not_trusted_is_not_in_the_golden_json_unless_the_policy_says_so(
    campaign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_selection(campaign / "certification.json")
    distrust(campaign, 371003, "HE")
    assert certify("-o", campaign) == 1
    said = capsys.readouterr().err
    assert "run 371003: HE is not trusted (model of another period)\n" in said
    assert "1 run has a verdict not to be trusted, so nothing of it is good; adapt the model with transfer" in said
    assert read_selection(campaign / "certification.json") == {run: before[run] for run in (371001, 371002)}
    rows = {run: row for (run, _), row in statuses(campaign).items()}
    assert rows[371003]["cause"] == "HE: verdict not trusted (model of another period)"
    assert (rows[371003]["status"], rows[371003]["he_trust"]) == ("NOTSET", "model of another period")
    table = json.loads((campaign / "certification.provenance.json").read_text())
    assert table["policy"]["untrusted"] == "not assessed"
    assert table["runs"]["371003"]["trust"]["HE"]["reason"] == "The channels scatter 3.4 times as much."

    loose = tmp_path / "loose.toml"
    standard = content.find("policies", "standard.toml")
    assert standard is not None
    loose.write_text(standard.read_text().replace('"not assessed" ', '"judge"'))
    assert certify("-o", campaign, "--policy", loose) == 0
    assert "lets its rules decide all the same" in capsys.readouterr().err
    assert read_selection(campaign / "certification.json") == before
    ranges = json.loads((campaign / "run_registry.json").read_text())["371003"]
    assert "HE not trusted but judged, as the policy says" in ranges[0]["hcal-hcal"]["comment"]


def test_every_run_has_its_record_and_a_file_for_the_gui(simulated: Simulated, judged: Path) -> None:
    assert [load_record(path).run for path in sorted((judged / "records").glob("*.npz"))] == list(simulated.runs)
    files = sorted((judged / "root").iterdir())
    assert len(files) == len(simulated.runs)
    assert [problem for file in files for problem in check_file(file)] == []


def test_provenance_names_policy_bundles_and_files(simulated: Simulated, judged: Path) -> None:
    table = json.loads((judged / "certification.provenance.json").read_text())
    assert table["policy"]["label"] == load_policy().label
    assert table["failed"] == []
    assert sorted(table["runs"]) == [str(run) for run in simulated.runs]
    run = table["runs"]["371001"]
    assert run["files"][0]["name"] == "dials_run371001.parquet"
    assert run["judges"]["HE"].startswith("he-graphstad 1 ")


def test_the_same_again_judges_nothing_and_writes_the_same(
    simulated: Simulated, judged: Path, campaign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (campaign / "records").glob("*.npz")}
    assert certify(simulated.folder, "-o", campaign) == 0
    assert {path: path.stat().st_mtime_ns for path in (campaign / "records").glob("*.npz")} == before
    assert "judged:" not in capsys.readouterr().out
    assert same(judged, campaign)


def test_neither_workers_nor_order_matter(simulated: Simulated, judged: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    files = reversed(simulated.files)
    assert certify(*files, "-o", tmp_path / "campaign", "--workers", 2) == 0
    assert same(judged, tmp_path / "campaign")
    for run in simulated.runs:
        name = f"records/R{run}.verdict.npz"
        assert same(judged, tmp_path / "campaign", (name,))


def test_killed_three_times_it_goes_on_to_the_same(simulated: Simulated, judged: Path, tmp_path: Path) -> None:
    folder, draw = tmp_path / "campaign", np.random.default_rng(9)
    command = ["certify", str(simulated.folder), "-o", str(folder)]
    # A server that has imported torch once forks every process from there.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hcal_root_ad.certify.campaign"])

    def killed_when(seen: Callable[[], bool]) -> None:
        process = context.Process(target=main, args=(command,))
        process.start()
        while not seen() and process.is_alive():
            time.sleep(0.01)
        time.sleep(float(draw.uniform(0, 0.3)))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL

    records = folder / "records"
    killed_when(lambda: (records / "files.json").exists())
    killed_when(lambda: any(records.glob(".partial-*/flags.parquet")))
    killed_when(lambda: len(list(records.glob("*.item.json"))) >= 1)
    assert not (folder / "certification.json").exists()
    assert main(command) == 0
    assert same(judged, folder)
    assert list(records.glob(".partial-*")) == []


def test_another_policy_needs_no_files(simulated: Simulated, tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "campaign"
    data.mkdir()
    shutil.copy(simulated.files[0], data)
    assert certify(data, "-o", folder) == 0
    standard = (folder / "certification.json").read_bytes()
    shutil.rmtree(data)
    assert certify("-o", folder, "--policy", "strict") == 0
    strict = (folder / "certification.json").read_bytes()
    assert certify(data, "-o", folder, "--policy", "standard") == 0
    assert (folder / "certification.json").read_bytes() == standard
    assert certify(data / "*.parquet", "-o", folder, "--policy", "strict") == 0
    assert (folder / "certification.json").read_bytes() == strict


def damaged(path: Path, folder: Path) -> Path:
    """A copy that opens, but whose maps cannot be read."""
    content = bytearray(path.read_bytes())
    content[1000 : len(content) // 2] = b"x" * (len(content) // 2 - 1000)
    broken = folder / path.name
    broken.write_bytes(content)
    return broken


def test_corrupt_files_lose_nothing_but_themselves(
    simulated: Simulated, judged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, folder = tmp_path / "data", tmp_path / "campaign"
    data.mkdir()
    good = simulated.files[0]
    shutil.copy(good, data)
    broken = damaged(simulated.files[1], data)
    (data / "cut.parquet").write_bytes(simulated.files[2].read_bytes()[:5000])
    assert certify(data, "-o", folder) == 1
    err = capsys.readouterr().err
    assert f"failed: {broken}: The file {broken} is damaged or cut short" in err
    assert f"failed: {data / 'cut.parquet'}: " in err
    assert "2 files or runs could not be judged" in err
    failed = json.loads((folder / "certification.provenance.json").read_text())["failed"]
    assert [Path(one["file"]).name for one in failed] == ["cut.parquet", broken.name]
    whole = read_selection(judged / "certification.json")
    assert read_selection(folder / "certification.json") == {371001: whole[371001]}

    assert certify(data, "-o", folder) == 1  # the same, without trying again
    shutil.copy(simulated.files[1], broken)
    shutil.copy(simulated.files[2], data / "cut.parquet")
    assert certify(data, "-o", folder, "--retry-failed") == 0
    assert same(judged, folder, ("certification.json", "run_registry.json", "lumisections.csv", "flags.parquet"))


def halves(path: Path, folder: Path) -> tuple[Path, Path]:
    """A run as two files: LS 1 to 6, and the rest."""
    table = pq.read_table(path)
    early = pc.less_equal(table["ls_number"], LAST // 2)
    for name, rows in (("a.parquet", early), ("b.parquet", pc.invert(early))):
        pq.write_table(table.filter(rows), folder / name, compression="zstd")
    return folder / "a.parquet", folder / "b.parquet"


def test_files_of_one_run_are_one_item_and_one_bad_one_leaves_the_rest(
    simulated: Simulated, judged: Path, tmp_path: Path
) -> None:
    data, folder = tmp_path / "data", tmp_path / "campaign"
    data.mkdir()
    early, late = halves(simulated.files[0], data)
    assert certify(data, "-o", folder) == 0
    assert len(list((folder / "records").glob("*.item.json"))) == 1
    runs = [read_selection(place / "certification.json")[371001] for place in (folder, judged)]
    assert runs[0] == runs[1]

    late.write_bytes(damaged(late, tmp_path).read_bytes())
    assert certify(early, late, "-o", tmp_path / "other") == 1
    rows = statuses(tmp_path / "other")
    assert [ls for _, ls in rows] == list(range(1, LAST // 2 + 1))
    assert rows[371001, 2]["status"] == "GOOD"


@pytest.fixture
def oms(simulated: Simulated, tmp_path: Path) -> Path:
    """LS 2 without stable beams, LS 3 with HBHE off; run 371003 is not in it."""
    path = tmp_path / "oms.csv"
    rows = [f"{run},{ls},55.5,{int(ls != 2)},{int(ls != 3)}" for run in simulated.runs[:2] for ls in range(1, LAST + 1)]
    head = "run_number,lumisection_number,pileup,beams_stable,hbhea_ready"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def test_lumisections_on_standby_are_not_judged(
    simulated: Simulated, campaign: Path, oms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert certify(simulated.files[0], simulated.files[2], "-o", campaign, "--oms", oms) == 0
    rows = statuses(campaign)
    assert [rows[371001, ls]["status"] for ls in (2, 3)] == ["STANDBY", "STANDBY"]
    assert [rows[371001, ls]["cause"] for ls in (2, 3)] == ["no stable beams", "HBHE off"]
    assert rows[371001, 1]["pileup"] == "55.5"
    assert {rows[371003, ls]["cause"] for ls in range(1, LAST + 1)} == {"not in the OMS export"}
    record = load_record(campaign / "records" / "R371001.verdict.npz")
    assert all(part.assessed.tolist() == [ls not in (2, 3) for ls in range(1, LAST + 1)] for part in record.parts)
    assert "no columns hbheb_ready, hbhec_ready, cms_active" in capsys.readouterr().err
    assert 371003 not in read_selection(campaign / "certification.json")

    assert certify("-o", campaign, "--policy", "strict") == 0  # conditions hold until others are given
    assert statuses(campaign)[371001, 2]["status"] == "STANDBY"


def test_a_run_on_standby_throughout_is_certified_as_that(simulated: Simulated, campaign: Path, tmp_path: Path) -> None:
    dcs = tmp_path / "dcs.json"
    dcs.write_text('{"371002": [[5, 9]]}')
    assert certify(*simulated.files[:2], "-o", campaign, "--dcs", dcs) == 0
    rows = statuses(campaign)
    assert {rows[371001, ls]["status"] for ls in range(1, LAST + 1)} == {"STANDBY"}
    assert {rows[371002, ls]["status"] for ls in range(1, 5)} == {"STANDBY"}
    assert rows[371002, 5]["status"] == "GOOD"


def test_the_terminal_says_why_lumisections_are_not_good(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("-o", campaign) == 0
    rows = statuses(campaign).values()
    lost = sum(row["cause"] == "HE: lost RBX" for row in rows)
    assert lost
    shown = capsys.readouterr().out
    assert f"BAD      {lost:>6} LS: HE: lost RBX" in shown
    assert "3 runs, policy standard" in shown


def test_the_longest_runs_are_judged_first_and_kept_by_number(tmp_path: Path) -> None:
    order = []

    class Recorder:
        def results(self, _: object, items: Iterable[Item]) -> Iterator[tuple[Item, ItemResult]]:
            for item in items:
                order.append(item.runs)
                yield item, ItemResult(item.identity, item.files)

    files = [SurveyedFile(f"{run}.root", size, 1, f"d{run}", (run,)) for run, size in ((1, 10), (2, 30), (3, 20))]
    store = Store(tmp_path)
    store.records.mkdir()
    done = campaign_module.judge_all(files, CampaignJudging(()), lambda _: RunConditions(), store, Recorder())
    assert order == [(2,), (3,), (1,)]
    assert [item.files[0].path for item in done.items] == ["1.root", "2.root", "3.root"]


def test_explain(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("-o", campaign, "--explain", "371001:5") == 0
    shown = capsys.readouterr().out
    assert "Run 371001, LS 5: BAD (HE: lost RBX)" in shown
    assert "finding: HEP07 dead (RBX, 184 channels), LS 4–8, ×0, certain" in shown
    assert f"policy      {load_policy('standard').label}" in shown


def test_explain_uses_the_policy_of_the_last_certification(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("-o", campaign, "--policy", "strict") == 0
    capsys.readouterr()
    assert certify("-o", campaign, "--explain", "371002:3") == 0
    assert load_policy("strict").label in capsys.readouterr().out
    assert certify("-o", campaign, "--explain", "371002:3", "--policy", "standard") == 0
    assert load_policy("standard").label in capsys.readouterr().out


def test_labels_of_people(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("-o", campaign, "--labels", campaign / "run_registry.json") == 0
    assert "agreement:" in capsys.readouterr().out
    table = json.loads((campaign / "agreement.json").read_text())
    assert table["share"] == 1.0
    assert table["policy"] == load_policy().label
    page = (campaign / "agreement.md").read_text()
    assert "| HCAL | 3 |" in page
    assert " 100.0% | 1.000 [1.000, 1.000] | 1.000" in page


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert certify(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_wrong_use_is_one_sentence(simulated: Simulated, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = tmp_path / "new"
    assert "holds no certified run yet" in refused(capsys, "-o", new)
    assert "No policy 'tight'" in refused(capsys, simulated.folder, "-o", new, "--policy", "tight")
    assert "Without INPUT nothing is judged" in refused(capsys, "-o", new, "--model", "he-graphstad")
    assert "holds no record of run 1" in refused(capsys, "-o", new, "--explain", "1:1")
    assert "There is no file" in refused(capsys, simulated.folder, "-o", new, "--oms", tmp_path / "oms.csv")
    assert "no such file" in refused(capsys, tmp_path / "nothing.root", "-o", new)
    assert "no model 'mine'" in refused(capsys, simulated.folder, "-o", new, "--model", "mine")
    assert "is a file, but a folder is needed" in refused(capsys, simulated.folder, "-o", simulated.files[0])
    assert not new.exists()


@pytest.mark.parametrize("text", ["371001", "371001:", "x:5"])
def test_an_lumisection_is_named_by_run_and_number(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        certify("-o", "out", "--explain", text)
    assert end.value.code == 2
    assert "expected RUN:LS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (InputError("a.root: expected this, found that."), "a.root: expected this, found that."),
        (OSError(28, "No space left on device", "out/a.root"), "out/a.root: No space left on device."),
        (ZeroDivisionError("division by zero"), "A fault of the program (ZeroDivisionError"),
        (OSError("odd"), "A fault of the program (OSError"),
    ],
)
def test_every_error_is_a_sentence(error: Exception, sentence: str) -> None:
    assert _sentence(error).startswith(sentence)


def test_a_model_that_changed_since_is_not_used() -> None:
    with pytest.raises(ModelError, match="another one here than where the campaign began"):
        _model(ModelPlace("he-graphstad", "00ff"))


def test_a_file_that_is_none_is_a_failure_of_its_item(tmp_path: Path) -> None:
    path = tmp_path / "no.root"
    path.write_text("no ROOT file")
    seen = SurveyedFile(str(path), 12, 0, "d", (370101,))
    result = judge_item(Item("identity", (seen,), (370101,), {}), CampaignJudging(()), tmp_path)
    (failure,) = result.failures
    assert failure.file == str(path)
    assert "neither a ROOT nor a parquet file" in failure.sentence
    assert not result.runs


@pytest.fixture
def maps() -> LumiMaps:
    return simulate_run(simulate_detector(1), simulate_conditions(2, 1), seed=1).maps


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that asks for a reference run, and then finds nothing to judge."""
    flat = NamedReference(
        ReferenceEntry("flat", Path(), (1,), Era.RUN3, "Occupancy", (), rates="r", sha256={"r": "ab"}), {}
    )

    def judge(judging: Judging, maps: LumiMaps, **_: object) -> NoReturn:
        judging._reference(maps)
        raise NoHcalError("nothing to judge")

    monkeypatch.setattr(Judging, "judge_run", judge)
    monkeypatch.setattr(campaign_module, "fitting_reference", lambda _: flat)


@pytest.mark.usefixtures("asking")
def test_an_unknown_detector_may_be_held_against_a_reference_which_is_recorded(maps: LumiMaps) -> None:
    verdict, record, provenance, _ = campaign_module._judge(
        maps, CampaignJudging((), None, catalogue_digest()), RunConditions()
    )
    assert verdict is None
    assert Material("reference", "flat", "ab") in provenance.materials
    assert record.provenance == provenance


def test_what_is_masked_is_in_no_record_and_named_in_it(maps: LumiMaps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunJudge, "verdict", lambda _: RunVerdict(maps, ()))
    mask = Mask("known.toml", "ab12", (MaskEntry("no high voltage", units=("HEP07",)),))
    _, record, provenance, _ = campaign_module._judge(maps, CampaignJudging((), mask=mask), RunConditions())
    assert record.masked == ("HEP07 (188 channels): no high voltage",)
    assert Material("mask", "known.toml", "ab12") in provenance.materials


@pytest.mark.usefixtures("asking")
def test_references_that_changed_since_are_not_used(maps: LumiMaps) -> None:
    with pytest.raises(CatalogueError, match="others than where the campaign began"):
        campaign_module._judge(maps, CampaignJudging((), None, "another catalogue"), RunConditions())
