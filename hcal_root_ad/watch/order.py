"""Lumisections in order: one that is missing is waited for, but not for ever."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Arrival(NamedTuple):
    """A file's lumisections of a run (0: it names none), and when the file was seen (s).

    ``growing``: a snapshot, which holds all lumisections before as well.
    """

    first: int
    last: int
    seen: float
    growing: bool = False


class Reach(NamedTuple):
    """Up to which lumisection a run may be judged, and which ones before it are passed over."""

    last: int
    missing: tuple[range, ...] = ()


def reach(arrivals: Iterable[Arrival], last: int, now: float, patience: float) -> Reach:
    """How far a run can be judged that was judged up to lumisection ``last`` (0: not yet).

    What follows without a gap is ready at once. Beyond a gap it is ready once it has waited ``patience`` seconds.
    A step as small as the smallest so far is no gap: snapshots may be saved every tenth lumisection.
    """
    ordered = sorted(arrivals, key=lambda one: one.last)
    overdue = max((one.last for one in ordered if now - one.seen >= patience), default=0)
    at, step, missing = 0, 0, []
    for one in ordered:
        begins = at == 0 and one.growing
        gap = one.first > at + (step or 1) and not begins
        if gap and one.last > max(last, overdue):
            break
        if gap and one.last > last:
            missing.append(range(at + 1, one.first))
        if one.last > at and (at or one.growing):
            step = min(step or one.last, one.last - at)
        at = max(at, one.last)
    return Reach(max(at, last), tuple(missing))
