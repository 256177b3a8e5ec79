"""Write a model as an ONNX file: reference, network and threshold inside, memory in and out."""

from __future__ import annotations

import argparse

from hcal_root_ad.cli.options import add_output, positive
from hcal_root_ad.cli.terminal import show
from hcal_root_ad.errors import UsageError
from hcal_root_ad.files import check_places


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="name or folder")
    add_output(parser, "FILE.onnx", "file to write")
    parser.add_argument("--cmssw", action="store_true",
                        help="as a model for CMSSW's HcalMLTask; prints the configuration that uses it")  # fmt: skip
    parser.add_argument("--false-alarms", type=positive, metavar="PER_100_LS",
                        help="false flags per 100 LS, which set the threshold (default: the model's)")  # fmt: skip


def execute(arguments: argparse.Namespace) -> int:
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
