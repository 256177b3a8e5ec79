"""A simulated run: digi probabilities per lumisection, and the counts that binomial chance makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import Era, era_of_run
from hcal_root_ad.errors import UsageError
from hcal_root_ad.lumi_maps import EventSource, LumiMaps
from hcal_root_ad.simulate.changes import Change
from hcal_root_ad.simulate.conditions import Conditions
from hcal_root_ad.simulate.detector import (
    N_BOXES,
    N_MODULES,
    REFERENCE_PILEUP,
    SimulatedDetector,
    module_index,
)
from hcal_root_ad.simulate.faults import Fault, apply_faults
from hcal_root_ad.simulate.showers import shower_counts

FIRST_RUN = {Era.RUN2_2017: 297_000, Era.RUN2_2018: 314_500, Era.RUN3: 370_000}
"""Where the numbers of simulated runs begin in each era."""


@dataclass(frozen=True)
class Drift:
    """How the response moves within a run and between runs; spreads are of ln λ.

    Real neighbouring LS scatter as binomial chance alone (z-spread 1.00), LS 1–5 against 6–10 at
    1.02–1.04 with a change of the event count between them: so drifts are small and slow, and a
    change of trigger mix moves rings by less than a percent.
    """

    correlation: float = 400.0
    """Lumisections over which a drift forgets itself (2.6 h)."""
    box: float = 0.010
    module: float = 0.005
    channel: float = 0.005
    run_box: float = 0.010
    """Shift of a whole run: calibration, temperature."""
    run_channel: float = 0.010
    mix_ring: float = 0.007
    """Shift of each ring with a change of prescale column."""
    mix_channel: float = 0.003


@dataclass(frozen=True, eq=False)
class SimulatedRun:
    """A run and the truth about it.

    Attributes:
        maps: what a harvester should find: counts of ``Occupancy``, events, LS.
        rates: (LS, channels) float32 true digi probability per event of the healthy detector.
        faulty_rates: (LS, channels) float32 the same with the faults, from which the counts were drawn.
        hf_counts: (LS, HF channels) int32; the event count in live channels.
        cut_counts, hf_cut_counts: digis above the charge cut (``OccupancyCut``), thinned from the counts.
        detector, conditions, faults, seed: what it was made from.
    """

    maps: LumiMaps
    rates: NDArray[np.float32]
    faulty_rates: NDArray[np.float32]
    hf_counts: NDArray[np.int32]
    cut_counts: NDArray[np.int32]
    hf_cut_counts: NDArray[np.int32]
    detector: SimulatedDetector
    conditions: Conditions
    faults: tuple[Fault, ...]
    seed: int

    @property
    def run(self) -> int:
        return self.maps.run


def simulate_run(
    detector: SimulatedDetector,
    conditions: Conditions,
    faults: Sequence[Fault] = (),
    seed: int = 0,
    run: int | None = None,
    drift: Drift | None = None,
    changes: Sequence[Change] = (),
    showers: bool = False,
) -> SimulatedRun:
    """Simulate one run of a detector under the given conditions; equal seeds give equal counts.

    ``run`` is by default the first of the era (370000 in Run 3). ``changes`` move healthy rates, one after the
    other. With ``showers`` neighbours count together, as in real lumisections; else all counts are independent.

    Raises:
        UsageError: a run number of another era, whose readers would expect other channels.
    """
    run = FIRST_RUN[detector.era] if run is None else run
    if era_of_run(run) != detector.era or not 0 < run < 10**9:
        raise UsageError(f"Run {run} is no run number of the era {detector.era} of this detector.")
    drift_draw, count_draw = (np.random.default_rng(s) for s in np.random.SeedSequence([seed, 0x12]).spawn(2))
    rates = healthy_rates(detector, conditions, drift or Drift(), drift_draw)
    for change in changes:
        rates = change.apply(rates, detector, conditions, drift_draw)
    faults = tuple(faults)
    faulty_rates = apply_faults(rates, conditions.lumisections, faults) if faults else rates
    if showers:
        counts = shower_counts(detector.channels, conditions.events, faulty_rates, count_draw)
    else:
        counts = _binomial(conditions.events, faulty_rates, count_draw)
    hf_counts = np.where(detector.hf_masked, 0, conditions.events[:, None]).astype(np.int32)
    maps = LumiMaps(
        run=run,
        channels=detector.channels,
        lumisections=conditions.lumisections,
        events=conditions.events,
        event_source=np.full(len(conditions), EventSource.COUNTER, dtype=np.uint8),
        counts=counts,
        present=np.ones(len(conditions), dtype=np.bool_),
        definition="simulation",
    )
    return SimulatedRun(
        maps=maps,
        rates=rates,
        faulty_rates=faulty_rates,
        hf_counts=hf_counts,
        cut_counts=count_draw.binomial(counts, detector.cut_share).astype(np.int32),
        hf_cut_counts=count_draw.binomial(hf_counts, detector.hf_cut_share).astype(np.int32),
        detector=detector,
        conditions=conditions,
        faults=faults,
        seed=seed,
    )


def healthy_rates(
    detector: SimulatedDetector, conditions: Conditions, drift: Drift, draw: np.random.Generator
) -> NDArray[np.float32]:
    """(LS, channels) digi probability per event without faults; 0 for masked channels."""
    shift = _run_shift(detector, drift, draw)
    mixes = _trigger_mixes(detector, conditions, drift, draw)
    activity = conditions.pileup / REFERENCE_PILEUP
    rates = np.zeros((len(conditions), len(detector.channels)), dtype=np.float32)
    walks = [_Walk(spread, size, drift.correlation, draw)
             for spread, size in ((drift.box, N_BOXES), (drift.module, N_MODULES),
                                  (drift.channel, len(detector.channels)))]  # fmt: skip
    box, module = detector.channels.box, module_index(detector.channels)
    for ls, gained in enumerate(activity):
        moved = walks[0].step()[box] + walks[1].step()[module] + walks[2].step()
        answer = np.exp(shift + mixes[conditions.prescale_column[ls]] + moved) * gained**detector.power
        rates[ls] = -np.expm1(-detector.response * answer - detector.noise)
    rates[:, ~detector.live] = 0.0
    return rates


class _Walk:
    """Ornstein–Uhlenbeck drift in steps of one LS: stationary spread, exponential memory."""

    def __init__(self, spread: float, size: int, correlation: float, draw: np.random.Generator) -> None:
        self._memory = float(np.exp(-1.0 / correlation))
        self._kick = spread * float(np.sqrt(1.0 - self._memory**2))
        self._draw = draw
        self._state = spread * draw.standard_normal(size)

    def step(self) -> NDArray[np.float64]:
        self._state = self._memory * self._state + self._kick * self._draw.standard_normal(len(self._state))
        return self._state


def _run_shift(detector: SimulatedDetector, drift: Drift, draw: np.random.Generator) -> NDArray[np.float64]:
    """(channels,) shift of ln λ of a whole run."""
    box = drift.run_box * draw.standard_normal(N_BOXES)[detector.channels.box]
    return np.asarray(box + drift.run_channel * draw.standard_normal(len(detector.channels)))


def _trigger_mixes(
    detector: SimulatedDetector, conditions: Conditions, drift: Drift, draw: np.random.Generator
) -> NDArray[np.float64]:
    """(prescale columns, channels) shift of ln λ that the trigger mix of each column makes; none in the first."""
    ring = detector.channels.ring
    n = int(conditions.prescale_column.max()) + 1
    by_ring = drift.mix_ring * draw.standard_normal((n, int(ring.max()) + 1))
    mixes = by_ring[:, ring] + drift.mix_channel * draw.standard_normal((n, len(ring)))
    mixes[0] = 0.0
    return mixes


def _binomial(events: NDArray[np.int64], rates: NDArray[np.float32], draw: np.random.Generator) -> NDArray[np.int32]:
    """(LS, channels) counts, LS by LS to keep the temporaries small."""
    counts = np.empty(rates.shape, dtype=np.int32)
    for ls, n in enumerate(events):
        counts[ls] = draw.binomial(n, rates[ls])
    return counts
