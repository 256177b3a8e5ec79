"""The authors' own test: a random box in a window of five lumisections, judged in the window's last one.

After ``synthetic_anomly_generator.py`` of the public GraphSTAD code. A box in ieta, iphi and depth of one side is at
fault in the last LS of a window (isolated), or in all five of it (persistent), for every factor at the same places. A
channel is at fault if its factor changes what it counts; all other live channels of the same LS are the negatives,
those beside the box among them. What differs: windows come from runs that nothing was learned from, counts are thinned
or filled up event by event rather than multiplied, and a box of one cell is as good as any.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.model.counts import SubdetectorCounts, subdetector_counts
from hcal_root_ad.simulate.scenario import simulate_conditions
from hcal_root_ad.simulate.simulated_detector import simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run
from hcal_root_ad.stats.binomial import Floats
from studies.evaluate.protocol import WINDOW, Fitted, Judging, Selective, Truth
from studies.evaluate.suite import FairSuite, unit_rows, with_faults
from studies.metrics import detection, ranking

FACTORS = (0.0, 0.2, 0.4, 0.6, 0.8, 2.0)
"""Those of the public code."""
PERSISTENCE = ("isolated", "persistent")
FROM_A_RUN = 6
"""Windows taken from one run."""
SEEDS_FROM = 900
"""Behind the suite's seed, where no other run's lie."""


@dataclass(frozen=True, eq=False)
class BoxWindows:
    """Windows of one factor and persistence.

    ``windows``: the counts of each. ``truths``: likewise. ``boxes``: (windows, channels) which channels are at fault in
    its last LS. ``live``: (channels,).
    """

    factor: float
    persistence: str
    windows: Sequence[SubdetectorCounts]
    truths: Sequence[Truth]
    boxes: NDArray[np.bool_]
    live: NDArray[np.bool_]

    @property
    def name(self) -> str:
        return f"R={self.factor:g} {self.persistence}"


def box_windows(suite: FairSuite, subdetector: str) -> Iterator[BoxWindows]:
    """The test of a suite: every factor and persistence, in the same windows at the same places."""
    detector = simulate_detector(suite.detector_seed)
    rows = detector.channels.rows_of(subdetector)
    channels, live = detector.channels.take(rows), detector.live[rows]
    draw = np.random.default_rng([suite.seed, SEEDS_FROM])
    clean: list[tuple[SubdetectorCounts, Floats]] = []
    for seed in range(suite.seed + SEEDS_FROM, suite.seed + SEEDS_FROM + -(-suite.windows // FROM_A_RUN)):
        run = simulate_run(detector, simulate_conditions(suite.run_length, seed), seed=seed)
        series = subdetector_counts(run.maps, subdetector)
        clean += [
            (series.rows(window), run.rates[np.ix_(series.position[window], rows)])
            for window in list(_windows(series))[:FROM_A_RUN]
        ]
    clean = clean[: suite.windows]
    boxes = [unit_rows("box", channels, live, draw) for _ in clean]
    for factor in FACTORS:
        for persistence in PERSISTENCE:
            faulty = [_with_box(*one, box, factor, persistence, draw) for one, box in zip(clean, boxes, strict=True)]
            at_fault = np.stack([truth.faulty[-1] != truth.healthy[-1] for _, truth in faulty])
            windows, truths = zip(*faulty, strict=True)
            yield BoxWindows(factor, persistence, windows, truths, at_fault, live)


def _windows(series: SubdetectorCounts) -> Iterator[slice]:
    for stretch in series.stretches():
        yield from (slice(at, at + WINDOW) for at in range(stretch.start, stretch.stop - WINDOW + 1, WINDOW))


def _with_box(
    series: SubdetectorCounts,
    healthy: Floats,
    box: NDArray[np.intp],
    factor: float,
    persistence: str,
    draw: np.random.Generator,
) -> tuple[SubdetectorCounts, Truth]:
    faulty = healthy.copy()
    first = WINDOW - 1 if persistence == "isolated" else 0
    faulty[first:, box] = np.minimum(faulty[first:, box] * factor, 1)
    counts = with_faults(series.counts, series.events, healthy, faulty, draw)
    return replace(series, counts=counts), Truth(healthy, faulty)


def measure_boxes(fitted: Fitted, tests: Sequence[BoxWindows]) -> dict[str, dict[str, float]]:
    """By factor and persistence: false-positive rates at given captures, AUC, and precision and recall at the cut.

    Every window is judged as a run of its own.
    """
    return {test.name: _measured(fitted, test) for test in tests}


def _measured(fitted: Fitted, test: BoxWindows) -> dict[str, float]:
    scores, flags = (np.stack(parts) for parts in zip(*_last_lumisections(fitted, test), strict=True))
    healthy = ~test.boxes & test.live
    numbers = ranking(scores[test.boxes], np.sort(scores[healthy]))
    flagged, false = int(flags[test.boxes].sum()), int(flags[healthy].sum())
    return numbers | detection(flagged, int(test.boxes.sum()), false) | {"pairs": float(test.boxes.sum())}


def _last_lumisections(fitted: Fitted, test: BoxWindows) -> Iterator[tuple[Floats, NDArray[np.bool_]]]:
    """(channels,) scores and flags in the last LS of every window."""
    for window, truth in zip(test.windows, test.truths, strict=True):
        if isinstance(fitted, Judging):
            scores, flags = (every[-1] for every in fitted.looked_at(window))
            yield scores, flags
            continue
        if isinstance(fitted, Selective):
            (scores,) = fitted.score_rows(window, np.array([WINDOW - 1]))
        else:
            scores = fitted.score(window, truth)[-1]
        yield scores, scores > fitted.threshold
