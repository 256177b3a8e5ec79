"""Forecasts, by hand and by their law: a straight ramp is continued, a sound or a dead channel is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.judge import forecast
from hcal_root_ad.judge.forecast import FEWEST, Forecast, forecasts_of, sentences
from hcal_root_ad.learn.series import Series
from hcal_root_ad.stats.binomial import Floats, log_rate

CHANNELS = channel_table(Era.RUN3).select("HE").take(np.arange(6))
P, EVENTS = 0.3, 1500


def series_of(factors: Floats, seed: int | None = None) -> tuple[Series, Floats, Floats]:
    """Channel 0 with the factors (LS,), the others healthy; without fluctuations unless there is a seed."""
    p = np.full((len(factors), len(CHANNELS)), P)
    p[:, 0] *= factors
    draw = np.random.default_rng(seed)
    counts = np.round(EVENTS * p) if seed is None else draw.binomial(EVENTS, p)
    numbers = np.arange(1, len(factors) + 1, dtype=np.int32)
    events = np.full(len(factors), float(EVENTS))
    series = Series(CHANNELS, counts.astype(np.int32), events, numbers, np.arange(len(factors)))
    return series, np.full(p.shape, log_rate(np.array(P))), np.full(p.shape, 0.02)


def ramp(lumisections: int, onset: int, slope: float) -> Floats:
    return 1 - slope * np.maximum(np.arange(1, lumisections + 1) - onset, 0.0)


LIVE = np.ones(len(CHANNELS), dtype=bool)


def test_a_ramp_is_continued_to_the_lumisection_of_its_crossing() -> None:
    # 0.2 % per LS from LS 20 on: half at LS 270.
    (found,) = forecasts_of(*series_of(ramp(120, 20, 0.002)), LIVE)
    assert found.channel == 0
    assert found.crossing == pytest.approx(270, abs=15)
    assert found.earliest < 270 < found.latest
    assert found.now == pytest.approx(0.8, abs=0.02)
    assert found.loss == pytest.approx(0.2, abs=0.03)
    assert found.onset == pytest.approx(20, abs=10)


def test_the_interval_holds_as_often_as_it_says() -> None:
    held = total = 0
    for seed in range(60):
        slope = 0.001 + 0.00004 * seed
        for one in forecasts_of(*series_of(ramp(100, 25, slope), seed), LIVE):
            assert one.channel == 0
            total += 1
            held += one.earliest <= 25 + 0.5 / slope <= one.latest
    assert total >= 55
    assert held / total >= 0.85


@pytest.mark.parametrize("factor", [1.0, 0.97, 0.6, 0.0, 1.5])
def test_what_does_not_change_is_not_foretold(factor: float) -> None:
    assert forecasts_of(*series_of(np.full(100, factor), 3), LIVE) == ()


def test_a_step_is_no_ramp_and_neither_is_an_excess_that_ends() -> None:
    step = np.where(np.arange(100) < 60, 1.0, 0.7)
    ended = np.where(np.arange(100) < 60, 2.5, 1.0)
    assert forecasts_of(*series_of(step, 3), LIVE) == ()
    assert forecasts_of(*series_of(ended, 3), LIVE) == ()


def test_what_is_bad_already_or_not_live_is_not_foretold() -> None:
    assert forecasts_of(*series_of(ramp(100, 5, 0.007)), LIVE) == ()
    dead = LIVE.copy()
    dead[0] = False
    assert forecasts_of(*series_of(ramp(120, 20, 0.002)), dead) == ()


def test_a_few_lumisections_foretell_nothing() -> None:
    assert forecasts_of(*series_of(ramp(FEWEST - 1, 1, 0.03)), LIVE) == ()


def test_a_slope_is_the_same_however_many_lumisections_make_a_block() -> None:
    (short,) = forecasts_of(*series_of(ramp(60, 10, 0.004)), LIVE)
    (long,) = forecasts_of(*series_of(ramp(600, 100, 0.0004)), LIVE)
    assert short.crossing == pytest.approx(10 + 125, abs=8)
    assert long.crossing == pytest.approx(100 + 1250, abs=80)


def test_lines_name_the_module_where_several_channels_age() -> None:
    one = Forecast(0, 20, 0.8, 0.2, 250, 270, 300)
    two = replace(one, channel=1, crossing=280, latest=320)
    alone = replace(one, channel=2, crossing=500, earliest=400, latest=700)
    names = [f"HE {n}" for n in range(3)]
    lines = list(sentences([one, two, alone], names, np.array([7, 7, 8]), [f"RM{n}" for n in range(9)]))
    assert lines[0].startswith("2 channels of RM7: 20.0% of the digis lost per 100 LS")
    assert lines[0].endswith("about LS 275 (90 %: LS 250 to 320)")
    assert lines[1].startswith("HE 2: ")


def test_the_fit_is_that_of_weighted_least_squares_with_priors() -> None:
    draw = np.random.default_rng(1)
    time, weight = np.arange(1.0, 21.0), draw.uniform(50, 500, (20, 1))
    ratio = 1 - 0.01 * np.maximum(time[:, None] - 8, 0) + 0.03 * draw.standard_normal((20, 1))
    course = forecast._Course(time, ratio, weight, np.array([0.02]))
    _, mean, covariance = forecast._fit(course, 8.0)
    design = np.stack([np.ones(20), -np.maximum(time - 8, 0)], axis=1)
    information = design.T @ (weight * design) + np.diag([0.02**-2, (0.5 / 20) ** -2])
    np.testing.assert_allclose(covariance[:, :, 0], np.linalg.inv(information))
    np.testing.assert_allclose(mean[:, 0], np.linalg.solve(information, design.T @ (weight * (ratio - 1))[:, 0]))


def test_blocks_are_ratios_with_their_binomial_error() -> None:
    """1,500 events at p = 0.3, half of the digis seen: 225 of 450, as a binomial of N = 1500 and p = 0.15."""
    series, log_rates, error = series_of(np.full(20, 0.5))
    blocks = forecast.Blocks(20)
    blocks.add(series, log_rates, error)
    assert blocks._sums is not None
    assert blocks._error is not None
    course = blocks._course(blocks._sums, blocks._error)
    assert course.ratio[:, 0] == pytest.approx(0.5)
    assert 1 / course.weight[:, 0] == pytest.approx(1500 * 0.15 * 0.85 / 450**2, rel=1e-3)
    assert 1 / course.weight[:, 1] == pytest.approx(1500 * 0.3 * 0.7 / 450**2, rel=1e-3)
    assert course.prior == pytest.approx(0.02)


def test_an_uncertain_slope_widens_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    def width() -> int:
        (found,) = forecasts_of(*series_of(ramp(120, 20, 0.002)), LIVE)
        return found.latest - found.earliest

    known = width()
    assert known < 70
    monkeypatch.setattr(forecast, "DRIFT", 0.0)
    assert width() < known
    monkeypatch.setattr(forecast, "DRIFT", 0.05)
    assert width() > 1.5 * known


@pytest.mark.parametrize(("slope", "announced"), [(0.0005, 0), (0.0009, 1)])
def test_little_has_to_be_lost_before_anything_is_said(slope: float, announced: int) -> None:
    """6 % at least: 5 % and 9 % are lost by LS 120; with ten times the events, both are certain."""
    series, log_rates, error = series_of(ramp(120, 20, slope))
    many = replace(series, counts=10 * series.counts, events=10 * series.events)
    assert len(forecasts_of(many, log_rates, error / 10, LIVE)) == announced


def test_a_run_that_begins_later_is_foretold_as_much_later() -> None:
    series, log_rates, error = series_of(ramp(120, 20, 0.002))
    (first,) = forecasts_of(series, log_rates, error, LIVE)
    (later,) = forecasts_of(replace(series, lumisections=series.lumisections + 500), log_rates, error, LIVE)
    moved = (first.onset, first.earliest, first.crossing, first.latest)
    assert (later.onset, later.earliest, later.crossing, later.latest) == tuple(number + 500 for number in moved)
    assert (later.now, later.loss) == pytest.approx((first.now, first.loss))
