"""Run totals: what a file without maps per lumisection still tells about each channel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hcal_root_ad.learn.bundle import Bundle

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.judge.fitness import fits_channels
from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.judge.totals import _whole_run, judge_totals, ring_reference
from hcal_root_ad.judge.verdict import Kind, State, Verdict
from hcal_root_ad.learn.series import Series, series_of_totals
from hcal_root_ad.lumi_maps import CoarseMaps, EventSource, LumiMaps
from hcal_root_ad.stats.binomial import log_rate

MakeBundle = Callable[..., Bundle]
MakeMaps = Callable[..., LumiMaps]
CHANNELS = channel_table().select("HB", "HE")
HE = CHANNELS.rows_of("HE")
HEP07 = HE[(CHANNELS.rbx[HE] == 7) & (CHANNELS.ieta[HE] > 0)]
EVENTS, HEALTHY = 12_000, 3_600
"""Lumisections 5 to 16 of 1000 events."""


@pytest.fixture
def maps(make_maps: MakeMaps) -> LumiMaps:
    return make_maps(list(range(5, 17)), coarse=CoarseMaps(strips=None, totals=None))


def totals(p: float | np.ndarray = 0.3) -> np.ndarray:
    return np.broadcast_to(np.rint(np.asarray(p) * EVENTS), (len(CHANNELS),)).astype(np.int64)


def judged(maps: LumiMaps, counts: np.ndarray, bundle: Bundle) -> Verdict:
    """Through the main job, which decides what to hold the totals against."""
    coarse = CoarseMaps(strips=None, totals=counts)
    return judge_run(replace(maps, coarse=coarse), [bundle]).verdicts[0]


def test_the_run_is_one_lumisection(maps: LumiMaps) -> None:
    counts = totals().copy()
    counts[HE[0]] = EVENTS + 1
    series = series_of_totals(maps, counts, "HE")
    assert (len(series), series.events.tolist(), series.lumisections.tolist()) == (1, [EVENTS], [5])
    # More digis than events cannot be.
    assert series.counts[0, :2].tolist() == [EVENTS, HEALTHY]


def test_the_whole_run_has_one_of_everything(maps: LumiMaps) -> None:
    sources = np.array([EventSource.HF_PLATEAU, *[EventSource.COUNTER] * 11], dtype=np.uint8)
    whole = _whole_run(replace(maps, event_source=sources), totals())
    assert whole.event_source.tolist() == [EventSource.HF_PLATEAU]
    assert (whole.lumisections.tolist(), whole.events.tolist(), whole.present.tolist()) == ([5], [EVENTS], [True])
    assert whole.counts.shape == (1, len(CHANNELS))


def test_healthy_totals_are_good(maps: LumiMaps, make_bundle: MakeBundle) -> None:
    verdict = judged(maps, totals(), make_bundle("HE"))
    assert (verdict.granularity, verdict.states.shape) == ("run", (1, len(HE)))
    assert (verdict.states == State.GOOD).all()
    assert verdict.events.tolist() == [EVENTS]
    assert verdict.expected == pytest.approx(HEALTHY, rel=1e-3)
    assert verdict.notes[0].startswith("run totals: channels per run against the reference")


@pytest.mark.parametrize(
    ("count", "kind"), [(0, Kind.DEAD), (1_800, Kind.DEGRADED), (4_400, Kind.WARM), (6_000, Kind.HOT)]
)
def test_a_fault_spans_the_whole_run(maps: LumiMaps, make_bundle: MakeBundle, count: int, kind: Kind) -> None:
    counts = totals().copy()
    counts[HE[20]] = count
    verdict = judged(maps, counts, make_bundle("HE"))
    assert [(i.channel, i.kind, i.first, i.last, i.observed) for i in verdict.intervals] == [(20, kind, 5, 16, count)]
    assert verdict.intervals[0].expected == pytest.approx(HEALTHY, rel=1e-3)
    assert verdict.states[0, 20] == kind.state


def test_a_dead_box_is_one_line(maps: LumiMaps, make_bundle: MakeBundle) -> None:
    counts = totals().copy()
    counts[HEP07] = 0
    verdict = judged(maps, counts, make_bundle("HE"))
    assert [(g.unit, g.kind, g.first, g.last, g.channels) for g in verdict.groups] == [("HEP07", Kind.DEAD, 5, 16, 188)]


def test_the_pileup_of_the_run_is_no_fault(maps: LumiMaps, make_bundle: MakeBundle) -> None:
    # λ a third lower than the reference's: p = 1 − 0.7^0.67.
    assert judged(maps, totals(1 - 0.7**0.67), make_bundle("HE")).intervals == ()


def test_a_fault_of_few_lumisections_is_diluted(maps: LumiMaps, make_bundle: MakeBundle) -> None:
    # Dead in one of twelve LS: 8 % fewer digis in the run, within what weak faults must exceed.
    counts = totals().copy()
    counts[HE[20]] = HEALTHY * 11 // 12
    assert judged(maps, counts, make_bundle("HE")).intervals == ()


def own_levels() -> np.ndarray:
    """Digi probabilities of another detector: rings differ a lot, channels of a ring by 3 % (one sigma)."""
    ring = CHANNELS.ring
    draw = np.random.default_rng(6)
    return np.asarray(draw.uniform(0.1, 0.6, ring.max() + 1)[ring] * np.exp(draw.normal(0, 0.03, len(ring))))


def test_an_unknown_detector_is_held_against_its_rings(maps: LumiMaps, make_bundle: MakeBundle) -> None:
    counts = totals(own_levels()).copy()
    assert judged(maps, counts, make_bundle("HE")).intervals == ()
    counts[HE[20]] //= 3
    counts[HE[30]] = 0
    verdict = judged(maps, counts, make_bundle("HE"))
    assert [(i.channel, i.kind, i.first, i.last) for i in verdict.intervals] == [(20, Kind.DEGRADED, 5, 16)]
    assert "no reference knows this detector, so each channel is held against its ring" in verdict.notes[0]
    assert "1 channels without a digi cannot be told from ones that are not connected" in verdict.notes[0]
    assert verdict.states[0, 30] == State.NOT_CONNECTED


def test_a_bundle_of_another_era_is_not_believed(maps: LumiMaps, make_bundle: MakeBundle) -> None:
    old = make_bundle("HB", era=Era.RUN2_2018)
    assert not fits_channels(old, CHANNELS)
    assert fits_channels(make_bundle("HB"), CHANNELS)
    verdict = judged(maps, totals(), old)
    assert len(verdict.channels) == 9072
    assert "no reference knows this detector" in verdict.notes[0]
    assert (verdict.states == State.GOOD).all()


def test_against_the_ring_only_if_told_so(maps: LumiMaps, make_bundle: MakeBundle) -> None:
    # Against the reference a silent channel is dead, against its ring it may as well not be connected.
    counts = totals().copy()
    counts[HE[20]] = 0
    states = [
        judge_totals(maps, counts, make_bundle("HE"), 1.0, against_ring).states[0, 20] for against_ring in (False, True)
    ]
    assert states == [State.BAD, State.NOT_CONNECTED]


def one_ring(*counts: int) -> Series:
    """Channels of one ring (HE |ieta| 20 depth 3) with the given totals of 1000 events."""
    rows = HE[(np.abs(CHANNELS.ieta[HE]) == 20) & (CHANNELS.depth[HE] == 3)][: len(counts)]
    return Series(
        CHANNELS.take(rows), np.array([counts], dtype=np.int32), np.array([1000.0]), np.array([1]), np.array([0])
    )


def test_the_reference_of_a_ring_by_hand() -> None:
    # Median 300 of the four that count; the silent one has no say and is not live.
    reference = ring_reference(one_ring(300, 300, 300, 300, 0))
    assert reference.level == pytest.approx(float(log_rate(np.array(300.5 / 1001))))
    assert reference.live.tolist() == [True] * 4 + [False]
    # Four equal channels do not prove that the fifth is equal to a permille: 5 % at least, times a reach of three.
    assert reference.level_error == pytest.approx(3 * 0.05)


def test_the_error_of_a_ring_is_its_spread_by_hand() -> None:
    counts = (100, 200, 300, 400, 900)
    rates = log_rate((np.array(counts) + 0.5) / 1001)
    spread = 1.4826 * np.median(np.abs(rates - rates[2]))
    assert ring_reference(one_ring(*counts)).level_error == pytest.approx(3 * spread)
    assert ring_reference(one_ring(*counts)).level == pytest.approx(rates[2])


def test_a_ring_without_a_digi_is_no_reference() -> None:
    reference = ring_reference(one_ring(0, 0, 0))
    assert not reference.live.any()
    assert np.isfinite(reference.level).all()
