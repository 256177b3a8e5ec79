"""Show a file's format, run, lumisections, events, HCAL elements, and which harvester definition fits."""

from __future__ import annotations

import argparse

from hcal_root_ad.cli.options import all_files
from hcal_root_ad.cli.terminal import show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="DQM file, or name of a reference run")


def execute(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.api import inspect_file

    show(*(str(inspect_file(path)) for path in all_files([arguments.file])))
    return 0
