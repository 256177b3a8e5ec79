"""Worlds: seeds, courses, truth, and the catalogue."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from studies.stress.catalogue import WORLDS
from studies.stress.changes import ZeroSuppression
from studies.stress.failures import Unit
from studies.stress.worlds import CLEAN, Setting, World, simulate_clean, simulate_world

SHORT = Setting(lumisections=4)
SHORT_CLEAN = replace(CLEAN, lumisections=4)


def short(world: World) -> World:
    return replace(world, judged=replace(world.judged, lumisections=4), clean=SHORT_CLEAN)


def test_equal_seeds_give_equal_worlds_and_others_do_not() -> None:
    world = World("calm", "", SHORT, SHORT_CLEAN)
    first, again, other = (simulate_world(world, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.judged.maps.counts, again.judged.maps.counts)
    np.testing.assert_array_equal(first.clean[0].maps.counts, again.clean[0].maps.counts)
    assert first.judged.detector.seed != other.judged.detector.seed
    assert first.judged.run != first.clean[0].run


def test_worlds_share_the_clean_run_of_a_seed() -> None:
    calm, mixed = World("calm", "", SHORT, SHORT_CLEAN), short(WORLDS["mix-step"])
    one, another = simulate_clean(calm, 3), simulate_clean(mixed, 3)
    np.testing.assert_array_equal(one.maps.counts, another.maps.counts)
    assert simulate_world(mixed, 3, (one,)).clean == (one,)


def test_the_standard_faults_come_on_top_of_the_same_health() -> None:
    world = World("calm", "", replace(SHORT, lumisections=20), SHORT_CLEAN)
    healthy, faulty = simulate_world(world, 1), simulate_world(world.with_standard_faults(), 1)
    assert world.healthy
    assert not faulty.world.healthy
    assert len(faulty.faults) == 34
    np.testing.assert_array_equal(healthy.judged.rates, faulty.judged.rates)
    untouched = np.setdiff1d(np.arange(15840), np.concatenate([fault.rows for fault in faulty.faults]))
    np.testing.assert_array_equal(faulty.judged.faulty_rates[:, untouched], faulty.judged.rates[:, untouched])


def test_a_change_moves_healthy_rates_and_a_failure_only_actual_ones() -> None:
    base = World("calm", "", SHORT, SHORT_CLEAN)
    quiet = simulate_world(base, 2).judged
    changed = simulate_world(replace(base, judged=replace(SHORT, changes=(ZeroSuppression(),))), 2).judged
    failing = simulate_world(replace(base, judged=replace(SHORT, failures=(Unit("HEP", 0.6, 3),))), 2).judged
    np.testing.assert_allclose(changed.rates[:2], quiet.rates[:2], atol=1e-6)
    assert changed.rates[2:].mean() < 0.99 * quiet.rates[2:].mean()
    np.testing.assert_array_equal(failing.rates, quiet.rates)
    (fault,) = failing.faults
    ratio = failing.faulty_rates[:, fault.rows].mean(axis=1) / quiet.rates[:, fault.rows].mean(axis=1)
    np.testing.assert_allclose(ratio, [1, 1, 0.6, 0.6], atol=1e-6)


def test_the_course_of_pileup_and_events() -> None:
    setting = Setting(lumisections=101, pileup=(80.0, 5.0), events=1000.0, prescales=(1.0, 2.0))
    conditions = setting.conditions(np.random.default_rng(1))
    np.testing.assert_allclose(conditions.pileup[[0, 50, 100]], [80.0, 20.0, 5.0], rtol=0.01)
    assert conditions.prescale_column[[0, 50, 51, 100]].tolist() == [0, 0, 1, 1]
    assert conditions.events[:50].mean() == pytest.approx(1000, rel=0.02)
    assert conditions.events[51:].mean() == pytest.approx(2000, rel=0.02)


def test_units_with_a_history_are_tolerated() -> None:
    runs = simulate_world(short(WORLDS["bad-box-in-clean-run"]), 0)
    channels = runs.judged.detector.channels
    assert {channels.box_name(int(row)) for row in np.flatnonzero(runs.tolerated)} == {"HEM05"}
    assert not runs.faults


def test_another_detector_is_another_one() -> None:
    runs = simulate_world(short(WORLDS["another-detector"]), 0)
    assert not runs.world.knowable
    assert runs.clean[0].detector.seed != runs.judged.detector.seed
    assert simulate_world(short(WORLDS["base"]), 0).clean[0].detector.seed == runs.judged.detector.seed


@pytest.mark.parametrize("name", WORLDS)
def test_every_world_can_be_simulated(name: str) -> None:
    world = WORLDS[name]
    setting = replace(world.judged, lumisections=6 if world.healthy else 60, events=10.0)
    runs = simulate_world(replace(world, judged=setting, clean=SHORT_CLEAN), 0)
    assert world.name == name
    assert world.sentence
    assert bool(runs.faults) != world.healthy
    rates = runs.judged.faulty_rates
    assert rates.min() >= 0
    assert rates.max() <= 1
    assert (runs.judged.maps.counts <= runs.judged.maps.events[:, None]).all()
