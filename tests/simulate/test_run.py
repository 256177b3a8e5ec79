"""A simulated run: seeds, binomial chance, and what the ten real lumisections show."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hcal_root_ad.detector import Era, Subdetector
from hcal_root_ad.lumi_maps import EventSource
from hcal_root_ad.simulate.scenario import FillConditions, make_fault, simulate_conditions
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.simulated_run import Drift, simulate_run

Steady = Callable[..., FillConditions]


def test_equal_seeds_give_equal_runs_and_others_do_not(detector: SimulatedDetector) -> None:
    conditions = simulate_conditions(3, 2)
    first, again = (simulate_run(simulate_detector(1), simulate_conditions(3, 2), seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.maps.counts, again.maps.counts)
    np.testing.assert_array_equal(first.cut_counts, again.cut_counts)
    np.testing.assert_array_equal(first.rates, again.rates)
    other = simulate_run(detector, conditions, seed=6)
    assert (other.maps.counts != first.maps.counts).mean() > 0.5


def test_two_runs_of_one_detector_are_alike_and_two_detectors_are_not(
    detector: SimulatedDetector, steady: Steady
) -> None:
    conditions = steady(2, events=100_000)
    mine, same = (simulate_run(detector, conditions, seed=s).rates[0][detector.live] for s in (1, 2))
    other = simulate_run(simulate_detector(9), conditions, seed=1)
    both = detector.live & other.detector.live
    between_runs = np.std(np.log(mine / same))
    here = simulate_run(detector, conditions, seed=1)
    between_detectors = np.std(np.log(here.rates[0][both] / other.rates[0][both]))
    assert between_runs < 0.03
    assert between_detectors > 3 * between_runs


def test_counts_are_binomial(detector: SimulatedDetector) -> None:
    run = simulate_run(detector, simulate_conditions(10, 3), seed=4)
    n, p = run.maps.events[:, None], run.faulty_rates.astype(float)
    variance = n * p * (1 - p)
    enough = variance > 5
    z = (run.maps.counts - n * p)[enough] / np.sqrt(variance[enough])
    assert z.std() == pytest.approx(1.0, abs=0.01)
    assert z.mean() == pytest.approx(0.0, abs=0.01)
    assert (run.maps.counts <= n).all()


def real_z_spread(run_counts: np.ndarray, events: np.ndarray, first: slice, second: slice) -> float:
    """Spread of z as real_data measures it: rates of one block predict the other, with a common activity."""
    n1, n2 = events[first].sum(), events[second].sum()
    k1, k2 = run_counts[first].sum(0), run_counts[second].sum(0)
    p = (k1 + k2) / (n1 + n2)
    good = (p * n1 > 20) & ((1 - p) * n1 > 20)
    variance = p * (1 - p) * (1 / n1 + 1 / n2)
    return float(((k2 / n2 - k1 / n1)[good] / np.sqrt(variance[good])).std())


def test_neighbouring_lumisections_scatter_like_the_real_ones(detector: SimulatedDetector, steady: Steady) -> None:
    counts = simulate_run(detector, steady(10), seed=4).maps.counts
    events = np.full(10, 1500)
    neighbours = [real_z_spread(counts, events, slice(k, k + 1), slice(k + 1, k + 2)) for k in range(9)]
    assert np.mean(neighbours) == pytest.approx(1.00, abs=0.015)


def test_blocks_of_five_lumisections_across_a_prescale_step_scatter_like_the_real_ones(
    detector: SimulatedDetector, steady: Steady
) -> None:
    conditions = steady(10)
    conditions = replace(
        conditions,
        events=np.repeat([1370, 1930], 5),
        prescale_column=np.repeat([0, 1], 5),
    )
    spreads = []
    for seed in range(4):
        run = simulate_run(detector, conditions, seed=seed)
        spreads.append(real_z_spread(run.maps.counts, conditions.events, slice(0, 5), slice(5, 10)))
    assert 1.015 < np.mean(spreads) < 1.06


def test_pileup_moves_channels_along_their_own_power_and_saturates(detector: SimulatedDetector, steady: Steady) -> None:
    still = Drift(box=0, module=0, channel=0, run_box=0, run_channel=0)
    low, high = (simulate_run(detector, steady(1, pileup=mu), drift=still).rates[0] for mu in (20.0, 60.0))
    live = detector.live & (detector.channels.subdetector != Subdetector.HF)
    assert (high[live] > low[live]).all()
    assert high[live].max() < 1.0
    intensity_ratio = np.log((-np.log1p(-high) - detector.noise)[live] / (-np.log1p(-low) - detector.noise)[live])
    np.testing.assert_allclose(intensity_ratio / np.log(3), detector.power[live], atol=2e-3)


def test_only_noise_is_left_without_collisions(detector: SimulatedDetector, steady: Steady) -> None:
    rates = simulate_run(detector, steady(1, pileup=0.0)).rates[0]
    inner = detector.channels.subdetector <= Subdetector.HE
    assert 0 < rates[detector.live & inner].mean() < 1e-3


def test_masked_and_uninstrumented_channels_stay_empty(detector: SimulatedDetector, steady: Steady) -> None:
    noise = make_fault(detector, "noisy", "HEP07", 1, 3, 0.4)
    run = simulate_run(detector, steady(3), [noise])
    assert not run.maps.counts[:, detector.masked].any()
    assert not run.maps.counts[:, ~detector.channels.instrumented].any()
    assert run.maps.counts[:, detector.live].any(axis=0).all()


def test_hf_holds_the_event_count(detector: SimulatedDetector) -> None:
    conditions = simulate_conditions(4, 1)
    run = simulate_run(detector, conditions)
    hf, live = run.maps.counts[:, detector.channels.rows_of("HF")], detector.select("HF").live
    assert (hf[:, live] == conditions.events[:, None]).all()
    assert not hf[:, ~live].any()
    assert 0 < (~live).sum() < 60


def test_hf_and_ho_do_not_move_the_draws_of_hb_and_he() -> None:
    """Sums of HB and HE as they were before HO and HF were drawn."""
    detector = simulate_detector(3)
    run = simulate_run(detector, simulate_conditions(3, 4), seed=7)
    inner = detector.channels.rows_of("HB", "HE")
    assert run.maps.counts[:, inner].sum(axis=1).tolist() == [9670246, 9663060, 9474598]
    assert int(run.cut_counts[:, inner].sum()) == 12871020


def test_ho_follows_the_pileup_and_keeps_its_noise(detector: SimulatedDetector, steady: Steady) -> None:
    live = detector.select("HO").live
    rows = detector.channels.rows_of("HO")[live]
    none, low, high = (simulate_run(detector, steady(1, pileup=mu), seed=1).rates[0, rows] for mu in (0.0, 20.0, 60.0))
    assert 0 < none.mean() < 0.005
    assert np.log(high.mean() / low.mean()) / np.log(3) == pytest.approx(0.6, abs=0.1)
    assert 0.02 < low.min() < high.max() < 0.5


def test_a_fault_in_hf_and_in_ho_takes_digis(detector: SimulatedDetector, steady: Steady) -> None:
    faults = [
        make_fault(detector, "degraded", "HF +35/7/2", 2, 2, 0.8),
        make_fault(detector, "dead", "HO -12/7/4", 2, 3, 0.0),
    ]
    run = simulate_run(detector, steady(3), faults, seed=1)
    forward, outer = (run.maps.counts[:, fault.rows[0]] for fault in faults)
    assert forward[[0, 2]].tolist() == [1500, 1500]
    assert forward[1] == pytest.approx(1200, abs=80)
    assert outer[0] > 0
    assert outer[1:].tolist() == [0, 0]


def test_the_charge_cut_thins_the_counts(detector: SimulatedDetector, steady: Steady) -> None:
    run = simulate_run(detector, steady(3))
    assert (run.cut_counts <= run.maps.counts).all()
    kept, share = run.cut_counts.sum(0) / np.maximum(run.maps.counts.sum(0), 1), detector.cut_share
    filled = run.maps.counts.sum(0) > 1000
    np.testing.assert_allclose(kept[filled], share[filled], atol=0.08)


def test_the_mean_occupancy_is_the_real_one(detector: SimulatedDetector, steady: Steady) -> None:
    rates = simulate_run(detector, steady(1)).rates[0]
    inner = detector.channels.subdetector <= Subdetector.HE
    assert rates[detector.live & inner].mean() == pytest.approx(0.38, abs=0.02)
    he_ring_20 = (detector.channels.subdetector == Subdetector.HE) & (np.abs(detector.channels.ieta) == 20)
    deep = he_ring_20 & (detector.channels.depth == 6) & detector.live
    shallow = he_ring_20 & (detector.channels.depth == 1) & detector.live
    assert rates[shallow].mean() > 2 * rates[deep].mean()


def test_rings_spread_as_their_photodetectors_do(steady: Steady) -> None:
    sipm, photodiode = (
        simulate_run(simulate_detector(2, era), steady(1)).rates[0] for era in (Era.RUN3, Era.RUN2_2017)
    )
    spreads = []
    for era, rates in ((Era.RUN3, sipm), (Era.RUN2_2017, photodiode)):
        channels = simulate_detector(2, era).channels
        ring = (channels.subdetector == Subdetector.HB) & (np.abs(channels.ieta) == 5) & (channels.depth == 1)
        live = ring & (rates > 0)
        spreads.append(rates[live].std() / rates[live].mean())
    assert 0.04 < spreads[0] < 0.10
    assert 0.30 < spreads[1] < 0.50


def test_the_maps_are_what_a_harvester_returns(detector: SimulatedDetector, steady: Steady) -> None:
    maps = simulate_run(detector, steady(2), run=370_777).maps
    assert maps.run == 370_777
    assert maps.counts.shape == (2, 15840 + 2160 + 3456)
    assert maps.counts.dtype == np.int32
    assert maps.events.dtype == np.int64
    assert (maps.event_source == EventSource.COUNTER).all()
    assert maps.found == ("HB", "HE", "HO", "HF")
