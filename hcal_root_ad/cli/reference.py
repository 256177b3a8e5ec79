"""Keep the catalogue of reference runs: which run is the reference for which era, trigger and detector state."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hcal_root_ad.cli.options import add_definition, all_files, count, read_runs
from hcal_root_ad.cli.terminal import progress, show
from hcal_root_ad.errors import CatalogueError

if TYPE_CHECKING:
    from rich.table import Table

    from hcal_root_ad.references.catalogue import ReferenceEntry
    from hcal_root_ad.references.rates import Rates


def add_arguments(parser: argparse.ArgumentParser) -> None:
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


def execute(arguments: argparse.Namespace) -> int:
    return {"add": _add, "list": _list, "show": _show, "verify": _verify}[arguments.action](arguments)


def _add(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.provenance import provenance_of_maps, write_beside
    from hcal_root_ad.references.catalogue import Description, add_reference, own_catalogue

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


def _list(_: argparse.Namespace) -> int:
    from hcal_root_ad.references.catalogue import entries

    show(entries_table(tuple(entries().values())))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.references.catalogue import entry_of

    show(*entry_details(entry_of(arguments.name)))
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.references.catalogue import complaints, entries, entry_of

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
    """One line per reference run, in the order of the search path."""
    from rich.table import Table

    table = Table(title="Reference runs", caption="rates: whether runs can be compared with it")
    for name in ("name", "runs", "era", "trigger", "counts", "state", "LS", "rates", "what"):
        table.add_column(name, justify="right" if name == "LS" else "left")
    for entry in entries:
        state = ", ".join(text for text in (entry.state, _validity(entry)) if text)
        table.add_row(
            entry.name, ", ".join(map(str, entry.runs)), entry.era.value, entry.trigger or "every", entry.quantity,
            state, str(entry.lumisections or "–"), "yes" if entry.rates else "no", entry.what,
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
    yield from _rates(entry)


def _rates(entry: ReferenceEntry) -> Iterator[str]:
    from hcal_root_ad.references.catalogue import loaded

    if not entry.rates:
        yield "  rates       none: a run, but no reference"
        return
    try:
        reference = loaded(entry)
    except CatalogueError as error:
        yield f"  rates       {error}"
        return
    yield f"  rates       {entry.folder / entry.rates}"
    yield from (f"  {name:<11} {_summary(rates)}" for name, rates in reference.rates.items())


def _summary(rates: Rates) -> str:
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
