"""The faults of one sub-detector: of its units, and of the channels that are off them; those that fail alike joined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.channels import ChannelScan
from hcal_root_ad.judge.findings import Fault, JudgedDigis, crowd_timed, flickering, with_gaps_closed
from hcal_root_ad.judge.grouping import boxes_joined, grouped, rings_joined
from hcal_root_ad.judge.members import is_left, members_of, unit_fault
from hcal_root_ad.judge.units import SPEAKS, UnitFault
from hcal_root_ad.judge.verdict import Level
from hcal_root_ad.model.unit_tree import UnitTree
from hcal_root_ad.stats.scan import Stretch

ALIVE_UNIT = 0.3
"""In a unit that keeps more of its digis a channel that is much farther off is at fault by itself."""


def faults_of(
    judged: JudgedDigis,
    unit_faults: Sequence[UnitFault],
    scan: ChannelScan,
    live_columns: NDArray[np.intp],
    tree: UnitTree,
) -> list[Fault]:
    """Faults of units and channels of one sub-detector, those that fail alike joined.

    ``live_columns``: joint rows of the scan's columns.
    """
    units: list[Fault] = []
    pieces: list[Fault] = []
    shifted: list[_ShiftedUnit] = []
    for fault in unit_faults:
        members = members_of(judged, fault, tree)
        whole, parts = unit_fault(judged, fault, members, tree)
        units += [whole] if whole else []
        pieces += parts
        inside = np.zeros(len(judged.columns), dtype=bool)
        inside[members] = True
        shifted.append(_ShiftedUnit(whole, inside, fault.rows(len(judged.events))))
    units = boxes_joined(rings_joined(units, judged), tree, judged)
    by_channel = {(int(piece.columns[0]), piece.sign): piece for piece in _by_channel(pieces)}
    own = np.searchsorted(judged.columns, live_columns)
    for column, stretches in scan.faults.items():
        for sign in (-1, 1):
            mine = [s for s in stretches if np.sign(s.shift) == sign]
            of_unit = by_channel.get((int(own[column]), sign))
            pieces += _channel_fault(judged, int(own[column]), sign, mine, shifted, of_unit, scan.threshold)
    faults = (*units, *grouped(_by_channel(pieces), judged.channels, judged.live))
    timed = (crowd_timed(with_gaps_closed(fault), judged.observed, judged.expected) for fault in faults)
    return [flickering(fault, judged.observed, judged.expected) for fault in timed]


@dataclass(frozen=True, eq=False)
class _ShiftedUnit:
    """A unit whose level moved: its fault, if it is one as a whole; (channels,) ``members`` and (LS,) ``rows``."""

    fault: Fault | None
    members: NDArray[np.bool_]
    rows: NDArray[np.bool_]


def _channel_fault(
    judged: JudgedDigis, column: int, sign: int, stretches: Sequence[Stretch], shifted: Sequence[_ShiftedUnit],
    of_unit: Fault | None, threshold: float,
) -> Iterator[Fault]:  # fmt: skip
    """The fault of a channel that is off its unit, beyond what that is at fault.

    ``of_unit``: the fault of this channel that it has as one of a unit.
    """
    units = [unit for unit in shifted if unit.members[column]]
    mine = [s for s in stretches if not _only_its_unit(judged, column, s, units)]
    inside = np.zeros(len(judged.events), dtype=bool)
    for stretch in mine:
        inside[stretch.first : stretch.last + 1] = True
    left = _without_spoken_for(
        judged, column, sign, inside, [f for f in (of_unit, *(unit.fault for unit in units)) if f]
    )
    if left.any() and (left[inside].all() or sign * _pull(judged, column, left) > threshold):
        significance = max(abs(s.significance) for s in mine)
        name = judged.name_of(column)
        yield Fault(Level.CHANNEL, name, sign, np.array([column]), left, significance)


def _only_its_unit(judged: JudgedDigis, column: int, stretch: Stretch, units: Sequence[_ShiftedUnit]) -> bool:
    """Whether a channel is off its unit, but not off the healthy expectation: the unit moved."""
    rows = slice(stretch.first, stretch.last + 1)
    if not any(unit.rows[rows].any() for unit in units):
        return False
    n, e = (float(v[rows, column].sum(dtype=np.float64)) for v in (judged.observed, judged.expected))
    return not is_left(n / max(e, 1e-9), stretch)


def _by_channel(pieces: Sequence[Fault]) -> list[Fault]:
    """One fault for each channel and sign."""
    out: dict[tuple[int, int], Fault] = {}
    for piece in pieces:
        key = int(piece.columns[0]), piece.sign
        if before := out.get(key):
            significance = max(before.significance, piece.significance)
            piece = replace(piece, inside=piece.inside | before.inside, significance=significance)
        out[key] = piece
    return list(out.values())


def _pull(judged: JudgedDigis, column: int, inside: NDArray[np.bool_]) -> float:
    """Standard deviations by which the digis of a channel in some lumisections are off the expected ones."""
    n, e = judged.observed[inside, column].sum(dtype=np.float64), judged.expected[inside, column].astype(np.float64)
    return float((n - e.sum()) / np.sqrt(max(float((e * (1 - e / judged.events[inside])).sum()), 1.0)))


def _without_spoken_for(
    judged: JudgedDigis,
    column: int,
    sign: int,
    inside: NDArray[np.bool_],
    units: Sequence[Fault],
) -> NDArray[np.bool_]:
    """Where a channel is at fault beyond what its units are already said to be."""
    for unit in units:
        rows = unit.inside
        if not (rows & inside).any():
            continue
        n, e = (float(v[rows & inside, column].sum()) for v in (judged.observed, judged.expected))
        all_n, all_e = (float(v[np.ix_(rows, unit.columns)].sum()) for v in (judged.observed, judged.expected))
        ratio, unit_ratio = n / max(e, 1e-9), all_n / max(all_e, 1e-9)
        if unit.sign > 0:
            # Noise adds as many digis to a quiet channel as to a busy one: of its own that is more.
            unit_ratio = max(unit_ratio, 1 + (all_n - all_e) / len(unit.columns) / max(e, 1e-9))
        apart = abs(np.log(max(ratio, 1e-3) / max(unit_ratio, 1e-3)))
        if (ratio - 1) * sign > 0 and unit_ratio > ALIVE_UNIT and apart > max(SPEAKS, 1.2 * abs(np.log(unit_ratio))):
            continue
        inside = inside & ~rows
    return inside
