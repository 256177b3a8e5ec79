"""DQM files: ``inspect`` and ``harvest`` what is in them, ``check`` and ``simulate`` them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hcal_root_ad.cli.options import add_definition, add_inputs, add_output, all_files, count, input_files, read_runs
from hcal_root_ad.cli.terminal import progress, remark, show
from hcal_root_ad.errors import NoHcalError
from hcal_root_ad.files import check_places
from hcal_root_ad.lumi_maps import LumiMaps

if TYPE_CHECKING:
    from hcal_root_ad.harvest.read import LeftOut
    from hcal_root_ad.provenance import Provenance


def add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="DQM file, or name of a reference run")


def execute_inspect(arguments: argparse.Namespace) -> int:
    """Show a file's format, run, lumisections, events, HCAL elements, and which harvester definition fits."""
    from hcal_root_ad.api import inspect_file

    show(*(str(inspect_file(path)) for path in all_files([arguments.file])))
    return 0


def add_harvest(parser: argparse.ArgumentParser) -> None:
    add_inputs(parser)
    add_output(parser, "maps.npz", "file to write; of several runs each gets its own, maps_R<run>.npz")
    add_definition(parser)


def execute_harvest(arguments: argparse.Namespace) -> int:
    """Save run, lumisections, events and counts (LS × 64 × 72 × 7, HB and HE) as a numpy file."""
    left_out: list[LeftOut] = []
    runs = read_runs(arguments.inputs, arguments.definition, left_out)
    for maps in runs:
        if not maps.present.any():
            raise NoHcalError(
                f"Run {maps.run}: {', '.join(source.name for source in maps.sources)} holds no HCAL maps per "
                "lumisection, so there is no tensor to save; `hcal-root-ad inspect` shows what it has."
            )
    paths = _tensor_paths(arguments.output, runs)
    check_places(paths, inputs=input_files(arguments.inputs))
    for maps, path in zip(runs, paths, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        maps.save(path, _harvest_provenance(maps, arguments.definition).text())
        show(*_harvest_summary(maps, path))
    remark(*(f"{one.path} was left out: {one.error}" for one in left_out))
    return int(bool(left_out))


def _tensor_paths(output: Path, runs: Sequence[LumiMaps]) -> list[Path]:
    if len(runs) == 1:
        return [output]
    return [output.with_name(f"{output.stem}_R{maps.run}{output.suffix}") for maps in runs]


def _harvest_provenance(maps: LumiMaps, definition: str | None) -> Provenance:
    from hcal_root_ad.provenance import provenance_of_maps

    return provenance_of_maps("harvest", [maps], options={"definition": definition})


def _harvest_summary(maps: LumiMaps, path: Path) -> Iterator[str]:
    saved = maps.lumisections[maps.present]
    yield (
        f"{path}: run {maps.run}, {len(saved)} lumisections ({saved[0]}–{saved[-1]}), "
        f"{maps.events[maps.present].sum()} events, definition {maps.definition}"
    )
    yield from (f"  {note}" for note in maps.notes)


def add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="ROOT file made for the DQM GUI")


def execute_check(arguments: argparse.Namespace) -> int:
    """Say whether both DQM GUIs will take a file; exit code 1 if one of them would not."""
    from hcal_root_ad.publish.gui_rules import check_file, content_of

    problems = {path: check_file(path) for path in arguments.files}
    for path, sentences in problems.items():
        show(*(f"{path}: {sentence}" for sentence in sentences) if sentences else (f"{path}: both GUIs will take it.",))
        show(f"{path}: {content_of(path)}")
    return int(any(problems.values()))


TRUTH = "_truth.json"
"""End of the name of a run's truth."""


def add_simulate(parser: argparse.ArgumentParser) -> None:
    add_output(parser, "DIR", "folder to write into")
    parser.add_argument("--format", required=True, metavar="NAME", help="kind of file, for example nanodqmio")
    parser.add_argument("--lumisections", type=count, default=100, metavar="N", help="per run (default: 100)")
    parser.add_argument("--runs", type=count, default=1, metavar="N", help="how many (default: 1)")
    parser.add_argument("--detector-seed", type=int, default=1, metavar="N", help="which detector (default: 1)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="which conditions and faults (default: 1)")
    parser.add_argument("--faults", default="none", metavar="none|mixed|FILE", help="none, mixed, or a file of faults")


def execute_simulate(arguments: argparse.Namespace) -> int:
    """Write runs of a simulated detector with known faults, and a truth file for each."""
    from hcal_root_ad.simulate.formats import simulate_campaign

    with progress("Simulating") as report:
        written = simulate_campaign(
            arguments.output,
            arguments.format,
            arguments.lumisections,
            arguments.runs,
            arguments.detector_seed,
            arguments.seed,
            arguments.faults,
            progress=report,
        )
    show(*map(str, [*written, *_write_simulation_provenance(written, arguments)]))
    return 0


def _write_simulation_provenance(written: Sequence[Path], arguments: argparse.Namespace) -> Iterator[Path]:
    """Beside each run, whose files end with its truth: what it was made with."""
    from hcal_root_ad.provenance import Provenance, chosen, file_material, write_beside

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
