"""Rates of clean runs: sums by hand, errors that hold for another run, and a file that comes back or is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.errors import InputError
from hcal_root_ad.lumi_maps import CoarseMaps, LumiMaps
from hcal_root_ad.model.common_part import CommonPartFit
from hcal_root_ad.model.counts import SubdetectorCounts
from hcal_root_ad.model.rates import (
    LEAST_SPREAD,
    ONE_RUN_SPREAD,
    Rates,
    ReferenceSums,
    comparable,
    expected_share,
    fit_rates,
    load_rates,
    save_rates,
    sums_against,
)
from hcal_root_ad.model.reference import Reference, joint_reference
from hcal_root_ad.simulate.scenario import simulate_conditions
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector
from hcal_root_ad.simulate.simulated_run import simulate_run
from hcal_root_ad.stats.binomial import log_rate

HE = channel_table().select("HE")


def flat(p: float, power: float = 1.0) -> Reference:
    size = len(HE)
    one = np.ones(size)
    level = np.full(size, log_rate(np.array(p)))
    return Reference(HE, level, 0.01 * one, power * one, 0.1 * one, one > 0, (-0.2, 0.2))


def flat_series(*counts: int, events: int = 1000) -> SubdetectorCounts:
    size = len(counts)
    values = np.repeat(np.array(counts, dtype=np.int32)[:, None], len(HE), axis=1)
    return SubdetectorCounts(
        HE, values, np.full(size, float(events)), np.arange(1, size + 1, dtype=np.int32), np.arange(size)
    )


def test_sums_by_hand() -> None:
    # At u = log 2 the rate doubles: p = 1 − 0.7² = 0.51.
    sums = sums_against(flat(0.3), flat_series(310, 500), np.array([0.0, np.log(2)]))
    assert (sums.events, sums.observed[7]) == (2000.0, 810.0)
    assert sums.expected[7] == pytest.approx(300 + 510)


def test_the_shift_is_the_log_ratio_of_rates() -> None:
    # n/N = 1 − 0.7² where 0.3 was expected: twice the rate.
    sums = ReferenceSums(1e6, np.array([510_000.0, 300_000.0, 0.0]), np.array([300_000.0] * 3))
    assert sums.shift[:2] == pytest.approx([np.log(2), 0.0], abs=1e-5)
    assert sums.shift[2] < -10
    # Information N·(0.7·ln 0.7)²/(0.3·0.7), so an error of 0.00184.
    assert 1 / np.sqrt(sums.information[0]) == pytest.approx(0.0018354, rel=1e-4)


def test_long_series_are_summed_in_pieces() -> None:
    series = flat_series(*([300] * 300))
    whole = sums_against(flat(0.3), series, np.zeros(300))
    assert (whole.observed[0], whole.expected[0]) == (90_000.0, pytest.approx(90_000.0))


def test_the_error_adds_level_spread_and_power() -> None:
    rates = Rates(HE, flat(0.3), np.full(len(HE), 0.02), np.zeros(len(HE), dtype=np.int64), 1.0)
    assert rates.error(0.0)[3] == pytest.approx(np.hypot(0.01, 0.02))
    assert rates.error(-0.5)[3] == pytest.approx(np.sqrt(0.01**2 + 0.02**2 + (0.5 * 0.1) ** 2))


def begun(run: LumiMaps, lumisections: int) -> LumiMaps:
    """The first lumisections of a run: enough to learn from, and quick."""
    return replace(run, present=np.arange(len(run)) < lumisections)


@pytest.fixture(scope="module")
def short_runs(clean_runs: list[LumiMaps]) -> list[LumiMaps]:
    return [begun(run, 12) for run in clean_runs]


@pytest.fixture(scope="module")
def fitted(short_runs: list[LumiMaps]) -> dict[str, Rates]:
    return fit_rates(short_runs)


def test_rates_hold_digis_and_events_of_all_runs(fitted: dict[str, Rates], short_runs: list[LumiMaps]) -> None:
    assert list(fitted) == ["HB", "HE", "HO"]
    he = short_runs[0].channels.rows_of("HE")
    enough = [(run, run.present & (run.events >= 100)) for run in short_runs]
    assert fitted["HE"].digis.sum() == sum(run.counts[rows][:, he].sum() for run, rows in enough)
    assert fitted["HE"].events == sum(run.events[rows].sum() for run, rows in enough)


def test_another_run_lies_within_the_errors(
    fitted: dict[str, Rates], detector: SimulatedDetector, clean_runs: list[LumiMaps]
) -> None:
    other = simulate_run(detector, simulate_conditions(15, seed=9, start=0.2), seed=9, run=370_009).maps
    for rates in (fitted, fit_rates([begun(clean_runs[0], 20)])):
        series = {name: comparable(other, name) for name in rates}
        joint = joint_reference([one.reference for one in rates.values()], other.channels).reference
        counts = np.concatenate([one.counts for one in series.values()], axis=1)
        events = series["HB"].events.astype(np.int64)
        log_pileup = CommonPartFit(joint).fit(counts, events).log_pileup.astype(np.float64)
        for name, one in rates.items():
            sums = sums_against(one.reference, series[name], log_pileup)
            error = np.sqrt(1 / sums.information + one.error(float(log_pileup.mean())) ** 2)
            z = (sums.shift / error)[one.reference.live]
            assert 0.6 < np.std(z) < 1.3


def test_one_run_says_nothing_of_others(clean_runs: list[LumiMaps], fitted: dict[str, Rates]) -> None:
    assert np.all(fit_rates([begun(clean_runs[0], 20)])["HB"].spread == ONE_RUN_SPREAD)
    # Boxes, modules and channels of simulated runs are off their mean by 1.9 % in all.
    assert np.median(fitted["HB"].spread) == pytest.approx(0.019, abs=0.005)
    assert fitted["HB"].spread.min() >= LEAST_SPREAD


def test_run_totals_make_rates_too(clean_runs: list[LumiMaps]) -> None:
    run = clean_runs[0]
    totals = run.counts.sum(axis=0, dtype=np.int64)
    nothing = np.zeros_like(run.present)
    coarse = replace(run, present=nothing, coarse=CoarseMaps(strips=None, totals=totals))
    rates = fit_rates([coarse])["HE"]
    rows = run.channels.rows_of("HE")
    assert np.array_equal(rates.digis, totals[rows])
    p = expected_share(rates.reference, np.zeros(1))[0]
    live = rates.reference.live
    assert p[live] == pytest.approx(totals[rows][live] / run.events.sum(), rel=0.02)


def test_what_makes_no_reference_is_refused(clean_runs: list[LumiMaps]) -> None:
    run = clean_runs[0]
    with pytest.raises(InputError, match="no digi of HB or HE"):
        fit_rates([replace(run, counts=np.zeros_like(run.counts))])
    with pytest.raises(InputError, match="hold 1000 events with HCAL maps, at least 2000 are needed"):
        fit_rates([replace(begun(run, 1), events=np.full(len(run), 1000), counts=np.minimum(run.counts, 1000))])
    other = replace(run, channels=channel_table(Era.RUN2_2018).select("HB", "HE"))
    with pytest.raises(InputError, match="the detector eras 2018, Run3"):
        fit_rates([run, other])


def test_progress_is_told(clean_runs: list[LumiMaps]) -> None:
    told: list[tuple[int, int]] = []
    fit_rates([begun(clean_runs[0], 20)], lambda done, total: told.append((done, total)))
    assert told == [(0, 1)]


def test_references_of_one_run_share_the_pileup_and_say_what_they_are_of(fitted: dict[str, Rates]) -> None:
    clean = {one.reference.clean for one in fitted.values()}
    assert len(clean) == 1
    assert clean.pop().startswith("370001, 370002, 370003 (")


def test_a_file_of_rates_comes_back(fitted: dict[str, Rates], tmp_path: Path) -> None:
    save_rates(fitted, tmp_path / "rates.safetensors")
    again = load_rates(tmp_path / "rates.safetensors", Era.RUN3)
    assert list(again) == ["HB", "HE", "HO"]
    for name, one in fitted.items():
        other = again[name]
        assert np.array_equal(other.digis, one.digis)
        assert other.events == one.events
        assert other.reference.pileup_range == pytest.approx(one.reference.pileup_range)
        assert other.reference.overdispersion == one.reference.overdispersion
        assert other.reference.clean == one.reference.clean
        assert np.array_equal(other.reference.live, one.reference.live)
        for key in ("level", "level_error", "power", "power_error"):
            assert getattr(other.reference, key) == pytest.approx(getattr(one.reference, key), rel=1e-6)
        assert other.spread == pytest.approx(one.spread, rel=1e-6)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("HB.level", None, "tensors are missing or unknown: HB.level"),
        ("HB.colour", np.zeros(1), "HB.colour"),
        ("HB.raw_id", np.zeros(9072, dtype=np.uint32), "the channels of HB are not those of Run3"),
        ("HB.level", np.full(9072, np.nan, dtype=np.float32), "numbers of HB are not finite"),
        ("HE.power", np.zeros(3, dtype=np.float32), "tensors of HE are not of 6768 channels"),
    ],
)
def test_a_file_of_something_else_is_refused(
    fitted: dict[str, Rates], tmp_path: Path, key: str, value: np.ndarray | None, says: str
) -> None:
    path = tmp_path / "rates.safetensors"
    save_rates(fitted, path)
    tensors = load_file(path)
    tensors.pop(key, None)
    save_file(tensors | ({} if value is None else {key: value}), path)
    with pytest.raises(ValueError, match=says):
        load_rates(path, Era.RUN3)
