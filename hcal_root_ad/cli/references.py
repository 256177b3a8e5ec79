"""Reference runs: ``compare`` holds runs against one, ``reference`` keeps the catalogue."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from hcal_root_ad import references
from hcal_root_ad.cli.settings import all_files, input_files, read_runs
from hcal_root_ad.cli.terminal import progress, remark, show
from hcal_root_ad.compare import comparison_outputs as outputs
from hcal_root_ad.compare.comparison import DriftPoint, compare
from hcal_root_ad.errors import CatalogueError
from hcal_root_ad.files import check_places
from hcal_root_ad.harvest.inputs import RemoteFile
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.mask import Mask, read_mask
from hcal_root_ad.model.rates import Rates
from hcal_root_ad.provenance import Provenance, file_material, provenance_of_maps, reference_material, write_beside
from hcal_root_ad.publish.gui_rules import offline_name
from hcal_root_ad.publish.root_file import write_root_file
from hcal_root_ad.references import NamedReference, ReferenceEntry

_NAME = 36
"""Characters of the longest name that stands in one line; longer ones go on below."""


def execute_compare(arguments: argparse.Namespace) -> int:
    runs = read_runs(arguments.runs, arguments.definition)
    reference = _reference(arguments.reference, runs[0])
    mask = read_mask(arguments.mask) if arguments.mask else None
    check_places(_places(runs, arguments.output), inputs=input_files(arguments.runs))
    arguments.output.mkdir(parents=True, exist_ok=True)
    compared = [_compare(maps, reference, mask, arguments) for maps in runs]
    if len(compared) > 1:
        provenance = _provenance(runs, reference, arguments)
        _write_drift(reference, [drift for drift, _ in compared], provenance, arguments.output)
    return int(arguments.strict and any(differs for _, differs in compared))


def _reference(name: str | None, maps: LumiMaps) -> NamedReference:
    """The reference that was asked for, or the one of the catalogue that fits the (first) run."""
    reference = references.load_reference(name) if name else references.fitting_reference(maps)
    if reference is None:
        raise CatalogueError(f"{references.none_fits(maps)}; name one with --reference.")
    if not name:
        remark(f"run {maps.run}: compared with the reference {reference.entry}, which fits it best")
    return reference


def _provenance(runs: Sequence[LumiMaps], reference: NamedReference, arguments: argparse.Namespace) -> Provenance:
    others = [reference_material(reference.entry)]
    others += [file_material("mask", arguments.mask)] if arguments.mask else []
    return provenance_of_maps("compare", runs, others, {"definition": arguments.definition})


def _compare(
    maps: LumiMaps, reference: NamedReference, mask: Mask | None, arguments: argparse.Namespace
) -> tuple[DriftPoint, bool]:
    """Compare one run and write what was found; returns its shifts, and whether anything differs."""
    from hcal_root_ad.compare.drawing import draw_comparison  # only now, because it loads matplotlib

    with progress(f"Comparing run {maps.run}") as report:
        if report:
            report(0, 1)
        comparison, provenance = compare(maps, reference, mask), _provenance([maps], reference, arguments)
        root_file, stem = _root_file(maps, arguments.output), _stem(maps, arguments.output)
        write_root_file(outputs.comparison_elements(comparison, provenance), root_file)
        numbers = outputs.save_json(
            outputs.comparison_numbers(comparison, provenance), stem.with_name(f"{stem.name}.json")
        )
        pictures = draw_comparison(comparison, stem)
        write_beside(provenance, stem.parent, stem.name, pictures)
    show(outputs.elements_table(comparison), outputs.changes_table(comparison), outputs.outcome(comparison))
    remark(*(f"run {maps.run}: {note}" for note in comparison.notes))
    show(f"ROOT file: {root_file}", f"numbers:   {numbers}", f"pictures:  {', '.join(map(str, pictures))}")
    return comparison.drift, comparison.differs


def _write_drift(reference: NamedReference, drifts: Sequence[DriftPoint], provenance: Provenance, folder: Path) -> None:
    from hcal_root_ad.compare.drawing import draw_drift

    show(outputs.drift_table(reference.name, drifts))
    numbers = outputs.save_json(outputs.drift_numbers(reference.entry, drifts, provenance), folder / "drift.json")
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
    return folder / offline_name(maps.run, maps.sources[0].name if maps.sources else "", "HcalADComparison")


def execute_reference(arguments: argparse.Namespace) -> int:
    match arguments.action:
        case "add":
            _add_reference(arguments)
        case "list":
            show(entries_table(tuple(references.entries().values())))
        case "show":
            show(*entry_details(references.entry_of(arguments.name)))
        case "verify":
            return _verify_references(arguments.names)
    return 0


def _add_reference(arguments: argparse.Namespace) -> None:
    folder = references.own_catalogue(arguments.name)
    files = all_files(arguments.runs)
    runs = read_runs(arguments.runs, arguments.definition)
    words = {name: getattr(arguments, name) for name in ("trigger", "state", "first_run", "last_run", "what")}
    with progress("Learning the rates") as report:
        entry = references.add_reference(arguments.name, runs, files, references.Description(**words), report)
    given = {name: word for name, word in {**words, "definition": arguments.definition}.items() if word}
    provenance = provenance_of_maps("reference add", runs, (), given)
    write_beside(provenance, folder, arguments.name, [folder / entry.rates])
    show(*entry_details(entry))


def _verify_references(names: Sequence[str]) -> int:
    chosen = [references.entry_of(name) for name in names] or list(references.entries().values())
    complaints = []
    with progress("Verifying") as report:
        for done, entry in enumerate(chosen, start=1):
            complaints.append(list(references.complaints(entry)))
            if report:
                report(done, len(chosen))
    for entry, sentences in zip(chosen, complaints, strict=True):
        show(*sentences or (f"{entry.name}: good",))
    return int(any(complaints))


def entries_table(entries: Sequence[ReferenceEntry]) -> Table:
    """One line per reference run, in the order of the search path; in 80 columns every name is whole."""
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
    if not entry.rates:
        yield "  rates       none: a run, but no reference"
        return
    try:
        reference = references.loaded(entry)
    except CatalogueError as error:
        yield f"  rates       {error}"
        return
    yield f"  rates       {entry.folder / entry.rates}"
    yield from (f"  {name:<11} {_rates_summary(rates)}" for name, rates in reference.rates.items())


def _rates_summary(rates: Rates) -> str:
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
