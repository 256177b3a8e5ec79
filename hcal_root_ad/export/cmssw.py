"""``HcalMLTaskModel``: a model that CMSSW's ``HcalMLTask`` runs in place of its own.

The contract is that of ``DQM/HcalTasks/plugins/HcalMLTask.cc`` and ``OnlineDQMDigiAD_cmssw.{h,cc}``: names, order and
shapes of inputs and outputs, eight state tensors, the threshold as an input, and 1 for a flagged channel in
output 7. The task fills one buffer depth after depth, each (ieta, iphi), declares it as (ieta, iphi, depth), and
splits the flags in the same way: both sides of the model use the order of the memory, not the declared one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hcal_root_ad.detector import N_IETA, N_IPHI
from hcal_root_ad.errors import DefinitionError, ModelError
from hcal_root_ad.export.onnx_file import DARK, channel_threshold, describe, lumisection, write_onnx
from hcal_root_ad.export.traceable import (
    TYPICAL_EVENTS,
    MapCells,
    Reconstruct,
    information,
    probability,
    pull,
    typical_counts,
)
from hcal_root_ad.harvest.harvester import choose_definitions
from hcal_root_ad.model.counts import MINIMUM_EVENTS
from hcal_root_ad.model.graphstad import BOXES
from hcal_root_ad.model.model import Model

DEPTHS = {"HB": 4, "HE": 7}
SIDES = 2
STATE_WIDTHS = {
    "e_rnn_hidden__layer_0_state_0": 128,
    "e_rnn_hidden__layer_0_state_1": 128,
    "e_rnn_hidden__layer_1_state_0": 32,
    "e_rnn_hidden__layer_1_state_1": 32,
    "d_rnn_hidden__layer_0_state_0": 128,
    "d_rnn_hidden__layer_0_state_1": 128,
    "d_rnn_hidden__layer_1_state_0": 640,
    "d_rnn_hidden__layer_1_state_1": 640,
}
"""Numbers per side in each state tensor, in the task's order."""
PAIRED, WIDE = 6, 640
"""The first six tensors together hold pairs of hidden states, the last two, this wide, hold cell states."""
INPUTS = ("input_data", "input_data_exo", "anomaly_std_th", *STATE_WIDTHS)
OUTPUTS = (
    "target_data",
    "pred_data",
    "pred_err_spatial",
    "pred_err_window_spatial",
    "pred_err_spatial_scaled",
    "pred_err_window_spatial_scaled",
    "pred_err_spatial_scaled_aml",
    "pred_err_window_spatial_scaled_aml",
    *(f"{name}_o" for name in STATE_WIDTHS),
)
AXES = "memory: depth 1..D, ieta -32..-1 and 1..32 (64), iphi 1..72 (72); declared shape: 1, 64, 72, D, 1"
TASK_THRESHOLD = 20.0
"""``flagDecisionThr`` where the configuration does not set it."""
FOLDER = "DQM/HcalTasks/data/hcal_root_ad"
STEPS = 2047
"""Steps of a hidden state, which lies within ±1, in a pair."""
RADIX = 4096
"""A pair is first · RADIX + second: a whole number below 2²⁴, which float32 holds exactly."""


@dataclass(frozen=True)
class StatePacking:
    """How 4 · 36 · hidden numbers of memory lie in the task's eight tensors of (1, sides, width).

    Cell states of the encoder and of the decoder lie in the two tensors of 640. The other six are 576
    wide together, 18 boxes of 32, and hold the hidden states of encoder and decoder as pairs of 12 bits.
    Zeros, with which the task begins, are the memory before the first lumisection.

    Raises:
        ModelError: if the network is too wide for it.
    """

    hidden: int

    def __post_init__(self) -> None:
        room = sum(list(STATE_WIDTHS.values())[:PAIRED]) // (BOXES // SIDES)
        if self.hidden > room:
            raise ModelError(
                f"HcalMLTask's states have room for an RNN of at most {room} per box, the model's has {self.hidden}; "
                "export without --cmssw, or train a smaller one"
            )

    @property
    def width(self) -> int:
        """Numbers per side of one of the four states."""
        return BOXES // SIDES * self.hidden

    def unpack(self, tensors: Sequence[Tensor]) -> Tensor:
        """Eight tensors → (1, 4, boxes, hidden)."""
        pairs = torch.cat(tuple(tensors[:PAIRED]), dim=2)[:, :, : self.width]
        first = torch.floor((pairs + RADIX / 2) / RADIX)
        second = pairs - first * RADIX
        encoder, decoder = tensors[PAIRED][:, :, : self.width], tensors[PAIRED + 1][:, :, : self.width]
        memory = torch.stack([first / STEPS, encoder, second / STEPS, decoder], dim=1)
        return memory.reshape(1, 4, BOXES, self.hidden)

    def pack(self, memory: Tensor) -> list[Tensor]:
        """(1, 4, boxes, hidden) → eight tensors."""
        first, encoder, second, decoder = memory.reshape(1, 4, SIDES, self.width).unbind(dim=1)
        pairs = torch.round(first * STEPS) * RADIX + torch.round(second * STEPS)
        widths = list(STATE_WIDTHS.values())
        pairs = nn.functional.pad(pairs, (0, sum(widths[:PAIRED]) - self.width))
        cells = [nn.functional.pad(cell, (0, WIDE - self.width)) for cell in (encoder, decoder)]
        return [*torch.split(pairs, widths[:PAIRED], dim=2), *cells]


