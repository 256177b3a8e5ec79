"""How often a ring gives a digi: probability per event by sub-detector, |ieta| and depth.

The tables are rounded ring means of ten real lumisections (run 306138, 2017, jet triggers). HEP17,
the first Phase-1 box, stands for the Phase-1 HE; it is scaled to a mean of 0.38 over HB and HE,
the occupancy of that run, since zero-bias triggers and the later zero suppression fire less. No
real Phase-1 HB was at hand: its first depth is taken from the photodiodes, which read the whole
tower, and its deeper ones fall with depth as in the nearest HE rings. HO is that of the same run,
scaled likewise in Run 3. HF is not zero suppressed: it gives a digi in every event.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable, Era, Subdetector, ho_wheel

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
    seen = np.select([channels.subdetector == code for code in (1, 2, 3)], [hb, he, ho], default=np.inf)
    return np.where(has_scintillator(channels), seen, 0.0)
