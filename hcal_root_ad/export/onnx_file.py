"""ONNX files: written whole or not at all, checked against torch as they are written, opened with ONNX Runtime."""

from __future__ import annotations

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
from hcal_root_ad.learn.bundle import Bundle

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

OPSET = 15
"""That of the models deployed with HcalMLTask. CMSSW 13_3 and 14_0 have ONNX Runtime 1.14.1 (opsets up to 18)."""
IR_VERSION = 8
"""The newest that ONNX Runtime 1.14.1 reads."""
PARITY = 1e-4
"""Largest difference between ONNX Runtime and torch, relative to values above 1."""


def describe(bundle: Bundle) -> dict[str, str]:
    """What a file says of the bundle that it was made from."""
    return {
        "bundle": bundle.name,
        "version": bundle.version,
        "digest": bundle.digest,
        "subdetector": bundle.subdetector,
        "era": bundle.channels.era.value,
        "definition": bundle.definition,
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
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        _export(model, inputs, outputs, partial)
        _finish(partial, about)
        _compare(model, inputs, partial, path)
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); choose another place.") from error
    finally:
        partial.unlink(missing_ok=True)


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


def _export(model: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], path: Path) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        # Tracing warns wherever Python reads a shape; all shapes are fixed. The newer exporter begins at opset 18.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            tuple(inputs.values()),
            path,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=False,
        )


def _finish(path: Path, about: Mapping[str, str]) -> None:
    """Put the metadata in and check the file against the standard."""
    import onnx

    model = onnx.load(path)
    model.ir_version = min(model.ir_version, IR_VERSION)
    onnx.helper.set_model_props(model, dict(about))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _compare(model: nn.Module, inputs: Mapping[str, Tensor], partial: Path, path: Path) -> None:
    with torch.no_grad():
        wanted = [value.numpy() for value in model(*inputs.values())]
    found = session(partial).run(None, {name: value.numpy() for name, value in inputs.items()})
    worst = max(
        float(np.max(np.abs(one - other) / np.maximum(np.abs(other), 1)))
        for one, other in zip(found, wanted, strict=True)
    )
    if not worst < PARITY:
        raise OutputError(f"{path}: ONNX Runtime's answers differ from torch's by {worst:.1e}; nothing was written.")
