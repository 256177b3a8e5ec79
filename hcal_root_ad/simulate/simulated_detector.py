"""A detector to simulate: what each channel answers, fixed by one seed for all of its runs.

How often a ring gives a digi, as probability per event by sub-detector, |ieta| and depth, stands in tables: rounded
ring means of ten real lumisections (run 306138, 2017, jet triggers). HEP17, the first Phase-1 RBX, stands for the
Phase-1 HE; it is scaled to a mean of 0.38 over HB and HE, the occupancy of that run, since zero-bias triggers and the
later zero suppression fire less. No real Phase-1 HB was at hand: its first depth is taken from the photodiodes, which
read the whole tower, and its deeper ones fall with depth as in the nearest HE rings. HO is that of the same run,
scaled likewise in Run 3. HF is not zero suppressed: it gives a digi in every event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_HO_BOX_FIRST, ChannelTable, Era, Subdetector, channel_table, ho_wheel

_HB_PHOTODIODE = {
    1: (0.36, 0.33, 0.32, 0.35, 0.34, 0.33, 0.33, 0.36, 0.36, 0.41, 0.43, 0.42, 0.49, 0.51, 0.65, 0.39),
    2: (*(0.0,) * 14, 0.24, 0.55),
}
"""By depth, |ieta| 1…16."""
_HB_DEPTH_FALL = (1.15, 1.05, 0.75, 0.60)
"""Digi intensity of depth 1…4 of the Phase-1 HB against the photodiode tower."""
_HE_PHOTODIODE = {
    1: (0.0, 0.13, 0.28, 0.25, 0.28, 0.47, 0.60, 0.68, 0.81, 0.87, 0.94, 0.85, 0.91, 0.77),
    2: (0.0, 0.0, 0.08, 0.09, 0.08, 0.11, 0.17, 0.20, 0.30, 0.38, 0.57, 0.37, 0.53, 0.39),
    3: (0.04, *(0.0,) * 10, 0.64, 0.97, 0.0),
}
"""By depth, |ieta| 16…29."""
_HE_PHASE1 = {
    1: (0.0, 0.0, 0.0, 0.82, 0.86, 0.98, 0.99, 0.997, 0.998, 0.998, 0.998, 0.998, 0.998, 0.998),
    2: (0.0, 0.64, 0.67, 0.57, 0.65, 0.87, 0.94, 0.97, 0.99, 0.998, 0.998, 0.998, 0.998, 0.998),
    3: (0.0, 0.34, 0.33, 0.30, 0.37, 0.54, 0.64, 0.75, 0.86, 0.93, 0.975, 0.98, 0.997, 0.997),
    4: (0.34, 0.0, 0.19, 0.21, 0.22, 0.31, 0.34, 0.46, 0.57, 0.70, 0.92, 0.93, 0.998, 0.0),
    5: (0.0, 0.0, 0.30, 0.19, 0.19, 0.24, 0.27, 0.29, 0.38, 0.50, 0.85, 0.88, 0.998, 0.0),
    6: (0.0, 0.0, 0.0, 0.15, 0.20, 0.21, 0.20, 0.23, 0.25, 0.31, 0.68, 0.81, 0.998, 0.0),
    7: (*(0.0,) * 10, 0.43, 0.65, 0.998, 0.0),
}
"""By depth, |ieta| 16…29; 0.998 stands for all that never missed, for its intensity is not measurable."""
_HO_WHEEL = (0.124, 0.314, 0.506)
"""Digi probability in wheel 0, ±1, ±2 of HO: within a wheel the rings differ by 2 % at most."""
_HE_PHASE1_SCALE = 0.40
"""Digi intensity of zero-bias events of Run 3 against the jet triggers of 2017."""


def _table(by_depth: Mapping[int, tuple[float, ...]], first_ieta: int) -> NDArray[np.float64]:
    """(|ieta| 0…29, depth 0…7) digi intensity λ = −ln(1 − p)."""
    intensity = np.zeros((30, 8))
    for depth, probabilities in by_depth.items():
        intensity[first_ieta : first_ieta + len(probabilities), depth] = -np.log1p(-np.array(probabilities))
    return intensity


def is_phase1(channels: ChannelTable) -> NDArray[np.bool_]:
    """Whether a channel is read by a silicon photomultiplier (its readout module is known)."""
    return np.asarray(channels.rm > 0)


def has_scintillator(channels: ChannelTable) -> NDArray[np.bool_]:
    """Whether a channel can see particles: HE |ieta| 18 depth 1 has a layer to read with photodiodes only."""
    return np.asarray(channels.instrumented | ~is_phase1(channels))


def ring_intensity(channels: ChannelTable) -> NDArray[np.float64]:
    """Mean number λ of digi-making hits per event at the reference pileup, per channel.

    The digi probability is 1 − exp(−λ). Channels without scintillator have 0, those of HF infinity.
    """
    ieta, depth = np.abs(channels.ieta), channels.depth
    ieta = np.where(channels.subdetector == Subdetector.HF, 29, ieta)  # within the tables
    tower = _table(_HB_PHOTODIODE, 1)
    fall = np.concatenate([[0.0], _HB_DEPTH_FALL, np.zeros(3)])
    hb_phase1 = tower[np.minimum(ieta, 29), 1] * fall[depth]
    # The photodiodes of |ieta| 16 share their tower with HE; the Phase-1 ones continue the rise.
    hb_phase1 = np.where(ieta == 16, tower[15, 1] * fall[depth], hb_phase1)
    he_phase1 = _HE_PHASE1_SCALE * _table(_HE_PHASE1, 16)[ieta, depth]
    he_photodiode = _table(_HE_PHOTODIODE, 16)[ieta, depth]
    hb = np.where(is_phase1(channels), hb_phase1, tower[ieta, depth])
    he = np.where(is_phase1(channels), he_phase1, he_photodiode)
    ho = -np.log1p(-np.array(_HO_WHEEL))[np.abs(ho_wheel(channels.ieta))]
    ho = ho * (1.0 if channels.era is Era.RUN2_2017 else _HE_PHASE1_SCALE)
    intensity = np.select([channels.subdetector == code for code in (1, 2, 3)], [hb, he, ho], default=np.inf)
    return np.where(has_scintillator(channels), intensity, 0.0)


FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class DetectorSpread:
    """How much channels differ; spreads are standard deviations of ln λ unless said otherwise.

    Measured on the ten real lumisections of run 306138 where a number is given as real.
    """

    channel_sipm: float = 0.07
    """Real HEP17: rings of four channels spread by 5–15 % in λ, 2–7 % in p."""
    channel_photodiode_hb: float = 0.53
    """Real 2017: 0.40–0.60, 0.30–0.45 in p."""
    channel_photodiode_he: float = 0.36
    """Real 2017: 0.30–0.45."""
    box: float = 0.025
    """Boxes share their high voltage supply, temperature and timing."""
    module: float = 0.01
    phi_wave: float = 0.025
    """Amplitude of the once-around wave that a beam spot off the axis makes, drawn per side and sub-detector."""
    side: float = 0.01
    """Plus against minus; real: 1–3 % in HB, up to 8 % in outer HE."""
    ring: float = 0.05
    """Two detector states (gain, thresholds, radiation) differ ring by ring."""
    masked: float = 0.004
    """Share of channels that never fill. Real 2017: about 0.5 %."""
    noise: float = 3e-4
    """Median digi probability without collisions: what passes zero suppression."""
    noise_spread: float = 0.8
    power_ring: float = 0.04
    """Spread of the pileup power between rings beyond its smooth course."""
    power_channel: float = 0.02
    cut_share: tuple[float, float] = (0.38, 0.50)
    """Share of digis above the charge cut of ``OccupancyCut``, drawn per ring."""
    channel_ho: float = 0.11
    """Real 2017: 0.09–0.14."""
    masked_ho: float = 0.007
    """Real 2017: 15 of 2,160."""
    noise_ho: float = 2e-3
    power_ho: float = 0.6
    """Thresholds close to the noise make HO follow the pileup less than the calorimeter inside of the coil."""
    cut_share_ho: tuple[float, float] = (0.15, 0.30)
    cut_share_hf: tuple[float, float] = (0.25, 0.60)


@dataclass(frozen=True, eq=False)
class SimulatedDetector:
    """What the channels answer.

    Digi probability per event at pileup μ: ``1 − exp(−response · (μ/REFERENCE_PILEUP)^power − noise)``.

    Attributes:
        seed, era: what it was made from.
        channels: HB, HE, HO, HF.
        response: (channels,) mean number of digi-making hits per event at the reference pileup; infinite
            in HF, which is read out in every event.
        power: (channels,) pileup power. noise: (channels,) the same without collisions.
        cut_share: (channels,) share of digis above the charge cut.
        masked: (channels,) never filled.
    """

    seed: int
    era: Era
    channels: ChannelTable
    response: FloatArray
    power: FloatArray
    noise: FloatArray
    cut_share: FloatArray
    masked: BoolArray

    @property
    def live(self) -> BoolArray:
        """(channels,) whether a channel can give digis at all."""
        return np.asarray(~self.masked & has_scintillator(self.channels))

    def select(self, *subdetectors: str) -> SimulatedDetector:
        """The channels of some sub-detectors as a detector of their own."""
        rows = self.channels.rows_of(*subdetectors)
        columns = {name: getattr(self, name)[rows] for name in ("response", "power", "noise", "cut_share", "masked")}
        return replace(self, channels=self.channels.take(rows), **columns)


REFERENCE_PILEUP = 45.0
"""Interactions per crossing at which the ring profile holds (2017, run 306138)."""
N_BOXES, N_MODULES = 72, 72 * 5
"""Of HB and HE."""
N_HO_BOXES = 60


def module_index(channels: ChannelTable) -> NDArray[np.intp]:
    """Label of each channel's readout module over all boxes: box × 5 + RM (RM 0: unknown)."""
    return channels.box.astype(np.intp) * 5 + channels.rm


