"""The verbs on real files: simulated runs in, tensors, verdicts and sentences out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.cli.main import main

pytest.importorskip("ROOT", reason="genuine ROOT writes the simulated files")

LUMISECTIONS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short runs of one detector, harvested form, with their truth."""
    folder = tmp_path_factory.mktemp("simulated")
    words = f"simulate -o {folder} --format dqm_file --lumisections {LUMISECTIONS} --runs 2 --detector-seed 5 --seed 3"
    assert main(words.split()) == 0
    return folder


@pytest.fixture(scope="module")
def runs(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.root"))


def test_simulate_names_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "-o", str(tmp_path), "--format", "hcalanalyzer", "--lumisections", "1"]) == 0
    named = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(named) == sorted(tmp_path.iterdir())
    assert any(path.name.endswith("_truth.json") for path in named)


def test_simulate_refuses_what_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "-o", str(tmp_path / "new"), "--format", "hdf5"]) == 2
    assert "'hdf5'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_inspect_shows_run_lumisections_and_definition(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(runs[0])]) == 0
    shown = capsys.readouterr().out
    truth = json.loads(next(runs[0].parent.glob("*_truth.json")).read_text())
    assert str(truth["run"]) in shown
    assert str(sum(truth["events"])) in shown
    assert "dqm_file-occupancy" in shown
    assert "Hcal/DigiTask/Occupancy/depth/depth7" in shown


def test_harvest_saves_the_true_events(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["harvest", str(folder), "-o", str(tmp_path / "maps.npz")]) == 0
    truths = {truth["run"]: truth for truth in map(json.loads, (p.read_text() for p in folder.glob("*_truth.json")))}
    assert len(truths) == 2
    for run, truth in truths.items():
        with np.load(tmp_path / f"maps_R{run}.npz") as saved:
            assert saved["run"] == run
            assert saved["events"].tolist() == truth["events"]
            assert saved["counts"].shape == (LUMISECTIONS, 64, 72, 7)
            assert saved["counts"].max() <= saved["events"].max()
    assert capsys.readouterr().out.count("definition dqm_file-occupancy") == 2


def test_check_takes_a_good_file_and_names_what_is_wrong_with_another(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(runs[0])]) == 0
    taken, holds = capsys.readouterr().out.splitlines()
    assert taken == f"{runs[0]}: both GUIs will take it."
    assert re.fullmatch(rf"{runs[0]}: \d+ histograms with [\d,]+ bins, \d+ texts, [\d,]+ bytes", holds)
    renamed = tmp_path / "mine.root"
    renamed.write_bytes(runs[0].read_bytes())
    assert main(["check", str(runs[0]), str(renamed)]) == 1
    first, _, *others = capsys.readouterr().out.splitlines()
    assert first.endswith("both GUIs will take it.")
    assert others[0].startswith(f"{renamed}: The file name 'mine.root' is neither ")
    assert "histograms" in others[-1]


@pytest.fixture(params=["missing", "empty", "text", "truncated", "no HCAL"])
def unreadable(request: pytest.FixtureRequest, tmp_path: Path, runs: list[Path]) -> Path:
    """A path at which there is nothing to judge."""
    path = tmp_path / "DQM_V0001_R000370101__A__B__C.root"
    match request.param:
        case "empty":
            path.touch()
        case "text":
            path.write_text("no ROOT file, but a letter\n")
        case "truncated":
            path.write_bytes(runs[0].read_bytes()[:20_000])
        case "no HCAL":
            import uproot

            with uproot.recreate(path) as file:
                file["DQMData/Run 370101/Ecal/Run summary/EventInfo/events"] = np.histogram([1.0])
    return path


@pytest.mark.parametrize("verb", ["inspect", "harvest", "run"])
def test_what_cannot_be_read_is_one_sentence_and_leaves_nothing(
    verb: str, unreadable: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.iterdir())
    words = [verb, str(unreadable)] + ([] if verb == "inspect" else ["-o", str(tmp_path / "out")])
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("hcal-root-ad: ")
    assert err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


DEMONSTRATION = Path(__file__).parents[2] / "reference_runs" / "demonstration"


@pytest.mark.parametrize(
    "words", ["certify demonstration -o {out}", "watch {folder} -o {out} --once", "adapt {out} --from demonstration"]
)
def test_a_definition_can_be_chosen(words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The demonstration run has maps of Occupancy alone."""
    out = [word.format(out=tmp_path / "out", folder=DEMONSTRATION) for word in words.split()]
    assert main([*out, "--definition", "Ocupancy"]) == 2
    assert "the nearest known one is 'Occupancy'" in capsys.readouterr().err
    main([*out, "--definition", "OccupancyCut"])
    captured = capsys.readouterr()
    assert "holds no HCAL maps such as Hcal/DigiTask/OccupancyCut/depth/depth1" in captured.out + captured.err
    assert not list((tmp_path / "out").rglob("*.root"))


def test_a_report_of_a_verdict_takes_no_options_of_the_judgement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = str(tmp_path / "R1.verdict.npz")
    words = ["report", record, "-o", str(tmp_path / "page.html")]
    assert main([*words, "--model", "ho", "--mask", "known.toml"]) == 2
    assert f"{record} is judged already: leave --model, --mask out" in capsys.readouterr().err
