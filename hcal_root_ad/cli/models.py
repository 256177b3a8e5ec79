"""Make models of clean runs: ``train`` and ``transfer``; ``export`` them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hcal_root_ad.cli.options import add_definition, add_output, positive, read_runs
from hcal_root_ad.cli.terminal import progress, remark, show
from hcal_root_ad.errors import UsageError
from hcal_root_ad.files import check_places

if TYPE_CHECKING:
    from hcal_root_ad.lumi_maps import LumiMaps
    from hcal_root_ad.model.model import Model


def add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="DQM file of a clean run, or name of a reference run")
    parser.add_argument(
        "--subdetector", required=True, choices=("HB", "HE", "HO", "HF"), help="which channels to learn"
    )
    add_output(parser, "MODEL", "folder of the new model")
    add_definition(parser)
    parser.add_argument("--data", default="", metavar="TEXT", help="what the runs are, in words for the model's card")
    parser.add_argument("--widths", type=Path, metavar="FILE.toml",
                        help="how far healthy units move from run to run (default: as in simulations)")  # fmt: skip


def execute_train(arguments: argparse.Namespace) -> int:
    """Make a model of clean runs: the reference of one sub-detector, and for HB and HE a network."""
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


def add_transfer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="source", required=True, metavar="MODEL", help="name or folder to start from")
    parser.add_argument("--to", choices=("HB", "HE", "HO", "HF"),
                        help="sub-detector of the new model (default: the same)")  # fmt: skip
    parser.add_argument("--runs", nargs="+", metavar="CLEAN",
                        help="clean runs to adapt to (default: those of the reference that fits)")  # fmt: skip
    add_output(parser, "MODEL", "folder of the new model")
    add_definition(parser)
    parser.add_argument("--data", default="", metavar="TEXT", help="what the runs are, in words for the model's card")


def execute_transfer(arguments: argparse.Namespace) -> int:
    """Adapt a model to clean runs of your detector: the same sub-detector, or another one."""
    from hcal_root_ad.model.model import load_model
    from hcal_root_ad.model.transfer import transfer
    from hcal_root_ad.provenance import write_model_provenance

    check_places([], [arguments.output])
    source = load_model(arguments.source)
    runs = read_runs(arguments.runs or _clean_runs(source), arguments.definition)
    with progress("Transferring") as report:
        model = transfer(source, runs, arguments.output, to=arguments.to, data=arguments.data, progress=report)
    write_model_provenance(
        "transfer", arguments.output, runs, [source], {"to": arguments.to, "data": arguments.data or None}
    )
    show(f"{arguments.output}: model {model.name} for {model.subdetector}, from {source.name}")
    show(*(f"{key}: {text}" for key, text in model.story.items() if key not in ("data", "adapted from")))
    show(*_fit(model, runs), *_next_steps(model, arguments.output))
    return 0


def _fit(model: Model, runs: Sequence[LumiMaps]) -> Iterator[str]:
    """How the model fits the runs that it learned from: their scatter about it, and what it would flag in them."""
    if model.subdetector == "HF":
        return  # every event counts in HF: there is nothing to fit
    from hcal_root_ad.pipeline import Judging

    for maps in runs:
        (verdict,) = Judging((model,)).judge(maps).verdicts
        number = len(verdict.findings)
        flagged = f"{number} finding{'s' * (number != 1)}" if number else "no finding"
        yield (
            f"fit to run {maps.run}: channels scatter {verdict.sensitivity:.2f} times as much as it allows for, "
            f"{flagged} in {int(verdict.assessed.sum())} LS"
        )


def _next_steps(model: Model, folder: Path) -> list[str]:
    """What to do with the new model."""
    steps = []
    if any(key in model.story for key in ("dead units", "odd units")):
        steps.append("next: if the units named above are sound or masked, choose other clean runs and transfer again")
    others = [name for name in ("HB", "HE", "HO", "HF") if name != model.subdetector]
    return [
        *steps,
        f"next: adapt the models of {', '.join(others[:-1])} and {others[-1]} that you use on the same clean runs",
        f"next: hcal-root-ad run RUN -o DIR --model {folder} --model …",
    ]


def _clean_runs(source: Model) -> list[str]:
    """The clean runs of the reference that fits the model's era and quantity, the user's own before the shipped."""
    from hcal_root_ad.harvest.inputs import RemoteFile
    from hcal_root_ad.references import fitting_entries, quantity_of

    era, quantity = source.channels.era, quantity_of(source.definition)
    for entry in fitting_entries(era, quantity):
        if all(isinstance(path, RemoteFile) or path.exists() for path in entry.inputs):
            remark(f"no --runs: adapting to the clean runs of the reference {entry}")
            return [str(path) for path in entry.inputs]
    raise UsageError(
        f"--runs is missing, and no reference of the catalogue for {era.value} and {quantity or source.definition} has "
        "its files; name clean runs with --runs."
    )


def add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="name or folder")
    add_output(parser, "FILE.onnx", "file to write")
    parser.add_argument("--cmssw", action="store_true",
                        help="as a model for CMSSW's HcalMLTask; prints the configuration that uses it")  # fmt: skip
    parser.add_argument("--false-alarms", type=positive, metavar="PER_100_LS",
                        help="false flags per 100 LS, which set the threshold (default: the model's)")  # fmt: skip


def execute_export(arguments: argparse.Namespace) -> int:
    """Write a model as an ONNX file: reference, network and threshold inside, memory in and out."""
    from hcal_root_ad.export.onnx_file import require_onnx

    require_onnx()
    from hcal_root_ad.export.cmssw import configuration, write_cmssw_model
    from hcal_root_ad.export.onnx_file import write_model
    from hcal_root_ad.model.model import load_model
    from hcal_root_ad.provenance import Provenance, chosen, model_material

    model = load_model(arguments.model)
    check_places([arguments.output])
    if arguments.output.suffix != ".onnx" and not arguments.output.is_dir():  # a folder has a sentence of its own
        raise UsageError(f"-o {arguments.output}: expected the name of a file that ends in .onnx.")
    options = chosen({"cmssw": arguments.cmssw, "false_alarms": arguments.false_alarms})
    about = {"provenance": Provenance("export", (model_material(model),), options).text()}
    if arguments.cmssw:
        lines = configuration(model, arguments.output, arguments.false_alarms)
        write_cmssw_model(model, arguments.output, about)
        show(lines)
    else:
        write_model(model, arguments.output, arguments.false_alarms, about)
        show(f"{arguments.output}: model {model.name} for {model.subdetector}, one lumisection per call")
    return 0
