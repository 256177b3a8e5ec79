"""Damage: from a sound file and a number to a damaged one, the same each time, with every region in reach.

Draws come from a random generator, or from a fuzzer's bytes, which spell them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeVar

import numpy as np

from hcal_root_ad.root_io.layout import read_key

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


Draw = np.random.Generator | Spelled
Regions = Mapping[str, Sequence[tuple[int, int]]]
"""(start, stop) of all parts of a file that are of one kind."""
_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 2**63)


@dataclass(frozen=True)
class Edit:
    """The bytes from ``start`` to ``stop`` become others; a cut goes from a byte to the end and puts nothing there."""

    start: int
    stop: int
    content: bytes


@dataclass(frozen=True)
class Damage:
    """What was done where: kind of damage, kind of region, and the edits, to be applied in this order."""

    kind: str
    region: str
    edits: tuple[Edit, ...]

    def of(self, data: bytes) -> bytes:
        """The damaged file."""
        damaged = bytearray(data)
        for edit in self.edits:
            damaged[edit.start : edit.stop] = edit.content
        return bytes(damaged)


def damage(data: bytes, found: Regions, draw: Draw) -> Damage:
    """Damage of a file as drawn: first the kind of region, then a place in one of them, then what is done there."""
    region = str(draw.choice(sorted(found)))
    start, stop = found[region][int(draw.integers(len(found[region])))]
    kind = str(draw.choice(sorted(_KINDS)))
    return Damage(kind, region, tuple(_KINDS[kind](data, start, stop, draw)))


def regions(data: bytes) -> Regions:
    """Parts of a ROOT file (header, and key and content of the records of each class) or of a parquet file."""
    found: dict[str, list[tuple[int, int]]] = {}
    for name, start, stop in _parquet(data) if data.startswith(b"PAR1") else _root(data):
        if start < stop:
            found.setdefault(name, []).append((start, stop))
    return found


def _parquet(data: bytes) -> Iterator[tuple[str, int, int]]:
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    borders = np.linspace(4, footer, 7).astype(int).tolist()
    yield from ((f"pages {n}", *part) for n, part in enumerate(pairwise(borders), start=1))
    yield from (("magic", 0, 4), ("footer", footer, len(data) - 8), ("tail", len(data) - 8, len(data)))


def _root(data: bytes) -> Iterator[tuple[str, int, int]]:
    (place,) = struct.unpack_from(">i", data, 8)
    yield "header", 0, place
    while place + 4 < len(data):
        (size,) = struct.unpack_from(">i", data, place)
        if size > 0:
            key = read_key(data, place)
            name = "StreamerInfo" if key.name == "StreamerInfo" else key.class_name or "free segments"
            yield f"key of {name}", place, place + key.key_size
            head = min(place + key.key_size + 64, place + size)
            yield f"head of {name}", place + key.key_size, head
            yield f"inside of {name}", head, place + size
        place += abs(size) or len(data)


def _flips(data: bytes, start: int, stop: int, draw: Draw) -> Iterator[Edit]:
    """One bit, or some bytes."""
    if draw.random() < 0.5:
        place = int(draw.integers(start, stop))
        yield Edit(place, place + 1, bytes([data[place] ^ 1 << int(draw.integers(8))]))
        return
    for place in draw.integers(start, stop, size=int(draw.integers(1, 9))).tolist():
        yield Edit(place, place + 1, draw.bytes(1))


def _field(data: bytes, start: int, stop: int, draw: Draw) -> Iterator[Edit]:
    """A number becomes an extreme one, or one that is a little off, or a multiple."""
    width = int(draw.choice([1, 2, 4, 4, 4, 8]))
    place = int(draw.integers(start, max(stop - width, start) + 1))
    order: Literal["little", "big"] = "little" if data.startswith(b"PAR1") else "big"
    before = int.from_bytes(data[place : place + width], order)
    near = (before - 1, before + 1, before * 2, before // 2, before + 0x10000, before ^ 0x4000_0000)
    number = int(_EXTREMES[int(draw.integers(len(_EXTREMES)))] if draw.random() < 0.5 else near[int(draw.integers(6))])
    yield Edit(place, place + width, (number % 256**width).to_bytes(width, order))


def _cut(data: bytes, start: int, stop: int, draw: Draw) -> Iterator[Edit]:
    """The file ends early."""
    yield Edit(int(draw.integers(start, stop)), len(data), b"")


def _hole(data: bytes, start: int, stop: int, draw: Draw) -> Iterator[Edit]:
    """Zeros, as a disk leaves them where a block was never written."""
    place = int(draw.integers(start, stop))
    end = min(place + int(2 ** draw.integers(1, 13)), len(data))
    yield Edit(place, end, bytes(end - place))


def _splice(data: bytes, start: int, stop: int, draw: Draw) -> Iterator[Edit]:
    """Bytes of another place: instead of others, or put between so that all behind is shifted; or bytes that lack."""
    place, size = int(draw.integers(start, stop)), int(2 ** draw.integers(0, 9))
    other = int(draw.integers(len(data)))
    piece = data[other : other + size]
    yield (Edit(place, place + len(piece), piece), Edit(place, place, piece), Edit(place, place + size, b""))[
        int(draw.integers(3))
    ]


_KINDS: dict[str, Callable[[bytes, int, int, Draw], Iterator[Edit]]] = {
    "flips": _flips, "field": _field, "cut": _cut, "hole": _hole, "splice": _splice,
}  # fmt: skip
