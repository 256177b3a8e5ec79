"""Run a study on simulated runs: transfer learning, classifiers of whole images, false alarms, or forecasts."""

from __future__ import annotations

import argparse
from pathlib import Path

from hcal_root_ad.cli.terminal import progress, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", choices=("transfer", "classifiers", "false-alarms", "forecasts"), help="which study")
    parser.add_argument("--grid", default="presets", metavar="NAME",
                        help="quick (seconds), presets (half an hour); transfer also: blocks, full")  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on with the study in DIR")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for table and figures")


def execute(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.publish.provenance import Provenance
    from hcal_root_ad.publish.provenance_beside import write_beside

    if arguments.study == "transfer":
        from hcal_root_ad.evaluate.transfer_study.study import run_study as run
    elif arguments.study == "false-alarms":
        from hcal_root_ad.evaluate.false_alarms import run_false_alarms as run
    elif arguments.study == "forecasts":
        from hcal_root_ad.evaluate.forecasts import run_forecasts as run
    else:
        from hcal_root_ad.evaluate.classifiers.study import run_classifiers as run

    with progress("Points") as report:
        written = run(arguments.grid, arguments.output, arguments.resume, report)
    provenance = Provenance("study", (), {"study": arguments.study, "grid": arguments.grid})
    show(*map(str, [*written, write_beside(provenance, arguments.output, "study", written)]))
    return 0
