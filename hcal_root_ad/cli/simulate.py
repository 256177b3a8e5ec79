"""Write runs of a simulated detector with known faults, and a truth file for each."""

from __future__ import annotations

import argparse
from pathlib import Path

from hcal_root_ad.cli.inputs import count
from hcal_root_ad.cli.terminal import progress, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write into")
    parser.add_argument("--container", required=True, metavar="NAME", help="kind of file, for example nanodqmio")
    parser.add_argument("--lumisections", type=count, default=100, metavar="N", help="per run (default: 100)")
    parser.add_argument("--runs", type=count, default=1, metavar="N", help="how many (default: 1)")
    parser.add_argument("--detector-seed", type=int, default=1, metavar="N", help="which detector (default: 1)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="which conditions and faults (default: 1)")
    parser.add_argument("--faults", default="none", metavar="none|mixed|FILE", help="none, mixed, or a file of faults")


def execute(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.simulate.campaign import simulate_campaign

    with progress("Simulating") as report:
        written = simulate_campaign(
            arguments.output,
            arguments.container,
            arguments.lumisections,
            arguments.runs,
            arguments.detector_seed,
            arguments.seed,
            arguments.faults,
            progress=report,
        )
    show(*map(str, written))
    return 0
