"""A sub-detector against a reference: expectation, errors and significance, by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hcal_root_ad.compare.shifts import Against, hold_against, threshold
from hcal_root_ad.detector import channel_table
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.counts import subdetector_counts
from hcal_root_ad.references import NamedReference

MakeMaps = Callable[..., LumiMaps]
MakeReference = Callable[..., NamedReference]

CHANNELS = channel_table().select("HB", "HE")
HE = CHANNELS.rows_of("HE")
INFORMATION = 12_000 * (0.7 * np.log(0.7)) ** 2 / (0.3 * 0.7)
"""Of 12 LS of 1000 events on a channel's log rate."""


def he_against(maps: LumiMaps, reference: NamedReference, log_pileup: float = 0.0) -> Against:
    series = subdetector_counts(maps, "HE")
    return hold_against(reference.rates["HE"], series, np.full(len(series), log_pileup))


def test_a_healthy_run_is_as_expected(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    against = he_against(make_maps(), make_reference())
    assert against.sums.observed == pytest.approx(3600)
    assert against.sums.expected == pytest.approx(3600)
    assert against.pull == pytest.approx(0, abs=1e-6)
    assert against.misfit == 1.0
    assert against.error == pytest.approx(np.sqrt(1 / INFORMATION + 0.03**2))
    assert not against.empty.any()


def test_pulls_by_hand(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    maps = make_maps()
    maps.counts[:, HE[5]] = 360
    against = he_against(maps, make_reference())
    # 4320 digis in 12,000 events, where 3600 ± √(3600·0.7) were expected.
    assert against.pull[5] == pytest.approx(720 / np.sqrt(2520), rel=1e-4)
    shift = np.log(np.log(0.64) / np.log(0.7))
    assert against.significance[5] == pytest.approx(shift / np.sqrt(1 / INFORMATION + 0.03**2), rel=1e-3)


def test_few_digis_are_not_overrated(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    maps = make_maps(1, events=100)
    maps.counts[:, HE[5]] = 0
    # The logarithm would say 23 standard deviations; the chance of it is 0.7^100, as of 8.
    against = he_against(maps, make_reference())
    information = INFORMATION / 120
    known = np.sqrt(1 + 0.03**2 * information)
    assert against.significance[5] == pytest.approx(-np.sqrt(-200 * np.log(0.7)) / known, rel=1e-3)


def test_a_channel_the_reference_does_not_know_has_no_pull(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    reference = make_reference("HE")
    live = np.arange(len(HE)) != 5
    rates = replace(reference.rates["HE"], reference=replace(reference.rates["HE"].reference, live=live))
    series = subdetector_counts(make_maps(), "HE")
    against = hold_against(rates, series, np.zeros(len(series)))
    assert (against.sums.expected[5], against.pull[5], against.significance[5]) == (0, 0, 0)


def test_a_ring_is_put_down_to_its_pileup_power_within_its_error(
    make_maps: MakeMaps, make_reference: MakeReference
) -> None:
    channels = CHANNELS.take(HE)
    ring = channels.ring == channels.ring[0]
    reference = make_reference("HE")
    rates = reference.rates["HE"]
    uncertain = replace(rates, reference=replace(rates.reference, power_error=np.full(len(HE), 0.25)))
    maps = make_maps()
    doubled, lower = round(1000 * (1 - 0.7**2)), round(1000 * (1 - 0.7**1.8))
    maps.counts[:, HE] = doubled
    maps.counts[:, HE[ring]] = lower
    series = subdetector_counts(maps, "HE")
    log_pileup = np.full(len(series), np.log(2))
    known, free = (hold_against(one, series, log_pileup) for one in (rates, uncertain))
    assert known.sums.shift[ring] == pytest.approx(np.log(0.9), abs=2e-3)
    assert free.sums.shift[ring] == pytest.approx(0, abs=2e-3)
    # The power went from 1 to 1 + log 0.9 / log 2.
    assert free.reference.power[ring] == pytest.approx(0.848, abs=3e-3)
    # At the reference's own pileup, no power explains anything.
    healthy = hold_against(uncertain, subdetector_counts(make_maps(), "HE"), np.zeros(12))
    assert healthy.reference.power == pytest.approx(1)


def test_a_reference_of_another_detector_widens_its_errors(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    maps = make_maps()
    other = np.random.default_rng(3).normal(0, 0.3, len(HE))
    maps.counts[:, HE] = np.rint(1000 * (1 - 0.7 ** np.exp(other)))
    against = he_against(maps, make_reference())
    assert against.misfit == pytest.approx(0.3 / np.sqrt(1 / INFORMATION + 0.03**2), rel=0.05)
    assert np.abs(against.significance).max() < threshold(len(HE))


def test_faults_of_most_channels_do_not_make_a_stranger(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    maps = make_maps()
    maps.counts[:, HE[: 2 * len(HE) // 3]] = 0
    against = he_against(maps, make_reference())
    assert against.misfit == 1.0
    assert against.empty.sum() == 2 * len(HE) // 3


def test_digis_against_lumisections(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    maps = make_maps(150)
    maps.counts[140:, HE[:10]] = 0
    against = he_against(maps, make_reference())
    observed, expected = against.by_lumisection(np.arange(len(HE)) < 20)
    assert observed.tolist() == [6000] * 140 + [3000] * 10
    assert expected == pytest.approx(6000)


@pytest.mark.parametrize(("channels", "sigma"), [(1, 2.576), (100, 3.891), (15_840, 4.981)])
def test_the_threshold_is_one_comparison_in_a_hundred(channels: int, sigma: float) -> None:
    assert threshold(channels) == pytest.approx(sigma, abs=1e-3)
