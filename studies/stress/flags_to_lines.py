"""Flagged pairs to lines: of a box or module most of whose channels are flagged, else of single channels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable, box_name
from hcal_root_ad.lumi_maps import Range, ranges_of
from hcal_root_ad.unit_names import unit_names
from studies.stress.judged import Line

SHARE = 0.6
"""Share of a unit's live channels that must be flagged."""
JOINED = 3
"""Stretches of a channel with no more sound LS than this between them are one line."""

Mask = NDArray[np.bool_]


def lines_of(
    channels: ChannelTable,
    flagged: Mask,
    observed: NDArray[np.integer],
    expected: NDArray[np.floating],
    live: Mask,
    lumisections: NDArray[np.int32],
) -> tuple[Line, ...]:
    """Lines of flagged pairs; observed and expected counts, all (LS, channels)."""
    left, lines = flagged.copy(), []
    loss = observed < expected
    module = channels.box.astype(np.intp) * 5 + channels.rm
    for unit_of, name in ((channels.box.astype(np.intp), box_name), (module, _module_name)):
        for number, rows, where in _units(unit_of, left, live):
            left[np.ix_(where, rows)] = False
            lines.append(_line(name(number), rows, where, loss, observed, expected, lumisections))
    names = unit_names(channels, "channel") if left.any() else []
    for row in np.flatnonzero(left.any(axis=0)):
        where = np.flatnonzero(left[:, row])
        lines.append(_line(names[row], np.array([row]), where, loss, observed, expected, lumisections))
    return tuple(lines)


def _module_name(number: int) -> str:
    return f"{box_name(number // 5)}-RM{number % 5}"


def _units(
    unit_of: NDArray[np.intp], flagged: Mask, live: Mask
) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.intp]]]:
    """Number and live channels of each unit that fails as a whole, and in which LS."""
    size = np.bincount(unit_of[live])
    share = np.stack([np.bincount(unit_of[row & live], minlength=len(size)) for row in flagged]) / np.maximum(size, 1)
    for number in np.flatnonzero((share >= SHARE).any(axis=0) & (size > 1)):
        yield int(number), np.flatnonzero((unit_of == number) & live), np.flatnonzero(share[:, number] >= SHARE)


def _line(
    unit: str,
    rows: NDArray[np.intp],
    where: NDArray[np.intp],
    loss: Mask,
    observed: NDArray[np.integer],
    expected: NDArray[np.floating],
    lumisections: NDArray[np.int32],
) -> Line:
    cells = np.ix_(where, rows)
    size = float(observed[cells].sum() / max(float(expected[cells].sum()), 1e-9))
    kind = "loss" if loss[cells].mean() > 0.5 else "gain"
    return Line(unit, kind, _joined(ranges_of(lumisections[where].tolist())), tuple(rows.tolist()), size)


def _joined(ranges: list[Range]) -> tuple[Range, ...]:
    """Ranges, those near each other made one."""
    joined = ranges[:1]
    for first, last in ranges[1:]:
        if first - joined[-1][1] <= JOINED + 1:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return tuple(joined)
