"""Files: ``inspect``, ``harvest``, ``check``, ``simulate``; outputs: their ``provenance``, and ``reproduce``."""

from __future__ import annotations

import argparse
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Column, Table

from hcal_root_ad.api import inspect_file
from hcal_root_ad.cli.main import main
from hcal_root_ad.cli.settings import CONFIG_VARIABLE, all_files, input_files, read_runs
from hcal_root_ad.cli.terminal import progress, remark, show
from hcal_root_ad.errors import NoHcalError, UsageError
from hcal_root_ad.files import check_places
from hcal_root_ad.harvest.read import LeftOut
from hcal_root_ad.provenance import Provenance, chosen, file_material, provenance_of_maps, write_beside
from hcal_root_ad.publish.gui_rules import check_file, content_of
from hcal_root_ad.reproduce.read_back import origins
from hcal_root_ad.reproduce.rerun import compared, make_again, other_versions
from hcal_root_ad.simulate.formats import simulate_campaign

TRUTH = "_truth.json"
"""End of the name of a run's truth."""
SHOWN = 20
"""Differences that are named of an output."""


def execute_inspect(arguments: argparse.Namespace) -> int:
    show(*(str(inspect_file(path)) for path in all_files([arguments.file])))
    return 0


def execute_harvest(arguments: argparse.Namespace) -> int:
    left_out: list[LeftOut] = []
    runs = read_runs(arguments.inputs, arguments.definition, left_out)
    for maps in runs:
        if not maps.present.any():
            raise NoHcalError(
                f"Run {maps.run}: {', '.join(source.name for source in maps.sources)} holds no HCAL maps per "
                "lumisection, so there is no tensor to save; `hcal-root-ad inspect` shows what it has."
            )
    output: Path = arguments.output
    paths = [output.with_name(f"{output.stem}_R{maps.run}{output.suffix}") for maps in runs] if runs[1:] else [output]
    check_places(paths, inputs=input_files(arguments.inputs))
    for maps, path in zip(runs, paths, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        maps.save(path, provenance_of_maps("harvest", [maps], options={"definition": arguments.definition}).text())
        saved, events = maps.lumisections[maps.present], maps.events[maps.present].sum()
        show(f"{path}: run {maps.run}, {len(saved)} lumisections ({saved[0]}–{saved[-1]}), {events} events, "
             f"definition {maps.definition}", *(f"  {note}" for note in maps.notes))  # fmt: skip
    remark(*(f"{bad.path} was left out: {bad.error}" for bad in left_out))
    return int(bool(left_out))


def execute_check(arguments: argparse.Namespace) -> int:
    problems = {path: check_file(path) for path in arguments.files}
    for path, sentences in problems.items():
        show(*(f"{path}: {sentence}" for sentence in sentences) if sentences else (f"{path}: both GUIs will take it.",))
        show(f"{path}: {content_of(path)}")
    return int(any(problems.values()))


def execute_simulate(arguments: argparse.Namespace) -> int:
    with progress("Simulating") as report:
        written = simulate_campaign(
            arguments.output, arguments.format, arguments.lumisections, arguments.runs, arguments.detector_seed,
            arguments.seed, arguments.faults, progress=report,
        )  # fmt: skip
    show(*map(str, [*written, *_write_simulation_provenance(written, arguments)]))
    return 0


def _write_simulation_provenance(written: Sequence[Path], arguments: argparse.Namespace) -> Iterator[Path]:
    """Beside each run, whose files end with its truth: what it was made with."""
    names = ("format", "lumisections", "runs", "detector_seed", "seed")
    options = chosen({name: getattr(arguments, name) for name in names})
    materials = []
    if arguments.faults in ("none", "mixed"):
        options["faults"] = arguments.faults
    else:
        materials.append(file_material("faults", Path(arguments.faults)))
    files: list[Path] = []
    for path in written:
        files.append(path)
        if path.name.endswith(TRUTH):
            provenance = Provenance("simulate", tuple(materials), options)
            yield write_beside(provenance, arguments.output, path.name.removesuffix(TRUTH), files)
            files = []


def execute_provenance(arguments: argparse.Namespace) -> int:
    sources = origins(arguments.path)
    if arguments.json:
        tables = [origin.provenance.as_table() for origin in sources]
        print(json.dumps(tables[0] if len(tables) == 1 else tables, indent=1))
        return 0
    for origin in sources:
        beside = f", says {origin.beside.path.name}" if origin.beside else ""
        changed = "; it was changed since." if origin.changed else ""
        show(f"{origin.output}: made by {origin.provenance.verb}{beside}{changed}", _materials(origin.provenance))
    return 0


def _materials(made: Provenance) -> Table:
    table = Table("what", Column("name", overflow="fold"), "bytes", Column("SHA-256", overflow="fold"))
    for each in made.materials:
        size = f"{each.size:,}" if each.size else ""
        table.add_row(each.role.removesuffix("s"), each.name, size, each.sha256 or "none")
    for what, facts, form in (
        ("option", made.options, "{} = {}"), ("trust", made.trust, "{}: {}"), ("version", made.versions, "{} {}"),
    ):  # fmt: skip
        for name, value in facts.items():
            table.add_row(what, form.format(name, value), "", "")
    return table


def execute_reproduce(arguments: argparse.Namespace) -> int:
    (origin, *more) = origins(arguments.path)
    if any(other.provenance != origin.provenance for other in more):
        raise UsageError(f"{arguments.path} holds outputs of several calls; name one of its files.")
    remark(*(f"made with other versions: {sentence}" for sentence in other_versions(origin)))
    differs = False
    with _target_folder(arguments.output) as target:
        make_again(origin, arguments.inputs, target, _run_verb)
        for output in (output for part in (origin, *more) for output in compared(part, target)):
            differing = len(output.differences)
            differs = differs or differing > 0
            outcome = f"differs, {differing} of" if differing else "identical,"
            show(f"{output.name}: {outcome} {output.parts} parts")
            show(*(f"  {sentence}" for sentence in output.differences[:SHOWN]))
    return int(differs)


def _run_verb(words: Sequence[str]) -> int:
    """Run a verb without the settings of whoever asks; what it prints as its result is not ours."""
    settings = os.environ.get(CONFIG_VARIABLE)
    os.environ[CONFIG_VARIABLE] = ""
    try:
        with redirect_stdout(io.StringIO()):
            return main(words)
    finally:
        os.environ.pop(CONFIG_VARIABLE)
        if settings is not None:
            os.environ[CONFIG_VARIABLE] = settings


@contextmanager
def _target_folder(folder: Path | None) -> Iterator[Path]:
    """The folder that was asked for, or one that goes afterwards."""
    if folder is None:
        with TemporaryDirectory(prefix="hcal-root-ad-") as temporary:
            yield Path(temporary)
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder; name a new one with -o.")
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
