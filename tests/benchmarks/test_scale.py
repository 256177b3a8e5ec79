"""The model of cost: numbers that one can do by hand, and a page from them."""

from __future__ import annotations

import pytest

from benchmarks.scale_model import ERA_LUMISECTIONS, ERA_RUNS, Cost, era, extrapolated, makespan
from benchmarks.scale_page import page

COST = Cost(start=1, look=0.1, run=0.5, lumisection=0.005, output=0.02, output_lumisection=0.0001, handover=0.001)


@pytest.mark.parametrize(("workers", "seconds"), [(1, 9), (2, 5), (3, 4), (9, 4)])
def test_each_task_goes_to_the_worker_that_is_free_first(workers: int, seconds: float) -> None:
    assert makespan([4, 3, 1, 1], workers) == seconds


def test_a_campaign_by_hand() -> None:
    runs = [200] * 4  # each is judged in 0.5 + 200 × 0.005 = 1.5 s
    serial = 4 * (0.02 + 2 * 0.001) + 800 * 0.0001
    assert COST.judging(200) == 1.5
    assert COST.serial(runs) == pytest.approx(serial)
    assert COST.processor_seconds(runs, 1) == pytest.approx(1 + 4 * 1.6 + serial)
    assert COST.processor_seconds(runs, 2) == pytest.approx(3 + 4 * 1.6 + serial)
    assert COST.seconds(runs, 1) == pytest.approx(1 + 0.4 + 6 + serial - 0.008)
    assert COST.seconds(runs, 2) == pytest.approx(2 + 0.2 + 3 + serial - 0.008)


def test_an_era_has_so_many_runs_and_lumisections() -> None:
    lengths = era()
    assert len(lengths) == ERA_RUNS
    assert sum(lengths) == pytest.approx(ERA_LUMISECTIONS, rel=0.01)
    assert min(lengths) >= 1


def test_more_workers_help_until_the_longest_run_is_the_limit() -> None:
    rows = list(extrapolated(COST, 1e5))
    seconds = [row[1] for row in rows]
    assert seconds == sorted(seconds, reverse=True)
    assert rows[0][3] == "the work itself"
    assert rows[-1][3] != "the work itself"


def test_the_page_says_what_was_measured() -> None:
    campaign = {
        "workers": 2, "runs": 4, "lumisections": 800, "wall": 5.0, "processor": 10.0, "load": 0.5,
        "predicted_wall": 5.5, "predicted_processor": 9.0,
    }  # fmt: skip
    scheduled = {
        "workers": 50, "tasks": 100, "failed": 0, "mean": 0.5, "ideal": 1.0, "wall": 2.0, "handover": 0.002
    }  # fmt: skip
    cost = {name: getattr(COST, name) for name in COST.__dataclass_fields__}
    text = page(
        {"cost": cost, "campaigns": [campaign], "scheduler": [scheduled], "bytes_per_lumisection": 1e5,
         "machine": {"cores": "2"}, "program": {}, "load": 1.0}
    )  # fmt: skip
    assert "| 2 | 4 | 800 | 5.5 | 5.0 | +10% | 9.0 | 10.0 | -10% | 160 | 0.5 |" in text
    assert "| 50 | 100 | 0.5 s | 1.0 s | 2.0 s | 50% | 2.0 ms | 0 |" in text
