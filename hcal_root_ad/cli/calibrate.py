"""Set a bundle's error scales and thresholds from clean runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from hcal_root_ad.cli.inputs import read_runs
from hcal_root_ad.cli.terminal import show
from hcal_root_ad.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="name or folder")
    parser.add_argument("--runs", nargs="+", required=True, metavar="CLEAN", help="clean runs to calibrate on")
    parser.add_argument("-o", "--output", type=Path, metavar="BUNDLE",
                        help="folder of the calibrated bundle (default: the bundle's own folder)")  # fmt: skip


def execute(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.learn.bundle import load_bundle
    from hcal_root_ad.learn.calibrate import calibrate
    from hcal_root_ad.publish.bundle_provenance import write_bundle_provenance

    source = load_bundle(arguments.bundle)
    folder = arguments.output or Path(arguments.bundle)
    if not arguments.output and not folder.is_dir():
        raise UsageError(f"{arguments.bundle} is a shipped bundle and stays as it is; name a folder of yours with -o.")
    runs = read_runs(arguments.runs)
    bundle = calibrate(source, runs, folder)
    write_bundle_provenance("calibrate", folder, runs, [source], {})
    show(f"{folder}: bundle {bundle.name} for {bundle.subdetector}, calibrated")
    return 0
