"""What is shipped, and the same without its network."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from hcal_root_ad.evaluate.protocol import WINDOW, Fitted, System, Training, Truth
from hcal_root_ad.evidence import log_likelihood_ratios
from hcal_root_ad.judge.channels import gather_evidence, readout_levels, states_of
from hcal_root_ad.judge.flags import spans_of
from hcal_root_ad.judge.groups import grouped
from hcal_root_ad.judge.verdict import State
from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.learn.fit import fit_bundle
from hcal_root_ad.learn.follow import followed
from hcal_root_ad.learn.loop import Schedule
from hcal_root_ad.learn.reconstruct import Reconstruction, reconstruct
from hcal_root_ad.learn.series import Series
from hcal_root_ad.networks.graphstad import GraphSTAD
from hcal_root_ad.occupancy import Floats


@dataclass(frozen=True, eq=False)
class _Evidence:
    """Score: the strongest evidence for any fault that lasts until now, over one to five LS.

    Flags are those of the judgement itself.
    """

    bundle: Bundle
    threshold: float
    network: bool

    def score(self, series: Series, truth: Truth) -> Floats:  # noqa: ARG002
        found = followed(self._reconstruction(series), series, self.bundle.reference, self.bundle.model_error)
        scores = np.zeros(series.counts.shape, dtype=np.float32)
        live = self.bundle.reference.live
        for stretch in series.stretches():
            recent: deque[Floats] = deque(maxlen=WINDOW)
            for row in range(stretch.start, stretch.stop):
                one = log_likelihood_ratios(
                    series.counts[row], series.events[row], found.log_rate[row], found.error[row]
                )
                recent.append(one)
                sums = np.cumsum(np.stack(list(recent)[::-1]), axis=0)
                scores[row] = np.where(live, sums.max(axis=(0, 1)), -np.inf)
        return scores

    def flags(self, series: Series) -> NDArray[np.bool_]:
        judged = gather_evidence(series, self._reconstruction(series), self.bundle, self.threshold)
        spans = spans_of(judged.bank.excursions(), judged.evidence)
        levels, live = readout_levels(series.channels), self.bundle.reference.live
        intervals, _ = grouped(spans, judged.evidence, levels, live, series.lumisections)
        states = states_of(intervals, np.ones(len(series), dtype=bool), live, series.lumisections)
        return np.asarray(states >= State.PROBLEMATIC)

    def _reconstruction(self, series: Series) -> Reconstruction:
        bundle = self.bundle
        found = reconstruct(bundle.network, bundle.reference, series, bundle.ring_normalisation)
        return found if self.network else replace(found, log_rate=found.reference_rate)


def _fit(training: Training, network: bool) -> Fitted:
    torch.manual_seed(training.seed)
    epochs = Schedule().epochs if network else 0
    bundle = fit_bundle(
        "evaluated",
        training.subdetector,
        [*training.learn, *training.calibrate],
        GraphSTAD(training.channels),
        schedule=Schedule(epochs=epochs, seed=training.seed),
        prior_power=None,
        least_error=0.0,
        ring_normalisation=False,
        definition="simulation",
        story={},
    )
    return _Evidence(bundle, bundle.tail.threshold(bundle.false_alarms), network)


SYSTEMS = (
    System("ours", "GraphSTAD on a pileup-aware reference, evidence sums", lambda t: _fit(t, True), deep=True),
    System("ours without network", "the pileup-aware reference and evidence sums alone", lambda t: _fit(t, False)),
)
