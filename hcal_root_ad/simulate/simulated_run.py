"""A simulated run: the counts of one detector under the conditions of a fill, with faults, and the truth about it.

Neighbours move together, as in real lumisections, while each channel stays binomial. Showers hit several channels at
once. Ten real LS (run 306138) show it: the variance from LS to LS over the binomial one is 1.0 for single channels,
1.23 for readout modules, 1.25 for rings and 1.75 for RBX; the next iphi shares 4 %, the next ieta 1 %.

Each event belongs to one of three layers. In a layer of regions, a region is active in a share ACTIVE of the events,
and its channels then fire more often by d = √(ρ·p·(1 − p)/(ACTIVE·(1 − ACTIVE))), in the other events less often, so
that each channel's count stays binomial with p and any two channels of a region have the correlation ρ. It is lower
where a probability would leave 0…1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_HO_BOX_FIRST, ChannelTable, Era, era_of_run
from hcal_root_ad.errors import UsageError
from hcal_root_ad.lumi_maps import EventSource, LumiMaps
from hcal_root_ad.simulate import simulated_detector
from hcal_root_ad.simulate.scenario import FillConditions, InjectedFault, apply_faults


class RateChange(Protocol):
    """One way in which a run departs from the ordinary."""

    def apply(
        self,
        rates: NDArray[np.float32],
        detector: simulated_detector.SimulatedDetector,
        conditions: FillConditions,
        draw: np.random.Generator,
    ) -> NDArray[np.float32]:
        """Digi probabilities (LS, channels) with the change; the given ones stay as they are."""
        ...


ACTIVE = 0.2
"""Share of the events in which a region is active."""
_LAYERS = ((6, 1, True, 0.16), (1, 2, False, 0.06), (4, 30, False, 0.0075))
"""Regions of each layer: width in iphi and |ieta|, whether each depth has its own, and correlation ρ in its events."""


def shower_counts(
    channels: ChannelTable, events: NDArray[np.int64], rates: NDArray[np.float32], draw: np.random.Generator
) -> NDArray[np.int32]:
    """(LS, channels) counts of ``events`` (LS,) at digi probabilities ``rates`` (LS, channels), with showers."""
    layers = [_regions(channels, *layer[:3]) for layer in _LAYERS]
    counts = np.zeros(rates.shape, dtype=np.int32)
    for ls, n in enumerate(events):
        p = rates[ls].astype(np.float64)
        shares = draw.multinomial(n, [1 / len(layers)] * len(layers))
        for share, region, (*_, correlation) in zip(shares, layers, _LAYERS, strict=True):
            active = draw.binomial(share, ACTIVE, int(region.max()) + 1)[region]
            lift = np.sqrt(correlation * p * (1 - p) / (ACTIVE * (1 - ACTIVE)))
            lift = np.minimum(lift, np.minimum(p / ACTIVE, (1 - p) / (1 - ACTIVE)))
            counts[ls] += draw.binomial(active, np.minimum(p + (1 - ACTIVE) * lift, 1.0)).astype(np.int32)
            counts[ls] += draw.binomial(share - active, np.maximum(p - ACTIVE * lift, 0.0)).astype(np.int32)
    return counts


def _regions(channels: ChannelTable, iphi: int, ieta: int, by_depth: bool) -> NDArray[np.intp]:
    """(channels,) number of each channel's region: blocks of iphi as the boxes have them, and of |ieta|, by half."""
    around = (channels.iphi.astype(np.intp) + 1) % 72 // iphi
    along = (np.abs(channels.ieta).astype(np.intp) - 1) // ieta
    key = ((channels.half.astype(np.intp) * 30 + along) * 72 + around) * 8 + (channels.depth if by_depth else 0)
    regions: NDArray[np.intp] = np.unique(key, return_inverse=True)[1].astype(np.intp)
    return regions


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
        cut_counts: (LS, channels) int32 digis above the charge cut (``OccupancyCut``), thinned from the counts.
        detector, conditions, faults, seed: what it was made from.
    """

    maps: LumiMaps
    rates: NDArray[np.float32]
    faulty_rates: NDArray[np.float32]
    cut_counts: NDArray[np.int32]
    detector: simulated_detector.SimulatedDetector
    conditions: FillConditions
    faults: tuple[InjectedFault, ...]
    seed: int

    @property
    def run(self) -> int:
        return self.maps.run


def simulate_run(
    detector: simulated_detector.SimulatedDetector,
    conditions: FillConditions,
    faults: Sequence[InjectedFault] = (),
    seed: int = 0,
    run: int | None = None,
    drift: Drift | None = None,
    changes: Sequence[RateChange] = (),
    showers: bool = False,
) -> SimulatedRun:
    """Simulate one run of a detector under the given conditions; equal seeds give equal counts.

    ``run`` is by default the first of the era (370000 in Run 3). ``changes`` move healthy rates of HB and HE, one
    after the other. With ``showers`` neighbours in HB and HE count together, as in real lumisections; else all counts
    are independent.

    Raises:
        UsageError: a run number of another era, whose readers would expect other channels.
    """
    run = FIRST_RUN[detector.era] if run is None else run
    if era_of_run(run) != detector.era or not 0 < run < 10**9:
        raise UsageError(f"Run {run} is no run number of the era {detector.era} of this detector.")
    drift_draw, count_draw, outer_draw = (
        np.random.default_rng(s) for s in np.random.SeedSequence([seed, 0x12]).spawn(3)
    )
    rates = healthy_rates(detector, conditions, drift or Drift(), drift_draw)
    inner = detector.select("HB", "HE")
    within, outside = slice(0, len(inner.channels)), slice(len(inner.channels), None)
    for change in changes:
        rates[:, within] = change.apply(rates[:, within], inner, conditions, drift_draw)
    faults = tuple(faults)
    faulty_rates = apply_faults(rates, conditions.lumisections, faults) if faults else rates
    counts, cut_counts = np.empty((2, *rates.shape), dtype=np.int32)
    count_inner = partial(shower_counts, inner.channels) if showers else _binomial
    for columns, count, draw in ((within, count_inner, count_draw), (outside, _binomial, outer_draw)):
        counts[:, columns] = count(conditions.events, faulty_rates[:, columns], draw)
        cut_counts[:, columns] = draw.binomial(counts[:, columns], detector.cut_share[columns])
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
    return SimulatedRun(maps, rates, faulty_rates, cut_counts, detector, conditions, faults, seed)


def healthy_rates(
    detector: simulated_detector.SimulatedDetector, conditions: FillConditions, drift: Drift, draw: np.random.Generator
) -> NDArray[np.float32]:
    """(LS, channels) digi probability per event without faults; 0 for masked channels.

    HO has a generator of its own, so that HB and HE are what they are without it. HF has no rates that could move.
    """
    rates = np.ones((len(conditions), len(detector.channels)), dtype=np.float32)
    (ho_draw,) = draw.spawn(1)
    activity = conditions.pileup / simulated_detector.REFERENCE_PILEUP
    for names, boxes, stream in (
        (("HB", "HE"), range(simulated_detector.N_BOXES), draw),
        (("HO",), _HO_BOXES, ho_draw),
    ):
        subset, rows = detector.select(*names), detector.channels.rows_of(*names)
        shifts = _shifts(subset.channels, boxes, conditions, drift, stream)
        for ls, (gained, shift) in enumerate(zip(activity, shifts, strict=True)):
            answer = np.exp(shift) * gained**subset.power
            rates[ls, rows] = -np.expm1(-subset.response * answer - subset.noise)
    rates[:, ~detector.live] = 0.0
    return rates


_HO_BOXES = range(N_HO_BOX_FIRST, N_HO_BOX_FIRST + simulated_detector.N_HO_BOXES)


def _shifts(
    channels: ChannelTable, boxes: range, conditions: FillConditions, drift: Drift, draw: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """(channels,) shift of ln λ in each LS, of channels in these readout boxes."""
    box = channels.box - boxes[0]
    module = simulated_detector.module_index(channels) - 5 * boxes[0]
    shift = drift.run_box * draw.standard_normal(len(boxes))[box]
    shift = shift + drift.run_channel * draw.standard_normal(len(box))
    mixes = _trigger_mixes(channels.ring, conditions, drift, draw)
    walks = [_Walk(spread, size, drift.correlation, draw)
             for spread, size in ((drift.box, len(boxes)), (drift.module, 5 * len(boxes)),
                                  (drift.channel, len(channels)))]  # fmt: skip
    for column in conditions.prescale_column:
        moved = walks[0].step()[box] + walks[1].step()[module] + walks[2].step()
        yield shift + mixes[column] + moved


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


def _trigger_mixes(
    ring: NDArray[np.intp], conditions: FillConditions, drift: Drift, draw: np.random.Generator
) -> NDArray[np.float64]:
    """(prescale columns, channels) shift of ln λ that the trigger mix of each column makes; none in the first."""
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
