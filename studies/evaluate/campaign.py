"""The whole table: every system on the same runs, one result file each, so that it goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hcal_root_ad.files import write_text
from studies.evaluate import limit, unit_limit
from studies.evaluate.material import Fold, Material
from studies.evaluate.measure import measure
from studies.evaluate.protocol import System
from studies.folder import POINTS

Progress = Callable[[int, int], None]
Row = dict[str, Any]
"""System, sub-detector, origin, share of the published training, seconds to fit and to score an LS, and per test run
its numbers."""
LIMITS = {
    limit.NAME: ("the true rates and the fault known", limit.measure_limit),
    unit_limit.NAME: ("the same, and which channels would fail together", unit_limit.measure_unit_limit),
}
"""Rows that are no systems: what they know, and how they are measured."""


def evaluate(
    material: Material, systems: Sequence[System], folder: Path, progress: Progress | None = None
) -> list[Row]:
    """Measure the limits and the systems; results that are there already are taken over."""
    folder.mkdir(parents=True, exist_ok=True)
    entries: dict[str, tuple[str | System, ...]] = {
        name: (*LIMITS, *_measured_on(name, systems)) for name in material.subdetectors
    }
    total = sum(map(len, entries.values()))
    rows: list[Row] = []
    for subdetector in material.subdetectors:
        folds = material.folds(subdetector)
        for entry in entries[subdetector]:
            rows.append(_taken_or_measured(entry, material, subdetector, folds, folder))
            if progress:
                progress(len(rows), total)
    return rows


def _measured_on(subdetector: str, systems: Sequence[System]) -> list[System]:
    return [system for system in systems if not system.only or subdetector in system.only]


def _taken_or_measured(
    entry: str | System, material: Material, subdetector: str, folds: Sequence[Fold], folder: Path
) -> Row:
    """The row of a limit (by name) or of a system."""
    name, settings = (entry, "") if isinstance(entry, str) else (entry.name, entry.settings)
    path = folder / POINTS / f"{_digest(material, subdetector, name, settings)}.json"
    if not path.exists():
        measured = _limit(entry, folds) if isinstance(entry, str) else _measured(entry, folds)
        write_text(path, json.dumps({"system": name, "subdetector": subdetector} | measured, indent=1))
    row: Row = json.loads(path.read_text())
    if isinstance(entry, System) and entry.trained:
        row["trained"] = entry.trained(material.effort, folds[0].lumisections)
    return row


def _limit(name: str, folds: Sequence[Fold]) -> Row:
    origin, measured = LIMITS[name]
    return {"origin": origin, "deep": False, "runs": [run for fold in folds for run in measured(fold.tests())]}


def _measured(system: System, folds: Sequence[Fold]) -> Row:
    to_fit = to_score = 0.0
    runs: list[dict[str, Any]] = []
    thresholds = []
    for fold in folds:
        training, tests = fold.training(system.deep), fold.tests()
        start = time.perf_counter()
        fitted = system.fit(training)
        learned = time.perf_counter()
        runs += measure(fitted, tests)
        thresholds.append(float(fitted.threshold))
        to_fit, to_score = to_fit + learned - start, to_score + time.perf_counter() - learned
    lumisections = sum(len(test.series) for fold in folds for test in fold.tests())
    return {
        "origin": system.origin,
        "deep": system.deep,
        "thresholds": thresholds,
        "seconds_to_fit": to_fit,
        "milliseconds_per_LS": 1e3 * to_score / lumisections,
        "runs": runs,
    }


def _digest(material: Material, subdetector: str, name: str, settings: str) -> str:
    key = json.dumps([material.settings, subdetector, name, settings], sort_keys=True)
    readable = "".join(c if c.isalnum() else "_" for c in name)
    return f"{subdetector}-{readable}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"
