"""The named grids. A point that several parts of a grid share is in it once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import product

from hcal_root_ad.errors import UsageError
from studies.transfer.settings import (
    DETECTORS,
    DIRECTIONS,
    FROZEN,
    INITIALISED,
    SCRATCH,
    SPATIAL_ENCODER_AND_TEMPORAL_DECODER,
    Point,
    Size,
)

MAIN = "HE→HB"
SENSIBLE = {
    SCRATCH: "nothing transferred",
    INITIALISED: "all initialised, all fine-tuned",
    FROZEN: "all frozen: no training",
    "FFFII": "encoder frozen",
    "IIIFF": "decoder frozen",
    "FFIII": "spatial encoder frozen",
    SPATIAL_ENCODER_AND_TEMPORAL_DECODER: "spatial encoder and temporal decoder frozen",
    "FFSFS": "the same, the rest from scratch",
    "IIISS": "encoder initialised, decoder from scratch",
}
"""The presets of blocks, with what they are."""
FRACTIONS = (1.0, 0.25, 0.1, 0.05)
CONTAMINATIONS = (0.0, 0.01, 0.05, 0.1, 0.2)
ANNEALINGS = ("cosine", "constant", "step", "one-cycle")

_KEY_BLOCKS = (SCRATCH, INITIALISED, SPATIAL_ENCODER_AND_TEMPORAL_DECODER)
_SMALL = Size(runs=4, lumisections=60, held_out=2, epochs=6, source_epochs=8)
_LONGER = replace(_SMALL, epochs=16)
_FEW = Size(runs=2, lumisections=50, held_out=1, epochs=6, source_epochs=8)
_TINY = Size(runs=2, lumisections=12, held_out=1, epochs=1, source_epochs=1)
_LARGE = Size(runs=16, lumisections=200, held_out=8, epochs=16, source_epochs=32)


def quick() -> Iterator[Point]:
    """Seconds, to see that all works; its numbers mean nothing."""
    yield Point(MAIN, _TINY)
    yield Point(MAIN, _TINY, INITIALISED, fraction=0.5, preserved=True, annealing="step")
    yield Point(MAIN, _TINY, FROZEN)
    yield Point(MAIN, _TINY, SPATIAL_ENCODER_AND_TEMPORAL_DECODER, contamination=0.2, annealing="one-cycle")


def presets() -> Iterator[Point]:
    """The sensible ones: each question asked around HE→HB, and the main answers for other directions."""
    ends = (SCRATCH, INITIALISED, FROZEN)
    for fraction, blocks in product((1.0, 0.1), SENSIBLE):
        yield Point(MAIN, _SMALL, blocks, fraction=fraction)
    for fraction, blocks in product((0.25, 0.05), ends):
        yield Point(MAIN, _SMALL, blocks, fraction=fraction)
    for contamination, blocks in product(CONTAMINATIONS, _KEY_BLOCKS):
        yield Point(MAIN, _SMALL, blocks, contamination=contamination)
    for blocks in (*ends, "FFFII"):
        yield Point(MAIN, _SMALL, blocks, fraction=0.1, whole_reference=True)
    for fraction, blocks in product((1.0, 0.1), (SCRATCH, INITIALISED)):
        yield Point(MAIN, _SMALL, blocks, fraction=fraction, preserved=True)
    for annealing, blocks in product(ANNEALINGS, (SCRATCH, INITIALISED)):
        yield Point(MAIN, _SMALL, blocks, annealing=annealing)
    elsewhere = [direction for direction in DIRECTIONS if direction != MAIN]
    for direction, fraction, blocks in product(elsewhere, (1.0, 0.1), ends):
        yield Point(direction, _SMALL, blocks, fraction=fraction)
    for seed, blocks in product((2, 3), _KEY_BLOCKS):
        yield Point(MAIN, _SMALL, blocks, seed=seed)
        yield Point(MAIN, _SMALL, blocks, fraction=0.1, seed=seed)
        yield Point(MAIN, _SMALL, blocks, contamination=0.1, seed=seed)
    for seed, blocks in product((2, 3), (INITIALISED, "FFFII")):
        yield Point(MAIN, _SMALL, blocks, fraction=0.1, whole_reference=True, seed=seed)
    for fraction, blocks in product((1.0, 0.1), (SCRATCH, INITIALISED)):
        yield Point(MAIN, _LONGER, blocks, fraction=fraction)
    for blocks in (INITIALISED, "FFFII"):
        yield Point(MAIN, _LONGER, blocks, fraction=0.1, whole_reference=True)
    for contamination, blocks in product((0.0, 0.1), (*_KEY_BLOCKS, "FFFII", FROZEN)):
        yield Point(MAIN, _LONGER, blocks, contamination=contamination)


def few() -> Iterator[Point]:
    """100, 30 or 10 lumisections and no more: what weights are worth, block by block, at two seeds."""
    ways = (SCRATCH, INITIALISED, "FFFII", FROZEN)
    elsewhere = ("HB→HE", "HE 2018→Run3", "HE minus→plus")
    for seed, blocks in product((1, 2), ways):
        for fraction in (1.0, 0.3, 0.1):
            yield Point(MAIN, _FEW, blocks, fraction=fraction, seed=seed)
        for direction, fraction in product(elsewhere, (1.0, 0.1)):
            yield Point(direction, _FEW, blocks, fraction=fraction, seed=seed)
        yield Point(MAIN, _FEW, blocks, contamination=0.1, seed=seed)
    for blocks in ways:
        yield Point(MAIN, _FEW, blocks, contamination=0.2)


def detectors() -> Iterator[Point]:
    """What a network gains that learned from four detectors, and not from one, at three seeds."""
    for seed, direction, fraction in product((1, 2, 3), DETECTORS, (1.0, 0.1)):
        for blocks in (SCRATCH, INITIALISED, FROZEN):
            yield Point(direction, _FEW, blocks, fraction=fraction, seed=seed)


def blocks() -> Iterator[Point]:
    """All 243 ways to treat the blocks, HE→HB, at all and at a tenth of the lumisections."""
    for fraction, letters in product((1.0, 0.1), product("SIF", repeat=5)):
        yield Point(MAIN, _SMALL, "".join(letters), fraction=fraction)


def full() -> Iterator[Point]:
    """Every combination of everything, with runs of realistic number and length: 194,400 points."""
    everything = product(DIRECTIONS, FRACTIONS, CONTAMINATIONS, (False, True), ANNEALINGS, product("SIF", repeat=5))
    for direction, fraction, contamination, preserved, annealing, letters in everything:
        yield Point(direction, _LARGE, "".join(letters), preserved, annealing, fraction, False, contamination)


GRIDS: dict[str, Callable[[], Iterable[Point]]] = {
    "quick": quick, "presets": presets, "few": few, "detectors": detectors, "blocks": blocks, "full": full,
}  # fmt: skip


def grid_named(name: str) -> tuple[Point, ...]:
    """The points of a grid, those that share runs and references next to each other.

    Raises:
        UsageError: there is no grid of that name.
    """
    if name not in GRIDS:
        raise UsageError(f"no grid is called {name!r}; there are {', '.join(GRIDS)}")
    return tuple(sorted(dict.fromkeys(GRIDS[name]()), key=_neighbourhood))


def _neighbourhood(point: Point) -> tuple[object, ...]:
    return (point.seed, point.direction, point.contamination, -point.fraction, point.whole_reference)
