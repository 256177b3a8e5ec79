"""The limit of whole units: which channels belong together, what pooling gains, and a limit for every pooling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hcal_root_ad.detector import channel_table
from studies.evaluate.limit import measure_limit
from studies.evaluate.measure import fault_pairs, healthy_pairs
from studies.evaluate.suite import SUITES, Condition, TestRun, unit_labels
from studies.evaluate.suite import test_runs_of as runs_of
from studies.evaluate.unit_limit import measure_unit_limit, moved_boxes, units_of
from studies.metrics import ranking

SUITE = replace(SUITES["quick"], factors=(0.8,), scales=("channel", "card", "box"), test_length=96)
CHANNELS = channel_table().select("HE")


@pytest.fixture(scope="module")
def test_run() -> TestRun:
    return next(runs_of(SUITE, "HE"))


@pytest.fixture(scope="module")
def limits(test_run: TestRun) -> list[dict[str, dict[str, float]]]:
    return [measured([test_run])[0]["conditions"] for measured in (measure_limit, measure_unit_limit)]


def test_units_hold_every_channel_once() -> None:
    for scale in ("card", "RM", "RBX", "sector"):
        units, label = units_of(scale, CHANNELS), unit_labels(scale, CHANNELS)
        assert sorted(np.concatenate(units).tolist()) == list(range(len(CHANNELS)))
        assert all(len(np.unique(label[unit])) == 1 for unit in units)


def test_a_box_moves_to_36_places_of_the_same_shape() -> None:
    box = np.flatnonzero((CHANNELS.ieta >= 19) & (CHANNELS.ieta <= 23) & (CHANNELS.iphi <= 3) & (CHANNELS.depth <= 2))
    moved = moved_boxes(CHANNELS, box)
    assert len(moved) == 36
    assert all(len(place) == len(box) for place in moved)
    assert moved[0].tolist() == box.tolist()
    ring = np.sort(CHANNELS.ring[box])
    assert all(np.array_equal(np.sort(CHANNELS.ring[place]), ring) for place in moved)
    assert len({tuple(sorted(place)) for place in moved}) == 36


def test_single_channels_have_one_limit(limits: list[dict[str, dict[str, float]]]) -> None:
    single, whole = limits
    assert single.keys() == whole.keys()
    for name in single:
        if " channel " in name:
            assert single[name] == whole[name]


def test_pooling_gains(limits: list[dict[str, dict[str, float]]]) -> None:
    single, whole = limits
    for name in ("R=0.8 card persistent", "R=0.8 box persistent", "ageing card persistent"):
        assert single[name]["partial_auc"] < whole[name]["partial_auc"]
    assert whole["R=0.8 box persistent"]["partial_auc"] > 0.999


def test_no_pooled_pull_passes_the_limit(test_run: TestRun, limits: list[dict[str, dict[str, float]]]) -> None:
    """The pull of a card's sum in one LS, of the best of losses: a good score, and below the limit."""
    series, p = test_run.series, test_run.truth.healthy.astype(np.float64)
    units, label = units_of("card", series.channels), np.empty(len(series.channels), dtype=np.intp)
    for number, unit in enumerate(units):
        label[unit] = number
    surprise = np.stack([(series.trials * p - series.counts)[:, unit].sum(axis=1) for unit in units], axis=1)
    variance = np.stack([(series.trials * p * (1 - p))[:, unit].sum(axis=1) for unit in units], axis=1)
    scores = (surprise / np.sqrt(np.maximum(variance, 1)))[:, label]
    condition = Condition("R=0.8", "card", "isolated")
    found = ranking(scores[fault_pairs(test_run, condition)], np.sort(scores[healthy_pairs(test_run)]))
    assert 0.2 < found["partial_auc"] <= limits[1][condition.name]["partial_auc"] + 0.01
