"""Every system on the same runs, against the limit that nobody can pass: ``python -m studies evaluate -o DIR``."""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from hcal_root_ad.cli.settings import input_files, read_runs
from hcal_root_ad.cli.terminal import progress, show
from hcal_root_ad.errors import UsageError
from hcal_root_ad.files import write_text
from hcal_root_ad.provenance import INPUTS, Provenance, file_material, write_beside
from studies.evaluate import fair_table
from studies.evaluate.campaign import evaluate
from studies.evaluate.figures import partial_auc_figure
from studies.evaluate.material import Material, simulated
from studies.evaluate.protocol import Effort
from studies.evaluate.real import NAME, RealSuite, real
from studies.evaluate.registry import chosen
from studies.evaluate.suite import suite_named
from studies.evaluate.table import markdown


def main(argv: Sequence[str]) -> int:
    """Measure what lacks, and write table and figures."""
    arguments = _parser().parse_args(argv)
    material, systems = _material(arguments), chosen(arguments.systems)
    with progress("Evaluating") as report:
        rows = evaluate(material, systems, arguments.output, report, arguments.again, chosen([]))
    command = f"python -m studies evaluate --suite {material.name}"
    made = f"`{command}`, version {version('hcal-root-ad')}, {datetime.date.today()}."
    table = arguments.output / "table.md"
    fair = "windows" in material.settings
    write_text(table, (fair_table.markdown if fair else markdown)(rows, material, made))
    written = [table]
    for subdetector in () if fair else material.subdetectors:
        figure = partial_auc_figure(rows, material, subdetector)
        written.append(arguments.output / f"partial_auc_{subdetector}.png")
        figure.savefig(written[-1], dpi=110)
    write_beside(_provenance(arguments), arguments.output, "evaluate", written)
    if arguments.json:
        write_text(arguments.json, json.dumps(rows, indent=1))
        write_beside(_provenance(arguments), arguments.json.parent, arguments.json.name, [arguments.json])
    show(f"table:   {table}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m studies evaluate", description=__doc__, allow_abbrev=False)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR",
                        help="folder of the table and the figures; an interrupted evaluation is continued")  # fmt: skip
    parser.add_argument("--suite", default="short", metavar="NAME",
                        help="quick, short (default), full; fair: one unit at fault at a time, and the authors' own "
                             "test; or real: ten LS of a real run, see --data")  # fmt: skip
    parser.add_argument("--data", nargs="+", metavar="PATH", help="the real run: its DQM files, or their folder")
    parser.add_argument("--systems", nargs="+", default=[], metavar="NAME", help="some of the systems (default: all)")
    parser.add_argument("--again", action="store_true", help="measure the systems again that were measured before")
    parser.add_argument("--effort", type=float, metavar="X",
                        help="steps of the trainings, in those of the recipes (default: of the suite)")  # fmt: skip
    parser.add_argument("--seeds", type=int, metavar="N", help="trainings of each deep system (default: of the suite)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers here, too")
    return parser


def _provenance(arguments: argparse.Namespace) -> Provenance:
    files = input_files(arguments.data) if arguments.data else []
    options = {"suite": arguments.suite} | ({"systems": ", ".join(arguments.systems)} if arguments.systems else {})
    return Provenance("evaluate", tuple(file_material(INPUTS, file) for file in files), options)


def _material(arguments: argparse.Namespace) -> Material:
    """The runs that a suite stands for."""
    if arguments.suite != NAME:
        if arguments.data:
            raise UsageError(f"--data is for --suite {NAME}; the suite {arguments.suite} simulates its runs.")
        material = simulated(suite_named(arguments.suite))
        effort = Effort(arguments.effort) if arguments.effort else material.effort
        return replace(material, seeds=arguments.seeds or material.seeds, effort=effort)
    if not arguments.data:
        raise UsageError(f"--suite {NAME} needs a real run; name its DQM files, or their folder, with --data.")
    runs = read_runs(arguments.data)
    if len(runs) > 1:
        raise UsageError(f"--data holds the runs {', '.join(str(run.run) for run in runs)}; name the files of one run.")
    return real(runs[0], RealSuite())
