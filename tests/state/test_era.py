"""An era of five short runs through files, with a state that was begun with one of them: verbs, trust, and kills."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hcal_root_ad.cli.main import main
from hcal_root_ad.conditions import RunFacts
from hcal_root_ad.errors import NoHcalError
from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import Trust
from hcal_root_ad.pipeline import Judging, kind_of_events, load_models
from hcal_root_ad.publish.saved_verdict import load_record
from hcal_root_ad.simulate.formats import write_dials
from hcal_root_ad.simulate.scenario import FillConditions, make_fault
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector
from hcal_root_ad.simulate.simulated_run import simulate_run
from hcal_root_ad.state.detector_state import DetectorState
from hcal_root_ad.state.era import learn, state_of_run
from hcal_root_ad.state.history import History, StateStore

LENGTH = 12
CLEAN, BEFORE, AFTER = 370103, (370101, 370102), (370104, 370105)
LOST = "HEP07-RM2"
"""From the first LS of run 370104 on it has 0.85 of its digis."""


@dataclass(frozen=True)
class Era:
    """Files of the runs, the state as it was begun, and the search path with the models."""

    folder: Path
    state: Path

    def file(self, run: int) -> str:
        return str(self.folder / f"dials_run{run}.parquet")


def conditions(size: int) -> FillConditions:
    nothing = np.zeros(size, dtype=bool)
    return FillConditions(np.arange(1, size + 1, dtype=np.int32), np.full(size, 1500), np.linspace(55, 35, size),
                      np.zeros(size, dtype=int), nothing, nothing)  # fmt: skip


@pytest.fixture(scope="session")
def made_era(detector: SimulatedDetector, tmp_path_factory: pytest.TempPathFactory, model_path: Path) -> Era:
    folder = tmp_path_factory.mktemp("era")
    for run in (*BEFORE, CLEAN, *AFTER):
        size = 3 * LENGTH if run == CLEAN else LENGTH
        faults = [make_fault(detector, "degraded", LOST, 1, LENGTH, 0.85, seed=run)] if run in AFTER else []
        write_dials(simulate_run(detector, conditions(size), faults, run, run), folder)
    era = Era(folder, folder / "states" / "era")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HCAL_ROOT_AD_PATH", str(model_path))
        assert main(["adapt", str(era.state), "--from", era.file(CLEAN)]) == 0
    return era


@pytest.fixture
def era(made_era: Era, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Era:
    """The era with a copy of the state, to be changed."""
    monkeypatch.setenv("HCAL_ROOT_AD_PATH", str(model_path))
    return Era(made_era.folder, Path(shutil.copytree(made_era.state, tmp_path / "state")))


def content(folder: Path) -> dict[str, bytes]:
    """All files of a folder but hidden ones."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def learned(state: Path, backwards: bool = False) -> tuple[int, ...]:
    history = StateStore(state).history()
    return history.learned(history.last(backwards))


