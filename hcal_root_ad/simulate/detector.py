"""A detector to simulate: what each channel answers, fixed by one seed for all of its runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_HO_BOX_FIRST, ChannelTable, Era, Subdetector, channel_table
from hcal_root_ad.simulate.ring_profile import has_scintillator, is_phase1, ring_intensity

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
        columns = {name: getattr(self, name)[rows] for name in _Answers._fields}
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
    inner = _Answers(
        ring_intensity(hbhe) * np.exp(log_response), power, noise,
        _by_ring(hbhe, spread.cut_share, noise_draw), mask_draw.random(len(hbhe)) < spread.masked,
    )  # fmt: skip
    forward = _Answers(
        ring_intensity(hf), np.zeros(len(hf)), np.zeros(len(hf)),
        _by_ring(hf, spread.cut_share_hf, noise_draw), mask_draw.random(len(hf)) < spread.masked,
    )  # fmt: skip
    columns = zip(inner, _simulate_ho(ho, spread, ho_draw), forward, strict=True)
    return SimulatedDetector(seed, era, table, *(np.concatenate(parts) for parts in columns))


class _Answers(NamedTuple):
    """The fields of a detector, for some of its channels."""

    response: FloatArray
    power: FloatArray
    noise: FloatArray
    cut_share: FloatArray
    masked: BoolArray


def _simulate_ho(channels: ChannelTable, spread: DetectorSpread, draw: np.random.Generator) -> _Answers:
    """HO, whose boxes are those of the wheels; no module is known."""
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
    return _Answers(
        response=ring_intensity(channels) * np.exp(log_response),
        power=np.clip(power + spread.power_channel * draw.standard_normal(n), 0.3, 1.0),
        noise=spread.noise_ho * np.exp(spread.noise_spread * draw.standard_normal(n)),
        cut_share=_by_ring(channels, spread.cut_share_ho, draw),
        masked=draw.random(n) < spread.masked_ho,
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
