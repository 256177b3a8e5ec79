"""The whole table: every system on the same runs, one result file each, so that it goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from hcal_root_ad.files import write_text
from studies.evaluate import limit, unit_limit
from studies.evaluate.authors_test import measure_boxes
from studies.evaluate.material import Fold, Material
from studies.evaluate.measure import measure
from studies.evaluate.protocol import Effort, System, Trained
from studies.folder import POINTS

Progress = Callable[[int, int], None]
Row = dict[str, Any]
"""System, sub-detector, origin, seconds of a processor to fit and to score an LS, and per test run its numbers; of deep
systems how each training went, and where a suite has the authors' own test, what it gave."""
LIMITS = {
    limit.NAME: ("the true rates and the fault known", limit.measure_limit),
    unit_limit.NAME: ("the same, and which channels would fail together", unit_limit.measure_unit_limit),
}
"""Rows that are no systems: what they know, and how they are measured."""
WEIGHTS = "weights"
"""Folder of trained weights, whose trainings are gone on with."""
MOST_SEEDS = 10
"""Trainings of a deep system that are looked for."""


@dataclass(frozen=True)
class Point:
    """A row to be: a limit (by name) or a system of one sub-detector; ``seed``: which of a deep system's trainings."""

    entry: str | System
    subdetector: str
    seed: int = 0

    @property
    def name(self) -> str:
        return self.entry if isinstance(self.entry, str) else self.entry.name

    def path(self, material: Material, folder: Path) -> Path:
        """Where its numbers are kept."""
        settings = "" if isinstance(self.entry, str) else self.entry.settings
        more = f" seed {self.seed}" if self.seed else ""
        return folder / POINTS / f"{_digest(material, self.subdetector, self.name, settings + more)}.json"

    def is_measured(self, path: Path, effort: Effort) -> bool:
        """Its numbers are there, and a deep system was trained for as many steps, or more."""
        if not path.exists():
            return False
        deep = isinstance(self.entry, System) and self.entry.deep
        return not deep or float(json.loads(path.read_text())["effort"]) >= effort.most


def evaluate(
    material: Material,
    systems: Sequence[System],
    folder: Path,
    progress: Progress | None = None,
    again: bool = False,
    known: Sequence[System] = (),
) -> list[Row]:
    """Measure the limits and the systems; results that are there already are taken over, but for ``again``, and for
    trainings that were shorter than the material asks for.

    Of ``known`` systems, and of further trainings, what was measured before is a row, too. Limits come first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    points = [
        point
        for subdetector in material.subdetectors
        for point in (*(Point(name, subdetector) for name in LIMITS), *_points(material, subdetector, systems))
    ]
    if again:
        for point in points:
            if isinstance(point.entry, System):
                point.path(material, folder).unlink(missing_ok=True)
    folds = cache(material.folds)
    for done, point in enumerate(points):
        path = point.path(material, folder)
        if not point.is_measured(path, material.effort):
            measured = _measured_point(point, folds(point.subdetector), material.effort, folder)
            measured |= {"system": point.name, "subdetector": point.subdetector}
            write_text(path, json.dumps(measured, indent=1))
        if progress:
            progress(done + 1, len(points))
    return _rows(material, (*systems, *(one for one in known if one not in systems)), folder)


def _points(material: Material, subdetector: str, systems: Sequence[System]) -> list[Point]:
    """Every training of every system that is measured on a sub-detector."""
    measured = [system for system in systems if _is_measured(system, material, subdetector)]
    return [Point(one, subdetector, seed) for one in measured for seed in range(material.seeds if one.deep else 1)]


def _is_measured(system: System, material: Material, subdetector: str) -> bool:
    return (not system.only or subdetector in system.only) and (material.told_rates or not system.told_rates)


def _rows(material: Material, systems: Sequence[System], folder: Path) -> list[Row]:
    """All rows that are there, the trainings of a deep system in one."""
    rows: list[Row] = []
    for subdetector in material.subdetectors:
        measured = [system for system in systems if _is_measured(system, material, subdetector)]
        entries: tuple[str | System, ...] = (*LIMITS, *measured)
        for entry in entries:
            seeds = MOST_SEEDS if isinstance(entry, System) and entry.deep else 1
            paths = [Point(entry, subdetector, seed).path(material, folder) for seed in range(seeds)]
            found = [json.loads(path.read_text()) for path in paths if path.exists()]
            if found:
                rows.append(_together(found, entry))
    return rows


def _together(found: Sequence[Row], entry: str | System) -> Row:
    """One row of several trainings: their runs one after the other, their other numbers side by side."""
    row = dict(found[0]) | {"runs": [run for one in found for run in one["runs"]]}
    row["trainings"] = [
        one["training"] | {"runs": len(one["runs"]), "effort": one["effort"]} for one in found if "training" in one
    ]
    row["boxes"] = [one["boxes"] for one in found if "boxes" in one]
    if isinstance(entry, System):
        row |= {"origin": entry.origin, "changed": entry.changed}
    return row


def _measured_point(point: Point, folds: Sequence[Fold], effort: Effort, folder: Path) -> Row:
    if isinstance(point.entry, str):
        return _limit(point.entry, folds)
    return _measured(point.entry, folds, point.seed, effort, folder / WEIGHTS)


def _limit(name: str, folds: Sequence[Fold]) -> Row:
    origin, measured = LIMITS[name]
    return {"origin": origin, "deep": False, "runs": [run for fold in folds for run in measured(fold.tests())]}


def _measured(system: System, folds: Sequence[Fold], seed: int, effort: Effort, weights: Path) -> Row:
    to_fit = to_score = 0.0
    row: Row = {"origin": system.origin, "deep": system.deep, "effort": effort.most, "thresholds": [], "runs": []}
    for fold in folds:
        training = fold.training(system.deep)
        kept = weights if len(folds) == 1 else None
        training = replace(training, seed=training.seed + seed, effort=effort, weights=kept)
        tests = fold.tests()
        start = time.process_time()
        fitted = system.fit(training)
        learned = time.process_time()
        row["runs"] += measure(fitted, tests)
        row["thresholds"].append(float(fitted.threshold))
        to_fit, to_score = to_fit + learned - start, to_score + time.process_time() - learned
        if isinstance(fitted, Trained):
            row["training"] = fitted.training
        if fold.boxes:
            row["boxes"] = measure_boxes(fitted, fold.boxes())
    lumisections = sum(len(test.series) for fold in folds for test in fold.tests())
    return row | {"seconds_to_fit": to_fit, "milliseconds_per_LS": 1e3 * to_score / lumisections}


def _digest(material: Material, subdetector: str, name: str, settings: str) -> str:
    key = json.dumps([material.settings, subdetector, name, settings], sort_keys=True)
    readable = "".join(c if c.isalnum() else "_" for c in name)
    return f"{subdetector}-{readable}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"
