"""Work on all processors: numpy and the codecs leave the interpreter to others while they compute."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def cores() -> int:
    """Number of processors that this thread may use; no more than ``OMP_NUM_THREADS``, where it is set."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    available = len(affinity(0)) if affinity else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(available, int(limit)) if limit.isdecimal() and int(limit) else available


def in_order(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Results in the order of the items, made on all cores; only some are under way or waiting at a time."""
    threads, rest = cores(), iter(items)
    first = list(islice(rest, threads + 1))
    if threads == 1 or len(first) < 2:
        yield from map(work, chain(first, rest))
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque(pool.submit(work, item) for item in first)
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(rest, 1))
            yield result
