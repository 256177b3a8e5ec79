"""What is shipped: the judge, on a reference of the clean runs.

Unlike the others it looks at the run as a whole, as it does in use: what comes later helps to tell where a fault began.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.judge.verdict import State
from hcal_root_ad.lumi_maps import EventSource, LumiMaps
from hcal_root_ad.model.counts import SubdetectorCounts
from hcal_root_ad.model.model import Model
from hcal_root_ad.model.reference_fit import CleanLumisections, fit_reference
from hcal_root_ad.stats.binomial import Floats
from studies.evaluate.protocol import System, Training, Truth

FALSE_ALARMS = 0.5
"""Per 100 LS, the default of a model."""
THRESHOLD = 5.4
"""Significance of a channel at that rate, roughly; the flags are the judge's own."""


@dataclass(frozen=True, eq=False)
class Judge:
    """Score: the pull of a pair, or the significance of the fault that it is part of, as published."""

    model: Model
    threshold: float = THRESHOLD

    def score(self, series: SubdetectorCounts, truth: Truth) -> Floats:  # noqa: ARG002
        return self.looked_at(series)[0]

    def looked_at(self, series: SubdetectorCounts) -> tuple[Floats, NDArray[np.bool_]]:
        """(LS, channels) scores and flags."""
        (verdict,) = judge_run(maps_of(series), [self.model]).verdicts
        live = self.model.reference.live
        return np.where(live, np.abs(verdict.score), -np.inf), np.asarray(verdict.states >= State.PROBLEMATIC)


def maps_of(series: SubdetectorCounts) -> LumiMaps:
    """Lumisections of one sub-detector as a run of their own."""
    events = series.events.astype(np.int64)
    return LumiMaps(
        run=0,
        channels=series.channels,
        lumisections=series.lumisections,
        events=events,
        event_source=np.full(len(series), EventSource.COUNTER, dtype=np.uint8),
        counts=series.counts,
        present=np.ones(len(series), dtype=bool),
        definition="simulation",
    )


def fit(training: Training) -> Judge:
    series = [*training.learn, *training.calibrate]
    run = np.repeat(np.arange(len(series)), [len(one) for one in series])
    counts, events = (np.concatenate([getattr(one, name) for one in series]) for name in ("counts", "events"))
    reference = fit_reference(CleanLumisections(training.channels, counts, events.astype(np.int64), run))
    return Judge(Model("evaluated", training.subdetector, reference, false_alarms=FALSE_ALARMS))


SYSTEMS = (System("ours", "common part estimated and judged level by level; looks at the whole run", fit),)
