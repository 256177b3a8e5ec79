"""A fair comparison: trainings that go on, rows that are taken over, the authors' own test, and the two tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from studies.__main__ import main
from studies.evaluate.authors_test import FACTORS, BoxWindows, box_windows, measure_boxes
from studies.evaluate.protocol import WINDOW
from studies.evaluate.registry import chosen
from studies.evaluate.suite import SUITES, FairSuite, training_of
from studies.evaluate.systems.training import LEAST_RATE, Course, Schedule, Weights, train

QUICK = next(suite for suite in SUITES.values() if isinstance(suite, FairSuite) and suite.name == "fair-quick")


class Level(nn.Module):
    """Reconstructs every number as one level, which it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.level.expand_as(x), x.new_zeros(())


SCHEDULE = Schedule(2, 64, lambda parameters: torch.optim.SGD(parameters, lr=0.2), 0.0)
WINDOWS = torch.full((10, 1, 3), 0.5)


def test_a_rate_rises_and_falls_to_its_least() -> None:
    schedule = replace(SCHEDULE, steps=100)
    assert [schedule.rate(step) for step in (0, 1)] == pytest.approx([0.2, 0.4], abs=0.01)
    assert schedule.rate(50) == pytest.approx((1 + LEAST_RATE) / 2, abs=0.01)
    assert schedule.rate(100) == pytest.approx(LEAST_RATE)


def test_training_finds_the_level_and_keeps_the_best_weights() -> None:
    network = Level()
    course = train(network, WINDOWS, torch.full((4, 1, 3), 0.4), SCHEDULE, Weights(None), seed=1)
    # Held-out runs want 0.4, steps lead to 0.5: the weights of the first looks are the best.
    assert float(network.level.detach()) == pytest.approx(0.4, abs=0.06)
    assert course.best_step < course.step < 64
    assert course.numbers["held_out_error"] == pytest.approx(float(network.level.detach() - 0.4) ** 2, abs=1e-6)


def test_an_interrupted_training_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    class Interrupted(Level):
        calls = 0

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            Interrupted.calls += self.training
            if Interrupted.calls == 30:
                raise KeyboardInterrupt
            return super().forward(x)

    undisturbed, later = Level(), Level()
    whole = train(undisturbed, WINDOWS, WINDOWS, SCHEDULE, Weights(None), seed=1)
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(), WINDOWS, WINDOWS, SCHEDULE, Weights(tmp_path / "w.pt"), seed=1)
    gone_on = train(later, WINDOWS, WINDOWS, SCHEDULE, Weights(tmp_path / "w.pt"), seed=1)
    assert gone_on == whole
    assert torch.equal(later.level, undisturbed.level)


def test_a_finished_training_is_taken_over(tmp_path: Path) -> None:
    first, second = Level(), Level()
    course = train(first, WINDOWS, WINDOWS, SCHEDULE, Weights(tmp_path / "w.pt"), seed=1)
    assert train(second, WINDOWS * 0, WINDOWS * 0, SCHEDULE, Weights(tmp_path / "w.pt"), seed=1) == course
    assert torch.equal(first.level, second.level)


def test_weights_of_another_subdetector_take_a_quarter_of_the_steps(tmp_path: Path) -> None:
    first = Level()
    train(first, WINDOWS, WINDOWS, SCHEDULE, Weights(tmp_path / "HE.pt"), seed=1)
    second = Level()
    course = train(second, WINDOWS, WINDOWS, SCHEDULE, Weights(None, tmp_path / "HE.pt"), seed=1)
    assert course.transferred
    assert course.steps == 16
    assert course.errors[0] < 1e-3


def test_a_course_ends_after_looks_that_bring_nothing() -> None:
    assert not Course(steps=100, step=50, errors=[3.0, 2.0, 2.1]).done
    assert Course(steps=100, step=50, errors=[3.0, 2.0, *[2.1] * 6]).done
    assert Course(steps=100, step=100, errors=[1.0]).done


@pytest.fixture(scope="module")
def boxes() -> list[BoxWindows]:
    return list(box_windows(QUICK, "HE"))


def test_the_authors_boxes_are_at_the_same_places_for_every_factor(boxes: list[BoxWindows]) -> None:
    assert len(boxes) == 2 * len(FACTORS)
    for test in boxes:
        assert len(test.windows) == QUICK.windows
        assert np.array_equal(test.boxes, boxes[0].boxes)
        at_fault = [(truth.faulty != truth.healthy).any(axis=1).sum() for truth in test.truths]
        assert set(at_fault) == {1 if test.persistence == "isolated" else WINDOW}
    dead = boxes[0]
    assert all(window.counts[-1, box].sum() == 0 for window, box in zip(dead.windows, dead.boxes, strict=True))


def test_bounds_and_ours_capture_dead_boxes(boxes: list[BoxWindows]) -> None:
    training = training_of(QUICK, "HE")
    for system in chosen(["perfect reconstruction, published score", "ours"]):
        numbers = measure_boxes(system.fit(training), [test for test in boxes if test.name == "R=0 persistent"])
        assert numbers["R=0 persistent"]["fpr_at_95%"] < 1e-3
        assert numbers["R=0 persistent"]["recall"] > 0.9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, asked for a network of two trainings and a plain system."""
    folder = tmp_path_factory.mktemp("fair")
    names = ["cms-ibm-ae", "binomial template, 1 LS"]
    assert main(["evaluate", "--suite", "fair-quick", "-o", str(folder), "--systems", *names]) == 0
    return folder


def test_the_tables_say_what_was_trained_and_that_it_has_not_converged(folder: Path) -> None:
    text = (folder / "table.md").read_text()
    (row,) = (line for line in text.splitlines() if line.startswith("| cms-ibm-ae | our implementation of"))
    assert "**not converged**" in row
    assert "| 60 | 2 (" in row
    assert "## HE: one unit at fault at a time" in text
    assert "### HE, isolated" in text
    assert "Not measured in HE so far: ours, " in text


def test_one_system_is_measured_again_and_the_others_stay(folder: Path) -> None:
    points = {path: path.read_bytes() for path in (folder / "points").iterdir()}
    (path,) = (path for path in points if "template" in path.name)
    path.write_text(json.dumps({**json.loads(points[path]), "runs": []}))
    options = [
        "evaluate",
        "--suite",
        "fair-quick",
        "-o",
        str(folder),
        "--again",
        "--systems",
        "binomial template, 1 LS",
    ]
    assert main(options) == 0
    assert json.loads(path.read_text())["runs"] == json.loads(points[path])["runs"]
    assert all(other.read_bytes() == was for other, was in points.items() if other != path)
    assert "| cms-ibm-ae |" in (folder / "table.md").read_text()


def test_a_longer_training_takes_the_place_of_a_shorter_one_and_never_the_other_way(folder: Path) -> None:
    options = ["evaluate", "--suite", "fair-quick", "-o", str(folder), "--seeds", "1", "--systems", "cms-ibm-ae"]

    def steps() -> list[float]:
        written = (json.loads(path.read_text()) for path in (folder / "points").iterdir() if "cms_ibm_ae" in path.name)
        return sorted(one["training"]["steps"] for one in written)

    assert steps() == [12, 12]
    assert main([*options, "--effort", "0.003"]) == 0
    assert steps() == [12, 18]
    points = {path: path.read_bytes() for path in (folder / "points").iterdir()}
    assert main([*options, "--effort", "0.001"]) == 0
    assert all(path.read_bytes() == was for path, was in points.items())
