"""The quick form of ``make bench`` measures every row; what it measures is left to quiet machines."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

import pytest

pytest.importorskip("ROOT", reason="genuine ROOT writes the inputs")
pytest.importorskip("onnxruntime", reason="ONNX Runtime runs the rival network")

from benchmarks.__main__ import main
from benchmarks.rows import Target, rows
from benchmarks.side_by_side import DifferentAnswers, Stopwatch, Task, ratios


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    folder = tmp_path_factory.mktemp("bench")
    assert main(["-o", str(folder / "table"), "--scratch", str(folder / "scratch"), "--quick"]) == 0
    page = (folder / "table" / "table.md").read_text()
    return json.loads((folder / "table" / "results.json").read_text()), page


def test_every_target_has_a_row_with_a_number(results: tuple[dict[str, Any], str]) -> None:
    stored, page = results
    assert [row["name"] for row in stored["rows"]] == [row.name for row in rows()]
    for row in stored["rows"]:
        assert row["least"] <= row["measured"] <= row["most"]
        assert all(isfinite(value) and value > 0 for value in row["values"]), row["name"]
        assert f"| {row['name']} |" in page


def test_the_machine_and_the_program_are_described(results: tuple[dict[str, Any], str]) -> None:
    stored, page = results
    for name in ("processor", "cores", "memory", "Python", "packages"):
        assert stored["machine"][name]
        assert f"- {name}: " in page
    assert stored["program"]["version"]
    assert stored["date"] in page


def test_exported_models_agree_with_torch(results: tuple[dict[str, Any], str]) -> None:
    stored, _ = results
    assert all(row["measured"] < 1e-4 for row in stored["rows"] if row["name"].startswith("export-"))


@pytest.mark.parametrize(
    ("target", "value", "met"),
    [
        (Target(5, True), 5.0, True),
        (Target(5, True), 4.9, False),
        (Target(3, False), 3.0, True),
        (Target(3, False), 3.1, False),
    ],
)
def test_a_target_is_a_least_or_a_most(target: Target, value: float, met: bool) -> None:
    assert target.met(value) is met
    assert str(target) == f"{'≥' if target.at_least else '≤'} {target.limit:g} ×"


def test_a_worker_measures_in_a_process_of_its_own() -> None:
    pairs = Stopwatch().alternate(Task("commands:empty_python"), Task("commands:empty_python", cores=1), 2)
    assert len(pairs) == 2
    assert all(sample.seconds > 0 and sample.peak_mb > 0 for pair in pairs for sample in pair)
    assert all(ratio > 0 for ratio in ratios(pairs))


def test_different_answers_are_no_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.worker.prepared", lambda function, _: lambda: len(function))
    with pytest.raises(DifferentAnswers):
        Stopwatch(isolated=False).alternate(Task("a"), Task("bb"), 1)
