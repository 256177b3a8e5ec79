"""Measure every system on the same runs, against the limit that nobody can pass; or certify against people's flags."""

from __future__ import annotations

import argparse
import datetime
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hcal_root_ad.cli.inputs import input_files, read_runs
from hcal_root_ad.cli.terminal import progress, show
from hcal_root_ad.errors import UsageError

if TYPE_CHECKING:
    from hcal_root_ad.evaluate.material import Material
    from hcal_root_ad.publish.provenance import Provenance

HOW = (
    "Counted are lumisections that were GOOD or BAD here and that people called good or not. AUC: of the share of "
    "channels that are not good. In brackets: 68 % intervals, runs drawn with replacement."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR",
                        help="folder of the table and the figures; an interrupted evaluation is continued")  # fmt: skip
    parser.add_argument("--suite", default="short", metavar="NAME",
                        help="quick, short (default), full; or real: ten LS of a real run, see --data")  # fmt: skip
    parser.add_argument("--data", nargs="+", metavar="PATH", help="the real run: its DQM files, or their folder")
    parser.add_argument("--labels", type=Path, metavar="FILE",
                        help="instead: score the campaign of certify in --data DIR against flags that people set "
                             "(Run Registry or golden JSON)")  # fmt: skip
    parser.add_argument("--systems", nargs="+", default=[], metavar="NAME", help="some of the systems (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers here, too")


def execute(arguments: argparse.Namespace) -> int:
    if arguments.labels:
        return _against_people(arguments)
    from importlib.metadata import version

    from hcal_root_ad.evaluate.campaign import evaluate
    from hcal_root_ad.evaluate.figures import partial_auc_figure
    from hcal_root_ad.evaluate.registry import chosen
    from hcal_root_ad.evaluate.table import markdown
    from hcal_root_ad.files import write_text
    from hcal_root_ad.publish.provenance_beside import write_beside

    material, systems = _material(arguments), chosen(arguments.systems)
    with progress("Evaluating") as report:
        rows = evaluate(material, systems, arguments.output, report)
    made = (
        f"`hcal-root-ad evaluate --suite {material.name}`, version {version('hcal-root-ad')}, {datetime.date.today()}."
    )
    table = arguments.output / "table.md"
    write_text(table, markdown(rows, material, made))
    written = [table]
    for subdetector in material.subdetectors:
        figure = partial_auc_figure(rows, material, subdetector)
        written.append(arguments.output / f"partial_auc_{subdetector}.png")
        figure.savefig(written[-1], dpi=110)
    write_beside(_provenance(arguments), arguments.output, "evaluate", written)
    if arguments.json:
        write_text(arguments.json, json.dumps(rows, indent=1))
        write_beside(_provenance(arguments), arguments.json.parent, arguments.json.name, [arguments.json])
    show(f"table:   {table}")
    return 0


def _against_people(arguments: argparse.Namespace) -> int:
    """A campaign of ``certify`` against people's flags."""
    from importlib.metadata import version

    from hcal_root_ad.certify.outputs import TABLE
    from hcal_root_ad.evaluate.human_certification import markdown, score_certification
    from hcal_root_ad.files import write_text
    from hcal_root_ad.publish.provenance import Provenance, file_material
    from hcal_root_ad.publish.provenance_beside import write_beside

    if arguments.systems or len(arguments.data or ()) != 1:
        raise UsageError("--labels scores one campaign: name its folder, as certify wrote it, with --data.")
    campaign = Path(arguments.data[0])
    scores = score_certification(campaign, arguments.labels)
    made = f"`hcal-root-ad evaluate --labels`, version {version('hcal-root-ad')}, {datetime.date.today()}."
    table = arguments.output / "table.md"
    write_text(table, markdown(scores, f"{made} {HOW}"))
    files = (file_material("labels", arguments.labels), file_material("campaign", campaign / TABLE))
    write_beside(Provenance("evaluate", files, {}), arguments.output, "evaluate", [table])
    if arguments.json:
        write_text(arguments.json, json.dumps([asdict(one) for one in scores], indent=1))
    show(table.read_text(encoding="utf-8"))
    return 0


def _provenance(arguments: argparse.Namespace) -> Provenance:
    from hcal_root_ad.publish.provenance import INPUTS, Provenance, file_material

    files = input_files(arguments.data) if arguments.data else []
    options = {"suite": arguments.suite} | ({"systems": ", ".join(arguments.systems)} if arguments.systems else {})
    return Provenance("evaluate", tuple(file_material(INPUTS, file) for file in files), options)


def _material(arguments: argparse.Namespace) -> Material:
    """The runs that a suite stands for."""
    from hcal_root_ad.evaluate.material import simulated
    from hcal_root_ad.evaluate.real import NAME, RealSuite, real
    from hcal_root_ad.evaluate.suite import suite_named

    if arguments.suite != NAME:
        if arguments.data:
            raise UsageError(f"--data is for --suite {NAME}; the suite {arguments.suite} simulates its runs.")
        return simulated(suite_named(arguments.suite))
    if not arguments.data:
        raise UsageError(f"--suite {NAME} needs a real run; name its DQM files, or their folder, with --data.")
    runs = read_runs(arguments.data)
    if len(runs) > 1:
        raise UsageError(f"--data holds the runs {', '.join(str(run.run) for run in runs)}; name the files of one run.")
    return real(runs[0], RealSuite())
