"""Run a study: transfer learning of GraphSTAD block by block, on simulated runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from hcal_root_ad.cli.terminal import progress, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", choices=("transfer",), help="which study")
    parser.add_argument("--grid", default="presets", metavar="NAME",
                        help="quick (seconds), presets (half an hour; default), blocks (hours), full")  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on with the study in DIR")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for table and figures")


def execute(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.evaluate.transfer_study.study import run_study

    with progress("Grid points") as report:
        written = run_study(arguments.grid, arguments.output, arguments.resume, report)
    show(*map(str, written))
    return 0
