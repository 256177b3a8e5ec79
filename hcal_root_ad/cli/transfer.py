"""Make a bundle from another one: HB from HE, or the same sub-detector in a new state."""

from __future__ import annotations

import argparse
from pathlib import Path

from hcal_root_ad.cli.inputs import read_runs
from hcal_root_ad.cli.terminal import progress, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="source", required=True, metavar="BUNDLE", help="name or folder to start from")
    parser.add_argument("--to", choices=("HB", "HE"), help="sub-detector of the new bundle (default: the same)")
    parser.add_argument("--runs", nargs="+", required=True, metavar="CLEAN", help="clean runs to adapt to")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="BUNDLE", help="folder of the new bundle")
    parser.add_argument("--data", default="", metavar="TEXT", help="what the runs are, in words for the bundle's card")


def execute(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.learn.bundle import load_bundle
    from hcal_root_ad.learn.transfer import transfer

    source = load_bundle(arguments.source)
    runs = read_runs(arguments.runs)
    with progress("Transferring") as report:
        bundle = transfer(source, runs, arguments.output, to=arguments.to, data=arguments.data, progress=report)
    show(f"{arguments.output}: bundle {bundle.name} for {bundle.subdetector}, from {source.name}")
    return 0
