"""A fixed graph in place of ``run``: the same faults seen by both, and the table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from studies import drop_in
from studies.stress.failures import Unit
from studies.stress.worlds import Setting, simulate_world

pytest.importorskip("onnxruntime", reason="ONNX Runtime runs the models")


def test_a_dead_box_is_seen_by_run_and_by_the_graphs() -> None:
    judged = Setting(lumisections=10, failures=(Unit("HEM05", 0.0, 4, 8),))
    numbers = drop_in.measured(simulate_world(replace(drop_in.WORLD, judged=judged), 1))
    assert set(numbers) == set(drop_in.SYSTEMS)
    for name in drop_in.SYSTEMS:
        captured, whole = numbers[name]["captured"]["RBX dead"]
        assert captured > (0.95 if name == "run" else 0.6) * whole, name  # the graphs see no dim channel in one LS
        # The memory of the graphs outlasts the fault by a lumisection.
        assert numbers[name]["false_pairs"] < (20 if name == "run" else 1.2 * whole), name


def test_the_table_adds_up_runs() -> None:
    one = {
        name: {"captured": {"RM dead": [3, 4]}, "false_pairs": 2, "false_intervals": 1, "lumisections": 50}
        for name in drop_in.SYSTEMS
    }
    text = drop_in.table_of([one, one])
    assert "| RM dead | 0.750 | 0.750 |" in text
    assert "| false pairs per 100 LS | 4.0 |" in text
