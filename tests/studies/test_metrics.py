"""Ranking and detection numbers, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.metrics import bootstrap, delays, detection, false_intervals, ranking


def test_perfect_scores() -> None:
    numbers = ranking(np.array([2.0, 3.0]), np.array([0.0, 1.0]))
    assert numbers["auc"] == numbers["partial_auc"] == 1.0
    assert numbers["fpr_at_99%"] == 0.0


def test_auc_by_hand_with_a_tie() -> None:
    # Positives 1 and 3 against negatives 0, 1, 2, 4: wins 1 + ½ and 3, of 8 comparisons.
    assert ranking(np.array([1.0, 3.0]), np.array([0.0, 1.0, 2.0, 4.0]))["auc"] == pytest.approx(4.5 / 8)


def test_partial_auc_counts_only_the_last_thousandth() -> None:
    negatives = np.arange(100_000, dtype=float)
    half_way = negatives[-1] - 50.5  # 51 of 100,000 above it: FPR 0.51e-3
    numbers = ranking(np.array([half_way, 0.0]), negatives)
    assert numbers["partial_auc"] == pytest.approx((1 - 0.51) / 2)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=30), st.lists(st.integers(-5, 5), min_size=1, max_size=30))
def test_auc_does_not_change_under_a_growing_transformation(positives: list[int], negatives: list[int]) -> None:
    p, n = np.array(positives, dtype=float), np.sort(negatives).astype(float)
    assert ranking(np.exp(p), np.exp(n))["auc"] == pytest.approx(ranking(p, n)["auc"], abs=1e-9)


def test_detection_by_hand() -> None:
    numbers = detection(flagged=6, positives=8, false=2)
    assert numbers == {"recall": 0.75, "precision": 0.75, "f1": 0.75}


def test_delay_is_the_first_flag_or_the_whole_length() -> None:
    flags = np.array([[0, 0, 1], [1, 0, 1], [1, 0, 1]], dtype=bool)
    assert delays(flags).tolist() == [1, 3, 0]


def test_false_intervals_touch_no_fault() -> None:
    flags = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0], [1, 0, 1]], dtype=bool)
    fault = np.zeros((4, 3), dtype=bool)
    fault[1, 0] = True
    # Channel 0: rows 0–1 touch its fault, row 3 does not. Channel 1: rows 0–1. Channel 2: row 3.
    assert false_intervals(flags, fault) == 3


def test_bootstrap_of_equal_runs_has_no_width() -> None:
    assert bootstrap([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5)
    assert np.isnan(bootstrap([np.nan])[0])
