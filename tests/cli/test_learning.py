"""``train`` and ``transfer``: what reaches the library, and what people are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hcal_root_ad.cli import models as verbs
from hcal_root_ad.cli.main import main
from hcal_root_ad.detector import Era
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model

STORY = {"data": "real", "learned from": "3 LS", "odd units": "HEP07-RM2 at × 0.50 of the phi ring"}
Call = tuple[tuple[Any, ...], dict[str, Any]]
Library = Callable[[str], list[Call]]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    """Replace the library's VERB and reading; returns the calls that the verb makes."""

    def replace(verb: str) -> list[Call]:
        calls: list[Call] = []

        def function(*values: Any, **options: Any) -> SimpleNamespace:
            options.pop("progress", None)
            calls.append((values, options))
            return SimpleNamespace(name="new", subdetector="HE", story=STORY)

        monkeypatch.setattr(f"hcal_root_ad.model.transfer.{verb}", function)
        monkeypatch.setattr("hcal_root_ad.cli.models.read_runs", lambda names, *_: tuple(names))
        monkeypatch.setattr("hcal_root_ad.cli.models.load_model", lambda name: SimpleNamespace(name=name))
        monkeypatch.setattr("hcal_root_ad.cli.models.write_model_provenance", lambda *_: None)
        monkeypatch.setattr(verbs, "_fit", lambda *_: iter(()))
        return calls

    return replace


def test_train(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    calls = library("train")
    assert main(["train", "a.root", "b.root", "--subdetector", "HE", "-o", "mine", "--data", "real"]) == 0
    assert calls == [((("a.root", "b.root"), "HE", Path("mine")), {"widths": None, "data": "real"})]
    assert capsys.readouterr().out.splitlines() == [
        "mine: model new for HE",
        "learned from: 3 LS",
        "odd units: HEP07-RM2 at × 0.50 of the phi ring",
    ]


def test_transfer_to_another_subdetector(library: Library) -> None:
    calls = library("transfer")
    assert main(["transfer", "--from", "he", "--to", "HB", "--runs", "a.root", "b.root", "-o", "mine"]) == 0
    expected = {"to": "HB", "data": ""}
    assert calls == [((SimpleNamespace(name="he"), ("a.root", "b.root"), Path("mine")), expected)]


def test_transfer_to_a_new_state_of_the_same(library: Library) -> None:
    calls = library("transfer")
    assert main(["transfer", "--from", "he", "--runs", "a.root", "-o", "mine"]) == 0
    assert calls[0][1]["to"] is None


def test_transfer_says_what_it_learned_and_what_to_do_next(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    library("transfer")
    assert main(["transfer", "--from", "he", "--runs", "a.root", "-o", "mine"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "mine: model new for HE, from he",
        "learned from: 3 LS",
        "odd units: HEP07-RM2 at × 0.50 of the phi ring",
    ]
    assert lines[3].startswith("next: if the units named above are sound or masked, choose other clean runs")
    assert lines[4] == "next: adapt the models of HB, HO and HF that you use on the same clean runs"
    assert lines[5] == "next: hcal-root-ad run RUN -o DIR --model mine --model …"


@pytest.fixture
def of_run3(library: Library, monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Calls of ``transfer`` from a model that says what it is of."""
    calls = library("transfer")
    source = SimpleNamespace(name="he", channels=SimpleNamespace(era=Era.RUN3), definition="dqmio-occupancy")
    monkeypatch.setattr("hcal_root_ad.cli.models.load_model", lambda _: source)
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


def test_transfer_says_how_the_model_fits_its_clean_run(models: Mapping[str, Model], clean_run: LumiMaps) -> None:
    (line,) = verbs._fit(models["HE"], [clean_run])
    assert line == "fit to run 370100: channels scatter 1.00 times as much as it allows for, no finding in 60 LS"
    assert list(verbs._fit(models["HF"], [clean_run])) == []
