"""Recipes of faults: how many, of what size, where and when."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hcal_root_ad.errors import UsageError
from hcal_root_ad.simulate.scenario import FaultKind, FillConditions, InjectedFault
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector
from studies.stress.failures import DIM, STANDARD, Bursts, Drawn, Failure, Scattered, Unit, faults_of

Steady = Callable[..., FillConditions]


def drawn(detector: SimulatedDetector, conditions: FillConditions, *failures: Failure) -> tuple[InjectedFault, ...]:
    return faults_of(failures, detector, conditions, np.random.default_rng(4))


def test_the_standard_faults(detector: SimulatedDetector, steady: Steady) -> None:
    faults = drawn(detector, steady(60), *STANDARD)
    scales = [fault.scale for fault in faults]
    assert [scales.count(scale) for scale in ("RBX", "RM", "card", "channel")] == [1, 2, 1, 30]
    rows = np.concatenate([fault.rows for fault in faults])
    assert len(rows) == len(set(rows)), "two faults share a channel"
    for fault in faults:
        assert 1 <= fault.first <= fault.last <= 60
        assert fault.last - fault.first + 1 >= 10
        if fault.scale == "channel":
            assert detector.response[fault.rows[0]] > DIM


def test_units_are_drawn_from_their_halves_in_turn(detector: SimulatedDetector, steady: Steady) -> None:
    faults = drawn(detector, steady(60), Drawn("RBX", 0.6, 18, 10, 50, ("HEM", "HEP")), Drawn("channel", 0.9, 4))
    boxes, channels = faults[:18], faults[18:]
    assert [fault.unit[:3] for fault in boxes] == ["HEM", "HEP"] * 9
    assert len({fault.unit for fault in boxes}) == 18
    assert {(fault.first, fault.last) for fault in boxes} == {(10, 50)}
    assert [fault.unit[:4] for fault in channels] == ["HB -", "HB +", "HE -", "HE +"]
    assert all(fault.kind is FaultKind.DEGRADED and (fault.first, fault.last) == (1, 60) for fault in channels)


def test_more_units_than_there_are_cannot_fail(detector: SimulatedDetector, steady: Steady) -> None:
    with pytest.raises(UsageError, match="HEM has no free unit left"):
        drawn(detector, steady(5), Drawn("RBX", 0.0, 19, halves=("HEM",)))


def test_a_named_unit_fails_to_the_end_of_the_run(detector: SimulatedDetector, steady: Steady) -> None:
    (fault,) = drawn(detector, steady(60), Unit("HE |ieta| 26", 0.6, 40))
    assert (fault.kind, fault.scale, fault.first, fault.last) == (FaultKind.DEGRADED, "ring", 40, 60)
    assert len(fault.rows) == pytest.approx(504, abs=8)


def test_scattered_channels_are_one_fault(detector: SimulatedDetector, steady: Steady) -> None:
    (fault,) = drawn(detector, steady(60), Scattered("HE", 0.3, 0.6, 10, 60))
    live = int(detector.live[detector.channels.rows_of("HE")].sum())
    assert len(fault.rows) == round(0.3 * live)
    assert fault.unit == "30% of HE"
    assert fault.scale == ""


def test_bursts_are_short_and_loud(detector: SimulatedDetector, steady: Steady) -> None:
    faults = drawn(detector, steady(60), Bursts(6, 0.15))
    assert [fault.scale for fault in faults] == ["RM", "RBX"] * 3
    assert all(fault.last - fault.first in (0, 1) and (fault.added == 0.15).all() for fault in faults)
