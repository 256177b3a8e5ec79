"""Run a grid: one JSON file per point, so that an interrupted study goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from hcal_root_ad.detector import channel_table
from hcal_root_ad.errors import InputError
from hcal_root_ad.files import whole_file, write_text
from hcal_root_ad.model.graphstad import GraphSTAD
from studies.folder import POINTS, study_folder
from studies.transfer.figures import draw_figures
from studies.transfer.grids import grid_named
from studies.transfer.measurement import Result, measure, source_settings, train_source
from studies.transfer.settings import SCRATCH, Point, digest_of
from studies.transfer.tables import markdown

Progress = Callable[[int, int], None]
SOURCES = "sources"


def run_study(grid: str, folder: Path, resume: bool = False, progress: Progress | None = None) -> tuple[Path, ...]:
    """Measure every point of a grid and write ``results.json``, ``table.md`` and the figures; returns their paths.

    ``progress(done, points)`` is called at the start and after every point. With ``resume``, points
    that ``folder`` has are not measured again.

    Raises:
        UsageError: no such grid, or the folder has something in it and ``resume`` is not wanted.
        InputError: a result in the folder cannot be read.
    """
    points = grid_named(grid)
    study_folder(folder, resume)
    (folder / SOURCES).mkdir(exist_ok=True)
    results = []
    for done, point in enumerate(points):
        if progress:
            progress(done, len(points))
        results.append(_result(point, folder))
    if progress:
        progress(len(points), len(points))
    return _write(grid, results, folder)


def _result(point: Point, folder: Path) -> Result:
    """What the folder has, or measured now."""
    path = folder / POINTS / f"{point.digest}.json"
    if path.exists():
        return read_result(path)
    source = None if point.blocks == SCRATCH else _source(point, folder)
    result = measure(point, source)
    write_text(path, json.dumps(asdict(result), indent=1))
    return result


def read_result(path: Path) -> Result:
    """A result that was written before.

    Raises:
        InputError: it is no result.
    """
    try:
        values = json.loads(path.read_text())
        return Result(**{**values, "curve": [tuple(step) for step in values["curve"]]})
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: expected the result of a grid point, found {error}; delete the file") from error


def _source(point: Point, folder: Path) -> GraphSTAD:
    """The source's network, trained once for all points that start from it."""
    path = folder / SOURCES / f"{digest_of(source_settings(point))}.safetensors"
    if not path.exists():
        with whole_file(path) as partial:
            save_file(train_source(point).state_dict(), partial)
    network = GraphSTAD(channel_table(point.source.era).select(point.source.subdetector))
    network.load_state_dict(load_file(path))
    return network


def _write(grid: str, results: list[Result], folder: Path) -> tuple[Path, ...]:
    made = {"hcal_root_ad": version("hcal-root-ad"), "torch": torch.__version__, "grid": grid}
    table, numbers = folder / "table.md", folder / "results.json"
    write_text(numbers, json.dumps(made | {"results": [asdict(result) for result in results]}, indent=1))
    figures = draw_figures(results, folder)
    command = f"python -m studies transfer --grid {grid} -o {folder.name}"
    said = f"`{command}`, hcal_root_ad {made['hcal_root_ad']}, {date.today().isoformat()}"
    write_text(table, markdown(results, said, [path.name for path in figures]))
    return numbers, table, *figures
