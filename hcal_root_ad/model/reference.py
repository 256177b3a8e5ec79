"""``Reference``: what each channel of a detector does when it is healthy, and how well that is known.

The log rate of channel c at log pileup u is ``level + power·u``; u = 0 is the mean of the clean runs, and the mean
power of HB is 1.

References of several sub-detectors are one where they share the pileup of each lumisection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.model.unit_tree import UnitTree, unit_tree
from hcal_root_ad.stats.binomial import Floats


@dataclass(frozen=True)
class Widths:
    """How far healthy units move: standard deviations of log rate from the clean runs to the judged run.

    Learned from pairs of clean runs of other detectors; one clean run cannot tell. ``walk_…``: variance per LS within a
    run.
    """

    subdetector: float = 0.005
    half: float = 0.004
    ring: float = 0.005
    box: float = 0.018
    module: float = 0.0056
    channel: float = 0.0155
    walk_box: float = 4e-7
    walk_module: float = 1e-7
    walk_channel: float = 7e-7


@dataclass(frozen=True)
class Overdispersion:
    """LS-to-LS variance of sums over the binomial one; 1 where neighbours fire independently.

    Ten real LS: modules 1.23, rings 1.25, boxes 1.75 (showers hit neighbours).
    """

    ring: float = 1.25
    box: float = 1.75
    module: float = 1.23


WHOLE_RUN = 0.9
"""A unit that is off in a larger share of the LS was so before the run."""


@dataclass(frozen=True)
class Limits:
    """Smallest shifts of log rate that are a fault of a unit and not a condition, by level.

    They follow from how well a reference is known: these are those of clean runs some time ago. Gains may have
    their own, and so may gains that are there all through the run.
    """

    subdetector: float = 0.15
    half: float = 0.03
    ring: float = 0.12
    box: float = 0.03
    module: float = 0.03
    channel: float = float(np.log(1.08))
    channel_gain: float = float(np.log(1.08))
    box_gain_of_run: float = 0.03
    module_gain_of_run: float = 0.03
    channel_gain_of_run: float = float(np.log(1.08))

    def is_fault(self, level: str, shift: float, share: float) -> bool:
        """Whether a unit's shift is large enough to be a fault; ``share``: of the run's LS that are off."""
        loss = getattr(self, level)
        gain = getattr(self, f"{level}_gain", loss)
        if share > WHOLE_RUN:
            gain = getattr(self, f"{level}_gain_of_run", gain)
        return bool(shift >= gain or shift <= -loss)


COLUMNS = ("level", "level_error", "power", "power_error", "live")
"""What a reference says of each channel."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Levels and powers of channels.

    Attributes:
        channels: who they are.
        level: (channels,) log rate at u = 0. level_error: its standard error.
        power: (channels,) response of log rate to u. power_error: its standard error.
        live: (channels,) False where the clean runs had no digis: not connected, or masked.
        pileup_range: lowest and highest u of the clean runs.
        widths, overdispersion: how far healthy units move, and how sums scatter.
        clean: what it was learned from; references of the same clean runs share u.
        limits: smallest shifts that are faults.
        covariance: (channels,) of level and power; none where they were learned apart.
        unit_errors: (channels,) by level (``box``, ``module``, …): standard error of the shift of each channel's unit,
            and under ``box power``, … that of its change with u. Where a level is missing, ``widths`` hold for all.
    """

    channels: ChannelTable
    level: Floats
    level_error: Floats
    power: Floats
    power_error: Floats
    live: NDArray[np.bool_]
    pileup_range: tuple[float, float]
    widths: Widths = Widths()
    overdispersion: Overdispersion = Overdispersion()
    clean: str = ""
    limits: Limits = Limits()
    covariance: Floats | None = None
    unit_errors: Mapping[str, Floats] = field(default_factory=dict)

    @cached_property
    def tree(self) -> UnitTree:
        return unit_tree(self.channels)

    def select(self, subdetector: str) -> Reference:
        """The part of one sub-detector."""
        return self.take(self.channels.rows_of(subdetector))

    def take(self, rows: NDArray[np.intp]) -> Reference:
        """Some of the channels."""
        return replace(
            self,
            channels=self.channels.take(rows),
            covariance=None if self.covariance is None else self.covariance[rows],
            unit_errors={name: error[rows] for name, error in self.unit_errors.items()},
            **{name: getattr(self, name)[rows] for name in COLUMNS},
        )

    def unit_error(self, level: str, away: float) -> Floats | None:
        """(units,) standard error of the shift of each unit of a level, ``away`` from u = 0; None where not known."""
        if level not in self.unit_errors:
            return None
        units = getattr(self.tree, level)
        error, by_power = np.zeros(len(units)), np.zeros(len(units))
        error[units.of] = self.unit_errors[level]
        by_power[units.of] = self.unit_errors.get(f"{level} power", 0.0)
        return np.hypot(error, by_power * away)


@dataclass(frozen=True, eq=False)
class JointReference:
    """A reference over the channels of several sub-detectors.

    Attributes:
        reference: their channels one after the other. names: sub-detectors, in that order.
        columns: (channels,) where each is in the run's maps.
        shared: whether all were learned from the same clean runs: only then is one sub-detector compared with another.
    """

    reference: Reference
    names: tuple[str, ...]
    columns: NDArray[np.intp]
    shared: bool

    def rows_of(self, name: str) -> NDArray[np.intp]:
        """Rows of one sub-detector."""
        return self.reference.channels.rows_of(name)


def joint_reference(references: Sequence[Reference], channels: ChannelTable) -> JointReference:
    """Join references of different sub-detectors, once for the same ones; ``channels`` are those of the run's maps."""
    return _joint_reference(tuple(references), channels)


@lru_cache(maxsize=8)
def _joint_reference(references: tuple[Reference, ...], channels: ChannelTable) -> JointReference:
    names, first = tuple(reference.channels.names[0] for reference in references), references[0]
    spreads, apart = [r.overdispersion for r in references], [r.covariance for r in references]
    levels = [level for level in first.unit_errors if all(level in reference.unit_errors for reference in references)]
    spread = Overdispersion(**{f.name: max(getattr(s, f.name) for s in spreads) for f in fields(Overdispersion)})
    arrays: dict[str, Any] = {name: np.concatenate([getattr(r, name) for r in references]) for name in COLUMNS}
    together = replace(
        first,
        channels=joined_tables([reference.channels for reference in references]),
        pileup_range=(min(r.pileup_range[0] for r in references), max(r.pileup_range[1] for r in references)),
        overdispersion=spread,
        covariance=None if any(c is None for c in apart) else np.concatenate([c for c in apart if c is not None]),
        unit_errors={level: np.concatenate([r.unit_errors[level] for r in references]) for level in levels},
        **arrays,
    )
    columns = np.concatenate([channels.rows_of(name) for name in names])
    return JointReference(together, names, columns, len({reference.clean for reference in references}) == 1)


def joined_tables(tables: Sequence[ChannelTable]) -> ChannelTable:
    """Channels of several tables, one after the other."""
    columns = [f.name for f in fields(ChannelTable) if f.name != "era"]
    return ChannelTable(tables[0].era, **{name: np.concatenate([getattr(t, name) for t in tables]) for name in columns})
