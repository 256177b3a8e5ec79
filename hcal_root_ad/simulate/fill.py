"""Conditions of a run: pileup and events per lumisection, along a fill as the machine gives it.

Shapes were measured on 34,619 lumisections of era 2024J (OMS): the decay law, the noise of the pileup
between neighbours, and how often and for how long recording stops. That era ran at low pileup, so the
level and the levelled plateau are those of ordinary Run 3 fills instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.errors import UsageError


@dataclass(frozen=True)
class FillShape:
    """Numbers of a fill; lengths and times in lumisections of 23.3 s."""

    levelled_pileup: tuple[float, float] = (42.0, 62.0)
    """Drawn per fill: what the machine levels to."""
    plateau: tuple[int, int] = (200, 1200)
    length: tuple[int, int] = (2000, 3000)
    """Fills of 13–19 h; OMS: 2176–3533 for undisturbed ones."""
    decay_time: float = 2050.0
    decay_power: float = 1.5
    """Pileup falls as (1 + t/time)^−power: OMS lifetimes grow from 1700 to 2700 LS within a fill."""
    level_step: float = 0.006
    """While levelled, the pileup saws between corrections by this much."""
    pileup_noise: float = 0.0006
    """OMS: neighbours differ by 0.04–0.09 % beyond the decay."""
    events: tuple[float, float] = (1000.0, 2000.0)
    """Events per LS that reach the DQM, drawn per run."""
    events_noise: float = 0.02
    """Beyond Poisson. Real run 306138: 2–3 % in all."""
    prescale_every: float = 250.0
    """Mean LS between changes of prescale column. Real run 306138: a step of ×1.36 after five LS."""
    prescale_factors: tuple[float, ...] = (0.5, 0.7, 1.36, 2.0)
    stop_every: float = 110.0
    """Mean LS between short stops of recording. OMS: 20 in 2600 LS, most of 1–3 LS."""
    long_stop: float = 0.06
    """Share of stops that last 10–35 LS."""
    beam_gap_every: float = 400.0
    """Mean LS between gaps of 1–4 LS without collisions (beams separated for a scan)."""
    gap_events: float = 0.03
    """Events left in a gap, from random triggers."""


@dataclass(frozen=True, eq=False)
class FillConditions:
    """What the machine and the trigger gave, per lumisection.

    Attributes:
        lumisections: (LS,) int32, ascending. events: (LS,) int64 events that reached the DQM.
        pileup: (LS,) mean interactions per crossing; 0 without collisions.
        prescale_column: (LS,) int; the trigger mix changes with it.
        short: (LS,) recording stopped for a part. gap: (LS,) no collisions.
    """

    lumisections: NDArray[np.int32]
    events: NDArray[np.int64]
    pileup: NDArray[np.float64]
    prescale_column: NDArray[np.int64]
    short: NDArray[np.bool_]
    gap: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.lumisections)


def simulate_conditions(
    n_lumisections: int, seed: int, start: float | None = None, shape: FillShape | None = None
) -> FillConditions:
    """Conditions of a run of ``n_lumisections`` that starts at a share ``start`` (0…1) of its fill.

    Without ``start`` the seed chooses, so runs of different seeds see pileup from about 20 to 60.

    Raises:
        UsageError: fewer than one lumisection, or a start outside of the fill.
    """
    if n_lumisections < 1:
        raise UsageError(f"A run needs at least 1 lumisection; {n_lumisections} were asked for.")
    if start is not None and not 0.0 <= start <= 1.0:
        raise UsageError(f"The start of a run in its fill is a share between 0 and 1, not {start}.")
    shape = shape or FillShape()
    fill_draw, event_draw, stop_draw = (
        np.random.default_rng(s) for s in np.random.SeedSequence([seed, 0xC0D]).spawn(3)
    )
    pileup = _pileup(n_lumisections, start, shape, fill_draw)
    gap = _spells(n_lumisections, shape.beam_gap_every, (1, 4), stop_draw)
    short, recorded = _stops(n_lumisections, shape, stop_draw)
    column, expected = _trigger(n_lumisections, shape, event_draw)
    expected = expected * recorded * np.where(gap, shape.gap_events, 1.0)
    return FillConditions(
        lumisections=np.arange(1, n_lumisections + 1, dtype=np.int32),
        events=event_draw.poisson(expected).astype(np.int64),
        pileup=np.where(gap, 0.0, pileup),
        prescale_column=column,
        short=short,
        gap=gap,
    )


def _pileup(n: int, start: float | None, shape: FillShape, draw: np.random.Generator) -> NDArray[np.float64]:
    """Levelled plateau, then decay; one fill after another if the run is longer than what is left of it."""
    pieces: list[NDArray[np.float64]] = []
    have = 0
    while have < n:
        length, plateau = int(draw.integers(*shape.length)), int(draw.integers(*shape.plateau))
        share = draw.random() * 0.9 if start is None else start
        first = int(share * (length - 1)) if not pieces else 0
        time = np.arange(first, length)
        decay = (1.0 + np.maximum(time - plateau, 0) / shape.decay_time) ** -shape.decay_power
        saw = shape.level_step * (time % 12 / 12.0 - 0.5) * (time < plateau)
        pieces.append(draw.uniform(*shape.levelled_pileup) * decay * (1.0 + saw))
        have += length - first
    pileup = np.concatenate(pieces)[:n]
    return pileup * (1.0 + shape.pileup_noise * draw.standard_normal(n))


def _trigger(n: int, shape: FillShape, draw: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Prescale column of each LS and the expected events in a fully recorded LS."""
    step = draw.random(n) < 1.0 / shape.prescale_every
    step[0] = False
    column = np.cumsum(step, dtype=np.int64)
    level = draw.uniform(*shape.events)
    levels = [level]
    low, high = shape.events
    for factor in draw.choice(shape.prescale_factors, int(column[-1])):
        level *= factor
        # A column that would leave the bandwidth is answered by the opposite one.
        level = level / factor**2 if not 0.6 * low <= level <= 1.3 * high else level
        levels.append(level)
    wobble = np.maximum(1.0 + shape.events_noise * draw.standard_normal(n), 0.5)
    return column, np.array(levels)[column] * wobble


def _spells(n: int, every: float, length: tuple[int, int], draw: np.random.Generator) -> NDArray[np.bool_]:
    """Spells of some LS that begin once in ``every`` LS on average, never in the first one."""
    inside = np.zeros(n, dtype=np.bool_)
    for begin in np.flatnonzero(draw.random(n) < 1.0 / every):
        inside[max(int(begin), 1) : int(begin) + int(draw.integers(length[0], length[1] + 1))] = True
    return inside


def _stops(n: int, shape: FillShape, draw: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which LS were recorded in part only, and which share of each."""
    few = _spells(n, shape.stop_every / (1.0 - shape.long_stop), (1, 3), draw)
    many = _spells(n, shape.stop_every / shape.long_stop, (10, 35), draw)
    short = few | many
    return short, np.where(short, draw.beta(0.6, 2.0, n), 1.0)
