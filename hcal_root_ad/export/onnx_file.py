"""A model as an ONNX file: written whole or not at all, checked against torch, opened with ONNX Runtime.

``LumisectionModel`` takes counts of one LS and the memory of those before, and gives expected counts, pulls and
significance: a quick look, lumisection by lumisection, in one file without Python. What needs the whole run and all
sub-detectors (units, conditions, findings, trust) is left to ``run``.
"""

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

from hcal_root_ad.detector import N_DEPTH, N_IETA, N_IPHI
from hcal_root_ad.errors import InputError, OutputError, UsageError
from hcal_root_ad.export.traceable import (
    TYPICAL_EVENTS,
    MapCells,
    Reconstruct,
    information,
    probability,
    pull,
    typical_counts,
)
from hcal_root_ad.files import whole_file
from hcal_root_ad.model.counts import MINIMUM_EVENTS
from hcal_root_ad.model.model import SHARES, Model, thresholds

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
    expected = [value.numpy() for value in (answer if isinstance(answer, tuple) else (answer,))]
    answers = session(path).run(None, {name: value.numpy() for name, value in inputs.items()})
    return max(
        float(np.abs(ours - other).max() / max(1.0, np.abs(other).max()))
        for ours, other in zip(answers, expected, strict=True)
    )


GRID = (N_IETA, N_IPHI, N_DEPTH)
AXES = "LS 1, ieta -32..-1 and 1..32 (64), iphi 1..72 (72), depth 1..7 (7), row-major"
"""Axis order of maps, as in the tensor file of ``harvest``; HB and HE share the grid."""
MEMORY = 10.0
"""Lumisections over which the carried sum forgets: a fault of some LS is seen, and so is its end."""
FARTHEST = 8.0
"""A pull counts as so many σ at most in the carried sum, so that one burst is forgotten too."""
DARK = -4.5
"""Below this log pileup (1 % of the clean runs') there were no collisions, or nothing was read out."""
STATES = ("rnn", "sums")
INPUTS = ("occupancy", "events", *STATES)
OUTPUTS = ("expected", "pull", "significance", "flag", "log_pileup", "assessed", *(f"{name}_next" for name in STATES))


class LumisectionModel(nn.Module):
    """One lumisection of one sub-detector, with what is remembered of those before."""

    def __init__(self, model: Model, threshold: float) -> None:
        super().__init__()
        self.reconstruct = Reconstruct(model)
        row, column, depth = model.channels.grid
        self.grid = MapCells(np.ravel_multi_index((row, column, depth), GRID), int(np.prod(GRID)))
        self.threshold = threshold

    def start(self) -> tuple[Tensor, ...]:
        """Memory before the first lumisection: zeros."""
        return self.reconstruct.start(), torch.zeros(1, 3, self.reconstruct.level.shape[1])

    def forward(self, occupancy: Tensor, events: Tensor, rnn: Tensor, sums: Tensor) -> tuple[Tensor, ...]:
        """Look at one lumisection; all tensors are float32.

        Args:
            occupancy: (1, 64, 72, 7) digi counts, see :data:`AXES`. events: (1,).
            rnn: (1, 4, boxes, hidden), see :class:`Reconstruct`. sums: (1, 3, channels), see :func:`carried`.

        Returns:
            Maps (1, 64, 72, 7) of expected counts, binomial pull of this LS, significance of the last lumisections
            together, and flag (−1 loss, 0, +1 gain); log pileup (1,); assessed (1,), 0 for an LS of fewer than 100
            events or without collisions, which changes no sum; and the states after.
        """
        counts, trials = lumisection(self.grid.to_channels(occupancy.flatten(1)), events[:, None])
        u, log_rate, memory = self.reconstruct(counts, trials, rnn)
        enough = events[:, None] >= MINIMUM_EVENTS
        assessed = enough & (u > DARK)
        p, live = probability(log_rate), self.reconstruct.live
        z = pull(counts, trials, p) * live
        new = carried(sums, z, information(trials, p) * live)
        sums = torch.where(assessed[:, :, None], new, sums).reshape(1, 3, live.shape[1])
        total = significance(sums, self.reconstruct.known)
        flag = torch.sign(total) * (total.abs() >= self.threshold) * assessed
        maps = self.grid.to_cells(torch.cat([(trials * p * live).float(), z.float(), total.float(), flag.float()]))
        return (
            *maps.reshape(4, 1, *GRID).unbind(),
            u[:, 0].float(),
            assessed[:, 0].float(),
            memory * enough[:, :, None, None],
            sums,
        )


def lumisection(counts: Tensor, events: Tensor) -> tuple[Tensor, Tensor]:
    """Counts (1, channels) and events (1, 1) as float64, with at least one event and no more digis than events."""
    trials = torch.clamp(events.double(), min=1.0)
    return torch.minimum(torch.clamp(counts.double(), min=0.0), trials), trials


def carried(sums: Tensor, z: Tensor, info: Tensor) -> Tensor:
    """(1, 3, channels) Σ score, Σ information and variance of the score, each lumisection before weighing less.

    With weights m^k for the k-th LS back, score z·√w and information w: Σ m^k z √w, Σ m^k w and Σ m^2k w.
    """
    keep = float(np.exp(-1 / MEMORY))
    score = torch.clamp(z, -FARTHEST, FARTHEST) * torch.sqrt(info)
    newest = torch.stack([score, info, info], dim=1).to(sums.dtype)
    return sums * sums.new_tensor([keep, keep, keep**2])[None, :, None] + newest


def significance(sums: Tensor, prior: Tensor) -> Tensor:
    """(1, channels) weighted mean shift over its error; ``prior`` is the variance that health allows log λ."""
    variance = sums[:, 2] + prior.to(sums.dtype) * sums[:, 1] ** 2
    return sums[:, 0] / torch.sqrt(torch.clamp(variance, min=1e-9))


def channel_threshold(model: Model, false_alarms: float | None = None) -> float:
    """Significance from which a channel is flagged, for so many false flags per 100 LS; the model's own if None."""
    asked = model.false_alarms if false_alarms is None else false_alarms
    series = {"channel": int(model.reference.live.sum())}
    return thresholds(asked, dict.fromkeys(SHARES, 1) | series).channel


def write_model(
    model: Model, path: Path, false_alarms: float | None = None, more: Mapping[str, str] | None = None
) -> None:
    """Write a model as one ONNX file that looks at one lumisection after the other.

    ``false_alarms``: false flags per 100 LS that are asked for; the model's own if not given. ``more``: for the file's
    metadata.

    Raises:
        UsageError: if the ``onnx`` extra is not installed. OutputError: if the file cannot be written.
        ModelError: if the model has no network.
    """
    threshold = channel_threshold(model, false_alarms)
    module = LumisectionModel(model, threshold).eval()
    counts = module.grid.to_cells(torch.from_numpy(typical_counts(model))[None]).reshape(1, *GRID)
    example = counts, torch.tensor([TYPICAL_EVENTS]), *module.start()
    about = describe(model) | {
        "axes": AXES,
        "false_alarms_per_100_ls": f"{model.false_alarms if false_alarms is None else false_alarms:g}",
        "threshold": f"{threshold:.6g}",
        **(more or {}),
    }
    write_onnx(module, dict(zip(INPUTS, example, strict=True)), OUTPUTS, about, path)
