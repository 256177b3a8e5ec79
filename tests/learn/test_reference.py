"""The reference finds the rates and powers that made the counts, and looks past faults."""

import numpy as np
import pytest

from hcal_root_ad.detector import channel_table
from hcal_root_ad.errors import InputError
from hcal_root_ad.learn.reference import fit_activity, fit_reference
from hcal_root_ad.learn.series import Series
from hcal_root_ad.stats.binomial import probability, pull

CHANNELS = channel_table().select("HE")


def made(lumisections: int = 60, spread: float = 0.3, seed: int = 1, events: float = 1500.0) -> tuple[Series, dict]:
    """Counts of a detector that is exactly the model: level, power per ring, activity."""
    draw = np.random.default_rng(seed)
    ring = CHANNELS.ring
    truth = {
        "level": draw.normal(-0.8, 0.4, len(CHANNELS)),
        "power": draw.uniform(0.7, 1.3, ring.max() + 1)[ring],
        "activity": np.linspace(-spread, spread, lumisections),
    }
    p = probability(truth["level"] + np.multiply.outer(truth["activity"], truth["power"]))
    counts = draw.binomial(int(events), p).astype(np.int32)
    numbers = np.arange(1, lumisections + 1, dtype=np.int32)
    return Series(CHANNELS, counts, np.full(lumisections, events), numbers, np.arange(lumisections)), truth


def test_rates_powers_and_activity_come_back() -> None:
    series, truth = made()
    reference = fit_reference([series])
    scale = truth["power"].mean() / reference.power.mean()
    assert np.std(reference.level - truth["level"]) < 0.008
    assert np.std(reference.power * scale - truth["power"]) < 0.02
    activity = fit_activity(reference, series.counts, series.events)
    assert np.allclose(activity / scale, truth["activity"], atol=0.01)


def test_pulls_of_what_was_learned_are_standard() -> None:
    series, _ = made(seed=2)
    reference = fit_reference([series])
    z = pull(series.counts, series.trials, reference.expected(fit_activity(reference, series.counts, series.events)))
    assert z.std() == pytest.approx(1.0, abs=0.02)


def test_a_step_of_the_event_count_changes_nothing() -> None:
    series, _ = made(lumisections=20, spread=0.0)
    reference = fit_reference([series])
    draw = np.random.default_rng(9)
    counts = draw.binomial(700, probability(reference.level), (3, len(CHANNELS))).astype(np.int32)
    assert np.allclose(fit_activity(reference, counts, np.full(3, 700.0)), 0.0, atol=0.01)


def test_a_dead_third_of_the_detector_does_not_move_the_activity() -> None:
    series, _ = made(lumisections=30)
    reference = fit_reference([series])
    broken = series.counts.copy()
    broken[:, CHANNELS.iphi <= 24] = 0
    healthy = fit_activity(reference, series.counts, series.events)
    assert np.allclose(fit_activity(reference, broken, series.events), healthy, atol=0.05)


def test_a_fault_in_a_few_clean_lumisections_does_not_move_the_rate() -> None:
    series, _ = made(lumisections=60, spread=0.0)
    broken = series.counts.copy()
    broken[:6, 100] = 0
    moved = fit_reference([Series(CHANNELS, broken, series.events, series.lumisections, series.position)])
    assert abs(moved.level[100] - fit_reference([series]).level[100]) < 0.02


def test_channels_without_digis_are_not_live() -> None:
    series, _ = made(lumisections=20)
    series.counts[:, [3, 5]] = 0
    assert np.flatnonzero(~fit_reference([series]).live).tolist() == [3, 5]


def test_where_activity_hardly_moves_the_prior_stands() -> None:
    series, _ = made(lumisections=40, spread=0.001)
    prior = np.full(len(CHANNELS), 1.0)
    assert np.abs(fit_reference([series], prior).power - 1).max() < 0.02


def test_nothing_to_learn_from_is_one_sentence() -> None:
    series, _ = made(lumisections=2)
    with pytest.raises(InputError, match="no lumisection"):
        fit_reference([series.part(slice(0, 0))])
