"""``train``, ``transfer`` and ``calibrate``: what reaches the library, and what ``calibrate`` may overwrite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hcal_root_ad.cli.main import main
from hcal_root_ad.detector import Era

Call = tuple[tuple[Any, ...], dict[str, Any]]
Library = Callable[[str], list[Call]]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    """Replace ``learn.VERB.VERB`` and reading; returns the calls that the verb makes."""

    def replace(verb: str) -> list[Call]:
        calls: list[Call] = []

        def function(*values: Any, **options: Any) -> SimpleNamespace:
            options.pop("progress", None)
            calls.append((values, options))
            return SimpleNamespace(name="new", subdetector="HE")

        monkeypatch.setattr(f"hcal_root_ad.learn.{verb}.{verb}", function)
        monkeypatch.setattr(f"hcal_root_ad.cli.{verb}.read_runs", tuple)
        monkeypatch.setattr("hcal_root_ad.model.model.load_bundle", lambda name: SimpleNamespace(name=name))
        monkeypatch.setattr("hcal_root_ad.publish.bundle_provenance.write_bundle_provenance", lambda *_: None)
        return calls

    return replace


def test_train(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    calls = library("train")
    assert main(["train", "a.root", "b.root", "--subdetector", "HE", "-o", "mine", "--data", "real"]) == 0
    expected = {"ring_normalisation": False, "data": "real"}
    assert calls == [((("a.root", "b.root"), "HE", Path("mine")), expected)]
    assert capsys.readouterr().out == "mine: bundle new for HE\n"


def test_transfer_to_another_subdetector(library: Library) -> None:
    calls = library("transfer")
    assert main(["transfer", "--from", "he", "--to", "HB", "--runs", "a.root", "b.root", "-o", "mine"]) == 0
    expected = {"to": "HB", "data": ""}
    assert calls == [((SimpleNamespace(name="he"), ("a.root", "b.root"), Path("mine")), expected)]


def test_transfer_to_a_new_state_of_the_same(library: Library) -> None:
    calls = library("transfer")
    assert main(["transfer", "--from", "he", "--runs", "a.root", "-o", "mine"]) == 0
    assert calls[0][1]["to"] is None


@pytest.fixture
def of_run3(library: Library, monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Calls of ``transfer`` from a bundle that says what it is of."""
    calls = library("transfer")
    source = SimpleNamespace(name="he", channels=SimpleNamespace(era=Era.RUN3), definition="dqmio-occupancy")
    monkeypatch.setattr("hcal_root_ad.model.model.load_bundle", lambda _: source)
    return calls


def test_transfer_without_runs_takes_those_of_the_reference_that_fits(
    of_run3: list[Call], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HCAL_ROOT_AD_PATH", raising=False)
    assert main(["transfer", "--from", "he", "-o", "mine"]) == 0
    (path,) = of_run3[0][0][1]
    assert Path(path).name == "DQM_V0001_R000404000__SimulatedZeroBias__Run3-v1__DQMIO.root"
    assert Path(path).exists()
    assert "no --runs: adapting to the clean runs of the reference clean (run 404000" in capsys.readouterr().err


def test_transfer_without_runs_needs_a_reference_whose_files_are_there(
    of_run3: list[Call], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = 'runs = [1]\nera = "Run3"\nquantity = "Occupancy"\nfiles = ["gone.root"]\nrates = "r"\n'
    (tmp_path / "reference_runs").mkdir()
    (tmp_path / "reference_runs" / "catalogue.toml").write_text(f"[mine]\n{entry}[clean]\n{entry}")
    monkeypatch.setenv("HCAL_ROOT_AD_PATH", str(tmp_path))
    assert main(["transfer", "--from", "he", "-o", "mine"]) == 2
    assert "--runs is missing, and no reference of the catalogue for Run3 and Occupancy" in capsys.readouterr().err
    assert of_run3 == []


def test_calibrate_in_place_or_elsewhere(library: Library, tmp_path: Path) -> None:
    calls = library("calibrate")
    mine = tmp_path / "mine"
    mine.mkdir()
    assert main(["calibrate", str(mine), "--runs", "a.root"]) == 0
    assert main(["calibrate", "he-graphstad", "--runs", "a.root", "-o", str(mine)]) == 0
    assert [values[1:] for values, _ in calls] == [(("a.root",), mine)] * 2


def test_calibrate_leaves_a_shipped_bundle_alone(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    calls = library("calibrate")
    assert main(["calibrate", "he-graphstad", "--runs", "a.root"]) == 2
    assert "he-graphstad is a shipped bundle and stays as it is" in capsys.readouterr().err
    assert calls == []
