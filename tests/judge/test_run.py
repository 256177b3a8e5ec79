"""The main job on one run: which bundle serves, what is left out and why, and what an ill sub-detector does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hcal_root_ad.learn.bundle import Bundle

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.errors import BundleError, NoHcalError
from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.judge.verdict import Kind, RunVerdict, State
from hcal_root_ad.learn.tail import Tail
from hcal_root_ad.lumi_maps import CoarseMaps, LumiMaps
from hcal_root_ad.simulate.conditions import simulate_conditions
from hcal_root_ad.simulate.detector import simulate_detector
from hcal_root_ad.simulate.dials import write_dials
from hcal_root_ad.simulate.run import simulate_run

MakeBundle = Callable[..., Bundle]
MakeMaps = Callable[..., LumiMaps]
CHANNELS = channel_table().select("HB", "HE")
HB, HE = CHANNELS.rows_of("HB"), CHANNELS.rows_of("HE")
HEP = HE[CHANNELS.ieta[HE] > 0]
HEP07 = HEP[CHANNELS.rbx[HEP] == 7]


@pytest.fixture(scope="module")
def both(make_bundle: MakeBundle) -> list[Bundle]:
    return [make_bundle("HB"), make_bundle("HE")]


def lines(verdict: RunVerdict) -> list[tuple[str, Kind, int, int, int]]:
    return [(g.unit, g.kind, g.first, g.last, g.channels) for one in verdict.verdicts for g in one.groups]


def test_a_healthy_run_is_good_everywhere(make_maps: MakeMaps, both: list[Bundle]) -> None:
    verdict = judge_run(make_maps(), both)
    assert [one.subdetector for one in verdict.verdicts] == ["HB", "HE"]
    assert lines(verdict) == []
    assert all((one.states == State.GOOD).all() for one in verdict.verdicts)
    assert verdict.every_note == ()


def test_counting_statistics_raise_nothing_and_faults_among_them_are_found(
    make_maps: MakeMaps, make_bundle: MakeBundle
) -> None:
    # Wald: 6768 channels × 8 hypotheses × 20 LS above e^18 are 0.016 false flags at most.
    bundle = make_bundle("HE", tail=Tail(18.0, 0.01, 1.0))
    maps = make_maps(20)
    maps.counts[:] = np.random.default_rng(11).binomial(1000, 0.3, maps.counts.shape)
    maps.counts[6:11, HEP07] = 0
    maps.counts[3:, HE[1234]] = np.random.default_rng(12).binomial(1000, 0.6, 17)
    verdict = judge_run(maps, [bundle])
    hot = f"HE {CHANNELS.ieta[HE[1234]]:+d}/{CHANNELS.iphi[HE[1234]]}/{CHANNELS.depth[HE[1234]]}"
    assert lines(verdict) == [("HEP07", Kind.DEAD, 7, 11, 188), (hot, Kind.HOT, 4, 20, 1)]


def test_luminosity_steps_raise_nothing(make_maps: MakeMaps, both: list[Bundle]) -> None:
    maps = make_maps(6)
    # λ falls to 0.8 of its value in LS 4: p = 1 − 0.7^0.8.
    maps.counts[3:] = round(1000 * (1 - 0.7**0.8))
    assert lines(judge_run(maps, both)) == []


def test_only_what_a_bundle_serves_is_judged_and_the_rest_is_said(make_maps: MakeMaps, make_bundle: MakeBundle) -> None:
    verdict = judge_run(make_maps(3), [make_bundle("HE")])
    assert [one.subdetector for one in verdict.verdicts] == ["HE"]
    assert verdict.every_note == ("no bundle for HB: its channels were not judged",)


def test_progress_counts_subdetectors(make_maps: MakeMaps, both: list[Bundle]) -> None:
    seen: list[tuple[int, int]] = []
    judge_run(make_maps(2), both, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_the_false_alarm_rate_is_the_bundles_unless_asked_otherwise(
    make_maps: MakeMaps, make_bundle: MakeBundle
) -> None:
    bundle = replace(make_bundle("HE"), false_alarms=0.25)
    assert judge_run(make_maps(2), [bundle]).verdicts[0].judge.false_alarms == 0.25
    assert judge_run(make_maps(2), [bundle], false_alarms=3.0).verdicts[0].judge.false_alarms == 3.0


def test_two_bundles_for_one_subdetector_are_refused(make_maps: MakeMaps, make_bundle: MakeBundle) -> None:
    with pytest.raises(BundleError, match="this and that are both for HE"):
        judge_run(make_maps(2), [make_bundle("HE", name="this"), make_bundle("HE", name="that")])


def test_bundles_that_serve_nothing_are_refused(make_maps: MakeMaps, make_bundle: MakeBundle) -> None:
    maps = make_maps(2)
    maps.counts[:, HE] = 0
    with pytest.raises(BundleError, match=r"run 370101 holds HB, the bundles given are flat-he \(HE\)"):
        judge_run(maps, [make_bundle("HE")])
    with pytest.raises(BundleError, match="the bundles given are none"):
        judge_run(maps, [])


def test_a_run_without_a_digi_is_no_hcal(make_maps: MakeMaps, both: list[Bundle]) -> None:
    maps = make_maps(2)
    maps.counts[:] = 0
    with pytest.raises(NoHcalError, match="no digi of HB or HE"):
        judge_run(maps, both)


def test_a_run_of_too_few_events_is_not_judged(make_maps: MakeMaps, both: list[Bundle]) -> None:
    with pytest.raises(NoHcalError, match="at least 100 events"):
        judge_run(make_maps(3, events=99), both)
    assert judge_run(make_maps(3, events=100), both).verdicts[0].assessed.all()


def test_lumisections_without_maps_or_events_are_not_assessed_and_not_dead(
    make_maps: MakeMaps, both: list[Bundle]
) -> None:
    maps = make_maps([1, 2, 3, 7, 8], events=[1000, 50, 1000, 1000, 1000])
    maps.counts[1] = 0
    maps.counts[3] = 0
    maps.present[3] = False
    verdict = judge_run(maps, both)
    assert lines(verdict) == []
    for one in verdict.verdicts:
        assert one.states[:, 5].tolist() == [3, 2, 3, 2, 3]
        assert one.lumisections.tolist() == [1, 2, 3, 7, 8]


def test_channels_that_the_reference_never_saw_are_not_connected(make_maps: MakeMaps, make_bundle: MakeBundle) -> None:
    bundle = make_bundle("HE")
    live = np.arange(len(HE)) != 17
    bundle = replace(bundle, reference=replace(bundle.reference, live=live))
    maps = make_maps(3)
    maps.counts[:, HE[17]] = 0
    states = judge_run(maps, [bundle]).verdicts[0].states
    assert (states[:, 17] == State.NOT_CONNECTED).all()
    assert (states[:, live] == State.GOOD).all()


def test_a_dead_box_is_one_line_and_its_intervals_carry_its_name(make_maps: MakeMaps, both: list[Bundle]) -> None:
    maps = make_maps([1, 2, 3, 4, 8, 9, 10])
    maps.counts[2:6, HEP07] = 0
    verdict = judge_run(maps, both)
    assert lines(verdict) == [("HEP07", Kind.DEAD, 3, 9, 188)]
    he = verdict.verdicts[1]
    assert {(i.first, i.last, i.observed, i.group) for i in he.intervals} == {(3, 9, 0, "HEP07")}
    assert [i.expected for i in he.intervals] == pytest.approx([1200.0] * 188, rel=0.01)
    assert (he.states[:, HEP07 - HE[0]].T == [3, 3, 5, 5, 5, 5, 3]).all()


def test_a_subdetector_that_dies_while_the_other_sees_collisions_is_dead(
    make_maps: MakeMaps, both: list[Bundle]
) -> None:
    maps = make_maps(8)
    maps.counts[3:6, HE] = 0
    assert lines(judge_run(maps, both)) == [("HE", Kind.DEAD, 4, 6, len(HE))]


def test_without_collisions_nothing_is_assessed(make_maps: MakeMaps, both: list[Bundle]) -> None:
    maps = make_maps(20)
    maps.counts[3:15] = 0
    verdict = judge_run(maps, both)
    assert lines(verdict) == []
    for one in verdict.verdicts:
        assert (one.states[3:15] == State.NOT_ASSESSED).all()
        assert (one.states[[2, 15]] == State.GOOD).all()
        assert one.notes[0].startswith(f"{one.subdetector}: 12 lumisections not assessed")
        assert one.notes[0].endswith("LS 4, 5, 6, 7, 8, 9, 10, 11 and 4 more")


def test_without_the_other_nobody_can_tell_a_dead_subdetector_from_no_beam(
    make_maps: MakeMaps, make_bundle: MakeBundle
) -> None:
    maps = make_maps(8)
    maps.counts[3:6, HE] = 0
    verdict = judge_run(maps, [make_bundle("HE")]).verdicts[0]
    assert (verdict.states[3:6] == State.NOT_ASSESSED).all()


def test_half_a_subdetector_off_does_not_make_the_other_half_hot(make_maps: MakeMaps, both: list[Bundle]) -> None:
    maps = make_maps(8)
    maps.counts[3:6, HEP] = 0
    assert lines(judge_run(maps, both)) == [("HEP", Kind.DEAD, 4, 6, len(HEP))]


def test_more_than_half_a_subdetector_weak_does_not_make_the_rest_hot(make_maps: MakeMaps, both: list[Bundle]) -> None:
    # The fit follows the larger part, and its activity is none that the reference could not judge.
    maps = make_maps(8)
    hem01 = HE[(CHANNELS.ieta[HE] < 0) & (CHANNELS.rbx[HE] == 1)]
    maps.counts[3:6, np.concatenate([HEP, hem01])] = 90
    assert lines(judge_run(maps, both)) == [
        ("HEP", Kind.DEGRADED, 4, 6, len(HEP)),
        ("HEM01", Kind.DEGRADED, 4, 6, 188),
    ]


def test_a_subdetector_silent_all_along_is_not_passed_over(make_maps: MakeMaps, both: list[Bundle]) -> None:
    maps = make_maps(4)
    maps.counts[:, HE] = 0
    verdict = judge_run(maps, both)
    assert lines(verdict) == [("HE", Kind.DEAD, 1, 4, len(HE))]
    without = judge_run(maps, [bundle for bundle in both if bundle.subdetector == "HB"])
    assert [one.subdetector for one in without.verdicts] == ["HB"]
    assert without.every_note == (
        "HE: no digi in the whole run, its channels were not judged (off, dead, or not in the file)",
    )


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_a_subdetector_that_only_makes_noise_all_along_is_dead(
    make_maps: MakeMaps, both: list[Bundle], noise: float
) -> None:
    maps = make_maps(4)
    maps.counts[:, HE] = np.random.default_rng(2).binomial(1000, noise, (4, len(HE)))
    maps.counts[2, HE[5]] = 1
    verdict = judge_run(maps, both)
    assert lines(verdict) == [("HE", Kind.DEAD, 1, 4, len(HE))]
    assert verdict.every_note == ()


def test_a_run_with_hardly_a_digi_at_all_is_no_crash(make_maps: MakeMaps, both: list[Bundle]) -> None:
    maps = make_maps(6)
    maps.counts[:] = 0
    maps.counts[1, 3] = 1
    verdict = judge_run(maps, both)
    assert (verdict.verdicts[0].states == State.NOT_CONNECTED).all()
    assert "does not know this detector" in verdict.every_note[1]


def another_detector(maps: LumiMaps) -> LumiMaps:
    """Every channel at a level of its own, a third up or down."""
    p = 0.3 * np.exp(np.random.default_rng(4).uniform(-0.35, 0.35, maps.counts.shape[1]))
    maps.counts[:] = np.rint(maps.events[:, None] * p)
    return maps


def test_an_unknown_detector_is_judged_against_its_own_run_and_that_is_said(
    make_maps: MakeMaps, both: list[Bundle]
) -> None:
    maps = another_detector(make_maps(12))
    maps.counts[4:8, HEP07] = 0
    maps.counts[:, HB[100]] = 0
    verdict = judge_run(maps, both)
    assert lines(verdict) == [("HEP07", Kind.DEAD, 5, 8, 188)]
    assert len(verdict.every_note) == 2
    for note, name in zip(verdict.every_note, ("HB", "HE"), strict=True):
        assert note.startswith(
            f"{name}: bundle flat-{name.lower()} does not know this detector (its typical deviation is"
        )
        assert "what is wrong throughout the run is not seen" in note
    # Dead throughout: it cannot be told from a channel that is not connected.
    assert (verdict.verdicts[0].states[:, 100] == State.NOT_CONNECTED).all()


def test_a_bundle_of_another_era_lends_its_network_only(make_maps: MakeMaps, make_bundle: MakeBundle) -> None:
    maps = make_maps(12)
    maps.counts[4:8, HB[100]] = 0
    verdict = judge_run(maps, [make_bundle("HB", era=Era.RUN2_2018)])
    assert "it was made for 2018, the run is of Run3" in verdict.verdicts[0].notes[0]
    assert [(i.channel, i.kind, i.first, i.last) for i in verdict.verdicts[0].intervals] == [(100, Kind.DEAD, 5, 8)]
    assert len(verdict.verdicts[0].channels) == len(HB)


def test_files_in_any_order_are_judged_the_same(tmp_path: Path, make_bundle: MakeBundle) -> None:
    simulated = simulate_run(simulate_detector(5), simulate_conditions(8, seed=1), seed=1, run=370001)
    (path,) = write_dials(simulated, tmp_path)
    table = pq.read_table(path)
    order = np.random.default_rng(3).permutation(len(table))
    half = len(order) // 2
    for name, rows in (("a", order[half:]), ("b", order[:half])):
        pq.write_table(table.take(rows), tmp_path / f"{name}.parquet")
    bundle = make_bundle("HE")
    sorted_run, shuffled_run = (
        judge_run(read_lumi_maps(paths)[0], [bundle]).verdicts[0]
        for paths in ([path], [tmp_path / "a.parquet", tmp_path / "b.parquet"])
    )
    assert sorted_run.intervals == shuffled_run.intervals
    assert np.array_equal(sorted_run.score, shuffled_run.score)
    assert np.array_equal(sorted_run.states, shuffled_run.states)


def coarse_run(make_maps: MakeMaps, *, strips: bool, totals: bool, events: int = 1000) -> LumiMaps:
    """Twelve lumisections of a healthy run, as an ordinary harvested file holds them."""
    return make_maps(
        12,
        events,
        coarse=CoarseMaps(
            strips=np.full((12, 4, 72), 20_000) if strips else None,
            totals=np.full(len(CHANNELS), 12 * events * 3 // 10) if totals else None,
        ),
    )


def test_a_coarse_file_is_judged_as_far_as_it_goes_and_says_so(make_maps: MakeMaps, both: list[Bundle]) -> None:
    maps = coarse_run(make_maps, strips=True, totals=True)
    assert maps.coarse is not None
    assert maps.coarse.totals is not None
    maps.coarse.totals[HE[9]] = 0
    verdict = judge_run(maps, both)
    assert [(one.subdetector, one.granularity, len(one.states)) for one in verdict.verdicts] == [
        ("HB", "run", 1),
        ("HE", "run", 1),
    ]
    assert [(i.channel, i.kind, i.first, i.last) for i in verdict.verdicts[1].intervals] == [(9, Kind.DEAD, 1, 12)]
    assert verdict.strips is not None
    assert verdict.strips.groups == ()
    assert [note.split(":")[0] for note in verdict.every_note] == [
        "run totals",
        "strips are held against their own share in this run",
    ]


@pytest.mark.parametrize(("strips", "totals"), [(True, False), (False, True)])
def test_a_coarse_file_with_one_of_them(make_maps: MakeMaps, both: list[Bundle], strips: bool, totals: bool) -> None:
    verdict = judge_run(coarse_run(make_maps, strips=strips, totals=totals), both)
    assert (verdict.strips is not None, len(verdict.verdicts)) == (strips, 2 * totals)


def test_strips_need_no_bundle(make_maps: MakeMaps) -> None:
    verdict = judge_run(coarse_run(make_maps, strips=True, totals=False), [])
    assert verdict.strips is not None
    assert (verdict.strips.states == State.GOOD).all()
    assert verdict.strips.judge.false_alarms == 1.0


def test_totals_without_a_bundle_are_said_not_to_be_judged(make_maps: MakeMaps, make_bundle: MakeBundle) -> None:
    verdict = judge_run(coarse_run(make_maps, strips=True, totals=True), [make_bundle("HE")])
    assert [one.subdetector for one in verdict.verdicts] == ["HE"]
    assert "no bundle for HB: its channels were not judged" in verdict.every_note


@pytest.mark.parametrize(("strips", "totals"), [(False, False), (True, True), (True, False)])
def test_a_coarse_file_that_tells_nothing_is_an_error(
    make_maps: MakeMaps, both: list[Bundle], strips: bool, totals: bool
) -> None:
    with pytest.raises(NoHcalError, match="run 370101: neither strips per lumisection nor run totals"):
        judge_run(coarse_run(make_maps, strips=strips, totals=totals, events=0), both)
