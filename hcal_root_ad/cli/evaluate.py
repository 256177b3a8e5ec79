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

    from hcal_root_ad.evaluate.campaign import evaluate
    from hcal_root_ad.evaluate.figures import partial_auc_figure
    from hcal_root_ad.evaluate.material import simulated
    from hcal_root_ad.evaluate.registry import chosen
    from hcal_root_ad.evaluate.suite import suite_named
    from hcal_root_ad.evaluate.table import markdown
    from hcal_root_ad.evaluate.written import write_text

    material, systems = simulated(suite_named(arguments.suite)), chosen(arguments.systems)
    with progress("Evaluating") as report:
        rows = evaluate(material, systems, arguments.output, report)
    made = (
        f"`hcal-root-ad evaluate --suite {material.name}`, version {version('hcal-root-ad')}, {datetime.date.today()}."
    )
    table = arguments.output / "table.md"
    write_text(table, markdown(rows, material, made))
    for subdetector in material.subdetectors:
        figure = partial_auc_figure(rows, material, subdetector)
        figure.savefig(arguments.output / f"partial_auc_{subdetector}.png", dpi=110)
    if arguments.json:
        write_text(arguments.json, json.dumps(rows, indent=1))
    show(f"table:   {table}")
    return 0
