"""The whole table: every system on a suite, one result file each, so that it goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hcal_root_ad.evaluate.limit as limit
from hcal_root_ad.errors import UsageError
from hcal_root_ad.evaluate.measure import measure
from hcal_root_ad.evaluate.protocol import System
from hcal_root_ad.evaluate.suite import SUITES, Suite, TestRun, test_runs_of, training_of

Progress = Callable[[int, int], None]
Row = dict[str, Any]
"""System, sub-detector, origin, seconds to fit and to score an LS, and per test run its numbers."""


def suite_named(name: str) -> Suite:
    """A suite by name."""
    if name not in SUITES:
        raise UsageError(f"no suite {name!r}; there are {', '.join(SUITES)}.")
    return SUITES[name]


def evaluate(suite: Suite, systems: Sequence[System], folder: Path, progress: Progress | None = None) -> list[Row]:
    """Measure the oracle and the systems on a suite; results that are there already are taken over."""
    points = folder / "points"
    points.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    total = (len(systems) + 1) * len(suite.subdetectors)
    for subdetector in suite.subdetectors:
        tests: list[TestRun] = []

        def loaded(tests: list[TestRun] = tests, subdetector: str = subdetector) -> list[TestRun]:
            if not tests:
                tests.extend(test_runs_of(suite, subdetector))
            return tests

        for system in (None, *systems):
            path = points / f"{_digest(suite, subdetector, system)}.json"
            if not path.exists():
                row = _measured(suite, subdetector, system, loaded())
                _write(path, row)
            rows.append(json.loads(path.read_text()))
            if progress:
                progress(len(rows), total)
    return rows


def _measured(suite: Suite, subdetector: str, system: System | None, tests: list[TestRun]) -> Row:
    lumisections = sum(len(test.series) for test in tests)
    start = time.perf_counter()
    if system is None:
        return {"system": limit.NAME, "subdetector": subdetector, "origin": "the true rates and the fault known",
                "deep": False, "runs": limit.measure_limit(tests)}  # fmt: skip
    fitted = system.fit(training_of(suite, subdetector))
    learned = time.perf_counter()
    runs = measure(fitted, tests)
    return {
        "system": system.name,
        "subdetector": subdetector,
        "origin": system.origin,
        "deep": system.deep,
        "threshold": float(fitted.threshold),
        "seconds_to_fit": learned - start,
        "milliseconds_per_LS": 1e3 * (time.perf_counter() - learned) / lumisections,
        "runs": runs,
    }


def _digest(suite: Suite, subdetector: str, system: System | None) -> str:
    name = system.name if system else limit.NAME
    key = json.dumps([asdict(suite), subdetector, name, system.settings if system else ""], sort_keys=True)
    readable = "".join(c if c.isalnum() else "_" for c in name)
    return f"{subdetector}-{readable}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"


def _write(path: Path, row: Row) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(row, indent=1))
    partial.replace(path)
