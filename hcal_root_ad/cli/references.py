"""Reference runs: ``compare`` holds runs against one, ``reference`` keeps the catalogue."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hcal_root_ad.cli.options import add_definition, add_mask, add_output, all_files, count, input_files, read_runs
from hcal_root_ad.cli.terminal import progress, remark, show
from hcal_root_ad.errors import CatalogueError
from hcal_root_ad.files import check_places
from hcal_root_ad.lumi_maps import LumiMaps

if TYPE_CHECKING:
    from rich.table import Table

    from hcal_root_ad.compare.comparison import DriftPoint
    from hcal_root_ad.mask import Mask
    from hcal_root_ad.model.rates import Rates
    from hcal_root_ad.provenance import Provenance
    from hcal_root_ad.references import NamedReference, ReferenceEntry


_NAME = 36
"""Characters of the longest name that stands in one line; longer ones go on below."""


def add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="DQM file, or name of a reference run; several: drift")
    parser.add_argument("--reference", metavar="NAME",
                        help="reference of the catalogue (default: the one that fits each run best)")  # fmt: skip
    add_output(parser, "DIR", "folder to write into")
    add_definition(parser)
    add_mask(parser, "left out on both sides")
    parser.add_argument("--strict", action="store_true", help="exit code 1 if anything differs beyond its threshold")


def execute_compare(arguments: argparse.Namespace) -> int:
    """Hold runs against a reference run: what differs, as a table, a ROOT file for the DQM GUI, JSON and pictures."""
    from hcal_root_ad.mask import read_mask

    runs = read_runs(arguments.runs, arguments.definition)
    reference = _reference(arguments.reference, runs[0])
    mask = read_mask(arguments.mask) if arguments.mask else None
    check_places(_places(runs, arguments.output), inputs=input_files(arguments.runs))
    arguments.output.mkdir(parents=True, exist_ok=True)
    found = [_compare(maps, reference, mask, arguments) for maps in runs]
    if len(found) > 1:
        provenance = _provenance(runs, reference, arguments)
        _write_drift(reference, [drift for drift, _ in found], provenance, arguments.output)
    return int(arguments.strict and any(differs for _, differs in found))


def _reference(name: str | None, maps: LumiMaps) -> NamedReference:
    """The reference that was asked for, or the one of the catalogue that fits the (first) run."""
    from hcal_root_ad.references import fitting_reference, load_reference, none_fits

    reference = load_reference(name) if name else fitting_reference(maps)
    if reference is None:
        raise CatalogueError(f"{none_fits(maps)}; name one with --reference.")
    if not name:
        remark(f"run {maps.run}: compared with the reference {reference.entry}, which fits it best")
    return reference


def _provenance(runs: Sequence[LumiMaps], reference: NamedReference, arguments: argparse.Namespace) -> Provenance:
    from hcal_root_ad.provenance import file_material, provenance_of_maps, reference_material

    others = [reference_material(reference.entry)]
    others += [file_material("mask", arguments.mask)] if arguments.mask else []
    return provenance_of_maps("compare", runs, others, {"definition": arguments.definition})


def _compare(
    maps: LumiMaps, reference: NamedReference, mask: Mask | None, arguments: argparse.Namespace
) -> tuple[DriftPoint, bool]:
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
        comparison, provenance = compare(maps, reference, mask), _provenance([maps], reference, arguments)
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


def add_reference(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="add|list|show|verify")
    add = actions.add_parser("add", help="make a reference of clean runs, in your own folder of HCAL_ROOT_AD_PATH")
    add.add_argument("runs", nargs="+", metavar="CLEAN", help="DQM file of a clean run")
    add.add_argument("--name", required=True, metavar="NAME", help="name of the new reference")
    add.add_argument("--trigger", metavar="DATASET",
                     help="primary dataset (default: from the file names); '' fits every trigger")  # fmt: skip
    add.add_argument("--state", default="", metavar="TEXT", help="detector state, in words")
    add.add_argument("--first-run", type=count, default=0, metavar="RUN", help="first run of that state")
    add.add_argument("--last-run", type=count, default=0, metavar="RUN", help="last run of that state")
    add.add_argument("--what", default="", metavar="TEXT", help="remark for people")
    add_definition(add)
    actions.add_parser("list", help="all reference runs, as a table")
    details = actions.add_parser("show", help="one reference run in detail")
    details.add_argument("name", metavar="NAME")
    verify = actions.add_parser("verify", help="check keys, files and digests; exit code 1 if something is wrong")
    verify.add_argument("names", nargs="*", metavar="NAME", help="which (default: all)")


def execute_reference(arguments: argparse.Namespace) -> int:
    """Keep the catalogue of reference runs: which run is the reference for which era, trigger and detector state."""
    return {"add": _add_reference, "list": _list_references, "show": _show_reference, "verify": _verify_references}[
        arguments.action
    ](arguments)


def _add_reference(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.provenance import provenance_of_maps, write_beside
    from hcal_root_ad.references import Description, add_reference, own_catalogue

    folder = own_catalogue(arguments.name)
    files = all_files(arguments.runs)
    runs = read_runs(arguments.runs, arguments.definition)
    words = {name: getattr(arguments, name) for name in ("trigger", "state", "first_run", "last_run", "what")}
    with progress("Learning the rates") as report:
        entry = add_reference(arguments.name, runs, files, Description(**words), report)
    given = {name: word for name, word in {**words, "definition": arguments.definition}.items() if word}
    provenance = provenance_of_maps("reference add", runs, (), given)
    write_beside(provenance, folder, arguments.name, [folder / entry.rates])
    show(*entry_details(entry))
    return 0


def _list_references(_: argparse.Namespace) -> int:
    from hcal_root_ad.references import entries

    show(entries_table(tuple(entries().values())))
    return 0


def _show_reference(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.references import entry_of

    show(*entry_details(entry_of(arguments.name)))
    return 0


def _verify_references(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.references import complaints, entries, entry_of

    chosen = [entry_of(name) for name in arguments.names] or list(entries().values())
    wrong = False
    with progress("Verifying") as report:
        found = []
        for done, entry in enumerate(chosen):
            found.append((entry, list(complaints(entry))))
            if report:
                report(done + 1, len(chosen))
    for entry, sentences in found:
        show(*sentences or (f"{entry.name}: good",))
        wrong = wrong or bool(sentences)
    return int(wrong)


def entries_table(entries: Sequence[ReferenceEntry]) -> Table:
    """One line per reference run, in the order of the search path; in 80 columns every name is whole."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, caption="rates: whether runs can be compared with it")
    table.caption_justify = "left"
    for name in ("name", "runs", "era", "LS", "rates", "what"):
        table.add_column(name, justify="right" if name == "LS" else "left")
    table.columns[0].no_wrap = max((len(entry.name) for entry in entries), default=0) <= _NAME
    for entry in entries:
        counts = f"{entry.quantity} of {entry.trigger or 'every trigger'}"
        what = "; ".join(text for text in (counts, entry.state, _validity(entry), entry.what) if text)
        table.add_row(
            entry.name, ", ".join(map(str, entry.runs)), entry.era.value, str(entry.lumisections or "–"),
            "yes" if entry.rates else "no", what,
        )  # fmt: skip
    return table


