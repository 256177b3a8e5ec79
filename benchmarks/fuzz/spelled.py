"""What a fuzzer's bytes spell: draws, as from a random generator, that the fuzzer steers byte by byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Spent(Exception):
    """There are fewer bytes left than a draw needs."""


class Spelled:
    """Draws from bytes, with the calls of ``numpy.random.Generator`` that damage needs. All raise :class:`Spent`."""

    def __init__(self, spelling: bytes) -> None:
        self._left = spelling

    def bytes(self, length: int) -> bytes:
        """So many bytes."""
        if len(self._left) < length:
            raise Spent
        taken, self._left = self._left[:length], self._left[length:]
        return taken

    def integers(self, low: int, high: int | None = None, size: int | None = None) -> np.ndarray:
        """Whole numbers from ``low`` to below ``high``, or from 0 to below ``low``; each by as few bytes as do."""
        first, stop = (0, low) if high is None else (low, high)
        width = ((stop - first - 1).bit_length() + 7) // 8
        drawn = [first + int.from_bytes(self.bytes(width)) % (stop - first) for _ in range(1 if size is None else size)]
        return np.array(drawn[0] if size is None else drawn)

    def random(self) -> float:
        """From 0 to below 1, in 256 steps."""
        return int(self.integers(256)) / 256

    def choice(self, options: Sequence[T]) -> T:
        """One of them."""
        return options[int(self.integers(len(options)))]
