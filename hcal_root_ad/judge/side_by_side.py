"""Sub-detectors side by side, each on one core.

They know nothing of each other, so nothing depends on who is done first. torch's own threads would share out
operations of some microseconds and wait for each other in a loop: on a machine that has more to do, ten times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch

Done = TypeVar("Done")
MANY = 50
"""A thread costs some 10 ms, in which torch makes itself at home, and saves some 2 ms per lumisection."""


def side_by_side(do: Callable[..., Done], *works: Sequence[Any], lumisections: int) -> Iterator[Done]:
    """As ``map``: what is done with each, in their order; in threads of their own for ``MANY`` lumisections.

    Not where torch has been given one thread only (by ``OMP_NUM_THREADS``, or as a worker of ``certify``).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if before < 2 or lumisections < MANY or len(works[0]) < 2:
            yield from map(do, *works)
            return
        with ThreadPoolExecutor(len(works[0]), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(do, *works)
    finally:
        torch.set_num_threads(before)
