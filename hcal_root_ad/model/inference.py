"""What a network is trained on and compared with: lumisections with what a reference expects, moved by the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hcal_root_ad.model.common_part import CommonPartFit
from hcal_root_ad.model.counts import CleanRun, SubdetectorCounts, blocks, lumisections_of, subdetector_counts
from hcal_root_ad.model.graphstad import GraphSTAD, network_input
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.stats.binomial import Binomial, deviance, probability, pull


@dataclass(frozen=True, eq=False)
class Segment:
    """Lumisections of one run and sub-detector, and what a reference expects of them.

    Attributes:
        counts: the counts.
        log_rate: (LS, channels) expected log rate: level, pileup, and what rings do from LS to LS.
        live: (channels,) which channels the reference knows.
    """

    counts: SubdetectorCounts
    log_rate: NDArray[np.float32]
    live: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.counts)


def segment_of(run: CleanRun, reference: Reference, subdetector: str) -> Segment:
    """The lumisections of a run against a reference of it and of the sub-detectors that share its pileup."""
    names = tuple(dict.fromkeys(reference.channels.names))
    clean = lumisections_of([run], names)
    levels = CommonPartFit(reference).fit(clean.counts, clean.events)
    rows = reference.channels.rows_of(subdetector)
    log_rate = reference.level[rows] + np.multiply.outer(levels.log_pileup.astype(np.float64), reference.power[rows])
    log_rate = log_rate + levels.ring[:, reference.tree.ring.of[rows]]
    counts = subdetector_counts(run.maps, subdetector, run.position)
    return Segment(counts, log_rate.astype(np.float32), reference.live[rows])


@torch.inference_mode()
def reconstruct(network: GraphSTAD, segment: Segment) -> NDArray[np.float32]:
    """(LS, channels) log rates of a segment moved by the network; its state is carried, but not over a gap."""
    counts, log_rate = segment.counts, segment.log_rate.copy()
    device = network.module_of.device
    for stretch in counts.stretches():
        state = network.start()
        for rows in blocks(stretch.stop, stretch.start):
            n, events = counts.single(rows)
            features = network_input(n, Binomial(events, segment.log_rate[rows]), segment.live)
            shift, _, state = network(torch.from_numpy(features).to(device).transpose(1, 2)[None], state)
            log_rate[rows] += shift[0].cpu().numpy()
    return log_rate


def reconstruction_metrics(network: GraphSTAD, segments: Sequence[Segment]) -> dict[str, float]:
    """Mean deviance per channel and LS (1 is perfect), and spread of pulls, with and without the network."""
    sums = np.zeros(5)
    for segment in segments:
        live, counts = segment.live, segment.counts
        n, trials = counts.counts[:, live], counts.trials
        for k, log_rate in enumerate((reconstruct(network, segment), segment.log_rate)):
            p = probability(log_rate[:, live].astype(np.float64))
            sums[k] += deviance(n, trials, p).sum()
            sums[2 + k] += (pull(n, trials, p) ** 2).sum()
        sums[4] += len(counts) * live.sum()
    return {
        "deviance_per_count": float(sums[0] / sums[4]),
        "deviance_per_count_reference_only": float(sums[1] / sums[4]),
        "pull_spread": float(np.sqrt(sums[2] / sums[4])),
        "pull_spread_reference_only": float(np.sqrt(sums[3] / sums[4])),
        "clean_lumisections": float(sum(map(len, segments))),
    }
