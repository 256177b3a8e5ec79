"""Faults: their course over the lumisections, what they do to the counts, and lists of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.detector import Era
from hcal_root_ad.errors import InputError, UsageError
from hcal_root_ad.simulate.scenario import (
    STRENGTHS,
    FaultKind,
    FillConditions,
    apply_faults,
    make_fault,
    mixed_faults,
    read_faults,
    simulate_conditions,
)
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run

Steady = Callable[..., FillConditions]


def test_constant_faults_multiply_the_rate_and_end_with_their_interval(
    detector: SimulatedDetector, steady: Steady
) -> None:
    dead = make_fault(detector, "dead", "HEP07", 2, 3, 0.0)
    hot = make_fault(detector, "hot", "HBM03-RM1", 2, 2, 3.0)
    run = simulate_run(detector, steady(4), [dead, hot], seed=1)
    assert not run.maps.counts[1:3, dead.rows].any()
    assert run.maps.counts[0, dead.rows].all()
    assert run.maps.counts[3, dead.rows].all()
    np.testing.assert_allclose(run.faulty_rates[1, hot.rows], np.minimum(3 * run.rates[1, hot.rows], 1), rtol=1e-6)
    assert run.maps.counts[1, hot.rows].sum() > 1.8 * run.maps.counts[0, hot.rows].sum()
    others = np.setdiff1d(np.arange(len(detector.channels)), [*dead.rows, *hot.rows])
    np.testing.assert_array_equal(run.faulty_rates[:, others], run.rates[:, others])


def test_faults_leave_the_healthy_rates_alone(detector: SimulatedDetector) -> None:
    rates = np.full((1, len(detector.channels)), 0.5, dtype=np.float32)
    dead = make_fault(detector, "dead", "HEP07", 1, 1, 0.0)
    faulty = apply_faults(rates, np.array([1], dtype=np.int32), (dead,))
    assert (rates == 0.5).all()
    assert (faulty == 0).sum() == len(dead.rows)


def test_ageing_falls_linearly_to_its_strength(detector: SimulatedDetector) -> None:
    fault = make_fault(detector, "ageing", "HE +20/5/3", 11, 14, 0.6)
    np.testing.assert_allclose(fault.factor, [0.9, 0.8, 0.7, 0.6])


def test_flickering_is_on_or_off_in_the_share_of_its_strength(detector: SimulatedDetector) -> None:
    fault = make_fault(detector, "flickering", "HE +20/5/3", 1, 1000, 0.3, seed=4)
    assert set(fault.factor) == {0.0, 1.0}
    assert fault.factor.mean() == pytest.approx(0.3, abs=0.05)


def test_noise_is_added_also_without_collisions(detector: SimulatedDetector, steady: Steady) -> None:
    fault = make_fault(detector, "noisy", "HE +20/5/3", 1, 50, 0.2, seed=2)
    run = simulate_run(detector, steady(50, pileup=0.0), [fault])
    assert fault.added.mean() == pytest.approx(0.2, abs=0.08)
    assert run.maps.counts[:, fault.rows].mean() / 1500 == pytest.approx(fault.added.mean(), rel=0.05)


def test_channels_that_never_fill_belong_to_no_fault(detector: SimulatedDetector) -> None:
    assert len(make_fault(detector, "dead", "HEP07", 1, 1, 0.0).rows) <= 184  # 188 less |ieta| 18 depth 1
    with pytest.raises(UsageError, match="masked"):
        make_fault(detector, "dead", "HE +18/5/1", 1, 1, 0.0)


@pytest.mark.parametrize(
    ("kind", "unit", "first", "last", "strength"),
    [("broken", "HEP07", 1, 2, 0.5), ("dead", "HEP77", 1, 2, 0.0), ("dead", "HEP07", 3, 2, 0.0),
     ("hot", "HEP07", 1, 2, 0.5), ("degraded", "HEP07", 1, 2, 1.5), ("dead", "HEP07", 1, 2, 0.1),
     ("dead", "HEP07", 0, 2, 0.0)],
)  # fmt: skip
def test_impossible_faults_are_refused(
    detector: SimulatedDetector, kind: str, unit: str, first: int, last: int, strength: float
) -> None:
    with pytest.raises(UsageError):
        make_fault(detector, kind, unit, first, last, strength)


def test_mixed_faults_cover_kinds_and_scales_on_disjoint_channels(detector: SimulatedDetector) -> None:
    conditions = simulate_conditions(100, 1)
    faults = mixed_faults(detector, conditions, 3)
    assert {fault.kind for fault in faults} == set(FaultKind)
    assert {fault.scale for fault in faults} == {"channel", "card", "RM", "RBX", "sector"}
    rows = np.concatenate([fault.rows for fault in faults])
    assert len(rows) == len(set(rows.tolist()))
    for fault in faults:
        assert 1 <= fault.first <= fault.last <= 100
        low, high = STRENGTHS[fault.kind]
        assert low <= fault.strength <= high
    assert min(fault.last - fault.first for fault in faults) < 5
    assert max(fault.last - fault.first for fault in faults) > 20
    again = mixed_faults(detector, conditions, 3)
    assert [(f.unit, f.first, f.last) for f in again] == [(f.unit, f.first, f.last) for f in faults]


def test_eras_without_known_modules_get_the_faults_that_they_can_have() -> None:
    old = simulate_detector(1, Era.RUN2_2017)
    assert {"channel", "RBX"} <= {fault.scale for fault in mixed_faults(old, simulate_conditions(5, 1), 3)}


def test_faults_fit_into_a_run_of_one_lumisection(detector: SimulatedDetector) -> None:
    assert all(f.first == f.last == 1 for f in mixed_faults(detector, simulate_conditions(1, 1), 3))


TOML = """
[[fault]]
kind = "dead"
unit = "HEP07"
first = 3
last = 5
[[fault]]
kind = "hot"
unit = "HB -3/4/1"
first = 1
last = 9
strength = 2
"""


DYING = TOML.replace('"dead"', '"dying"').replace("last = 5", "last = 5\nstrength = 0")


def test_a_list_of_faults_is_read(detector: SimulatedDetector, tmp_path: Path) -> None:
    (tmp_path / "faults.toml").write_text(TOML)
    dead, hot = read_faults(tmp_path / "faults.toml", detector)
    assert (dead.kind, dead.unit, dead.first, dead.last) == (FaultKind.DEAD, "HEP07", 3, 5)
    assert (hot.factor == 2).all()
    (tmp_path / "faults.json").write_text(
        '{"fault": [{"kind": "ageing", "unit": "HEP07", "first": 1, "last": 2, "strength": 0.5}]}'
    )
    (ageing,) = read_faults(tmp_path / "faults.json", detector)
    np.testing.assert_allclose(ageing.factor, [0.75, 0.5])


@pytest.mark.parametrize(
    ("text", "word"),
    [("[[fault]]\nkind = 'dead'\n", r"lacks the key fault\[1\]\.unit"), ("no toml at all", "cannot be read"),
     ("", "holds no faults"), (TOML.replace("strength = 2", "strength = nan"), "says nan where a number"),
     (TOML.replace("= 3", "= true"), r"fault\[1\]\.first = True; a whole number was expected"),
     (TOML.replace("strength", "factor"), r"unknown key fault\[2\]\.factor"), (TOML.replace("= 3", "= '3'"), "first"),
     (TOML.replace("HEP07", "HEP99"), "HEP99"), (DYING, "dying")],
)  # fmt: skip
def test_wrong_lists_are_refused_with_the_reason(
    detector: SimulatedDetector, tmp_path: Path, text: str, word: str
) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=word) as caught:
        read_faults(path, detector)
    assert str(path) in str(caught.value)


def test_a_missing_list_is_named(detector: SimulatedDetector, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml"):
        read_faults(tmp_path / "nowhere.toml", detector)
