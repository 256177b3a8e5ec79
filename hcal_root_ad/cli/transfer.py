"""Make a bundle from another one: HB from HE, or the same sub-detector in a new state."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hcal_root_ad.cli.inputs import read_runs
from hcal_root_ad.cli.terminal import progress, remark, show
from hcal_root_ad.errors import UsageError
from hcal_root_ad.files import check_places

if TYPE_CHECKING:
    from hcal_root_ad.learn.bundle import Bundle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="source", required=True, metavar="BUNDLE", help="name or folder to start from")
    parser.add_argument("--to", choices=("HB", "HE"), help="sub-detector of the new bundle (default: the same)")
    parser.add_argument("--runs", nargs="+", metavar="CLEAN",
                        help="clean runs to adapt to (default: those of the reference that fits)")  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="BUNDLE", help="folder of the new bundle")
    parser.add_argument("--data", default="", metavar="TEXT", help="what the runs are, in words for the bundle's card")


def execute(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.learn.bundle import load_bundle
    from hcal_root_ad.learn.transfer import transfer
    from hcal_root_ad.publish.bundle_provenance import write_bundle_provenance

    check_places([], [arguments.output])
    source = load_bundle(arguments.source)
    runs = read_runs(arguments.runs or _clean_runs(source))
    with progress("Transferring") as report:
        bundle = transfer(source, runs, arguments.output, to=arguments.to, data=arguments.data, progress=report)
    write_bundle_provenance(
        "transfer", arguments.output, runs, [source], {"to": arguments.to, "data": arguments.data or None}
    )
    show(f"{arguments.output}: bundle {bundle.name} for {bundle.subdetector}, from {source.name}")
    return 0


def _clean_runs(source: Bundle) -> list[str]:
    """The clean runs of the reference that fits the bundle's era and quantity, the user's own before the shipped."""
    from hcal_root_ad.harvest.input_file import RemoteFile
    from hcal_root_ad.learn.catalogue import fitting_entries, quantity_of

    era, quantity = source.channels.era, quantity_of(source.definition)
    for entry in fitting_entries(era, quantity):
        if all(isinstance(path, RemoteFile) or path.exists() for path in entry.inputs):
            remark(f"no --runs: adapting to the clean runs of the reference {entry}")
            return [str(path) for path in entry.inputs]
    raise UsageError(
        f"--runs is missing, and no reference of the catalogue for {era.value} and {quantity or source.definition} has "
        "its files; name clean runs with --runs."
    )
