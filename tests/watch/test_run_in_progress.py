"""Lumisections in order, and patience with those that are missing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad.watch.received import Arrival
from hcal_root_ad.watch.run_in_progress import Reach, reach


def per_ls(*lumisections: int, seen: float = 0.0) -> list[Arrival]:
    return [Arrival(ls, ls, seen) for ls in lumisections]


def snapshots(*lumisections: int, seen: float = 0.0) -> list[Arrival]:
    return [Arrival(ls, ls, seen, growing=True) for ls in lumisections]


def test_what_follows_is_ready_at_once() -> None:
    assert reach(per_ls(2, 1, 3), last=0, now=0, patience=60) == Reach(3)
    assert reach([Arrival(1, 10, 0.0), Arrival(11, 20, 0.0)], last=0, now=0, patience=60) == Reach(20)


def test_a_missing_lumisection_is_waited_for() -> None:
    arrivals = [*per_ls(1, 2, seen=0), *per_ls(4, seen=100), *per_ls(5, seen=123)]
    assert reach(arrivals, last=2, now=159.9, patience=60) == Reach(2)
    assert reach(arrivals, last=2, now=160, patience=60) == Reach(5, (range(3, 4),))
    assert reach([*arrivals, *per_ls(3, seen=130)], last=2, now=131, patience=60) == Reach(5)
    assert reach([*arrivals, *per_ls(3, seen=170)], last=5, now=170, patience=60) == Reach(5)


def test_what_has_waited_takes_along_what_came_before_it() -> None:
    arrivals = [*per_ls(9, seen=0), *per_ls(5, seen=50)]
    assert reach(arrivals, last=0, now=60, patience=60) == Reach(9, (range(1, 5), range(6, 9)))


def test_a_run_that_begins_late_is_waited_for_once() -> None:
    assert reach(per_ls(37), last=0, now=59, patience=60) == Reach(0)
    assert reach(per_ls(37), last=0, now=60, patience=60) == Reach(37, (range(1, 37),))
    assert reach([*per_ls(37), *per_ls(39, seen=60)], last=37, now=60, patience=60) == Reach(37)


def test_snapshots_hold_what_came_before_and_keep_their_step() -> None:
    assert reach(snapshots(10), last=0, now=0, patience=60) == Reach(10)
    assert reach(snapshots(10, 20), last=10, now=0, patience=60) == Reach(20)
    assert reach(snapshots(10, 20, 40), last=20, now=0, patience=60) == Reach(20)
    assert reach(snapshots(10, 20, 40), last=20, now=60, patience=60) == Reach(40, (range(21, 40),))
    assert reach(snapshots(10, 20, 23), last=20, now=0, patience=60) == Reach(23)


def test_a_file_that_names_no_lumisection_waits_for_nothing() -> None:
    assert reach([Arrival(0, 0, 0.0)], last=0, now=0, patience=60) == Reach(0)


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 100)), min_size=1, max_size=20),
    st.integers(0, 100),
    st.integers(1, 50),
)
def test_laws(files: list[tuple[int, int]], now: int, patience: int) -> None:
    arrivals = [Arrival(ls, ls, float(seen)) for ls, seen in files]
    there = [one for one in arrivals if one.seen <= now]
    reached = reach(there, 0, now, patience)
    inside = {one.last for one in there if one.last <= reached.last}
    passed = {ls for gap in reached.missing for ls in gap}
    assert inside.isdisjoint(passed)
    # Nothing that has waited enough is held back, and what is held back waits for something that is missing.
    assert all(one.last <= reached.last for one in there if now - one.seen >= patience)
    held = [one.last for one in there if one.last > reached.last]
    assert not held or min(held) > reached.last + 1
    assert reach(there, reached.last, now, patience) == Reach(reached.last)
    assert reach(there, 0, now + patience, patience).last == max((one.last for one in there), default=0)