def test_runs_teach_in_their_order_forwards_and_then_backwards(era: Era, capsys: pytest.CaptureFixture[str]) -> None:
    files = [era.file(run) for run in (370105, 370101, 370104, 370102)]
    assert main(["adapt", str(era.state), "--with", *files]) == 0
    assert learned(era.state) == (CLEAN, 370104, 370105)
    assert learned(era.state, backwards=True) == (CLEAN, 370102, 370101)
    told = capsys.readouterr().out
    assert "run 370104: judged by the state of run 370103, 1 run old" in told
    assert "opened: 370104-1 HEP07-RM2 ×0.7" in told
    assert "run 370105: judged by the state of run 370104, 1 run old" in told
    assert "run 370102: judged by the state of run 370103, 1 run old" in told
    assert told.index("run 370105") < told.index("run 370102") < told.index("run 370101")
    assert main(["adapt", str(era.state)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["1", "learned", "run", "370104,", "12", "LS,", "opened", "HEP07-RM2"]
    assert max(map(len, lines[1:])) <= 80


def test_a_run_teaches_once_and_only_as_the_next(era: Era, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapt", str(era.state), "--with", era.file(370105)]) == 0
    before = content(era.state)
    assert main(["adapt", str(era.state), "--with", era.file(370105)]) == 0
    assert "run 370105: learned before; nothing is done." in capsys.readouterr().err
    assert main(["adapt", str(era.state), "--with", era.file(370104)]) == 1
    assert "run 370104: the state has learned up to run 370105 already, so it teaches" in capsys.readouterr().err
    assert main(["adapt", str(era.state), "--with", era.file(CLEAN)]) == 0
    assert content(era.state) == before


def test_findings_are_listed_accepted_closed_and_taken_back(era: Era, capsys: pytest.CaptureFixture[str]) -> None:
    state = str(era.state)
    assert main(["adapt", state, "--with", era.file(370104)]) == 0
    capsys.readouterr()
    assert main(["findings", "list", state]) == 0
    listed = capsys.readouterr().out
    assert "370104-1" in listed
    assert "HEP07-RM2" in listed
    assert max(map(len, listed.splitlines())) <= 80
    assert main(["findings", "accept", state, "370104-1", "--reason", "A. B.: new high voltage"]) == 0
    assert main(["findings", "list", state]) == 0
    assert "no finding is open" in capsys.readouterr().out
    update = StateStore(era.state).history().last()
    assert (update.action, update.finding, update.reason) == ("accepted", "370104-1", "A. B.: new high voltage")
    assert main(["run", era.file(370105), "-o", str(era.state.parent / "out"), "--state", state]) == 0
    told = capsys.readouterr().out
    assert "RM of" not in told  # what was accepted is how the detector is; saturated channels may still be off
    assert main(["adapt", state, "--undo", "370104-1", "--reason", "wrong one"]) == 0
    assert main(["findings", "close", state, "370104-1", "--reason", "A. B.: module exchanged"]) == 0
    assert StateStore(era.state).history().last().action == "closed"
    assert main(["findings", "close", state, "370104-1", "--reason", "again"]) == 2
    assert "has no open finding 370104-1; open are none." in capsys.readouterr().err


def test_undo_forgets_a_run_and_says_what_else(era: Era, capsys: pytest.CaptureFixture[str]) -> None:
    state = str(era.state)
    assert main(["adapt", state, "--with", era.file(370104), era.file(370105)]) == 0
    capsys.readouterr()
    assert main(["adapt", state, "--undo", "370104", "--reason", "was off"]) == 0
    assert "forgotten: run 370104, run 370105" in capsys.readouterr().out
    assert learned(era.state) == (CLEAN,)
    assert main(["adapt", state, "--undo", "7"]) == 2
    assert main(["adapt", state, "--undo", "7", "--with", era.file(370104)]) == 2


def test_a_run_is_judged_by_the_state_before_it_which_says_how_old_it_is(
    era: Era, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, out = str(era.state), tmp_path / "out"
    assert main(["adapt", state, "--with", era.file(370104)]) == 0
    before = content(era.state)
    words = ["run", era.file(370105), "-o", str(out), "--state", state, "--json", str(out / "v.json")]
    assert main([*words, "--flags", str(out / "flags.csv"), "--save-verdict", str(out)]) == 0
    assert content(era.state) == before
    told = capsys.readouterr()
    assert "judged by a detector state (state of run 370104, 1 run old)" in told.out
    assert "run 370105: open finding 370104-1: HEP07-RM2 degraded ×0.7" in told.err
    (run,) = json.loads((out / "v.json").read_text())["runs"]
    assert run["subdetectors"]["HE"]["trust"] == "detector state"
    assert run["subdetectors"]["HE"]["trusted"]
    assert run["subdetectors"]["HE"]["trust_reason"] == "state of run 370104, 1 run old"
    assert run["open_findings"][0].startswith("370104-1: HEP07-RM2")
    with (out / "flags.csv").open(newline="") as file:
        assert {row["trust"] for row in csv.DictReader(file)} == {"state of run 370104, 1 run old"}
    record = load_record(out / "R370105.verdict.npz")
    assert record.open_findings == tuple(run["open_findings"])
    (root,) = out.glob("*.root")
    texts = root_strings(root)
    assert "state of run 370104, 1 run old" in texts
    assert any(text.startswith("370104-1: HEP07-RM2") for text in texts)


def root_strings(path: Path) -> list[str]:
    """Texts of a published file, by genuine ROOT."""
    import ROOT

    file = ROOT.TFile.Open(str(path))
    texts: list[str] = []

    def walk(folder: ROOT.TDirectory) -> None:
        for key in folder.GetListOfKeys():
            if key.GetClassName().startswith("TDirectory"):
                walk(key.ReadObj())
            elif key.GetClassName() == "TObjString":
                texts.append(str(key.ReadObj().GetString()).partition("s=")[2].rpartition("</")[0])

    walk(file)
    file.Close()
    return texts


def test_the_watch_judges_by_a_state_too(era: Era, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    incoming, out = tmp_path / "in", tmp_path / "watch"
    incoming.mkdir()
    shutil.copy(era.file(370102), incoming)
    before = content(era.state)
    assert main(["watch", str(incoming), "-o", str(out), "--once", "--state", str(era.state)]) == 0
    capsys.readouterr()
    (root,) = out.rglob("*.root")
    assert "state of run 370103, at least 1 run old" in root_strings(root)
    assert content(era.state) == before


def test_runs_that_were_missed_make_a_state_vague(era: Era) -> None:
    store = StateStore(era.state)
    old = state_of_run([store], 370200, lambda _: RunFacts(), range(370100, 370201))
    assert old.words == "state of run 370103, 97 runs old"
    near = state_of_run([store], 370105, lambda _: RunFacts(), (CLEAN, 370104, 370105))
    assert near.words == "state of run 370103, 2 runs old"
    assert 1.0 < near.state.vagueness("HE", near.conditions) < 1.3
    # A quarter of the variance between two runs is walk: √(1 + (97 − 2)/4) = 5 widths.
    assert old.state.vagueness("HE", old.conditions) == pytest.approx(5, abs=0.3)
    unknown = state_of_run([store], 370105, lambda _: RunFacts())
    assert unknown.words == "state of run 370103, at least 1 run old"


def judged_later(era: Era, run: int) -> tuple[Judging, RunVerdict]:
    """A run of the clean detector under another number, and all runs before it known."""
    (maps,) = read_lumi_maps([Path(era.file(370102))])
    judging = Judging(load_models(), states=(StateStore(era.state),), taken=frozenset(range(370100, 370501)))
    own = judging.for_run(replace(maps, run=run))
    return own, own.judge_run(replace(maps, run=run))


def test_a_verdict_by_an_old_state_is_not_trusted_but_teaches(era: Era) -> None:
    own, verdict = judged_later(era, 370120)
    he = next(part for part in own.finished(verdict).verdicts if part.subdetector == "HE")
    assert he.trust is Trust.OLD_STATE
    assert he.trust_reason.startswith("state of run 370103, 17 runs old, so faults must be 2.")
    assert own.chosen is not None
    with StateStore(era.state).alone(print):
        record = learn(own.chosen, verdict)
    assert record.lumisections["HE"] == LENGTH
    own, verdict = judged_later(era, 370121)
    assert own.chosen is not None
    assert own.chosen.words == "state of run 370120, 1 run old"
    he = next(part for part in own.finished(verdict).verdicts if part.subdetector == "HE")
    assert he.trust is Trust.STATE


def test_what_is_far_too_old_is_not_judged_and_does_not_teach(era: Era) -> None:
    own, verdict = judged_later(era, 370400)
    assert {part.trust for part in own.finished(verdict).verdicts if part.subdetector != "HF"} == {Trust.NONE}
    before = content(era.state)
    assert own.chosen is not None
    with StateStore(era.state).alone(print):
        assert learn(own.chosen, verdict).lumisections == {}
    assert content(era.state) == before


@pytest.mark.parametrize(
    ("own", "other", "sentence"),
    [
        (RunFacts(field=3.8), RunFacts(field=0.0), "the state is of 3.8 T, the run of 0 T"),
        (RunFacts(trigger="collisions"), RunFacts(trigger="cosmics"), "the state is of collisions"),
        (RunFacts(trigger="collisions"), RunFacts(trigger="ions"), "the state is of collisions"),
    ],
)  # fmt: skip
def test_a_run_of_another_kind_is_not_assessed_without_a_state_for_it(
    era: Era, tmp_path: Path, own: RunFacts, other: RunFacts, sentence: str
) -> None:
    store, fitting = StateStore(era.state), StateStore(tmp_path / "other")
    state = DetectorState.from_arrays(store.read(History.last).arrays)
    update = store.history().updates[0]
    for place, conditions in ((StateStore(tmp_path / "own"), own), (fitting, other)):
        with place.alone(print):
            place.add(replace(state, conditions=conditions).to_arrays(), update)
    own_store = StateStore(tmp_path / "own")
    with pytest.raises(NoHcalError, match=f"run 370104: {sentence}"):
        state_of_run([own_store], 370104, lambda _: other)
    assert state_of_run([own_store, fitting], 370104, lambda _: other).store is fitting
    assert state_of_run([own_store], 370104, lambda _: RunFacts()).store is own_store


def test_menu_field_and_luminosity_come_from_oms_and_standby_teaches_nothing(era: Era, tmp_path: Path) -> None:
    oms, state = tmp_path / "oms.csv", tmp_path / "fresh"
    head = "run_number,lumisection_number,beams_stable,delivered_lumi_per_lumisection,hlt_key,b_field,fill_type_runtime"
    head += ",start_time"
    rows = [
        f"{run},{ls},{int(ls <= 9)},100,menu/v{run - 370102},3.8,PROTONS,2023-10-{run - 370100:02d}T12:00:{ls:02d}Z"
        for run in (CLEAN, *AFTER) for ls in range(1, LENGTH + 1)
    ]  # fmt: skip
    oms.write_text("\n".join([head, *rows]) + "\n")
    assert main(["adapt", str(state), "--from", era.file(CLEAN), "--oms", str(oms)]) == 0
    assert main(["adapt", str(state), "--with", era.file(370105), "--oms", str(oms)]) == 0
    begun, learned_from = StateStore(state).history().updates
    day_of_clean_run = datetime(2023, 10, 3, 12, 0, 1, tzinfo=UTC).timestamp() / 86400
    assert begun.record["lumisections"] == {str(CLEAN): 3 * LENGTH - 3}  # LS 10 to 12 were on standby
    assert begun.record["conditions"] == {
        "menu": "menu/v1", "field": 3.8, "trigger": "collisions", "luminosity": 0.0, "missed": None,
        "day": day_of_clean_run,
    }  # fmt: skip
    assert learned_from.record["lumisections"]["HE"] == 9
    # Two runs of 12 LS with 100/pb each since the clean run began, and one of them was missed.
    assert learned_from.record["conditions"] == {
        "menu": "menu/v3", "field": 3.8, "trigger": "collisions", "luminosity": 2.4, "missed": 1,
        "day": day_of_clean_run + 2,
    }  # fmt: skip
    judging = ["--state", str(state), "--oms", str(oms), "-o", str(tmp_path), "--save-verdict", str(tmp_path)]
    assert main(["run", era.file(370105), *judging]) == 0
    (he,) = (part for part in load_record(tmp_path / "R370105.verdict.npz").parts if part.name == "HE")
    assert he.assessed.sum() == 9
    assert "state of run 370103, 2 runs and 2 days old" in he.trust_reason


def test_cosmics_are_told_by_the_name_of_the_data_set() -> None:
    assert [kind_of_events(name) for name in ("Cosmics", "HIMinimumBias0", "ZeroBias", "")] == [
        "cosmics", "ions", "collisions", None,
    ]  # fmt: skip


def test_a_word_on_a_finding_of_earlier_runs_changes_these_alone(
    made_era: Era, era: Era, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "late"
    assert main(["adapt", str(state), "--from", made_era.file(CLEAN)]) == 0
    store = StateStore(state)
    early = tmp_path / "dials_run370002.parquet"
    rename_run(Path(era.file(370104)), early, 370002)
    assert main(["adapt", str(state), "--with", str(early), era.file(370102)]) == 0
    capsys.readouterr()
    assert main(["findings", "list", str(state)]) == 0
    assert "370002-1" in capsys.readouterr().out
    forwards = store.history().last()
    assert main(["findings", "close", str(state), "370002-1", "--reason", "known"]) == 0
    history = store.history()
    assert history.last() == forwards == history.updates[0]
    assert history.last(backwards=True).action == "closed"
    assert history.learned(history.last(backwards=True)) == (CLEAN, 370102, 370002)


def rename_run(path: Path, new: Path, run: int) -> None:
    """The same digis under another run number."""
    table = pq.read_table(path)
    numbers = pa.array([run] * len(table), type=pa.int64())
    pq.write_table(table.set_column(table.schema.get_field_index("run_number"), "run_number", numbers), new)


KILLED = """
import os, signal, sys
from hcal_root_ad.cli.main import main

def hook(event, where):
    if event == "os.rename" and str(where[1]).endswith(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
sys.exit(main(sys.argv[2:]))
"""


def certify(era: Era, state: Path, out: Path, killed_before: str) -> int:
    words = ["certify", str(era.folder), "-o", str(out), "--adapt", str(state)]
    command = [sys.executable, "-c", KILLED, killed_before, *words]
    return subprocess.run(command, check=False, capture_output=True, env=dict(os.environ)).returncode


def test_an_era_killed_and_resumed_is_equal_to_the_byte_to_one_left_alone(era: Era, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    first, second = (Path(shutil.copytree(era.state, tmp_path / name / "state")) for name in "12")
    assert certify(era, first, alone, "never") == 0
    killed = tmp_path / "killed"
    for place in ("version-000001.npz", "update-000001.json", "R370104.item.json", "update-000003.json",
                  "lumisections.csv"):  # fmt: skip
        assert certify(era, second, killed, place) == -signal.SIGKILL
        StateStore(second).read(History.last)
    assert certify(era, second, killed, "never") == 0
    assert content(second) == content(first)
    outputs, expected = content(killed), content(alone)
    assert outputs.keys() == expected.keys()
    survey = "records/files.json"  # with the time at which each file was changed, which is the same, too
    assert [name for name in expected if outputs[name] != expected[name] and name != survey] == []
    assert learned(second) == (CLEAN, 370104, 370105)
    assert learned(second, backwards=True) == (CLEAN, 370102, 370101)
    record = load_record(killed / "records" / "R370105.verdict.npz")
    assert record.open_findings[0].startswith("370104-1: HEP07-RM2")


def test_the_same_era_again_changes_nothing_and_a_finding_that_was_undone_is_certified_anew(
    era: Era, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["certify", era.file(370104), era.file(370105), "-o", str(tmp_path / "c"), "--adapt", str(era.state)]
    assert main(words) == 0
    before = content(era.state)
    assert "judged:" in capsys.readouterr().out
    assert main(words) == 0
    assert "judged:" not in capsys.readouterr().out
    assert content(era.state) == before
    assert main(["findings", "accept", str(era.state), "370104-1", "--reason", "meant"]) == 0
    assert main(words) == 0  # what was judged was judged by what was known then
    assert "judged:" not in capsys.readouterr().out
    assert main([*words, "--workers", "2"]) == 0
    assert "--adapt: each run is judged by what those before it taught" in capsys.readouterr().err


def test_what_a_campaign_of_a_state_shows(era: Era, tmp_path: Path) -> None:
    out, page = tmp_path / "c", tmp_path / "page.html"
    assert main(["certify", era.file(370104), era.file(370105), "-o", str(out), "--adapt", str(era.state)]) == 0
    with (out / "lumisections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["he_trust"] for row in rows if row["run"] == "370105"} == {"state of run 370104, 1 run old"}
    assert main(["report", str(out), "-o", str(page)]) == 0
    text = page.read_text()
    assert "state of run 370104, 1 run old" in text
    assert "370104-1: HEP07-RM2 degraded ×0.7" in text


def test_wrong_use_is_one_sentence(era: Era, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, out = str(era.state), ["-o", str(tmp_path / "o")]
    none, run = str(tmp_path / "none"), era.file(370104)
    for words, sentence in (
        (["run", run, *out, "--state", none], "holds no detector state; make one with"),
        (["certify", run, *out, "--adapt", none], "holds no detector state; make one with"),
        (["certify", run, *out, "--adapt", state, "--state", state], "leave one of them out"),
        (["run", run, *out, "--state", state, "--without-reference"], "leave one of them out"),
        (["certify", *out, "--adapt", state], "Without INPUT nothing is judged: leave --"),
        (["adapt", state, "--from", era.file(CLEAN)], "holds a state already"),
        (["findings", "list", none], "holds no detector state"),
        (["adapt", none, "--undo", "1"], "holds no detector state"),
    ):
        assert main(words) == 2
        told = capsys.readouterr().err
        assert sentence in told
        assert len(told.splitlines()) == 1
    assert not Path(none).exists()


def test_what_a_state_judged_is_made_again(era: Era, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, campaign, files = tmp_path / "out", tmp_path / "c", tmp_path / "files"
    files.mkdir()
    for run in AFTER:
        shutil.copy(era.file(run), files)
    state = str(era.state)
    assert main(["certify", str(files), "-o", str(campaign), "--adapt", state]) == 0
    assert main(["run", era.file(370105), "-o", str(out), "--state", state]) == 0
    (root,) = out.glob("*.root")
    assert main(["reproduce", str(root), "--inputs", str(files), state]) == 0
    assert main(["reproduce", str(campaign), "--inputs", str(files), state]) == 0
    capsys.readouterr()
    assert main(["reproduce", str(root), "--inputs", str(files)]) == 2
    assert "The detector state state (SHA-256" in capsys.readouterr().err
    (era.state / "version-000001.npz").unlink()
    assert main(["reproduce", str(root), "--inputs", str(files), state]) == 2
    assert "version 1 of the state, which judged, is not kept whole any more." in capsys.readouterr().err


def test_two_processes_that_adapt_at_once_lose_nothing(era: Era) -> None:
    program = [sys.executable, "-c", "import sys; from hcal_root_ad.cli.main import main; sys.exit(main(sys.argv[1:]))"]
    words = [[*program, "adapt", str(era.state), "--with", era.file(run)] for run in (370102, 370104)]
    processes = [subprocess.Popen(one, stdout=subprocess.DEVNULL) for one in words]
    assert [process.wait() for process in processes] == [0, 0]
    assert learned(era.state) == (CLEAN, 370104)
    assert learned(era.state, backwards=True) == (CLEAN, 370102)
