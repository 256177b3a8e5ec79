"""``run``: who judges, what it refuses before it judges, and that a refusal writes nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hcal_root_ad.cli import run
from hcal_root_ad.cli.main import main
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.pipeline import Judging

MakeMaps = Callable[..., LumiMaps]
Refusal = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Run the verb on given runs, see it end with 2 and leave nothing; returns its sentence."""

    def end(runs: tuple[LumiMaps, ...], *options: str) -> str:
        inputs = [tmp_path / source.name for maps in runs for source in maps.sources]
        for path in inputs:
            path.touch()
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.setattr(run, "read_runs", lambda *_, **__: runs)
        words = ["run", *map(str, inputs), "-o", str(tmp_path / "out"), "--flags", str(tmp_path / "new" / "flags.csv")]
        assert main([*words, *options]) == 2
        assert sorted(tmp_path.rglob("*")) == before
        assert all(path.stat().st_size == 0 for path in inputs)
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        return err

    return end


def test_attach_needs_one_file_per_run(refused: Refusal, make_maps: MakeMaps) -> None:
    sentence = refused((make_maps(370101, "a.root", "b.root"),), "--attach")
    assert "run 370101 was read from a.root, b.root;" in sentence


def test_attach_keeps_the_name(refused: Refusal, make_maps: MakeMaps) -> None:
    assert "--online" in refused((make_maps(370101, "a.root"),), "--attach", "--online")


def test_unknown_model(refused: Refusal, make_maps: MakeMaps) -> None:
    assert "no-such-model" in refused((make_maps(370101, "a.root"),), "--model", "no-such-model")


@pytest.mark.usefixtures("own_models")
def test_one_model_per_subdetector(refused: Refusal, make_maps: MakeMaps) -> None:
    sentence = refused((make_maps(370101, "a.root"),), "--model", "he-graphstad", "--model", "he-graphstad")
    assert "he-graphstad and he-graphstad are both models for HE" in sentence


@pytest.fixture
def never_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judging is where the time goes; places are looked at before."""

    def load(_: object) -> list[object]:
        raise AssertionError("an output place was not refused before models were loaded")

    monkeypatch.setattr(run, "judging_of", load)


@pytest.mark.usefixtures("never_judged")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--plots", "FILE"), "FILE is a file"),
        (("--plots", "FILE/below"), "FILE is a file"),
        (("-o", "FILE"), "FILE is a file"),
        (("-o", "FILE/below/it"), "FILE is a file"),
        (("--flags", "FOLDER"), "FOLDER is a folder"),
        (("--flags", "FILE/flags.csv"), "FILE is a file"),
        (("--flags", "out"), "out is a folder"),
        (("--flags", "plots", "--plots", "plots/main"), "plots is a folder"),
        (("--flags", "/proc/flags.csv"), "/proc"),
        (("--save-verdict", "FILE"), "FILE is a file"),
        (("--save-verdict", "FILE/below"), "FILE is a file"),
        (("--flags", "a.root"), "a.root would be replaced"),
    ],
)
def test_places_that_cannot_be_written_are_refused_before_judging(
    refused: Refusal,
    make_maps: MakeMaps,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    sentence: str,
) -> None:
    (tmp_path / "FILE").touch()
    (tmp_path / "FOLDER").mkdir()
    monkeypatch.chdir(tmp_path)
    assert sentence in refused((make_maps(370101, "a.root"),), "-o", "out", *options)


@pytest.mark.usefixtures("never_judged")
def test_a_folder_in_the_place_of_the_root_file(refused: Refusal, make_maps: MakeMaps, tmp_path: Path) -> None:
    (tmp_path / "out" / "DQM_V0001_HcalAD_R000370101.root").mkdir(parents=True)
    assert "R000370101.root is a folder" in refused((make_maps(370101, "a.root"),), "--online")


@pytest.mark.usefixtures("never_judged")
@pytest.mark.parametrize("options", [(), ("--attach",)])
def test_no_output_takes_the_place_of_an_input(
    refused: Refusal, make_maps: MakeMaps, tmp_path: Path, options: tuple[str, ...]
) -> None:
    name = "DQM_V0001_R000370101__A__B_HcalAD-v1__DQMIO.root"
    assert f"{name} would be replaced" in refused((make_maps(370101, name),), "-o", str(tmp_path), *options)


@pytest.mark.parametrize("pattern", ["", "*.root"])
def test_attach_takes_the_one_file_of_a_folder_or_pattern(
    make_maps: MakeMaps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    path = tmp_path / "in" / "a.root"
    path.parent.mkdir()
    path.touch()
    monkeypatch.setattr(run, "read_runs", lambda *_, **__: (make_maps(370101, "a.root"),))
    monkeypatch.setattr(run, "judging_of", lambda _: Judging(()))
    monkeypatch.setattr(run, "judge", lambda maps, *_: RunVerdict(maps, ()))
    attached: list[Path] = []
    monkeypatch.setattr(run, "_publish", lambda _, attach_to, *__, **___: attached.append(attach_to))
    assert main(["run", str(path.parent / pattern), "-o", str(tmp_path / "out"), "--attach"]) == 0
    assert attached == [path]


def test_judging_and_publishing_import_no_network_and_no_pictures(tmp_path: Path) -> None:
    heavy = ["torch", "torch_geometric", "matplotlib", "mplhep", "scipy.stats", "scipy.special"]
    words = ["run", "demonstration", "-o", str(tmp_path)]
    code = (
        "import sys\nfrom hcal_root_ad.cli.main import main\n"
        f"print(main({words}), [name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
