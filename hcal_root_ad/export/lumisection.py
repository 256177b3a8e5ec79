"""``JudgeLumisection``: counts of one LS and the memory of those before in; expected counts, evidence and flags out.

What :mod:`hcal_root_ad.judge` does lumisection by lumisection: reconstruction, each channel's own drift, and the
accumulated evidence of channels and readout units against their thresholds. What needs the whole run (where intervals
begin and end, groups, the other sub-detector's word on dead times) is left to ``run``, and so is the published
score, which looks at neighbours, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hcal_root_ad.detector import MODULES_PER_BOX, N_DEPTH, N_IETA, N_IPHI, N_RBX
from hcal_root_ad.evidence import HYPOTHESES, LOSSES
from hcal_root_ad.export.binomial import information, log_likelihood_ratios, probability, pull, tempered
from hcal_root_ad.export.gathers import Cells, GroupSum, members_of
from hcal_root_ad.export.onnx_file import describe, write_onnx
from hcal_root_ad.export.reconstruction import TYPICAL_EVENTS, Reconstruct, typical_counts
from hcal_root_ad.judge.channels import CAP
from hcal_root_ad.judge.conditions import REACH as KNOWN_REACH
from hcal_root_ad.learn.follow import CLIP, LAG, LEAST_ERROR, MEMORY, REACH, REJECT, SMALLEST_ERROR
from hcal_root_ad.learn.tail import FARTHEST, LOWEST, Thresholds
from hcal_root_ad.model.counts import MINIMUM_EVENTS
from hcal_root_ad.model.model import Bundle
from hcal_root_ad.pooling import CARDS_PER_MODULE, MODULES, unit_members

GRID = (N_IETA, N_IPHI, N_DEPTH)
UNIT_GRID = (2, N_RBX, MODULES_PER_BOX, 1 + CARDS_PER_MODULE)
"""Side, readout box, readout module (0: not known), and the module as a whole (0) or one of its QIE cards."""
AXES = "LS 1, ieta -32..-1 and 1..32 (64), iphi 1..72 (72), depth 1..7 (7), row-major"
"""Axis order of maps, as in the tensor file of ``harvest``; HB and HE share the grid."""
UNIT_AXES = "LS 1, side - + (2), RBX 1..18 (18), RM 0..4 (5, 0 not known), QIE card 0..4 (5, 0 the whole RM), row-major"
STATES = ("rnn", "follower", "sums", "unit_sums")
INPUTS = ("occupancy", "events", *STATES)
OUTPUTS = (
    "expected",
    "evidence",
    "flag",
    "unit_evidence",
    "unit_flag",
    "activity",
    "assessed",
    *(f"{name}_next" for name in STATES),
)


class JudgeLumisection(nn.Module):
    """One lumisection of one sub-detector, judged with what is remembered of those before."""

    def __init__(self, bundle: Bundle, thresholds: Thresholds) -> None:
        super().__init__()
        self.reconstruct = Reconstruct(bundle)
        row, column, depth = bundle.channels.grid
        self.grid = Cells(np.ravel_multi_index((row, column, depth), GRID), int(np.prod(GRID)))
        self.over_units = GroupSum(members_of(unit_members(bundle.channels, bundle.reference.live)))
        self.thresholds = thresholds
        self.typical = thresholds.slant.typical - float(bundle.reference.exposure(np.ones(1), np.zeros(1))[0])

    def start(self) -> tuple[Tensor, ...]:
        """Memory before the first lumisection: zeros."""
        channels, units = self.reconstruct.level.shape[1], len(self.over_units.table)
        zeros = (
            torch.zeros(1, *shape) for shape in ((2 + 2 * LAG, channels), (HYPOTHESES, channels), (HYPOTHESES, units))
        )
        return self.reconstruct.start(), *zeros

    def forward(
        self, occupancy: Tensor, events: Tensor, rnn: Tensor, follower: Tensor, sums: Tensor, unit_sums: Tensor
    ) -> tuple[Tensor, ...]:
        """Judge one lumisection; all tensors are float32.

        Args:
            occupancy: (1, 64, 72, 7) digi counts, see :data:`AXES`. events: (1,).
            rnn: (1, 4, boxes, hidden), see :class:`Reconstruct`. follower: (1, 12, channels), see :func:`follow`.
            sums, unit_sums: (1, hypotheses, channels) and (1, hypotheses, units), see :mod:`hcal_root_ad.evidence`.

        Returns:
            Maps (1, 64, 72, 7) of expected counts, accumulated evidence (log10 likelihood ratio of fault against
            health, negative for a loss) and flag (−1 loss, 0, +1 gain); evidence and flag of readout units,
            (1, 2, 18, 5, 5), see :data:`UNIT_AXES`; activity (1,); assessed (1,), 0 for an LS that gathers no evidence
            (fewer than 100 events, or conditions that the reference does not know); and the states after.
        """
        counts, trials = lumisection(self.grid.to_channels(occupancy.flatten(1)), events[:, None])
        activity, log_rate, memory = self.reconstruct(counts, trials, rnn)
        enough = events[:, None] >= MINIMUM_EVENTS
        assessed = enough & (self.reconstruct.outside(activity) <= KNOWN_REACH)
        shift, error, followed = follow(follower, counts, trials, log_rate, self.reconstruct.error(activity))
        log_rate, live = log_rate + shift, self.reconstruct.live
        ratios = (log_likelihood_ratios(counts, trials, log_rate, error) * live).float()
        sums = accumulated(sums, ratios, assessed, self.thresholds.channel)
        unit_sums = accumulated(unit_sums, self.over_units(tempered(ratios)), assessed, self.thresholds.unit)
        evidence, flag = signed(sums, self.thresholds.channel + self.extra(trials, activity))
        unit_evidence, unit_flag = signed(unit_sums, torch.tensor(self.thresholds.unit))
        expected = trials * probability(log_rate) * live
        maps = self.grid.to_cells(torch.cat([expected.float(), evidence, flag]))
        return (
            *maps.reshape(3, 1, *GRID).unbind(),
            by_module(unit_evidence),
            by_module(unit_flag),
            activity[:, 0].float(),
            assessed[:, 0].float(),
            memory * enough[:, :, None, None],
            torch.where(assessed[:, :, None], followed, follower),
            sums,
            unit_sums,
        )

    def extra(self, trials: Tensor, activity: Tensor) -> Tensor:
        """(1, 1) evidence that is asked of channels beyond their threshold, see :class:`Thresholds`."""
        fewer = torch.clamp(self.typical - torch.log(trials) - activity, -FARTHEST, FARTHEST)
        least = min(LOWEST - self.thresholds.channel, 0.0)
        return torch.clamp(self.thresholds.slant.fall * fewer, min=least).float()


def lumisection(counts: Tensor, events: Tensor) -> tuple[Tensor, Tensor]:
    """Counts (1, channels) and events (1, 1) as float64, with at least one event and no more digis than events."""
    trials = torch.clamp(events.double(), min=1.0)
    return torch.minimum(torch.clamp(counts.double(), min=0.0), trials), trials


def accumulated(sums: Tensor, ratios: Tensor, assessed: Tensor, threshold: float) -> Tensor:
    """(1, hypotheses, …) sums after one step of :class:`hcal_root_ad.evidence.EvidenceBank`, if the LS is assessed."""
    return torch.where(assessed[:, :, None], torch.clamp(sums + ratios, 0.0, CAP * threshold), sums)


def signed(sums: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor]:
    """(1, …) strongest sum in log10, negative for a loss, and its sign where it reaches the threshold."""
    loss, gain = sums[:, : len(LOSSES)].amax(dim=1), sums[:, len(LOSSES) :].amax(dim=1)
    strongest = torch.where(loss > gain, -loss, gain)
    return strongest / float(np.log(10)), torch.sign(strongest) * (strongest.abs() >= threshold)


def by_module(units: Tensor) -> Tensor:
    """(1, units), modules first and then cards, as :data:`UNIT_GRID`."""
    modules, cards = units[:, :MODULES], units[:, MODULES:]
    shape = (1, *UNIT_GRID[:3])
    return torch.cat([modules.reshape(*shape, 1), cards.reshape(*shape, CARDS_PER_MODULE)], dim=-1)


def follow(
    state: Tensor, counts: Tensor, events: Tensor, log_rate: Tensor, prior: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Each channel's own drift: one step of :class:`hcal_root_ad.learn.follow.Follower`.

    ``state``: (1, 12, channels) score and information so far, then those of the five LS in wait, oldest first.
    ``prior``: (1, channels) standard error of log λ. Returns shift of log λ, its error, and the state after.
    """
    precision = state[:, 1] + torch.clamp(prior, min=SMALLEST_ERROR) ** -2.0
    reach = REACH * prior
    shift = torch.minimum(torch.maximum(state[:, 0] / precision, -reach), reach)
    error = torch.maximum(1 / torch.sqrt(precision), torch.clamp(prior, max=LEAST_ERROR))
    p = probability(log_rate + shift)
    z, weight = pull(counts, events, p), information(events, p)
    believed = (z.abs() < REJECT).to(z.dtype)
    score = weight * shift + torch.sqrt(weight) * torch.clamp(z, -CLIP, CLIP)
    heard = float(np.exp(-1 / MEMORY)) * state[:, :2] + state[:, 2:4]
    newest = torch.stack([believed * score, believed * weight], dim=1).to(state.dtype)
    return shift, error, torch.cat([heard, state[:, 4:], newest], dim=1)


