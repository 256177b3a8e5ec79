"""Train GraphSTAD for one sub-detector on clean runs and write it as a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

from hcal_root_ad.cli.inputs import read_runs
from hcal_root_ad.cli.terminal import progress, show
from hcal_root_ad.files import check_places


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="DQM file of a clean run, or name of a reference run")
    parser.add_argument("--subdetector", required=True, choices=("HB", "HE"), help="which channels to learn")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="BUNDLE", help="folder of the new bundle")
    parser.add_argument("--data", default="", metavar="TEXT", help="what the runs are, in words for the bundle's card")
    parser.add_argument("--ring-normalisation", action="store_true",
                        help="take each ring's common change out (RIN); blind to faults of whole rings")  # fmt: skip


def execute(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.learn.train import train
    from hcal_root_ad.publish.bundle_provenance import write_bundle_provenance

    check_places([], [arguments.output])
    runs = read_runs(arguments.runs)
    with progress("Training") as report:
        bundle = train(
            runs,
            arguments.subdetector,
            arguments.output,
            ring_normalisation=arguments.ring_normalisation,
            data=arguments.data,
            progress=report,
        )
    options = {name: getattr(arguments, name) for name in ("subdetector", "ring_normalisation")}
    options["data"] = arguments.data or None
    write_bundle_provenance("train", arguments.output, runs, (), options)
    show(f"{arguments.output}: bundle {bundle.name} for {bundle.subdetector}")
    return 0