def simulate_detector(seed: int, era: Era = Era.RUN3, spread: DetectorSpread | None = None) -> SimulatedDetector:
    """A detector drawn from a seed: the same seed gives the same detector."""
    spread = spread or DetectorSpread()
    era = Era(era)
    table = channel_table(era)
    hbhe, ho, hf = table.select("HB", "HE"), table.select("HO"), table.select("HF")
    response_draw, power_draw, mask_draw, noise_draw, ho_draw = (
        np.random.default_rng(s) for s in np.random.SeedSequence([seed, 0xDE7EC7]).spawn(5)
    )
    log_response, power = _log_response(hbhe, spread, response_draw), _pileup_power(hbhe, spread, power_draw)
    noise = spread.noise * np.exp(spread.noise_spread * noise_draw.standard_normal(len(hbhe)))
    inner = (
        ring_intensity(hbhe) * np.exp(log_response), power, noise,
        _by_ring(hbhe, spread.cut_share, noise_draw), mask_draw.random(len(hbhe)) < spread.masked,
    )  # fmt: skip
    forward = (
        ring_intensity(hf), np.zeros(len(hf)), np.zeros(len(hf)),
        _by_ring(hf, spread.cut_share_hf, noise_draw), mask_draw.random(len(hf)) < spread.masked,
    )  # fmt: skip
    columns = zip(inner, _simulate_ho(ho, spread, ho_draw), forward, strict=True)
    return SimulatedDetector(seed, era, table, *(np.concatenate(parts) for parts in columns))


