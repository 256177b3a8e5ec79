from __future__ import annotations

import numpy as np
import pytest

from hcal_root_ad.judge.run import expected_log_pileup


def test_the_majority_of_the_run_tells_offset_and_power() -> None:
    pileup = np.linspace(60.0, 20.0, 40)
    observed = 0.9 * np.log(pileup / 40)
    observed[10:20] -= 0.4  # all of HCAL lost digis, the beams did not
    expected = expected_log_pileup(pileup, observed)
    assert expected == pytest.approx(0.9 * np.log(pileup / 40), abs=0.03)


@pytest.mark.parametrize("lumisections", [90, 101, 102, 700])
def test_in_a_long_run_some_pairs_of_lumisections_tell_what_all_do(lumisections: int) -> None:
    pileup = np.linspace(60.0, 20.0, lumisections)
    truth = 0.9 * np.log(pileup / 40)
    observed = truth + np.random.default_rng(1).normal(0, 0.004, lumisections)
    observed[lumisections // 2 : lumisections * 7 // 10] -= 0.4
    assert expected_log_pileup(pileup, observed) == pytest.approx(truth, abs=0.03)


def test_at_one_pileup_a_step_of_the_counts_is_no_step_of_the_beams() -> None:
    observed = np.r_[np.zeros(30), np.full(10, -0.5)]
    assert expected_log_pileup(np.full(40, 35.0), observed) == pytest.approx(np.zeros(40), abs=1e-9)


def test_where_nothing_is_given_nothing_is_expected() -> None:
    pileup = np.r_[np.full(10, 40.0), np.nan, 0.0]
    assert np.isnan(expected_log_pileup(pileup, np.zeros(12)))[10:].all()
    assert np.isnan(expected_log_pileup(np.full(6, np.nan), np.zeros(6))).all()
