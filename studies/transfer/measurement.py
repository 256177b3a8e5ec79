"""One point: train the target's network as the point says, and measure it on runs that it has not seen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hcal_root_ad.model.graphstad import GraphSTAD, Segment, reconstruct
from hcal_root_ad.model.training import Schedule, train_network
from hcal_root_ad.stats.binomial import Floats, deviance, probability
from studies.evaluate.scoring import window_sum
from studies.metrics import ranking
from studies.transfer.carry_over import carry_over, trainable
from studies.transfer.runs import Materials, materials_of, source_segments
from studies.transfer.settings import FULL_RATE, Point


@dataclass(frozen=True)
class Result:
    """What was measured at one point.

    Attributes:
        settings: of the point, see :meth:`Point.settings`.
        deviance: mean per channel and LS on held-out clean runs; 1 would be binomial chance alone.
        auc, partial_auc: of the pulls per channel and five LS on a faulty run, the latter up to FPR 1e-3.
        reference_…: the same without any network.
        trainable, parameters: how many weights training moved, and how many there are.
        lumisections: that the target was trained on. epochs, seconds: of its training (CPU seconds).
        curve: (epochs, CPU seconds, deviance) from before the training on.
    """

    settings: dict[str, Any]
    deviance: float
    auc: float
    partial_auc: float
    reference_deviance: float
    reference_auc: float
    reference_partial_auc: float
    trainable: int
    parameters: int
    lumisections: int
    epochs: int
    seconds: float
    curve: list[tuple[int, float, float]]


def measure(point: Point, source: GraphSTAD | None) -> Result:
    """Train and measure one point. ``source`` is needed where a block is not from scratch."""
    materials = materials_of(point)
    torch.manual_seed(point.seed)
    network = GraphSTAD(materials.training[0].counts.channels)
    parameters = trainable(network)
    if source:
        carry_over(source, network, point.blocks)
    moved = trainable(network)
    curve = [(0, 0.0, _deviance(network, materials.held_out))]
    epochs = point.epochs if moved else 0
    if moved:
        curve += _train(network, materials, point)
    auc, partial_auc = _detection(network, materials)
    reference_deviance, reference_auc, reference_partial_auc = _without_network(materials)
    return Result(
        settings=point.settings(),
        deviance=curve[-1][2],
        auc=auc,
        partial_auc=partial_auc,
        reference_deviance=reference_deviance,
        reference_auc=reference_auc,
        reference_partial_auc=reference_partial_auc,
        trainable=moved,
        parameters=parameters,
        lumisections=materials.lumisections,
        epochs=epochs,
        seconds=curve[-1][1],
        curve=curve,
    )


def train_source(point: Point) -> GraphSTAD:
    """The network that a point's blocks come from: from scratch, on all lumisections of the source."""
    segments = source_segments(point)
    torch.manual_seed(point.seed)
    network = GraphSTAD(segments[0].counts.channels)
    train_network(network, segments, _schedule(point, point.size.source_epochs, FULL_RATE, "cosine"))
    return network


def source_settings(point: Point) -> dict[str, Any]:
    """All that :func:`train_source` depends on."""
    known = point.settings()
    return {key: known[key] for key in ("protocol", "source", "size", "preserved", "seed")}


def _schedule(point: Point, epochs: int, rate: float, annealing: str) -> Schedule:
    size = point.size
    return Schedule(
        epochs=epochs,
        window=size.window,
        rate=rate,
        annealing=annealing,
        preserved=point.preserved,
        seed=point.seed,
    )


def _train(network: GraphSTAD, materials: Materials, point: Point) -> list[tuple[int, float, float]]:
    """Train, and look at the held-out error now and then; the time of looking does not count."""
    every = max(1, point.epochs // point.size.epochs)
    curve: list[tuple[int, float, float]] = []
    looking, begin = 0.0, time.process_time()

    def look(epoch: int) -> None:
        nonlocal looking
        if epoch % every and epoch != point.epochs:
            return
        now = time.process_time()
        curve.append((epoch, now - begin - looking, _deviance(network, materials.held_out)))
        looking += time.process_time() - now

    schedule = _schedule(point, point.epochs, point.rate, point.annealing)
    train_network(network, materials.training, schedule, after_epoch=look)
    return curve


def _deviance(network: GraphSTAD | None, segments: Sequence[Segment]) -> float:
    """Mean per lumisection and live channel."""
    total = number = 0.0
    for segment in segments:
        live, counts = segment.live, segment.counts
        p = probability(_reconstruct(network, segment)[:, live].astype(np.float64))
        total += float(deviance(counts.counts[:, live], counts.trials, p).sum())
        number += p.size
    return total / number


def _reconstruct(network: GraphSTAD | None, segment: Segment) -> NDArray[np.float32]:
    """Log rates with the network, or of the reference alone."""
    return reconstruct(network, segment) if network else segment.log_rate


@lru_cache(maxsize=2)
def _without_network(materials: Materials) -> tuple[float, float, float]:
    """Deviance, AUC and partial AUC of the reference alone; neighbours in the grid share them."""
    return _deviance(None, materials.held_out), *_detection(None, materials)


def _detection(network: GraphSTAD | None, materials: Materials) -> tuple[float, float]:
    """AUC and partial AUC of the channels' pulls on the faulty run."""
    scores = pulls(materials.faulty, _reconstruct(network, materials.faulty))
    numbers = ranking(scores[materials.at_fault], np.sort(scores[:, materials.healthy], axis=None))
    return numbers["auc"], numbers["partial_auc"]


def pulls(segment: Segment, log_rate: NDArray[np.float32]) -> Floats:
    """(LS, channels) size of the binomial pull of this lumisection and the four before it together."""
    counts = segment.counts
    p = probability(log_rate.astype(np.float64))
    off = window_sum(counts.counts - counts.trials * p, counts)
    return np.abs(off) / np.sqrt(window_sum(counts.trials * p * (1 - p), counts))