def _simulate_ho(channels: ChannelTable, spread: DetectorSpread, draw: np.random.Generator) -> tuple[NDArray[Any], ...]:
    """As a detector has them, of HO, whose boxes are those of the wheels; no module is known."""
    n, side, ring = len(channels), channels.side, channels.ring
    rings = int(ring.max()) + 1
    phase, wave = draw.uniform(0.0, 2 * np.pi, 2)[side], spread.phi_wave * draw.standard_normal(2)[side]
    log_response = (
        spread.side * draw.standard_normal(2)[side]
        + spread.ring * draw.standard_normal(rings)[ring]
        + spread.box * draw.standard_normal(N_HO_BOXES)[channels.box - N_HO_BOX_FIRST]
        + wave * np.cos(2 * np.pi * channels.iphi / 72 - phase)
        + spread.channel_ho * draw.standard_normal(n)
    )
    power = spread.power_ho + spread.power_ring * draw.standard_normal(rings)[ring]
    return (
        ring_intensity(channels) * np.exp(log_response),
        np.clip(power + spread.power_channel * draw.standard_normal(n), 0.3, 1.0),
        spread.noise_ho * np.exp(spread.noise_spread * draw.standard_normal(n)),
        _by_ring(channels, spread.cut_share_ho, draw),
        draw.random(n) < spread.masked_ho,
    )


def _by_ring(channels: ChannelTable, within: tuple[float, float], draw: np.random.Generator) -> FloatArray:
    """(channels,) a number drawn per ring, evenly within limits."""
    return np.asarray(draw.uniform(*within, int(channels.ring.max()) + 1)[channels.ring])


def _log_response(channels: ChannelTable, spread: DetectorSpread, draw: np.random.Generator) -> FloatArray:
    """ln of each HB and HE channel's response against its ring's profile, from the largest unit to the smallest."""
    n = len(channels)
    phase = draw.uniform(0.0, 2 * np.pi, 4)
    wave = spread.phi_wave * draw.standard_normal(4)
    half = channels.half
    around = wave[half] * np.cos(2 * np.pi * channels.iphi / 72 - phase[half])
    barrel = channels.subdetector == Subdetector.HB
    photodiode = np.where(barrel, spread.channel_photodiode_hb, spread.channel_photodiode_he)
    channel = np.where(is_phase1(channels), spread.channel_sipm, photodiode)
    parts: FloatArray = (
        spread.side * draw.standard_normal(4)[half]
        + spread.ring * draw.standard_normal(int(channels.ring.max()) + 1)[channels.ring]
        + spread.box * draw.standard_normal(N_BOXES)[channels.box]
        + spread.module * draw.standard_normal(N_MODULES)[module_index(channels)]
        + around
        + channel * draw.standard_normal(n)
    )
    return parts


def _pileup_power(channels: ChannelTable, spread: DetectorSpread, draw: np.random.Generator) -> FloatArray:
    """Power of each HB and HE channel's response to pileup, 0.5…1.3.

    Independent interactions would give 1. Low-energy deposits that must add up to pass the threshold
    (deep, forward) rise faster; the barrel, where single hard particles make the digis, slower.
    """
    forward = np.abs(channels.ieta) / 29.0
    smooth = 0.70 + 0.30 * forward**2 + 0.035 * (channels.depth - 1)
    ring = spread.power_ring * draw.standard_normal(int(channels.ring.max()) + 1)[channels.ring]
    channel = spread.power_channel * draw.standard_normal(len(channels))
    return np.clip(smooth + ring + channel, 0.5, 1.3)
