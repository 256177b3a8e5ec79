"""Widths by hand: chance is taken off, robustly, and halves of a run tell the walk."""

from __future__ import annotations

import numpy as np
import pytest

from studies.widths.measure import LEAST, Moves, _beyond, widths_of


def moved(width: float, walk: float, chance: float, units: int, seed: int = 1) -> Moves:
    draw = np.random.default_rng(seed)
    variance = np.full(units, chance**2)
    steps = np.sqrt(walk * 60 / 3)
    return Moves(
        draw.normal(0, np.hypot(width, chance), units),
        variance,
        draw.normal(0, np.hypot(steps, chance), units),
        variance,
        60,
    )


def test_chance_is_taken_off() -> None:
    draw = np.random.default_rng(2)
    values = draw.normal(0, np.hypot(0.02, 0.01), 20_000)
    assert np.sqrt(_beyond(values, np.full(20_000, 0.01**2))) == pytest.approx(0.02, rel=0.02)
    assert _beyond(draw.normal(0, 0.005, 1000), np.full(1000, 0.01**2)) == 0


def test_a_tenth_of_the_units_at_fault_hardly_widen() -> None:
    values = np.random.default_rng(2).normal(0, 0.02, 3000)
    values[:300] = -2.0
    assert np.sqrt(_beyond(values, np.full(3000, 1e-8))) == pytest.approx(0.02, rel=0.2)


def test_of_few_units_the_mean_square_counts() -> None:
    assert _beyond(np.array([0.03, -0.01]), np.full(2, 0.0001)) == pytest.approx((0.0009 + 0.0001) / 2 - 0.0001)


def test_widths_of_all_levels() -> None:
    levels = {"subdetector": 2, "half": 4, "ring": 139, "box": 72, "module": 288, "channel": 15_000}
    pairs = [{level: moved(0.03, 1e-5, 0.001, size, seed) for level, size in levels.items()} for seed in range(20)]
    widths = widths_of(pairs)
    for level in levels:
        assert getattr(widths, level) == pytest.approx(0.03, rel=0.2)
    assert widths.walk_box == pytest.approx(1e-5, rel=0.2)


def test_no_unit_is_held_to_stay_nearer_than_elsewhere() -> None:
    levels = {"subdetector": 2, "half": 4, "ring": 139, "box": 72, "module": 288, "channel": 15_000}
    assert widths_of([{level: moved(0.0, 0.0, 0.001, size) for level, size in levels.items()}]) == LEAST
