"""Hold runs against a reference run: what differs, as a table, a ROOT file for the DQM GUI, JSON and pictures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hcal_root_ad.cli.options import add_definition, add_output, input_files, read_runs
from hcal_root_ad.cli.terminal import progress, remark, show
from hcal_root_ad.errors import CatalogueError
from hcal_root_ad.files import check_places
from hcal_root_ad.lumi_maps import LumiMaps

if TYPE_CHECKING:
    from hcal_root_ad.compare.comparison import DriftPoint
    from hcal_root_ad.provenance import Provenance
    from hcal_root_ad.references.catalogue import NamedReference


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="DQM file, or name of a reference run; several: drift")
    parser.add_argument("--reference", metavar="NAME",
                        help="reference of the catalogue (default: the one that fits each run best)")  # fmt: skip
    add_output(parser, "DIR", "folder to write into")
    add_definition(parser)
    parser.add_argument("--strict", action="store_true", help="exit code 1 if anything differs beyond its threshold")


def execute(arguments: argparse.Namespace) -> int:
    runs = read_runs(arguments.runs, arguments.definition)
    reference = _reference(arguments.reference, runs[0])
    check_places(_places(runs, arguments.output), inputs=input_files(arguments.runs))
    arguments.output.mkdir(parents=True, exist_ok=True)
    found = [_compare(maps, reference, arguments) for maps in runs]
    if len(found) > 1:
        provenance = _provenance(runs, reference, arguments)
        _write_drift(reference, [drift for drift, _ in found], provenance, arguments.output)
    return int(arguments.strict and any(differs for _, differs in found))


def _reference(name: str | None, maps: LumiMaps) -> NamedReference:
    """The reference that was asked for, or the one of the catalogue that fits the (first) run."""
    from hcal_root_ad.references.catalogue import fitting_reference, load_reference, none_fits

    reference = load_reference(name) if name else fitting_reference(maps)
    if reference is None:
        raise CatalogueError(f"{none_fits(maps)}; name one with --reference.")
    if not name:
        remark(f"run {maps.run}: compared with the reference {reference.entry}, which fits it best")
    return reference


def _provenance(runs: Sequence[LumiMaps], reference: NamedReference, arguments: argparse.Namespace) -> Provenance:
    from hcal_root_ad.provenance import provenance_of_maps, reference_material

    others = [reference_material(reference.entry)]
    return provenance_of_maps("compare", runs, others, {"definition": arguments.definition})


def _compare(maps: LumiMaps, reference: NamedReference, arguments: argparse.Namespace) -> tuple[DriftPoint, bool]:
    """Compare one run and write what was found; returns its shifts, and whether anything differs."""
    from hcal_root_ad.compare.comparison import compare
    from hcal_root_ad.compare.comparison_outputs import (
        changes_table,
        comparison_elements,
        comparison_numbers,
        elements_table,
        outcome,
        save_json,
    )
    from hcal_root_ad.compare.drawing import draw_comparison
    from hcal_root_ad.provenance import write_beside
    from hcal_root_ad.publish.root_file import write_root_file

    with progress(f"Comparing run {maps.run}") as report:
        if report:
            report(0, 1)
        comparison, provenance = compare(maps, reference), _provenance([maps], reference, arguments)
        root_file, stem = _root_file(maps, arguments.output), _stem(maps, arguments.output)
        write_root_file(comparison_elements(comparison, provenance), root_file)
        numbers = save_json(comparison_numbers(comparison, provenance), stem.with_name(f"{stem.name}.json"))
        pictures = draw_comparison(comparison, stem)
        write_beside(provenance, stem.parent, stem.name, pictures)
    show(elements_table(comparison), changes_table(comparison), outcome(comparison))
    remark(*(f"run {maps.run}: {note}" for note in comparison.notes))
    show(f"ROOT file: {root_file}", f"numbers:   {numbers}", f"pictures:  {', '.join(map(str, pictures))}")
    return comparison.drift, comparison.differs


def _write_drift(reference: NamedReference, drifts: Sequence[DriftPoint], provenance: Provenance, folder: Path) -> None:
    from hcal_root_ad.compare.comparison_outputs import drift_numbers, drift_table, save_json
    from hcal_root_ad.compare.drawing import draw_drift
    from hcal_root_ad.provenance import write_beside

    show(drift_table(reference.name, drifts))
    numbers = save_json(drift_numbers(reference.entry, drifts, provenance), folder / "drift.json")
    picture = draw_drift(reference.name, drifts, folder / "drift.png")
    write_beside(provenance, folder, "drift", [picture])
    show(f"numbers:   {numbers}", f"picture:   {picture}")


def _places(runs: Sequence[LumiMaps], folder: Path) -> list[Path]:
    """Every file that will be written."""
    stems = [_stem(maps, folder) for maps in runs]
    files = [stem.with_name(stem.name + end) for stem in stems for end in (".json", ".png", "_channels.png")]
    drift = [folder / "drift.json", folder / "drift.png"] if len(runs) > 1 else []
    return [*(_root_file(maps, folder) for maps in runs), *files, *drift]


def _stem(maps: LumiMaps, folder: Path) -> Path:
    return folder / f"comparison_R{maps.run}"


def _root_file(maps: LumiMaps, folder: Path) -> Path:
    """A dataset of its own, so that an upload takes the place of nothing else."""
    from hcal_root_ad.publish.gui_rules import offline_name

    return folder / offline_name(maps.run, maps.sources[0].name if maps.sources else "", "HcalADComparison")
