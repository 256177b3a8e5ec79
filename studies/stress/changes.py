"""What changes the rates of healthy channels: conditions of trigger, thresholds and beam, ageing, and restless gains.

Each is a frozen dataclass with ``apply``: digi probabilities (LS, channels) in, changed ones out. A shift s of the
log rate makes the digi probability 1 − (1 − p)^exp(s); spreads are of such shifts unless said otherwise. ``at`` is the
share of the run from which on a change holds; 0 means since before the run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import Subdetector
from hcal_root_ad.simulate.scenario import FillConditions
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector, module_index
from hcal_root_ad.unit_names import qie_card

Rates = NDArray[np.float32]
Shifts = NDArray[np.floating]


def shifted(rates: Rates, shift: Shifts) -> Rates:
    """Digi probabilities with log rates shifted by ``shift``, which broadcasts against (LS, channels)."""
    changed: Rates = -np.expm1(np.log1p(-rates) * np.exp(shift.astype(np.float32)))
    return changed


def begins(conditions: FillConditions, at: float) -> int:
    """Row of the first LS of the share of the run that begins at ``at``."""
    return round(at * len(conditions))


def _from(at: float, conditions: FillConditions, shift: Shifts) -> Shifts:
    """(LS, channels) shift that holds from a share of the run on."""
    after = np.arange(len(conditions)) >= begins(conditions, at)
    return after[:, None] * shift


def _forward(detector: SimulatedDetector) -> NDArray[np.float64]:
    """(channels,) place of |ieta| between the inner (−½) and outer (½) edge of the channel's sub-detector."""
    ieta, place = np.abs(detector.channels.ieta).astype(np.float64), np.zeros(len(detector.channels))
    for name in ("HB", "HE"):
        rows = detector.channels.rows_of(name)
        inner, outer = ieta[rows].min(), ieta[rows].max()
        place[rows] = (ieta[rows] - inner) / (outer - inner) - 0.5
    return place


@dataclass(frozen=True)
class TriggerMix:
    """Another trigger mix: rings move by ``ring``, and by ``slope`` from the inner to the outer edge."""

    ring: float = 0.02
    slope: float = 0.04
    at: float = 0.5

    def apply(
        self, rates: Rates, detector: SimulatedDetector, conditions: FillConditions, draw: np.random.Generator
    ) -> Rates:
        ring = detector.channels.ring
        shift = self.ring * draw.standard_normal(int(ring.max()) + 1)[ring] + self.slope * _forward(detector)
        return shifted(rates, _from(self.at, conditions, shift))


@dataclass(frozen=True)
class JetTriggers:
    """From zero-bias to jet triggers: more digis everywhere, by ``low`` far forward up to ``high`` at |ieta| 1."""

    low: float = 0.08
    high: float = 0.30
    ring: float = 0.02
    at: float = 0.5

    def apply(
        self, rates: Rates, detector: SimulatedDetector, conditions: FillConditions, draw: np.random.Generator
    ) -> Rates:
        channels = detector.channels
        central = 1.0 - (np.abs(channels.ieta) - 1) / 28.0
        gain = np.log1p(self.low + (self.high - self.low) * central)
        gain = gain + self.ring * draw.standard_normal(int(channels.ring.max()) + 1)[channels.ring]
        return shifted(rates, _from(self.at, conditions, gain))


@dataclass(frozen=True)
class ZeroSuppression:
    """New thresholds in one sub-detector: every channel moves by ``mean``, and by ``spread`` on its own."""

    mean: float = -0.08
    spread: float = 0.03
    subdetector: str = "HB"
    at: float = 0.5

    def apply(
        self, rates: Rates, detector: SimulatedDetector, conditions: FillConditions, draw: np.random.Generator
    ) -> Rates:
        shift = np.zeros(len(detector.channels))
        rows = detector.channels.rows_of(self.subdetector)
        shift[rows] = self.mean + self.spread * draw.standard_normal(len(rows))
        return shifted(rates, _from(self.at, conditions, shift))


@dataclass(frozen=True)
class PhiWave:
    """The beam spot moves off the axis: a once-around wave that grows to ``amplitude`` and turns by ``turn`` rad."""

    amplitude: float = 0.03
    turn: float = 1.0

    def apply(
        self, rates: Rates, detector: SimulatedDetector, conditions: FillConditions, draw: np.random.Generator
    ) -> Rates:
        time = np.linspace(0.0, 1.0, len(conditions))[:, None]
        phase = 2 * np.pi * draw.random() + self.turn * time
        return shifted(rates, self.amplitude * time * np.cos(2 * np.pi * detector.channels.iphi / 72 - phase))


