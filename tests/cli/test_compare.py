"""``compare`` and ``reference`` from end to end: files in; table, ROOT file, JSON and pictures out; exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hcal_root_ad import content
from hcal_root_ad.cli import references
from hcal_root_ad.cli.main import main
from hcal_root_ad.lumi_maps import LumiMaps

MakeMaps = Callable[..., LumiMaps]

pytest.importorskip("ROOT", reason="genuine ROOT writes the simulated files")

FAULTS = '[[fault]]\nkind = "dead"\nunit = "HEP07"\nfirst = 1\nlast = 20\n'


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two clean runs of a detector, and one whose HEP07 is dead."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "faults.toml").write_text(FAULTS)
    options = [
        "simulate",
        "-o",
        str(folder),
        "--format",
        "dqm_file",
        "--lumisections",
        "20",
        "--detector-seed",
        "77",
    ]
    assert main([*options, "--seed", "4", "--runs", "2"]) == 0
    assert main([*options, "--seed", "5", "--faults", str(folder / "faults.toml")]) == 0
    first, second, third = sorted(folder.glob("*.root"))
    return {"clean": first, "other": second, "faulty": third}


@pytest.fixture(scope="module")
def home(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's folder with a reference of the clean run."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(content.SEARCH_VARIABLE, str(home))
        assert main(["reference", "add", str(files["clean"]), "--name", "mine", "--state", "new"]) == 0
    return home


@pytest.fixture(autouse=True)
def _at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(content.SEARCH_VARIABLE, str(home))


def test_a_clean_run_does_not_differ(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out"
    assert main(["compare", str(files["other"]), "--reference", "mine", "-o", str(out), "--strict"]) == 0
    said = capsys.readouterr()
    assert "nothing changed" in said.out
    assert "fits it best" not in said.err
    names = {path.name for path in out.iterdir()}
    assert names == {
        "DQM_V0001_R000374001__SimulatedZeroBias__Run3_HcalADComparison-v1__DQMIO.root",
        "comparison_R374001.json",
        "comparison_R374001.png",
        "comparison_R374001_channels.png",
        "comparison_R374001.provenance.json",
    }
    assert main(["check", *map(str, out.glob("*.root"))]) == 0
    assert json.loads((out / "comparison_R374001.json").read_text())["differs"] is False


def test_several_runs_find_their_reference_and_strict_tells_that_one_differs(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The pictures of single runs are drawn above.
    monkeypatch.setattr("hcal_root_ad.compare.drawing.draw_comparison", lambda *_: ())
    assert main(["compare", str(files["other"]), str(files["faulty"]), "-o", str(tmp_path), "--strict"]) == 1
    said = capsys.readouterr()
    found = "run 374001: compared with the reference mine (run 374000, SimulatedZeroBias, new), which fits it best"
    assert found in said.err
    assert "HEP07" in said.out
    assert "Drift against mine" in said.out
    runs = json.loads((tmp_path / "drift.json").read_text())["runs"]
    assert [one["run"] for one in runs] == [374001, 375000]
    assert (tmp_path / "drift.png").exists()
    changes = json.loads((tmp_path / "comparison_R375000.json").read_text())["changes"]
    assert [(line["unit"], line["change"]) for line in changes] == [("HEP07", "empty")]


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--strict",), 1)])
def test_only_strict_makes_a_difference_a_failure(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], code: int
) -> None:
    monkeypatch.setattr(references, "_compare", lambda *_: (None, True))
    assert main(["compare", str(files["other"]), "-o", str(tmp_path), *options]) == code


def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = str(files["faulty"]), str(tmp_path / "out")
    assert main(["compare", run, "--reference", "mime", "-o", out]) == 2
    assert "the nearest known one is 'mine'" in capsys.readouterr().err
    (tmp_path / "out").write_text("a file")
    assert main(["compare", run, "-o", out]) == 2
    assert "is a file, but a folder is needed" in capsys.readouterr().err


def test_without_a_fitting_reference_one_must_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], make_maps: MakeMaps
) -> None:
    monkeypatch.setattr(references, "read_runs", lambda *_: (make_maps(370101, "a.root"),))
    (tmp_path / "a.root").touch()
    assert main(["compare", str(tmp_path / "a.root"), "-o", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert "no reference of the catalogue fits run 370101 (Run3, nanodqmio, trigger not named by its file)" in err
    assert "name one with --reference" in err


def test_a_reference_is_listed_shown_and_verified(
    files: dict[str, Path], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reference", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (mine,) = [line for line in lines if line.startswith("mine ")]
    assert all(word in mine for word in ("374000", "Run3", "SimulatedZeroBias", "Occupancy", "new", "20", "yes"))
    assert main(["reference", "show", "mine"]) == 0
    shown = capsys.readouterr().out
    assert str(files["clean"]) in shown
    assert "channels filled" in shown
    assert main(["reference", "verify", "mine"]) == 0
    assert capsys.readouterr().out == "mine: good\n"
    rates = home / "reference_runs" / "mine" / "rates.safetensors"
    for path in (rates, home / "reference_runs"):
        assert main(["provenance", str(path)]) == 0
        told = capsys.readouterr().out
        assert f"{path}: made by reference add, says mine.provenance.json\n" in told
        assert [word for word in (files["clean"].name, "definition", "state", "new", "torch") if word not in told] == []
    good = rates.read_bytes()
    rates.write_bytes(good[:-1])
    assert main(["reference", "verify"]) == 1
    assert "do not match the digest" in capsys.readouterr().out
    assert main(["reference", "show", "mine"]) == 0
    assert "do not match the digest" in capsys.readouterr().out
    rates.write_bytes(good)


def test_a_reference_is_added_once_and_its_run_is_an_input_by_name(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reference", "add", str(files["clean"]), "--name", "mine"]) == 2
    assert "has a reference 'mine' already" in capsys.readouterr().err
    assert main(["inspect", "mine"]) == 0
    assert "run           374000" in capsys.readouterr().out


def test_without_a_folder_of_ones_own_no_reference_is_added(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(content.SEARCH_VARIABLE)
    assert main(["reference", "add", str(files["clean"]), "--name", "mine"]) == 2
    assert "HCAL_ROOT_AD_PATH names no folder of yours" in capsys.readouterr().err


def test_run_takes_the_reference_of_a_detector_that_its_models_do_not_know(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(files["faulty"]), "-o", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "compared with a reference run" in said.out
    # Dead in every lumisection: compared with itself, the run could not tell.
    assert "HEP07" in said.out


def test_a_terminal_shows_how_far_it_is(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[tuple[int, int]]] = {}

    @contextmanager
    def bar(task: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda done, total: seen.setdefault(task, []).append((done, total))

    monkeypatch.setattr(references, "progress", bar)
    assert main(["reference", "verify", "mine", "mine"]) == 0
    assert main(["compare", str(files["other"]), "--reference", "mine", "-o", str(tmp_path)]) == 0
    assert seen == {"Verifying": [(1, 2), (2, 2)], "Comparing run 374001": [(0, 1)]}
