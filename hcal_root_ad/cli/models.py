"""Make models of clean runs: ``train`` and ``transfer``; ``export`` them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from hcal_root_ad.cli.settings import read_runs
from hcal_root_ad.cli.terminal import progress, remark, show
from hcal_root_ad.errors import UsageError
from hcal_root_ad.export.onnx_file import require_onnx, write_model
from hcal_root_ad.files import check_places
from hcal_root_ad.harvest.inputs import RemoteFile
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model, load_model
from hcal_root_ad.model.transfer import read_widths, train, transfer
from hcal_root_ad.pipeline import Judging
from hcal_root_ad.provenance import Provenance, chosen, model_material, write_model_provenance
from hcal_root_ad.references import fitting_entries, quantity_of


def execute_train(arguments: argparse.Namespace) -> int:
    check_places([], [arguments.output])
    widths = read_widths(arguments.widths) if arguments.widths else None
    runs = read_runs(arguments.runs, arguments.definition)
    with progress("Training") as report:
        words = {"widths": widths, "data": arguments.data, "progress": report}
        model = train(runs, arguments.subdetector, arguments.output, **words)
    options = {name: getattr(arguments, name) or None for name in ("subdetector", "data", "definition")}
    options["widths"] = arguments.widths.name if arguments.widths else None
    write_model_provenance("train", arguments.output, runs, (), options)
    show(f"{arguments.output}: model {model.name} for {model.subdetector}")
    show(*(f"{key}: {text}" for key, text in model.story.items() if key != "data"))
    return 0


def execute_transfer(arguments: argparse.Namespace) -> int:
    check_places([], [arguments.output])
    source = load_model(arguments.source)
    runs = read_runs(arguments.runs or _clean_runs(source), arguments.definition)
    with progress("Transferring") as report:
        model = transfer(source, runs, arguments.output, to=arguments.to, data=arguments.data, progress=report)
    options = {"to": arguments.to, "data": arguments.data or None}
    write_model_provenance("transfer", arguments.output, runs, [source], options)
    show(f"{arguments.output}: model {model.name} for {model.subdetector}, from {source.name}")
    show(*(f"{key}: {text}" for key, text in model.story.items() if key not in ("data", "adapted from")))
    show(*_fit(model, runs), *_next_steps(model, arguments.output))
    return 0


def _fit(model: Model, runs: Sequence[LumiMaps]) -> Iterator[str]:
    """How the model fits the runs that it learned from: their scatter about it, and what it would flag in them."""
    if model.subdetector == "HF":
        return  # every event counts in HF: there is nothing to fit
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
    era, quantity = source.channels.era, quantity_of(source.definition)
    for entry in fitting_entries(era, quantity):
        if all(isinstance(path, RemoteFile) or path.exists() for path in entry.inputs):
            remark(f"no --runs: adapting to the clean runs of the reference {entry}")
            return [str(path) for path in entry.inputs]
    raise UsageError(
        f"--runs is missing, and no reference of the catalogue for {era.value} and {quantity or source.definition} has "
        "its files; name clean runs with --runs."
    )


def execute_export(arguments: argparse.Namespace) -> int:
    require_onnx()
    model = load_model(arguments.model)
    check_places([arguments.output])
    if arguments.output.suffix != ".onnx" and not arguments.output.is_dir():  # a folder has a sentence of its own
        raise UsageError(f"-o {arguments.output}: expected the name of a file that ends in .onnx.")
    options = chosen({"cmssw": arguments.cmssw, "false_alarms": arguments.false_alarms})
    about = {"provenance": Provenance("export", (model_material(model),), options).text()}
    if arguments.cmssw:
        from hcal_root_ad.export.cmssw import configuration, write_cmssw_model

        lines = configuration(model, arguments.output, arguments.false_alarms)
        write_cmssw_model(model, arguments.output, about)
        show(lines)
    else:
        write_model(model, arguments.output, arguments.false_alarms, about)
        show(f"{arguments.output}: model {model.name} for {model.subdetector}, one lumisection per call")
    return 0
