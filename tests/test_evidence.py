"""The evidence sums: numbers by hand, and that they find what they should."""

import numpy as np
import pytest

from hcal_root_ad.evidence import HYPOTHESES, IS_LOSS, LOSSES, EvidenceBank, log_likelihood_ratios, merged
from hcal_root_ad.stats.binomial import log_rate

NOTHING = np.zeros(1)


def ratios(counts: int, events: int, p: float, error: float = 0.0) -> np.ndarray:
    return log_likelihood_ratios(np.array([counts]), np.array(float(events)), log_rate(np.array([p])), NOTHING + error)


def test_ratio_of_a_loss_by_hand() -> None:
    # 10 of 100 at p = 0.5 against 0.4·0.5 = 0.2: 10·log 0.4 + 90·log(0.8/0.5).
    expected = 10 * np.log(0.4) + 90 * np.log(0.8 / 0.5)
    assert ratios(10, 100, 0.5)[LOSSES.index(0.4), 0] == pytest.approx(expected, rel=1e-5)


def test_ratio_of_a_gain_by_hand() -> None:
    # Rate ×4 turns p = 0.5 into 1 − 0.5⁴ = 0.9375.
    expected = 95 * np.log(0.9375 / 0.5) + 5 * np.log(0.0625 / 0.5)
    assert ratios(95, 100, 0.5)[-1, 0] == pytest.approx(expected, rel=1e-5)


def test_healthy_counts_speak_for_health_under_every_hypothesis() -> None:
    assert (ratios(500, 1000, 0.5) < 0).all()


def test_what_the_model_may_be_wrong_by_is_no_evidence() -> None:
    # 12 % below expectation: evidence for a loss if the model is exact, none if it is good to 5 %.
    assert ratios(440, 1000, 0.5)[LOSSES.index(0.8), 0] > 0
    assert (ratios(440, 1000, 0.5, error=0.05) < 0).all()


def test_sums_start_peak_and_end_where_the_ratios_say() -> None:
    bank = EvidenceBank(channels=1, height=5.0)
    for value in (-1.0, 3.0, 4.0, -1.0, -9.0, 2.0):
        one = np.full((HYPOTHESES, 1), -1.0)
        one[0] = value
        bank.add(one)
    found = bank.excursions()
    assert (found.hypothesis.tolist(), found.first.tolist(), found.last.tolist()) == ([0], [1], [2])
    assert found.peak[0] == pytest.approx(7.0)
    assert bank.sums[0, 0] == pytest.approx(2.0)


def test_what_is_asked_for_beyond_the_height_is_missing_from_the_peak() -> None:
    bank = EvidenceBank(channels=1, height=5.0)
    for value, extra in ((6.0, 2.0), (1.5, 2.0), (0.25, 1.0), (-9.0, 0.0)):
        bank.add(np.full((HYPOTHESES, 1), value), extra)
    found = bank.excursions()
    # Sums 6, 7.5, 7.75: the second reaches 5 + 2, the third is 6.75 beyond what is asked for there.
    assert set(found.first.tolist()) == {0}
    assert set(found.last.tolist()) == {2}
    assert found.peak == pytest.approx(np.full(HYPOTHESES, 6.75))


def test_a_capped_sum_lasts_though_more_is_asked_for_later() -> None:
    bank = EvidenceBank(channels=1, height=5.0, cap=10.0)
    for extra in (0.0, 1.0, 2.0):
        bank.add(np.full((HYPOTHESES, 1), 20.0), extra)
    found = bank.excursions()
    assert set(found.last.tolist()) == {2}
    assert set(found.peak.tolist()) == {10.0}


def test_collecting_twice_gives_the_same_and_does_not_disturb() -> None:
    bank = EvidenceBank(channels=2, height=1.0)
    bank.add(np.full((HYPOTHESES, 2), 3.0))
    first, second = bank.excursions(), bank.excursions()
    assert first.peak.tolist() == second.peak.tolist() == [3.0] * (2 * HYPOTHESES)


def test_a_capped_sum_is_soon_forgotten_and_its_excursion_ends_with_the_fault() -> None:
    bank = EvidenceBank(channels=1, height=5.0, cap=10.0)
    for value in (6.0,) * 20 + (-4.0,) * 5:
        bank.add(np.full((HYPOTHESES, 1), value))
    found = bank.excursions()
    assert set(found.last.tolist()) == {19}
    assert (bank.sums == 0).all()


def test_overlapping_excursions_of_one_direction_become_one() -> None:
    bank = EvidenceBank(channels=1, height=1.0)
    for losses in ((2.0, -5.0), (2.0, 2.0), (-9.0, 2.0), (-9.0, -9.0)):
        one = np.full((HYPOTHESES, 1), -9.0)
        one[:2, 0] = losses
        bank.add(one)
    assert list(merged(bank.excursions(), loss=True)) == [(0, 0, 2, 4.0)]
    assert list(merged(bank.excursions(), loss=False)) == []


def test_signed_score_is_negative_for_a_loss() -> None:
    bank = EvidenceBank(channels=2, height=1.0)
    one = np.zeros((HYPOTHESES, 2))
    one[IS_LOSS, 0] = np.log(10)
    one[~IS_LOSS, 1] = 2 * np.log(10)
    bank.add(one)
    assert bank.signed() == pytest.approx([-1.0, 2.0])


def test_dead_and_hot_channels_rise_at_once_healthy_ones_stay_low() -> None:
    draw = np.random.default_rng(3)
    p = np.full(300, 0.3)
    bank = EvidenceBank(len(p), height=12.0)
    for _ in range(30):
        truth = p.copy()
        truth[0], truth[1] = 0.0, 0.6
        counts = draw.binomial(1000, truth)
        bank.add(log_likelihood_ratios(counts, np.array(1000.0), log_rate(p), np.full(300, 0.01)))
    found = bank.excursions()
    assert set(found.channel.tolist()) == {0, 1}
    assert found.first[np.isin(found.channel, [0, 1])].min() == 0
