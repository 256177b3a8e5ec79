"""References of several sub-detectors as one: they share the pileup of each lumisection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.model.reference import Reference


@dataclass(frozen=True, eq=False)
class JointReference:
    """A reference over the channels of several sub-detectors.

    Attributes:
        reference: their channels one after the other. names: sub-detectors, in that order.
        columns: (channels,) where each is in the run's maps.
        shared: whether all were learned from the same clean runs: only then is one sub-detector held against another.
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
    names = tuple(reference.channels.names[0] for reference in references)
    first = references[0]
    spread = first.overdispersion
    for reference in references[1:]:
        other = reference.overdispersion
        spread = replace(
            spread, **{f.name: max(getattr(spread, f.name), getattr(other, f.name)) for f in fields(spread)}
        )
    apart = [reference.covariance for reference in references]
    together = replace(
        first,
        channels=joined_tables([reference.channels for reference in references]),
        pileup_range=(min(r.pileup_range[0] for r in references), max(r.pileup_range[1] for r in references)),
        overdispersion=spread,
        level=np.concatenate([reference.level for reference in references]),
        level_error=np.concatenate([reference.level_error for reference in references]),
        power=np.concatenate([reference.power for reference in references]),
        power_error=np.concatenate([reference.power_error for reference in references]),
        live=np.concatenate([reference.live for reference in references]),
        covariance=None if any(c is None for c in apart) else np.concatenate([c for c in apart if c is not None]),
        unit_errors={
            level: np.concatenate([reference.unit_errors[level] for reference in references])
            for level in first.unit_errors
            if all(level in reference.unit_errors for reference in references)
        },
    )
    columns = np.concatenate([channels.rows_of(name) for name in names])
    return JointReference(together, names, columns, len({reference.clean for reference in references}) == 1)


def joined_tables(tables: Sequence[ChannelTable]) -> ChannelTable:
    """Channels of several tables, one after the other."""
    columns = [f.name for f in fields(ChannelTable) if f.name != "era"]
    return ChannelTable(tables[0].era, **{name: np.concatenate([getattr(t, name) for t in tables]) for name in columns})
