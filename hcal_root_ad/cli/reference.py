"""Keep the catalogue of reference runs: which run is the reference for which era, trigger and detector state."""

from __future__ import annotations

import argparse

from hcal_root_ad.cli.options import add_definition, all_files, count, read_runs
from hcal_root_ad.cli.terminal import progress, show


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
    from hcal_root_ad.publish.catalogue_table import entry_details
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
    from hcal_root_ad.publish.catalogue_table import entries_table
    from hcal_root_ad.references.catalogue import entries

    show(entries_table(tuple(entries().values())))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.publish.catalogue_table import entry_details
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
