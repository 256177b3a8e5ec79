"""The test runs: conditions where they should be, apart from each other, and the truth beside them."""

import numpy as np
import pytest

from hcal_root_ad.detector import channel_table
from studies.evaluate.measure import BESIDE, CLEAN, fault_pairs, healthy_pairs, negative_pairs
from studies.evaluate.protocol import WINDOW
from studies.evaluate.suite import (
    BLOCK,
    FACTORS,
    SCALES,
    SUITES,
    TestRun,
    conditions_of,
    training_of,
    unit_labels,
    unit_rows,
)
from studies.evaluate.suite import test_runs_of as runs_of

QUICK = SUITES["quick"]


@pytest.fixture(scope="module")
def test_run() -> TestRun:
    return next(runs_of(QUICK, "HE"))


def test_every_condition_is_in_the_full_suite() -> None:
    names = {condition.name for condition in conditions_of(FACTORS, SCALES)}
    assert len(names) == 6 * (8 * 2 + 3)
    assert {"R=0.8 RM isolated", "R=4 sector persistent", "flickering card persistent"} <= names


def test_each_condition_is_met_in_a_run(test_run: TestRun) -> None:
    assert {placed.condition for placed in test_run.placed} == set(conditions_of(QUICK.factors, QUICK.scales))


def test_faults_last_as_long_as_they_say_and_leave_room_to_forget(test_run: TestRun) -> None:
    for placed in test_run.placed:
        length = 1 if placed.condition.persistence == "isolated" else WINDOW
        assert placed.last - placed.first + 1 == length
        assert placed.first % BLOCK >= BLOCK - WINDOW


def test_the_truth_shows_the_fault_and_nothing_else(test_run: TestRun) -> None:
    changed = np.asarray(test_run.truth.faulty != test_run.truth.healthy)
    expected = np.zeros_like(changed)
    for condition in conditions_of(QUICK.factors, QUICK.scales):
        expected |= fault_pairs(test_run, condition)
    assert not (changed & ~expected & (test_run.series.events >= 200)[:, None]).any()
    assert not (healthy_pairs(test_run) & changed).any()


def test_dead_channels_have_no_digis(test_run: TestRun) -> None:
    (dead,) = {p.condition for p in test_run.placed if p.condition.name == "R=0 RBX persistent"}
    pairs = fault_pairs(test_run, dead)
    assert pairs.sum() > 100
    assert test_run.series.counts[pairs].sum() == 0


def test_units_are_those_of_the_readout(test_run: TestRun) -> None:
    channels, live = test_run.series.channels, test_run.live
    draw = np.random.default_rng(1)
    for scale, boxes in (("RM", 1), ("RBX", 1), ("sector", 2)):
        rows = unit_rows(scale, channels, live, draw)
        assert len(np.unique(channels.box[rows])) == boxes


def test_units_without_a_rule_have_stand_ins_within_their_box() -> None:
    channels = channel_table("2017").select("HB")
    module, box = unit_labels("RM", channels), unit_labels("RBX", channels)
    assert len(np.unique(module)) == 4 * len(np.unique(box)) == 144
    assert len(np.unique(np.stack([module, channels.iphi]), axis=1).T) == 144
    assert np.bincount(unit_labels("sector", channels)).tolist() == [144] * 18


def test_a_fair_suite_has_one_unit_at_fault_in_a_block_and_meets_every_condition() -> None:
    suite = SUITES["fair-quick"]
    runs = list(runs_of(suite, "HE"))
    assert {placed.condition for run in runs for placed in run.placed} == set(suite.conditions)
    for run in runs:
        blocks = [placed.first // BLOCK for placed in run.placed]
        assert sorted(blocks) == list(range(suite.test_length // BLOCK))


def test_negatives_of_two_kinds_share_nothing_and_are_all_there_are() -> None:
    """In a block of 12 LS with a fault in the last five, those are beside it, and so are four of the next block."""
    run = next(runs_of(SUITES["fair-quick"], "HE"))
    kinds = negative_pairs(run)
    assert not (kinds[CLEAN] & kinds[BESIDE]).any()
    assert np.array_equal(kinds[CLEAN] | kinds[BESIDE], kinds[""])
    clean = {int(position) for position in run.series.position[kinds[CLEAN].any(axis=1)]}
    for placed in run.placed:
        assert not clean & set(range(placed.first, placed.last + WINDOW))
    assert {4, 5, 6} <= {position % BLOCK for position in clean}


def test_no_run_is_both_learned_from_and_tested() -> None:
    training = training_of(QUICK, "HE")
    tests = list(runs_of(QUICK, "HE"))
    assert len(training.learn) == QUICK.learning_runs
    counts = [series.counts[:5] for series in (*training.learn, *training.calibrate)]
    assert not any(np.array_equal(test.series.counts[:5], one) for test in tests for one in counts)
