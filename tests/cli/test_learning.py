"""``train``, ``transfer`` and ``calibrate``: what reaches the library, and what ``calibrate`` may overwrite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hcal_root_ad.cli.main import main

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
        monkeypatch.setattr("hcal_root_ad.learn.bundle.load_bundle", lambda name: SimpleNamespace(name=name))
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
