"""The plain systems: numbers by hand, no look ahead, no memory across a gap, and a dead channel found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hcal_root_ad.detector import ChannelTable, channel_table
from hcal_root_ad.model.counts import SubdetectorCounts
from studies.evaluate.protocol import Fitted, System, Training, Truth
from studies.evaluate.scoring import window_length, window_sum
from studies.evaluate.systems import ewma, low_rank, oracle, robust_z, rule_based, template

CHANNELS = channel_table().select("HE")
MASKED = 7
SYSTEMS: list[System] = [
    system for family in (template, robust_z, ewma, low_rank, rule_based, oracle) for system in family.SYSTEMS
]
LOCATES = [system for system in SYSTEMS if system.name not in {"χ² test", "Kolmogorov–Smirnov test"}]


def series_from(counts: np.ndarray, events: float, channels: ChannelTable = CHANNELS) -> SubdetectorCounts:
    n = len(counts)
    numbers = np.arange(1, n + 1, dtype=np.int32)
    return SubdetectorCounts(channels, counts.astype(np.int32), np.full(n, float(events)), numbers, np.arange(n))


def probabilities(lumisections: int, seed: int) -> np.ndarray:
    """p = 1 − exp(−a·g^k) with a power per ring; g moves by ±10 %."""
    fixed, draw = np.random.default_rng(0), np.random.default_rng(seed)
    a = np.exp(fixed.normal(-0.8, 0.2, len(CHANNELS)))
    k = fixed.uniform(0.7, 1.3, CHANNELS.ring.max() + 1)[CHANNELS.ring]
    a[MASKED] = 0
    return -np.expm1(-a * np.exp(draw.uniform(-0.1, 0.1, (lumisections, 1)) * k))


def made(lumisections: int, seed: int) -> tuple[SubdetectorCounts, Truth]:
    p = probabilities(lumisections, seed)
    counts = np.random.default_rng(seed + 100).binomial(1500, p)
    return series_from(counts, 1500), Truth(p.astype(np.float32), p.astype(np.float32))


@pytest.fixture(scope="module")
def training() -> Training:
    return Training("HE", CHANNELS, [made(25, seed)[0] for seed in (1, 2)], [made(20, 3)[0]], seed=0)


@pytest.fixture(scope="module")
def fitted(training: Training) -> dict[str, Fitted]:
    return {system.name: system.fit(training) for system in SYSTEMS}


def test_window_sums_stop_at_a_gap() -> None:
    series = series_from(np.arange(1, 8)[:, None] * np.ones((1, len(CHANNELS))), 10)
    series = replace(series, lumisections=np.array([1, 2, 3, 4, 5, 6, 20], dtype=np.int32))
    assert window_sum(series.counts, series)[:, 0].tolist() == [1, 3, 6, 10, 15, 20, 7]
    assert window_length(series)[:, 0].tolist() == [1, 2, 3, 4, 5, 5, 1]


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_scores_are_causal_finite_and_forget_at_a_gap(system: System, fitted: dict[str, Fitted]) -> None:
    series, truth = made(12, 4)
    series = replace(series, lumisections=np.r_[1:8, 20:25].astype(np.int32))
    scores = fitted[system.name].score(series, truth)
    assert scores.shape == series.counts.shape
    assert np.isfinite(scores).all()
    first, second = (
        fitted[system.name].score(series.rows(part), Truth(truth.healthy[part], truth.faulty[part]))
        for part in (slice(0, 6), slice(7, 12))
    )
    assert np.allclose(first, scores[:6], rtol=1e-4, atol=1e-3)
    assert np.allclose(second, scores[7:], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("system", LOCATES, ids=lambda system: system.name)
def test_a_dead_channel_is_found_and_no_other(system: System, fitted: dict[str, Fitted]) -> None:
    series, truth = made(10, 5)
    counts = series.counts.copy()
    dead = 1234
    counts[6:, dead] = 0
    scores = fitted[system.name].score(replace(series, counts=counts), truth)
    threshold = fitted[system.name].threshold
    assert (scores[7:, dead] > threshold).all()
    assert np.argmax(scores[9]) == dead
    assert (scores[:6, dead] <= threshold).all()
    assert (scores[:, MASKED] <= threshold).all()
    assert (np.delete(scores, dead, axis=1) > threshold).mean() < 3e-4


@pytest.mark.parametrize(("name", "element"), [("χ² test", "depth_maps"), ("Kolmogorov–Smirnov test", "signed_rings")])
def test_a_histogram_test_blames_all_channels_of_the_histogram(
    name: str, element: str, fitted: dict[str, Fitted]
) -> None:
    series, truth = made(8, 6)
    label = getattr(rule_based, element)(CHANNELS)
    counts = series.counts.copy()
    hit = np.flatnonzero((label == label[3000]) & (CHANNELS.iphi <= 20))
    counts[:, hit] = 0
    scores = fitted[name].score(replace(series, counts=counts), truth)
    assert np.array_equal(scores[7] > fitted[name].threshold, label == label[3000])


def test_template_finds_rates_and_powers(training: Training) -> None:
    counts = np.concatenate([run.counts for run in training.learn])
    found = template.fit_template(counts, np.full((len(counts), 1), 1500.0), CHANNELS.ring)
    fixed = np.random.default_rng(0)
    log_a = fixed.normal(-0.8, 0.2, len(CHANNELS))
    k = fixed.uniform(0.7, 1.3, CHANNELS.ring.max() + 1)[CHANNELS.ring]
    off = (found.log_a - log_a)[found.bright]
    assert np.std(off) < 0.01
    assert np.std((found.k / k)[found.bright]) < 0.04


def test_template_score_by_hand() -> None:
    """a = log 2, so p = ½: 1000 events, 440 digis in each of 5 LS are 60·5/√(5·250) = 8.49 σ, 3.79 σ in one."""
    flat = np.full((5, len(CHANNELS)), 500)
    flat[:, 0] = 440
    ones = np.ones(len(CHANNELS))
    learned = template.Template(np.log(np.log(2)) * ones, ones, ones > 0, ones > 0)
    assert learned.score(series_from(flat, 1000), 5)[4, 0] == pytest.approx(8.485, abs=0.01)
    assert learned.score(series_from(flat, 1000), 1)[4, 0] == pytest.approx(3.795, abs=0.01)


def test_robust_z_by_hand() -> None:
    """Rates .1 .2 .3 .4 .9: median .3, MAD .1; a constant channel has one digi of spread."""
    counts = np.array([[10, 50], [20, 50], [30, 50], [40, 50], [90, 50]])
    found = robust_z.fit_robust_z(counts, np.full((5, 1), 100.0))
    assert found.median == pytest.approx([0.3, 0.5])
    assert found.sigma == pytest.approx([0.14826, 0.01])


def test_ewma_by_hand() -> None:
    """From rate ½ and no variance, 1000 events: 540 digis are 40/√250 = 2.53 σ; the mean moves by a tenth of it."""
    counts = np.full((2, len(CHANNELS)), 500)
    counts[:, 0] = 540
    start = ewma.Ewma(np.full(len(CHANNELS), 0.5), np.zeros(len(CHANNELS)), np.ones(len(CHANNELS), dtype=bool))
    scores = start.score(series_from(counts, 1000))
    variance = 0.1 * (0.04**2 - 0.25e-3)
    assert scores[:, 0] == pytest.approx([0.04 / 0.25e-3**0.5, 0.036 / (variance + 0.25e-3) ** 0.5], rel=1e-5)
    assert not scores[:, 1:].any()


def test_ewma_does_not_learn_a_fault_until_it_is_too_long(fitted: dict[str, Fitted]) -> None:
    series, truth = made(3 * ewma.LONGEST, 8)
    counts = series.counts.copy()
    counts[5:, 100] //= 2
    scores = fitted["EWMA template"].score(replace(series, counts=counts), truth)[:, 100]
    assert (scores[5 : 5 + ewma.LONGEST] > ewma.FREEZE).all()
    assert scores[-1] < ewma.FREEZE


def test_low_rank_leaves_nothing_of_what_moves_along_its_components() -> None:
    draw = np.random.default_rng(3)
    pattern = draw.uniform(0.5, 1.5, 40)
    counts = 1e6 * (0.3 + 0.1 * np.outer(draw.standard_normal(30), pattern))
    found = low_rank.fit_low_rank(counts, np.full((30, 1), 1e6), components=1)
    assert np.abs(found.left(counts, np.full((30, 1), 1e6))).max() < 1e-3
    changed = counts.copy()
    changed[0, 5] += 1e5
    assert np.argmax(np.abs(found.left(changed, np.full((30, 1), 1e6)))[0]) == 5


def test_chi2_by_hand() -> None:
    """One map of 2 bins among flat ones: (60, 40) against (50, 50) is 100/110 + 100/90 = 2.02 for 1 degree."""
    channels = CHANNELS.take(np.flatnonzero((CHANNELS.depth == 1) & (CHANNELS.ieta == 20) & (CHANNELS.iphi <= 2)))
    score = rule_based.chi2_scores(series_from(np.array([[60, 40]]), 1000, channels), np.array([50.0, 50.0]))
    assert score[0] == pytest.approx([(100 / 110 + 100 / 90 - 1) / 2**0.5] * 2, rel=1e-5)


def test_kolmogorov_by_hand() -> None:
    """Cumulative .6, 1 against .5, 1: distance .1, times √(100·100/200)."""
    channels = CHANNELS.take(np.flatnonzero((CHANNELS.depth == 1) & (CHANNELS.ieta == 20) & (CHANNELS.iphi <= 2)))
    score = rule_based.kolmogorov_scores(series_from(np.array([[60, 40]]), 1000, channels), np.array([50.0, 50.0]))
    assert score[0] == pytest.approx([0.1 * 50**0.5] * 2, rel=1e-5)


def test_fixed_thresholds_are_factors_of_the_ring_mean() -> None:
    filled = np.ones(len(CHANNELS), dtype=bool)
    counts = np.full((1, len(CHANNELS)), 400)
    counts[0, :3] = 0, 100, 800
    ring = CHANNELS.ring
    counts[0, 3:8] = 400
    filled[4] = False
    score = rule_based.FixedThresholds(filled).score(series_from(counts, 1000))[0]
    mean = np.bincount(ring, counts[0] * filled)[ring] / np.bincount(ring, filled)[ring]
    assert score[0] == rule_based.DEAD_SCORE
    assert score[1] == pytest.approx(np.log2(mean[1] / 100), rel=1e-5)
    assert score[2] == pytest.approx(np.log2(800 / mean[2]), rel=1e-5)
    assert score[4] == 0


def ratio(n: int, events: int, p: float, q: float) -> float:
    return n * np.log(q / p) + (events - n) * np.log((1 - q) / (1 - p))


def test_oracle_by_hand() -> None:
    """R = 0.5, p = 0.4: in the second LS the fault began there or one before, each as likely."""
    series = series_from(np.array([[35], [18]]) * np.ones((1, len(CHANNELS))), 100)
    healthy = np.full(series.counts.shape, 0.4)
    one, two = ratio(35, 100, 0.4, 0.2), ratio(18, 100, 0.4, 0.2)
    found = oracle.oracle_scores(series, healthy, oracle.constant(0.5, 1))
    assert found[:, 0] == pytest.approx([one, two], rel=1e-4)
    found = oracle.oracle_scores(series, healthy, oracle.constant(0.5, 2))
    assert found[1, 0] == pytest.approx(np.logaddexp(two, two + one) - np.log(2), rel=1e-4)


def test_oracle_knows_how_a_fault_ages_and_flickers() -> None:
    series = series_from(np.array([[35], [18]]) * np.ones((1, len(CHANNELS))), 100)
    healthy = np.full(series.counts.shape, 0.4)
    ages = oracle.Alternative((((1.0, 0.8, 0.0),), ((1.0, 0.5, 0.0),)))
    young, old = ratio(18, 100, 0.4, 0.32), ratio(18, 100, 0.4, 0.2) + ratio(35, 100, 0.4, 0.32)
    expected = np.logaddexp(young, old) - np.log(2)
    assert oracle.oracle_scores(series, healthy, ages)[1, 0] == pytest.approx(expected, rel=1e-4)

    # Now it is half as likely as before; in the LS before it was so, or was well.
    flickers = oracle.Alternative((((0.3, 0.5, 0.0), (0.7, 1.0, 0.0)),) * 2)
    now, before = ratio(18, 100, 0.4, 0.2), np.log(0.3 * np.exp(ratio(35, 100, 0.4, 0.2)) + 0.7)
    expected = np.logaddexp(now, now + before) - np.log(2)
    assert oracle.oracle_scores(series, healthy, flickers)[1, 0] == pytest.approx(expected, rel=1e-4)


def test_oracle_of_a_unit_adds_up_its_channels() -> None:
    series = series_from(np.full((1, len(CHANNELS)), 30), 100)
    healthy = np.full(series.counts.shape, 0.4)
    units = [np.array([0, 1, 2]), np.array([1])]
    single = oracle.oracle_scores(series, healthy, oracle.constant(0.5, 1))
    together = oracle.oracle_scores(series, healthy, oracle.constant(0.5, 1), units)
    assert together[0] == pytest.approx([3 * single[0, 0], single[0, 0]], rel=1e-4)


@pytest.mark.parametrize("alternative", [oracle.constant(0.8), oracle.constant(1.5), oracle.noisy(0.01, 0.02)])
def test_mean_likelihood_ratio_of_healthy_counts_is_one(alternative: oracle.Alternative) -> None:
    """The law that makes it a likelihood ratio, and its threshold a bound on false alarms."""
    p = np.full((30, len(CHANNELS)), 0.2)
    series = series_from(np.random.default_rng(1).binomial(20, p), 20)
    mean = np.exp(oracle.oracle_scores(series, p, alternative)[5:].astype(float)).mean()
    assert mean == pytest.approx(1, abs=0.1)


def test_no_plain_system_passes_the_oracle_on_its_own_condition(fitted: dict[str, Fitted]) -> None:
    """R = 0.9 in one LS: the share of faulty channels above the healthy 99 % is highest for the oracle."""
    series, truth = made(6, 9)
    at_fault = np.zeros(len(CHANNELS), dtype=bool)
    at_fault[::3] = True
    faulty = truth.healthy.copy()
    faulty[5, at_fault] *= 0.9
    counts = series.counts.copy()
    counts[5] = np.random.default_rng(2).binomial(1500, faulty[5])
    series = replace(series, counts=counts)

    def found(scores: np.ndarray) -> float:
        return float((scores[5, at_fault] > np.quantile(scores[5, ~at_fault], 0.99)).mean())

    limit = found(oracle.oracle_scores(series, truth.healthy, oracle.constant(0.9, 1)))
    assert 0.3 < limit < 0.95
    for name, system in fitted.items():
        assert found(system.score(series, Truth(truth.healthy, faulty))) <= limit + 0.01, name
