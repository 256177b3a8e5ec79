"""Measure every system on the same runs, against the limit that nobody can pass."""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path

from hcal_root_ad.cli.terminal import progress, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR",
                        help="folder of the table and the figures; an interrupted evaluation is continued")  # fmt: skip
    parser.add_argument("--suite", default="short", metavar="NAME", help="quick, short (default) or full")
    parser.add_argument("--systems", nargs="+", default=[], metavar="NAME", help="some of the systems (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers here, too")


def execute(arguments: argparse.Namespace) -> int:
    from importlib.metadata import version

    from hcal_root_ad.evaluate.campaign import evaluate, suite_named
    from hcal_root_ad.evaluate.registry import chosen
    from hcal_root_ad.evaluate.table import figure, markdown

    suite, systems = suite_named(arguments.suite), chosen(arguments.systems)
    with progress("Evaluating") as report:
        rows = evaluate(suite, systems, arguments.output, report)
    head = (
        f"`hcal-root-ad evaluate --suite {suite.name}`, version {version('hcal-root-ad')}, {datetime.date.today()}; "
        f"detector seed {suite.detector_seed}, seed {suite.seed}; {suite.learning_runs} + "
        f"{suite.calibration_runs} clean runs of "
        f"{suite.run_length} LS to learn from and to calibrate on, {suite.test_runs} other runs of "
        f"{suite.test_length} LS with faults to test. All simulated. "
        "In brackets: 68 % intervals, runs drawn with replacement."
    )
    table = arguments.output / "table.md"
    table.write_text(markdown(rows, suite, head))
    for subdetector in suite.subdetectors:
        figure(rows, suite, subdetector).savefig(arguments.output / f"partial_auc_{subdetector}.png", dpi=110)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))
    show(f"table:   {table}")
    return 0