class HcalMLTaskModel(nn.Module):
    """One lumisection of one sub-detector under the contract of ``HcalMLTask``.

    Maps are (1, 64, 72, D, 1) as declared, (D, 64, 72) in memory. The score of a channel is z²/2, the natural log of
    how much better its own rate explains this LS than health does; like the score of the task's own model it grows
    from degraded to dead and hot.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.reconstruct = Reconstruct(model)
        self.packing = StatePacking(self.reconstruct.network.config.hidden)
        self.shape = (1, N_IETA, N_IPHI, DEPTHS[model.subdetector], 1)
        row, column, depth = model.channels.grid
        memory = (DEPTHS[model.subdetector], N_IETA, N_IPHI)
        self.buffer = MapCells(np.ravel_multi_index((depth, row, column), memory), int(np.prod(memory)))

    def forward(self, occupancy: Tensor, events: Tensor, threshold: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Digi counts, events (1, 1), threshold (1, 1) and eight states → outputs in the order of :data:`OUTPUTS`.

        ``target_data`` and ``pred_data`` are observed and expected counts; errors are their absolute difference,
        scaled errors the score, ``aml`` the flags (score > threshold). The window of the task's own model is
        one LS here, so outputs of window and LS are equal. An LS of fewer than 100 events, or without collisions,
        has score 0.
        """
        counts, trials = lumisection(self.buffer.to_channels(occupancy.reshape(1, -1)), events)
        u, log_rate, memory = self.reconstruct(counts, trials, self.packing.unpack(states))
        enough = events >= MINIMUM_EVENTS
        judged = enough & (u > DARK)
        p, live = probability(log_rate), self.reconstruct.live
        z2 = pull(counts, trials, p) ** 2 / (1 + self.reconstruct.known * information(trials, p))
        score = z2 / 2 * live * judged
        expected = trials * p * live
        flag = (score > threshold).to(score.dtype)
        maps = torch.cat([counts, expected, (counts - expected).abs() * live, score, flag]).float()
        target, predicted, error, score, flag = self.buffer.to_cells(maps).reshape(5, *self.shape).unbind()
        return (
            target,
            predicted,
            error,
            error,
            score,
            score,
            flag,
            flag,
            *self.packing.pack(memory * enough[:, :, None, None]),
        )


def write_cmssw_model(model: Model, path: Path, more: Mapping[str, str] | None = None) -> None:
    """Write a model for ``HcalMLTask``, with ``more`` in the file's metadata.

    Raises:
        UsageError: if the ``onnx`` extra is not installed. OutputError: if the file cannot be written.
        ModelError: if it has no network, or one too wide for the task's states, or was made from digis above a
            charge cut, which the task does not make.
    """
    _check_quantity(model)
    module = HcalMLTaskModel(model).eval()
    counts = module.buffer.to_cells(torch.from_numpy(typical_counts(model))[None]).reshape(module.shape)
    states = (torch.zeros(1, SIDES, width) for width in STATE_WIDTHS.values())
    example = counts, torch.tensor([[TYPICAL_EVENTS]]), torch.tensor([[TASK_THRESHOLD]]), *states
    about = describe(model) | {"axes": AXES, "contract": "CMSSW DQM/HcalTasks HcalMLTask"} | dict(more or {})
    write_onnx(module, dict(zip(INPUTS, example, strict=True)), OUTPUTS, about, path)


def _check_quantity(model: Model) -> None:
    try:
        counted = {definition.quantity for definition in choose_definitions(model.definition)}
    except DefinitionError:
        return  # a definition of somebody else's, not here: what it counts cannot be known
    if counted != {"Occupancy"}:
        raise ModelError(
            f"the model {model.name} was made from {model.definition} ({', '.join(sorted(counted))}), but HcalMLTask "
            "counts every digi; train or transfer it on runs with Occupancy"
        )


def configuration(model: Model, path: Path, false_alarms: float | None = None) -> str:
    """Lines for the DQM client's configuration that make ``HcalMLTask`` use the file."""
    rate = model.false_alarms if false_alarms is None else false_alarms
    threshold = channel_threshold(model, false_alarms) ** 2 / 2
    return "\n".join(
        (
            f"# Put {path.name} into $CMSSW_BASE/src/{FOLDER}/, where edm::FileInPath finds it.",
            'process.load("DQM.HcalTasks.hcalMLTask_cfi")',
            f"process.hcalMLTask.onnx_model_path_{model.subdetector} = cms.untracked.string(",
            f'    "{FOLDER}/{path.name}")',
            f"# The model's threshold for {rate:g} false flags per 100 LS; HB and HE share one: take the larger.",
            f"process.hcalMLTask.flagDecisionThr = cms.untracked.double({threshold:.1f})",
        )
    )
