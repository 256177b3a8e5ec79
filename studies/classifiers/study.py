"""Run the study of classifiers: one JSON file per training, so that an interrupted study goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path

from hcal_root_ad.errors import InputError, UsageError
from hcal_root_ad.files import write_text
from hcal_root_ad.model.counts import SubdetectorCounts, subdetector_counts
from hcal_root_ad.simulate.scenario import simulate_conditions
from hcal_root_ad.simulate.simulated_detector import simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run
from studies.classifiers import ecal, hcal
from studies.classifiers.networks_on_images import FALL_OUT, Judged
from studies.folder import POINTS, study_folder

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Size:
    """How much is simulated and trained; every number is in the table's head."""

    seed: int = 2022
    learning_runs: int = 10
    test_runs: int = 5
    lumisections: int = 60
    hcal_epochs: int = 30
    barrel_runs: int = 15
    barrel_lumisections: int = 20
    supervised_epochs: int = 20
    autoencoder_epochs: int = 40


SIZES = {
    "presets": Size(),
    "quick": Size(
        learning_runs=1, test_runs=1, lumisections=5, hcal_epochs=1,
        barrel_runs=3, barrel_lumisections=3, supervised_epochs=1, autoencoder_epochs=1,
    ),
}  # fmt: skip
"""By the name of a grid."""

HEAD = """\
{command}, hcal_root_ad {version}, {today}; detector seed and seed {seed}. All simulated; images that test come from
other runs than images learned from. HB: depth 1 of {learning_runs} and {test_runs} runs of {lumisections} LS, a good, a
hot and a dead image of each LS, {hcal_epochs} epochs. ECAL barrel (EB): {barrel_runs} runs of {barrel_lumisections} LS,
two thirds of them learned from, {supervised_epochs} epochs supervised, {autoencoder_epochs} of the autoencoder.

**Accuracy** is the share of images whose class is named rightly (good, hot, dead; in EB good, bad). **ROC AUC** and
**recall** are those of bad against good images, recall where {fall_out:.1%} of the good ones are called bad. *{ours}*
are binomial likelihoods of single channels against the pileup-aware reference, learned from the good images alone."""


def run_classifiers(
    grid: str, folder: Path, resume: bool = False, progress: Progress | None = None
) -> tuple[Path, ...]:
    """Measure every classifier and write ``results.json`` and ``table.md``; returns their paths.

    ``progress(done, points)`` is called at the start and after every point. With ``resume``, points that
    ``folder`` has are not measured again.

    Raises:
        UsageError: no such grid, or the folder has something in it and ``resume`` is not wanted.
        InputError: a result in the folder cannot be read.
    """
    if grid not in SIZES:
        raise UsageError(f"the study of classifiers has no grid {grid!r}; there are {', '.join(SIZES)}")
    size = SIZES[grid]
    study_folder(folder, resume)
    rows: list[Judged] = []
    points = points_of(size)
    for done, (name, measured) in enumerate(points.items()):
        if progress:
            progress(done, len(points))
        path = folder / POINTS / f"{_digest(size, name)}.json"
        if not path.exists():
            write_text(path, json.dumps([asdict(row) for row in measured()], indent=1))
        rows += read_rows(path)
    if progress:
        progress(len(points), len(points))
    return _write(grid, size, rows, folder)


def points_of(size: Size) -> dict[str, Callable[[], Sequence[Judged]]]:
    """Every training by name; what several need is made once, when first asked for."""
    runs = cache(partial(_runs, size))
    barrel = ecal.Barrel(size.seed, size.barrel_runs, size.barrel_lumisections)

    def on_hcal(system: str, region: str) -> list[Judged]:
        learn, test = runs()[: size.learning_runs], runs()[size.learning_runs :]
        return [hcal.learned(system, region, learn, test, size.seed, size.hcal_epochs)]

    points: dict[str, Callable[[], Sequence[Judged]]] = {}
    for region in hcal.REGIONS:
        for system in (hcal.OURS, *hcal.ARCHITECTURES):
            points[f"HB {region} {system}"] = partial(on_hcal, system, region)
    for task in ecal.TASKS:
        points[f"{task} {ecal.SUPERVISED}"] = partial(ecal.supervised, barrel, task, size.supervised_epochs)
    points[f"EB {ecal.AUTOENCODER}"] = partial(ecal.autoencoder, barrel, size.autoencoder_epochs)
    return points


def _runs(size: Size) -> list[SubdetectorCounts]:
    """Clean runs of HB: those learned from, then those that test."""
    detector = simulate_detector(size.seed)
    seeds = range(size.seed, size.seed + size.learning_runs + size.test_runs)
    return [
        subdetector_counts(simulate_run(detector, simulate_conditions(size.lumisections, seed), seed=seed).maps, "HB")
        for seed in seeds
    ]


def read_rows(path: Path) -> list[Judged]:
    """Rows that were written before.

    Raises:
        InputError: they are none.
    """
    try:
        return [Judged(**row) for row in json.loads(path.read_text())]
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path}: expected rows of the study of classifiers, found {error}; delete the file"
        ) from error


def markdown(rows: Sequence[Judged], head: str) -> str:
    """The table."""
    lines = ["# Classifiers of whole images", "", head, ""]
    lines += ["| task | system | accuracy | ROC AUC | recall | images learned from | images judged |",
              "|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in sorted(rows, key=lambda row: row.task):
        accuracy = "–" if row.accuracy is None else f"{row.accuracy:.4f}"
        lines.append(
            f"| {row.task} | {row.system} | {accuracy} | {row.auc:.4f} | {row.recall:.3f} "
            f"| {row.learned} | {row.tested} |"
        )
    return "\n".join(lines)


def _digest(size: Size, name: str) -> str:
    return hashlib.sha256(json.dumps([asdict(size), name]).encode()).hexdigest()[:16]


def _write(grid: str, size: Size, rows: Sequence[Judged], folder: Path) -> tuple[Path, ...]:
    table, numbers = folder / "table.md", folder / "results.json"
    made = {"hcal_root_ad": version("hcal-root-ad"), "grid": grid, "size": asdict(size)}
    write_text(numbers, json.dumps(made | {"results": [asdict(row) for row in rows]}, indent=1))
    head = HEAD.format(
        command=f"`python -m studies classifiers --grid {grid} -o {folder.name}`", version=made["hcal_root_ad"],
        today=date.today(), fall_out=FALL_OUT, ours=hcal.OURS, **asdict(size),
    )  # fmt: skip
    write_text(table, markdown(rows, head))
    return numbers, table
