"""Forecasts, by hand and by their law: a straight ramp is continued; a step, a sound or a dead channel is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hcal_root_ad.detector import channel_table
from hcal_root_ad.judge import forecast
from hcal_root_ad.judge.forecast import FEWEST, course_of, foretold, sentence, with_forecasts
from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.judge.verdict import Finding, Forecast, Kind, Level, Trust
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model
from hcal_root_ad.stats.binomial import Floats

MakeMaps = Callable[..., LumiMaps]
P, EVENTS = 0.3, 1500
CHANNELS = channel_table().select("HB", "HE")
HE = CHANNELS.rows_of("HE")


def finding(last: int) -> Finding:
    return Finding(
        subdetector="HE", level=Level.CHANNEL, unit="HE +20/5/3", kind=Kind.DEGRADED, ranges=((1, last),),
        lumisections=last, duty=1.0, rows=(0,), observed=1, expected=2.0, size=0.5, size_error=0.1, significance=9.0,
    )  # fmt: skip


def prediction(factors: Floats, seed: int | None = None, first: int = 1, many: int = 1) -> Forecast | None:
    """Of one channel with these factors (LS,); without fluctuations unless there is a seed."""
    expected = np.full(len(factors), many * EVENTS * P)
    p = P * factors
    draw = np.random.default_rng(seed)
    observed = many * EVENTS * p if seed is None else draw.binomial(many * EVENTS, np.minimum(p, 1)).astype(float)
    time = np.arange(first, first + len(factors), dtype=float)
    return foretold(course_of(time, observed, expected, expected * (1 - P)), finding(len(factors)))


def ramp(lumisections: int, onset: int, slope: float) -> Floats:
    return 1 - slope * np.maximum(np.arange(1, lumisections + 1) - onset, 0.0)


def test_a_ramp_is_continued_to_the_lumisection_of_its_crossing() -> None:
    # 0.2 % per LS from LS 20 on: half at LS 270, a fifth lost by LS 120.
    ahead = prediction(ramp(120, 20, 0.002), seed=2)
    assert ahead is not None
    assert (ahead.unit, ahead.channels) == ("HE +20/5/3", 1)
    assert ahead.crossing == pytest.approx(270, abs=20)
    assert ahead.earliest < 270 < ahead.latest
    assert ahead.now == pytest.approx(0.8, abs=0.02)
    assert ahead.lost == pytest.approx(0.2, abs=0.03)
    assert ahead.onset == pytest.approx(20, abs=10)


def test_the_interval_holds_as_often_as_it_says() -> None:
    held = total = 0
    for seed in range(60):
        slope = 0.0015 + 0.00004 * seed
        if ahead := prediction(ramp(100, 25, slope), seed):
            total += 1
            held += ahead.earliest <= 25 + 0.5 / slope <= ahead.latest
    assert total >= 55
    assert held / total >= 0.85


@pytest.mark.parametrize("factor", [1.0, 0.97, 0.6, 0.0, 1.5])
def test_what_does_not_change_is_not_foretold(factor: float) -> None:
    assert prediction(np.full(100, factor), 3) is None


@pytest.mark.parametrize("at", [5, 20, 50, 80])
@pytest.mark.parametrize("left", [0.9, 0.7, 0.55])
def test_a_step_is_no_ramp(at: int, left: float) -> None:
    assert prediction(np.where(np.arange(100) < at, 1.0, left), 3) is None


def test_two_steps_and_an_excess_that_ends_are_no_ramp() -> None:
    stairs = np.where(np.arange(100) < 30, 1.0, np.where(np.arange(100) < 65, 0.85, 0.7))
    ended = np.where(np.arange(100) < 60, 2.5, 1.0)
    assert prediction(stairs, 3) is None
    assert prediction(ended, 3) is None


def test_what_is_bad_already_is_not_foretold() -> None:
    assert prediction(ramp(100, 5, 0.007), 3) is None


def test_a_few_lumisections_foretell_nothing() -> None:
    assert prediction(ramp(FEWEST - 1, 1, 0.03)) is None


def test_a_slope_is_the_same_however_many_lumisections_make_a_block() -> None:
    short, long = prediction(ramp(60, 10, 0.004), 5), prediction(ramp(600, 100, 0.0004), 5)
    assert short is not None
    assert long is not None
    assert short.crossing == pytest.approx(10 + 125, abs=15)
    assert long.crossing == pytest.approx(100 + 1250, abs=120)


@pytest.mark.parametrize(("slope", "announced"), [(0.0005, False), (0.0009, True)])
def test_little_has_to_be_lost_before_anything_is_said(slope: float, announced: bool) -> None:
    """6 % at least: 5 % and 9 % are lost by LS 120; with a hundred times the events, both are certain."""
    assert (prediction(ramp(120, 20, slope), 4, many=100) is not None) is announced


def test_no_share_is_above_one_however_fast_it_sinks() -> None:
    for seed in range(20):
        if ahead := prediction(ramp(14, 2, 0.035), seed):
            assert 0 < ahead.lost <= 1
            assert ahead.now <= 1
            assert "00 %" not in sentence(ahead)


def test_a_run_that_begins_later_is_foretold_as_much_later() -> None:
    early, late = prediction(ramp(120, 20, 0.002), 2), prediction(ramp(120, 20, 0.002), 2, first=501)
    assert early is not None
    assert late is not None
    moved = (early.onset, early.earliest, early.crossing, early.latest)
    assert (late.onset, late.earliest, late.crossing, late.latest) == tuple(number + 500 for number in moved)
    assert (late.now, late.lost) == pytest.approx((early.now, early.lost))


def test_an_uncertain_slope_widens_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    def width() -> int:
        ahead = prediction(ramp(120, 20, 0.002), 2)
        assert ahead is not None
        return ahead.latest - ahead.earliest

    as_it_is = width()
    monkeypatch.setattr(forecast, "DRIFT", 0.0)
    assert width() < as_it_is
    monkeypatch.setattr(forecast, "DRIFT", 0.05)
    assert width() > 1.5 * as_it_is


def test_blocks_are_ratios_with_their_binomial_error() -> None:
    """1,500 events at p = 0.3, half of the digis seen: 225 of 450 per LS, two LS a block; variance 450·0.7·0.5."""
    course = course_of(np.arange(1.0, 121.0), np.full(120, 225.0), np.full(120, 450.0), np.full(120, 450 * 0.7))
    assert len(course.time) == 60
    assert course.time[:2].tolist() == [1.5, 3.5]
    assert course.ratio == pytest.approx(0.5)
    assert 1 / course.weight == pytest.approx(2 * 450 * 0.7 * 0.5 / 900**2)


def test_the_sentence() -> None:
    ahead = Forecast("HEP07-RM2", 47, 40, 0.76, 0.24, 110, 120, 140)
    assert sentence(ahead) == (
        "HEP07-RM2: 24% of the digis lost since LS 40; below 50% at about LS 120 (90 %: LS 110 to 140)"
    )


def test_the_judge_foretells_channels_and_units_and_only_with_trust(make_maps: MakeMaps, both: list[Model]) -> None:
    maps = make_maps(100)
    module = HE[(CHANNELS.rbx[HE] == 7) & (CHANNELS.ieta[HE] > 0) & (CHANNELS.rm[HE] == 2)]
    p = np.full(maps.counts.shape, 0.3)
    p[:, module] *= ramp(100, 20, 0.003)[:, None]
    p[:, HE[9]] *= ramp(100, 40, 0.006)
    p[50:, HE[3000]] *= 0.7
    maps.counts[:] = np.random.default_rng(1).binomial(1000, p)
    he = judge_run(maps, both).verdicts[1]
    alone = f"HE {CHANNELS.ieta[HE[9]]:+d}/{CHANNELS.iphi[HE[9]]}/{CHANNELS.depth[HE[9]]}"
    assert [one.unit for one in he.forecasts] == [alone, "HEP07-RM2"]
    # Half at LS 40 + 0.5/0.006 = 123 and LS 20 + 0.5/0.003 = 187.
    assert [one.crossing for one in he.forecasts] == pytest.approx([123, 187], rel=0.1)
    assert he.forecasts[1].channels == len(module)
    doubtful = replace(he, trust=Trust.OTHER_PERIOD, forecasts=())
    assert with_forecasts(doubtful).forecasts == ()