def entry_details(entry: ReferenceEntry) -> Iterator[str]:
    """Everything that is known of one reference run, a line each."""
    from hcal_root_ad.harvest.inputs import RemoteFile

    yield f"{entry.name}"
    facts = {
        "runs": ", ".join(map(str, entry.runs)),
        "era": entry.era.value,
        "trigger": entry.trigger or "every",
        "counts": entry.quantity,
        "state": entry.state,
        "lasts": _validity(entry),
        "holds": f"{entry.lumisections} lumisections, {entry.events} events" if entry.events else "",
        "data": entry.data,
        "what": entry.what,
        "made by": entry.made_by,
        "catalogue": str(entry.folder),
    }
    yield from (f"  {key:<11} {value}" for key, value in facts.items() if value)
    for path in entry.inputs:
        there = isinstance(path, RemoteFile) or path.exists()
        yield f"  file        {path}{'' if there else ' (not there)'}"
    yield from _rates_lines(entry)


def _rates_lines(entry: ReferenceEntry) -> Iterator[str]:
    from hcal_root_ad.references import loaded

    if not entry.rates:
        yield "  rates       none: a run, but no reference"
        return
    try:
        reference = loaded(entry)
    except CatalogueError as error:
        yield f"  rates       {error}"
        return
    yield f"  rates       {entry.folder / entry.rates}"
    yield from (f"  {name:<11} {_rates_summary(rates)}" for name, rates in reference.rates.items())


def _rates_summary(rates: Rates) -> str:
    import numpy as np

    reference, live = rates.reference, rates.reference.live
    low, high = reference.pileup_range
    p = 1 - np.exp(-np.exp(np.median(reference.level[live]))) if live.any() else 0.0
    return (
        f"{int(live.sum())} of {len(live)} channels filled, median {p:.3f} digis per event; rates known to "
        f"{np.median(reference.level_error[live]):.2%}, from run to run {np.median(rates.spread[live]):.1%}; "
        f"pileup {np.exp(low):.2f} to {np.exp(high):.2f} of its mean"
    )


def _validity(entry: ReferenceEntry) -> str:
    if not entry.first_run and not entry.last_run:
        return ""
    return f"runs {entry.first_run or '…'} to {entry.last_run or '…'}"
