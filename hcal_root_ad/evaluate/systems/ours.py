"""What is shipped, and the same without its network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from hcal_root_ad.evaluate.protocol import Fitted, System, Training, Truth
from hcal_root_ad.judge.channels import Judged, flagged, gather_evidence, states_of
from hcal_root_ad.judge.verdict import State
from hcal_root_ad.learn.fit import fit_bundle
from hcal_root_ad.learn.follow import followed
from hcal_root_ad.model.counts import Series
from hcal_root_ad.model.graphstad import GraphSTAD
from hcal_root_ad.model.model import Bundle
from hcal_root_ad.model.reconstruction import Reconstruction, reconstruct
from hcal_root_ad.model.training import Schedule
from hcal_root_ad.stats.binomial import Floats


@dataclass(frozen=True, eq=False)
class _Evidence:
    """Score: the strongest evidence for any fault that lasts until now, as published. Flags: the judgement's."""

    bundle: Bundle
    threshold: float
    network: bool

    def score(self, series: Series, truth: Truth) -> Floats:  # noqa: ARG002
        return np.where(self.bundle.reference.live, self._judged(series)[1].max(axis=1), -np.inf)

    def flags(self, series: Series) -> NDArray[np.bool_]:
        live = self.bundle.reference.live
        judged, _ = self._judged(series)
        intervals, _ = flagged(judged, series.channels, live, series.lumisections, self.bundle.thresholds())
        states = states_of(intervals, np.ones(len(series), dtype=bool), live, series.lumisections)
        return np.asarray(states >= State.PROBLEMATIC)

    def _judged(self, series: Series) -> tuple[Judged, NDArray[np.float32]]:
        bundle = self.bundle
        expected = followed(self._reconstruction(series), series, bundle.reference, bundle.model_error)
        return gather_evidence(series, expected, bundle.reference.live, bundle.thresholds())

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
    return _Evidence(bundle, bundle.thresholds().channel, network)


SYSTEMS = (
    System("ours", "GraphSTAD on a pileup-aware reference, evidence sums", lambda t: _fit(t, True), deep=True),
    System("ours without network", "the pileup-aware reference and evidence sums alone", lambda t: _fit(t, False)),
)