@dataclass(frozen=True)
class SmoothField:
    """A field over (ieta, iphi) that no unit follows, different per depth by half; ``spread`` at the run's end."""

    spread: float = 0.02
    waves: int = 3

    def apply(
        self, rates: Rates, detector: SimulatedDetector, conditions: FillConditions, draw: np.random.Generator
    ) -> Rates:
        channels = detector.channels
        field = np.zeros(len(channels))
        for around in range(1, self.waves + 1):
            along = np.pi * draw.integers(0, 3) * (channels.ieta + 29) / 58.0
            phase = 2 * np.pi * draw.random() + 0.5 * draw.standard_normal(8)[channels.depth]
            field += draw.standard_normal() * np.cos(along) * np.cos(2 * np.pi * around * channels.iphi / 72 - phase)
        time = np.linspace(0.0, 1.0, len(conditions))[:, None]
        return shifted(rates, self.spread * time * field / field.std())


@dataclass(frozen=True)
class Offsets:
    """Every unit of a scale (``channel``, ``card``, ``RM``, ``RBX``) has moved by ``spread`` since before the run."""

    scale: str
    spread: float
    at: float = 0.0

    def apply(
        self, rates: Rates, detector: SimulatedDetector, conditions: FillConditions, draw: np.random.Generator
    ) -> Rates:
        unit = _unit_index(detector, self.scale)
        shift = self.spread * draw.standard_normal(int(unit.max()) + 1)[unit]
        return shifted(rates, _from(self.at, conditions, shift))


@dataclass(frozen=True)
class Restless:
    """Every unit of a scale wanders with ``spread`` and forgets within ``memory`` LS; 0: it jumps in each LS."""

    scale: str
    spread: float
    memory: float = 0.0

    def apply(
        self, rates: Rates, detector: SimulatedDetector, conditions: FillConditions, draw: np.random.Generator
    ) -> Rates:
        unit = _unit_index(detector, self.scale)
        course = draw.standard_normal((len(conditions), int(unit.max()) + 1))
        keep = np.exp(-1.0 / self.memory) if self.memory else 0.0
        for ls in range(1, len(course)):
            course[ls] = keep * course[ls - 1] + np.sqrt(1.0 - keep**2) * course[ls]
        return shifted(rates, self.spread * course[:, unit])


@dataclass(frozen=True)
class Ageing:
    """HE has aged since the clean run: no digis are lost at |ieta| 18, a share ``loss`` of them at 29."""

    loss: float

    def apply(
        self,
        rates: Rates,
        detector: SimulatedDetector,
        conditions: FillConditions,  # noqa: ARG002
        draw: np.random.Generator,  # noqa: ARG002
    ) -> Rates:
        channels = detector.channels
        share = np.clip((np.abs(channels.ieta) - 18) / 11.0, 0.0, 1.0) * (channels.subdetector == Subdetector.HE)
        kept: Rates = rates * (1.0 - self.loss * share).astype(np.float32)
        return kept


@dataclass(frozen=True)
class Masked:
    """``count`` channels, drawn from ``seed``, are masked: they never fill."""

    count: int
    seed: int

    def rows(self, detector: SimulatedDetector) -> NDArray[np.intp]:
        """The masked channels."""
        draw = np.random.default_rng([self.seed, detector.seed])
        return np.sort(draw.choice(np.flatnonzero(detector.live), self.count, replace=False))

    def apply(
        self,
        rates: Rates,
        detector: SimulatedDetector,
        conditions: FillConditions,  # noqa: ARG002
        draw: np.random.Generator,  # noqa: ARG002
    ) -> Rates:
        changed = rates.copy()
        changed[:, self.rows(detector)] = 0.0
        return changed


def _unit_index(detector: SimulatedDetector, scale: str) -> NDArray[np.intp]:
    """(channels,) number of the unit of a scale that each channel belongs to."""
    channels = detector.channels
    if scale == "channel":
        return np.arange(len(channels))
    if scale == "RBX":
        return channels.box.astype(np.intp)
    module = module_index(channels)
    return module if scale == "RM" else module * 5 + qie_card(channels)
