"""ONNX files: written whole or not at all, checked against torch as they are written, opened with ONNX Runtime."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from hcal_root_ad.errors import InputError, OutputError, UsageError
from hcal_root_ad.files import whole_file
from hcal_root_ad.model.model import Model

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

OPSET = 15
"""That of the models deployed with HcalMLTask. CMSSW 13_3 and 14_0 have ONNX Runtime 1.14.1 (opsets up to 18)."""
IR_VERSION = 8
"""The newest that ONNX Runtime 1.14.1 reads."""
PARITY = 1e-4
"""Largest difference between ONNX Runtime and torch, relative to the largest value (or 1) of an output."""


def describe(model: Model) -> dict[str, str]:
    """What a file says of the model that it was made from."""
    return {
        "model": model.name,
        "version": model.version,
        "digest": model.digest,
        "subdetector": model.subdetector,
        "era": model.channels.era.value,
        "definition": model.definition,
        "hcal_root_ad": version("hcal-root-ad"),
    }


def write_onnx(
    model: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], about: Mapping[str, str], path: Path
) -> None:
    """Export a module, with ``about`` as the file's metadata.

    ``inputs``: an example of each input by name, in the order in which ``model`` takes them; every shape is fixed.

    Raises:
        UsageError: if the ``onnx`` extra is not installed.
        OutputError: if the file cannot be written, or ONNX Runtime does not give torch's answers.
    """
    require_onnx()
    import onnx

    exported = _exported(model, inputs, outputs)
    onnx.helper.set_model_props(exported, dict(about))
    onnx.checker.check_model(exported, full_check=True)
    with whole_file(path) as partial:
        onnx.save(exported, partial)
        if not (worst := _difference(model, inputs, partial)) < PARITY:
            raise OutputError(
                f"{path}: ONNX Runtime's answers differ from torch's by {worst:.1e}; nothing was written."
            )


def require_onnx() -> None:
    """Raises UsageError if onnx or onnxruntime is not installed."""
    if missing := [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]:
        raise UsageError(
            f"ONNX needs {' and '.join(missing)}, not installed here; install them with "
            "`pip install 'hcal-root-ad[onnx]'`."
        )


def session(path: Path | str, threads: int = 1) -> InferenceSession:
    """Open a model on the CPU; one LS is too small a task for many threads, and one leaves the others to the rest.

    Raises:
        UsageError: if ONNX Runtime is not installed. InputError: if the file is missing or no ONNX model.
    """
    require_onnx()
    import onnxruntime

    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; write it with `hcal-root-ad export`.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a class of its own for each way to fail, all of them private
        raise InputError(f"{path}: expected an ONNX model, but ONNX Runtime refuses it ({error}).") from error


def _exported(model: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> ModelProto:
    import onnx

    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # Tracing warns wherever Python reads a shape; all shapes are fixed. The newer exporter begins at opset 18.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            tuple(inputs.values()),
            buffer,  # type: ignore[arg-type]  # taken where dynamo is off
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=False,
        )
    exported = onnx.load_model_from_string(buffer.getvalue())
    exported.ir_version = min(exported.ir_version, IR_VERSION)
    return exported


def _difference(model: nn.Module, inputs: Mapping[str, Tensor], path: Path) -> float:
    """Largest difference between ONNX Runtime and torch on the example, see :data:`PARITY`."""
    with torch.no_grad():
        answer = model(*inputs.values())
    wanted = [value.numpy() for value in (answer if isinstance(answer, tuple) else (answer,))]
    found = session(path).run(None, {name: value.numpy() for name, value in inputs.items()})
    return max(
        float(np.abs(one - other).max() / max(1.0, np.abs(other).max()))
        for one, other in zip(found, wanted, strict=True)
    )
