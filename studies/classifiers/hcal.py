"""Good, hot or dead: the supervised classifiers of the CMS–IBM HCAL study, and likelihoods on the same images.

An image is HB depth 1 in one LS, digis per event. In a hot or dead one every event has a digi in a region,
or none has (the study wrote 10⁴ and 0). Unlike there, training and test images come from different runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor, nn

from hcal_root_ad.model.common_part import CommonPartFit
from hcal_root_ad.model.counts import SubdetectorCounts
from hcal_root_ad.model.reference_fit import CleanLumisections, fit_reference
from hcal_root_ad.stats.binomial import Floats, deviance, information, probability
from studies.baselines.image_classifiers import HCAL_IMAGE, logistic, pooled, strided
from studies.classifiers.networks_on_images import GOOD, Classes, Judged, classified, judged, train

HOT, DEAD = 1, 2
ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {"pooled": pooled, "strided": strided, "logistic": logistic}
OURS = "ours"
REGIONS = ("5×5 fixed", "5×5 random", "one channel")
RUN_SHIFT = 0.02
"""Standard error of log λ by which a channel may differ from run to run."""
FALSE_ALARMS = 1e-3
"""Share of good images that ours may call bad, at most."""


@dataclass(frozen=True, eq=False)
class Images:
    """``series``: every image as a lumisection of its own; ``truth``: (images,) its class."""

    series: SubdetectorCounts
    truth: Classes

    @property
    def pixels(self) -> Tensor:
        """(images, 1, 32, 72) digis per event."""
        channels = self.series.channels
        image = np.zeros((len(self.series), *HCAL_IMAGE), dtype=np.float32)
        image[:, _row(channels.ieta), channels.iphi - 1] = self.series.counts / self.series.trials
        return torch.from_numpy(image).unsqueeze(1)


def learned(
    system: str,
    region: str,
    learn: Sequence[SubdetectorCounts],
    test: Sequence[SubdetectorCounts],
    seed: int,
    epochs: int,
) -> Judged:
    """A system (of :data:`ARCHITECTURES`, or ours) after learning from clean runs of HB, on images of other runs."""
    draw = np.random.default_rng(seed)
    training, exam = images_of(learn, region, draw), images_of(test, region, draw)
    if system == OURS:
        said, badness = verdicts(training, exam)
    else:
        torch.manual_seed(seed)
        network = ARCHITECTURES[system]()
        train(network, training.pixels, torch.from_numpy(training.truth), epochs, batch=32)
        said, badness = classified(network, exam.pixels)
    return judged(f"HB {region}", system, said, badness, exam.truth, len(training.truth))


def images_of(runs: Sequence[SubdetectorCounts], region: str, draw: np.random.Generator) -> Images:
    """A good, a hot and a dead copy of every LS of clean runs of HB."""
    first = np.flatnonzero(runs[0].channels.depth == 1)
    channels = runs[0].channels.take(first)
    counts = np.concatenate([run.counts[:, first] for run in runs])
    events = np.concatenate([run.events for run in runs])
    hot, dead = counts.copy(), counts.copy()
    fixed = _region(channels.ieta, channels.iphi, region, np.random.default_rng(0))
    for ls in range(len(counts)):
        for image, value in ((hot, events[ls]), (dead, 0)):
            where = fixed if region.endswith("fixed") else _region(channels.ieta, channels.iphi, region, draw)
            image[ls, where] = value
    total = 3 * len(counts)
    # No LS next to another, so that nothing is remembered from one image to the next.
    numbers = 2 * np.arange(total)
    series = SubdetectorCounts(
        channels, np.concatenate([counts, hot, dead]), np.tile(events, 3), numbers.astype(np.int32), numbers
    )
    return Images(series, np.repeat([GOOD, HOT, DEAD], len(counts)))


def _region(
    ieta: NDArray[np.int16], iphi: NDArray[np.int16], region: str, draw: np.random.Generator
) -> NDArray[np.bool_]:
    """Channels in a square of five rows and columns, or in one cell, at a random place of HB."""
    width = 1 if region == "one channel" else 5
    row, column = _row(ieta), iphi - 1
    top, left = (draw.integers(0, size - width + 1) for size in HCAL_IMAGE)
    return np.asarray((row >= top) & (row < top + width) & (column >= left) & (column < left + width))


def _row(ieta: NDArray[np.int16]) -> NDArray[np.int16]:
    return np.where(ieta < 0, ieta + 16, ieta + 15).astype(np.int16)


def verdicts(training: Images, exam: Images) -> tuple[Classes, Floats]:
    """Ours: (images,) class and largest significance of any channel.

    The expected rates are those of the pileup-aware reference, learned from the good images alone. The deviance of a
    healthy channel, the errors of its rate taken off, is about a χ² of one degree of freedom; so the threshold needs
    no bad image.
    """
    good = training.series.rows(np.flatnonzero(training.truth == GOOD))
    events = good.events.astype(np.int64)
    reference = fit_reference(CleanLumisections(good.channels, good.counts, events, np.zeros(len(good), dtype=np.intp)))
    series, live = exam.series, np.flatnonzero(reference.live)
    log_pileup = CommonPartFit(reference).fit(series.counts, series.events.astype(np.int64)).log_pileup
    error = np.sqrt(reference.level_error**2 + RUN_SHIFT**2)[live]
    threshold = float(norm.isf(FALSE_ALARMS / (2 * len(live))))
    said, badness = np.full(len(series), GOOD), np.zeros(len(series))
    for image in range(len(series)):
        p = probability(reference.level[live] + log_pileup[image] * reference.power[live])
        counts, trials = series.counts[image, live], np.array(series.events[image])
        known = 1 + information(trials, p) * error**2
        significance = np.sqrt(deviance(counts, trials, p) / known)
        strongest = int(significance.argmax())
        badness[image] = significance[strongest]
        if badness[image] > threshold:
            said[image] = DEAD if counts[strongest] < trials * p[strongest] else HOT
    return said, badness
