"""Make a model of clean runs: the reference of one sub-detector, and for HB and HE a network."""

from __future__ import annotations

import argparse
from pathlib import Path

from hcal_root_ad.cli.options import add_definition, add_output, read_runs
from hcal_root_ad.cli.terminal import progress, show
from hcal_root_ad.files import check_places


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="DQM file of a clean run, or name of a reference run")
    parser.add_argument(
        "--subdetector", required=True, choices=("HB", "HE", "HO", "HF"), help="which channels to learn"
    )
    add_output(parser, "MODEL", "folder of the new model")
    add_definition(parser)
    parser.add_argument("--data", default="", metavar="TEXT", help="what the runs are, in words for the model's card")
    parser.add_argument("--widths", type=Path, metavar="FILE.toml",
                        help="how far healthy units move from run to run (default: as in simulations)")  # fmt: skip


def execute(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.model.transfer import read_widths, train
    from hcal_root_ad.provenance import write_model_provenance

    check_places([], [arguments.output])
    widths = read_widths(arguments.widths) if arguments.widths else None
    runs = read_runs(arguments.runs, arguments.definition)
    with progress("Training") as report:
        model = train(
            runs, arguments.subdetector, arguments.output, widths=widths, data=arguments.data, progress=report
        )
    options = {name: getattr(arguments, name) or None for name in ("subdetector", "data", "definition")}
    options["widths"] = arguments.widths.name if arguments.widths else None
    write_model_provenance("train", arguments.output, runs, (), options)
    show(f"{arguments.output}: model {model.name} for {model.subdetector}")
    show(*(f"{key}: {text}" for key, text in model.story.items() if key != "data"))
    return 0
