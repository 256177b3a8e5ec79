"""How often health reaches which evidence, and the thresholds that follow from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hcal_root_ad.errors import UsageError
from hcal_root_ad.stats.binomial import Floats

LOWEST = 3.0
"""Evidence (natural log) below which nothing is ever flagged; more false alarms are not for sale."""
UNIT_SHARE = 0.1
"""Share of the wished false alarms that readout units may raise."""
FARTHEST = 1.5
"""Exposures farther than this (in log) from the typical one count as that far."""


@dataclass(frozen=True)
class Slant:
    """How the evidence that health reaches depends on a lumisection's exposure, log digi-making hits per channel.

    Where more digis come, chance has less of a say beside the errors that health is allowed.

    Attributes:
        typical: exposure (see :meth:`hcal_root_ad.learn.reference.Reference.exposure`) at which nothing is added.
        fall: by how much (natural log) the evidence falls per unit of exposure.
    """

    typical: float = 0.0
    fall: float = 0.0

    def extra(self, exposure: Floats) -> Floats:
        """(LS,) evidence that is asked for beyond a threshold.

        >>> Slant(typical=4.0, fall=1.5).extra(np.array([4.0, 5.0]))
        array([ 0. , -1.5])
        """
        return np.asarray(self.fall * np.clip(self.typical - exposure, -FARTHEST, FARTHEST))


@dataclass(frozen=True)
class Tail:
    """Exponential tail of evidence peaks on clean lumisections: rate above h = rate·exp(−slope·(h − onset)).

    ``onset`` in natural-log likelihood ratio, ``rate`` in peaks per LS, over all channels.
    """

    onset: float
    rate: float
    slope: float

    def threshold(self, false_alarms: float) -> float:
        """Height (natural log) that clean peaks exceed ``false_alarms`` times per 100 LS.

        >>> round(Tail(onset=4.0, rate=0.5, slope=1.0).threshold(false_alarms=0.5), 2)  # 4 + ln(50 / 0.5)
        8.61
        """
        return float(self.onset + np.log(self.rate * 100 / false_alarms) / self.slope)

    def above(self, height: float) -> float:
        """Clean peaks per LS that exceed a height (natural log)."""
        return self.rate * float(np.exp(self.slope * (self.onset - height)))

    def most(self) -> float:
        """Most false alarms per 100 LS that a threshold can be set for."""
        return 100 * self.above(LOWEST)


@dataclass(frozen=True)
class Thresholds:
    """Evidence (natural log) from which a channel, or a readout unit as a whole, is flagged.

    That of a channel holds at the typical exposure; ``slant`` says what is added elsewhere.
    """

    channel: float
    unit: float
    slant: Slant = Slant()

    def extra(self, exposure: Floats) -> Floats:
        """(LS,) evidence that is asked of channels beyond their threshold; less never than leaves ``LOWEST``."""
        return np.maximum(self.slant.extra(exposure), min(LOWEST - self.channel, 0.0))


@dataclass(frozen=True)
class Tails:
    """How often clean channels, and clean readout units, reach which evidence."""

    channel: Tail
    unit: Tail
    slant: Slant = Slant()

    def thresholds(self, false_alarms: float) -> Thresholds:
        """Thresholds for a wished rate of false alarms per 100 LS.

        A false alarm of a unit is one line, but flags many channels: units get ``UNIT_SHARE`` of the rate.

        Raises:
            UsageError: if so many are wished that the tail says nothing about them.
        """
        rate = false_alarms * (1 - UNIT_SHARE)
        if rate > self.channel.most():
            most = self.channel.most() / (1 - UNIT_SHARE)
            raise UsageError(f"{false_alarms:g} false alarms per 100 LS cannot be asked for; at most {most:.0f} can")
        unit = self.unit.threshold(false_alarms * UNIT_SHARE)
        return Thresholds(self.channel.threshold(rate), max(unit, LOWEST), self.slant)