def write_model(
    bundle: Bundle, path: Path, false_alarms: float | None = None, more: Mapping[str, str] | None = None
) -> None:
    """Write a bundle as one ONNX file that judges lumisection by lumisection.

    ``false_alarms``: wished false alarms per 100 LS; the bundle's own if not given. ``more``: for the file's metadata.

    Raises:
        UsageError: if the ``onnx`` extra is not installed. OutputError: if the file cannot be written.
    """
    false_alarms = bundle.false_alarms if false_alarms is None else false_alarms
    thresholds = bundle.thresholds(false_alarms)
    model = JudgeLumisection(bundle, thresholds).eval()
    counts = model.grid.to_cells(torch.from_numpy(typical_counts(bundle))[None]).reshape(1, *GRID)
    example = counts, torch.tensor([TYPICAL_EVENTS]), *model.start()
    about = describe(bundle) | {
        "axes": AXES,
        "unit_axes": UNIT_AXES,
        "false_alarms_per_100_ls": f"{false_alarms:g}",
        "threshold_log10": f"{thresholds.channel / np.log(10):.6g}",
        "unit_threshold_log10": f"{thresholds.unit / np.log(10):.6g}",
        **(more or {}),
    }
    write_onnx(model, dict(zip(INPUTS, example, strict=True)), OUTPUTS, about, path)
