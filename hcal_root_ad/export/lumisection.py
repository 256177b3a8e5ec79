"""``JudgeLumisection``: counts of one LS and the memory of those before in; expected counts, scores and flags out.

What :mod:`hcal_root_ad.judge` does lumisection by lumisection: reconstruction, each channel's own drift, and the
accumulated evidence against the threshold. What needs the whole run (where intervals begin and end, groups, the
other sub-detector's word on dead times) is left to ``run``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hcal_root_ad.detector import N_DEPTH, N_IETA, N_IPHI
from hcal_root_ad.evidence import HYPOTHESES, LOSSES
from hcal_root_ad.export.binomial import information, log_likelihood_ratios, probability, pull
from hcal_root_ad.export.gathers import Cells
from hcal_root_ad.export.onnx_file import describe, write_onnx
from hcal_root_ad.export.reconstruction import TYPICAL_EVENTS, Reconstruct, typical_counts
from hcal_root_ad.judge.channels import CAP
from hcal_root_ad.judge.run import REACH as KNOWN_REACH
from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.learn.follow import CLIP, LAG, LEAST_ERROR, MEMORY, REACH, REJECT, SMALLEST_ERROR
from hcal_root_ad.learn.series import MINIMUM_EVENTS

GRID = (N_IETA, N_IPHI, N_DEPTH)
AXES = "LS 1, ieta -32..-1 and 1..32 (64), iphi 1..72 (72), depth 1..7 (7), row-major"
"""Axis order of maps, as in the tensor file of ``harvest``; HB and HE share the grid."""
INPUTS = ("occupancy", "events", "rnn", "follower", "evidence")
STATES = ("rnn", "follower", "evidence")
OUTPUTS = ("expected", "score", "flag", "activity", "assessed", *(f"{name}_next" for name in STATES))


class JudgeLumisection(nn.Module):
    """One lumisection of one sub-detector, judged with what is remembered of those before.

    Args:
        threshold: accumulated evidence (natural-log likelihood ratio) from which a channel is flagged.
    """

    def __init__(self, bundle: Bundle, threshold: float) -> None:
        super().__init__()
        self.reconstruct = Reconstruct(bundle)
        row, column, depth = bundle.channels.grid
        self.grid = Cells(np.ravel_multi_index((row, column, depth), GRID), int(np.prod(GRID)))
        self.threshold = threshold

    def start(self) -> tuple[Tensor, Tensor, Tensor]:
        """Memory before the first lumisection: zeros."""
        channels = self.reconstruct.level.shape[1]
        follower, evidence = torch.zeros(1, 2 + 2 * LAG, channels), torch.zeros(1, HYPOTHESES, channels)
        return self.reconstruct.start(), follower, evidence

    def forward(
        self, occupancy: Tensor, events: Tensor, rnn: Tensor, follower: Tensor, evidence: Tensor
    ) -> tuple[Tensor, ...]:
        """Judge one lumisection; all tensors are float32.

        Args:
            occupancy: (1, 64, 72, 7) digi counts, see :data:`AXES`. events: (1,).
            rnn: (1, 4, boxes, hidden), see :class:`Reconstruct`. follower: (1, 12, channels), see :func:`follow`.
            evidence: (1, hypotheses, channels) running sums, see :mod:`hcal_root_ad.evidence`.

        Returns:
            Maps (1, 64, 72, 7) of expected counts, score (log10 likelihood ratio of fault against health,
            negative for a loss) and flag (−1 loss, 0, +1 gain); activity (1,); assessed (1,), 0 for an LS that
            gathers no evidence (fewer than 100 events, or conditions that the reference does not know); and
            the three states after.
        """
        counts, trials = lumisection(self.grid.to_channels(occupancy.flatten(1)), events[:, None])
        activity, log_rate, memory = self.reconstruct(counts, trials, rnn)
        enough = events[:, None] >= MINIMUM_EVENTS
        assessed = enough & (self.reconstruct.outside(activity) <= KNOWN_REACH)
        shift, error, followed = follow(follower, counts, trials, log_rate, self.reconstruct.error(activity))
        log_rate = log_rate + shift
        live = self.reconstruct.live
        ratios = (log_likelihood_ratios(counts, trials, log_rate, error) * live).float()
        sums = torch.where(assessed, torch.clamp(evidence[0] + ratios, 0.0, CAP * self.threshold), evidence[0])
        loss, gain = sums[: len(LOSSES)].amax(dim=0), sums[len(LOSSES) :].amax(dim=0)
        signed = torch.where(loss > gain, -loss, gain)[None]
        flag = torch.sign(signed) * (signed.abs() >= self.threshold)
        expected = trials * probability(log_rate) * live
        maps = self.grid.to_cells(torch.cat([expected.float(), signed / float(np.log(10)), flag]))
        return (
            *maps.reshape(3, 1, *GRID).unbind(),
            activity[:, 0].float(),
            assessed[:, 0].float(),
            memory * enough[:, :, None, None],
            torch.where(assessed[:, :, None], followed, follower),
            sums[None],
        )


def lumisection(counts: Tensor, events: Tensor) -> tuple[Tensor, Tensor]:
    """Counts (1, channels) and events (1, 1) as float64, with at least one event and no more digis than events."""
    trials = torch.clamp(events.double(), min=1.0)
    return torch.minimum(torch.clamp(counts.double(), min=0.0), trials), trials


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


def write_model(bundle: Bundle, path: Path, false_alarms: float | None = None) -> None:
    """Write a bundle as one ONNX file that judges lumisection by lumisection.

    ``false_alarms``: wished false intervals per 100 LS; the bundle's own if not given.

    Raises:
        UsageError: if the ``onnx`` extra is not installed. OutputError: if the file cannot be written.
    """
    false_alarms = bundle.false_alarms if false_alarms is None else false_alarms
    threshold = bundle.tail.threshold(false_alarms)
    model = JudgeLumisection(bundle, threshold).eval()
    counts = model.grid.to_cells(torch.from_numpy(typical_counts(bundle))[None]).reshape(1, *GRID)
    example = counts, torch.tensor([TYPICAL_EVENTS]), *model.start()
    about = describe(bundle) | {
        "axes": AXES,
        "false_alarms_per_100_ls": f"{false_alarms:g}",
        "threshold_log10": f"{threshold / np.log(10):.6g}",
    }
    write_onnx(model, dict(zip(INPUTS, example, strict=True)), OUTPUTS, about, path)
