"""Files without maps per lumisection: what strips and run totals tell, what they cannot, and how far to trust it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hcal_root_ad.detector import channel_table
from hcal_root_ad.errors import ModelError, NoHcalError
from hcal_root_ad.judge.coarse import BLINDNESS, expected_strips, judge_strips, strip_names
from hcal_root_ad.judge.run import RunJudge, judge_run
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import Kind, Level, State, StripVerdict, Trust
from hcal_root_ad.lumi_maps import CoarseMaps, LumiMaps
from hcal_root_ad.model.model import Model

MakeMaps = Callable[..., LumiMaps]
MakeModel = Callable[..., Model]
Judging = Callable[..., StripVerdict]
Lines = list[tuple[str, Kind, tuple[tuple[int, int], ...], int]]
HBM, HBP, HEM, HEP = range(4)
ODD, EVEN = slice(0, 72, 2), slice(1, 72, 2)
"""Places of odd and even iphi: iphi 1 comes first."""
HEP07 = np.arange(23, 27) - 1
"""Readout box 7 holds iphi 23 to 26."""
CHANNELS = channel_table().select("HB", "HE")
HE = CHANNELS.rows_of("HE")


def healthy(lumisections: int = 20) -> np.ndarray:
    """20,000 digis in HB strips, 9,000 and 3,000 in odd and even strips of HE, with a percent of their own each."""
    strips = np.full((lumisections, 4, 72), 20_000.0)
    strips[:, HEM:, ODD], strips[:, HEM:, EVEN] = 9_000, 3_000
    return np.rint(strips * (1 + 0.01 * np.sin(np.arange(4 * 72)).reshape(4, 72))).astype(np.int64)


@pytest.fixture(scope="module")
def judge(make_maps: MakeMaps) -> Judging:
    def judged(strips: np.ndarray, events: int | list[int] = 1000, false_alarms: float = 1.0) -> StripVerdict:
        return judge_strips(make_maps(len(strips), events), strips, false_alarms)

    return judged


def lines(verdict: StripVerdict) -> Lines:
    return [(f.unit, f.kind, f.ranges, f.channels) for f in verdict.findings]


def test_what_is_expected_by_hand() -> None:
    # Half as many digis in LS 2 and 3: the scale says so, the shares do not.
    counts = np.full((3, 4, 72), 100)
    counts[:, HEP, ODD] = 300
    counts[1:] //= 2
    expected, live = expected_strips(counts.reshape(3, -1))
    assert expected == pytest.approx(counts.reshape(3, -1))
    assert live.all()


def test_a_healthy_run_is_good_and_not_trusted(judge: Judging) -> None:
    verdict = judge(healthy())
    assert lines(verdict) == []
    assert (verdict.states == State.GOOD).all()
    assert verdict.expected == pytest.approx(verdict.observed, rel=1e-3)
    assert (verdict.judge.name, verdict.judge.digest) == ("strips of this run", "")
    assert verdict.trust is Trust.NONE
    assert verdict.trust_reason == "strips are measured against their own share in this run"
    assert verdict.notes == (BLINDNESS,)
    assert "single channels" in BLINDNESS


def test_counting_statistics_raise_nothing(judge: Judging) -> None:
    verdict = judge(np.random.default_rng(5).poisson(healthy(100)))
    assert lines(verdict) == []
    assert verdict.sensitivity < 1.1


@given(st.lists(st.floats(0.2, 5.0), min_size=3, max_size=20))
@settings(max_examples=25)
def test_luminosity_raises_nothing(judge: Judging, luminosity: list[float]) -> None:
    strips = np.rint(healthy(len(luminosity)) * np.array(luminosity)[:, None, None]).astype(np.int64)
    assert lines(judge(strips)) == []


def test_subdetectors_may_follow_luminosity_each_in_its_way(judge: Judging) -> None:
    strips = healthy().astype(float)
    fall = np.linspace(1, 0.4, 20)[:, None, None]
    strips[:, :HEM] *= fall
    strips[:, HEM:] *= fall**0.7
    assert lines(judge(np.rint(strips).astype(np.int64))) == []


def test_a_dead_box_is_one_finding(judge: Judging) -> None:
    strips = healthy()
    strips[5:9, HEP, HEP07] = 0
    verdict = judge(strips)
    assert lines(verdict) == [("HEP07", Kind.DEAD, ((6, 9),), 4)]
    (finding,) = verdict.findings
    assert (finding.subdetector, finding.level, finding.observed) == ("HE", Level.RBX, 0)
    # By hand: its own odd and even strips in four lumisections.
    assert finding.expected == pytest.approx(4 * (9_000 + 3_000 + 9_000 + 3_000), rel=0.02)
    assert {(i.channel, i.group, i.observed) for i in verdict.intervals} == {
        (HEP * 72 + strip, "HEP07", 0) for strip in HEP07
    }
    cells = HEP * 72 + HEP07
    assert (verdict.states[5:9, cells] == State.BAD).all()
    assert (verdict.states == State.BAD).sum() == 16
    assert (verdict.score[8, cells] < 0).all()


def test_a_dead_module_of_hb_is_one_strip(judge: Judging) -> None:
    strips = healthy()
    strips[2:, HBM, 40 - 1] = 0
    verdict = judge(strips)
    assert [(i.channel, i.kind, i.first, i.last) for i in verdict.intervals] == [(HBM * 72 + 39, Kind.DEAD, 3, 20)]
    assert [(f.level, f.unit[:5]) for f in verdict.findings] == [(Level.RM, "HBM11")]


def test_a_strip_that_comes_and_goes_is_one_finding(judge: Judging) -> None:
    strips = healthy(40)
    for first in (2, 12, 22, 32):
        strips[first : first + 3, HEP, 50] = 0
    verdict = judge(strips)
    assert [(finding.unit, finding.first, finding.last) for finding in verdict.findings] == [("HEP iphi 51", 3, 35)]


def test_strips_are_named_by_the_module_that_they_are() -> None:
    names = strip_names(CHANNELS)
    hb = CHANNELS.select("HB")
    for iphi in (1, 40, 72):
        module = np.unique(hb.rm[(hb.ieta < 0) & (hb.iphi == iphi)])
        box = np.unique(hb.rbx[(hb.ieta < 0) & (hb.iphi == iphi)])
        assert names[HBM * 72 + iphi - 1] == f"HBM{box[0]:02d}-RM{module[0]}"
    # An odd strip of HE is shared by the modules of a comb.
    assert names[HEP * 72 + 23 - 1] == "HEP iphi 23"
    assert len(set(names)) == 288


@pytest.mark.parametrize(("factor", "kind"), [(0.6, Kind.DEGRADED), (1.3, Kind.WARM), (2.0, Kind.HOT)])
def test_kinds_and_sizes(judge: Judging, factor: float, kind: Kind) -> None:
    strips = healthy()
    strips[5:9, HBP, 10] = np.rint(strips[5:9, HBP, 10] * factor)
    verdict = judge(strips)
    assert [(i.channel, i.kind, i.first, i.last) for i in verdict.intervals] == [(HBP * 72 + 10, kind, 6, 9)]
    assert verdict.findings[0].size == pytest.approx(factor, rel=0.01)


def test_a_strip_silent_all_along_is_held_against_its_neighbours(judge: Judging) -> None:
    strips = healthy()
    strips[:, HEM, 1] = 0
    strips[:, HEM, 2] = 0
    verdict = judge(strips)
    dead = sorted((i.channel, i.kind, i.first, i.last) for i in verdict.intervals)
    assert dead == [(HEM * 72 + 1, Kind.DEAD, 1, 20), (HEM * 72 + 2, Kind.DEAD, 1, 20)]
    # Odd and even iphi of HE see different particles: each is compared with its like.
    expected = [i.expected for i in sorted(verdict.intervals, key=lambda i: i.channel)]
    assert expected == pytest.approx([20 * 3_000, 20 * 9_000], rel=0.02)


def test_a_box_off_for_most_of_the_run_is_dead_where_it_was_off_only(judge: Judging) -> None:
    strips = healthy()
    strips[5:, HEP, HEP07] = 0
    assert lines(judge(strips)) == [("HEP07", Kind.DEAD, ((6, 20),), 4)]


@pytest.mark.parametrize(("factor", "kind"), [(0.0, Kind.DEAD), (0.7, Kind.DEGRADED)])
def test_a_half_that_fails_is_seen_by_the_other_half(judge: Judging, factor: float, kind: Kind) -> None:
    strips = healthy().astype(float)
    strips[5:9, HEM] *= factor
    verdict = judge(np.rint(strips).astype(np.int64))
    assert lines(verdict) == [("HEM", kind, ((6, 9),), 72)]
    assert verdict.findings[0].expected == pytest.approx(4 * 36 * 12_000, rel=0.01)
    assert (verdict.states[5:9, HEM * 72 : HEP * 72] == kind.state).all()


def test_a_half_off_for_most_of_the_run_is_dead_where_it_was_off_only(judge: Judging) -> None:
    strips = healthy()
    strips[5:, HEM] = 0
    assert lines(judge(strips)) == [("HEM", Kind.DEAD, ((6, 20),), 72)]


def test_a_subdetector_that_dies_as_luminosity_falls(judge: Judging) -> None:
    strips = np.rint(healthy() * np.linspace(1, 0.4, 20)[:, None, None]).astype(np.int64)
    strips[15:, HEM:] = 0
    assert lines(judge(strips)) == [("HEM", Kind.DEAD, ((16, 20),), 72), ("HEP", Kind.DEAD, ((16, 20),), 72)]


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("noise", [0, 50])
def test_a_half_without_digis_all_along_is_not_connected(judge: Judging, noise: int) -> None:
    strips = healthy()
    strips[:, HEM] = 0
    strips[3, HEM, 5] = noise
    verdict = judge(strips)
    assert lines(verdict) == []
    half = np.arange(288) // 72 == HEM
    assert (verdict.states[:, half] == State.NOT_CONNECTED).all()
    assert (verdict.states[:, ~half] == State.GOOD).all()


def test_lumisections_without_events_or_digis_are_not_assessed(judge: Judging) -> None:
    strips = healthy(8)
    strips[2] = 0
    verdict = judge(strips, events=[1000, 1000, 1000, 99, 0, 1000, 1000, 1000])
    assert verdict.assessed.tolist() == [True, True, False, False, False, True, True, True]
    assert (verdict.states[2:5] == State.NOT_ASSESSED).all()
    assert (verdict.states[[0, 1, 5, 6, 7]] == State.GOOD).all()


def test_lumisections_without_collisions_are_not_assessed_and_their_noise_is_no_fault(judge: Judging) -> None:
    # No beam in LS 6 to 9: a few noise digis in one strip of HB, nothing elsewhere, or little everywhere.
    for noise in (0, 3):
        strips = healthy()
        strips[5:9] = noise
        strips[5:9, HBM, 7] = 40
        verdict = judge(strips)
        assert lines(verdict) == []
        assert (verdict.states[5:9] == State.NOT_ASSESSED).all()
        assert (verdict.states[[4, 9]] == State.GOOD).all()
        assert any("4 lumisections not assessed" in note for note in verdict.notes)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_file_without_events_is_not_assessed(judge: Judging) -> None:
    verdict = judge(healthy(5), events=0)
    assert (verdict.states == State.NOT_ASSESSED).all()
    assert verdict.intervals == ()


@given(st.floats(0.01, 50.0), st.floats(0.01, 50.0))
@settings(max_examples=15)
def test_more_false_findings_allowed_are_more_flags(judge: Judging, one: float, other: float) -> None:
    strips = np.random.default_rng(8).poisson(healthy(6) * 0.002)
    strips[2:4, HBM, 3:9] //= 2
    rare, often = sorted((one, other))
    few, many = (judge(strips, false_alarms=rate) for rate in (rare, often))
    assert {i.channel for i in few.intervals} <= {i.channel for i in many.intervals}
    assert few.judge.threshold >= many.judge.threshold


def coarse_run(make_maps: MakeMaps, *, strips: bool, totals: bool, events: int = 1000) -> LumiMaps:
    """Lumisections 5 to 16 of a healthy run, as an ordinary harvested file holds them."""
    return make_maps(
        list(range(5, 17)),
        events,
        coarse=CoarseMaps(
            strips=np.full((12, 4, 72), 20_000) if strips else None,
            totals=np.full(len(CHANNELS), 12 * events * 3 // 10) if totals else None,
        ),
    )


def with_total(maps: LumiMaps, channel: int, count: int) -> LumiMaps:
    assert maps.coarse is not None
    assert maps.coarse.totals is not None
    totals = maps.coarse.totals.copy()
    totals[channel] = count
    return replace(maps, coarse=replace(maps.coarse, totals=totals))


def test_healthy_totals_are_good(make_maps: MakeMaps, both: list[Model]) -> None:
    verdict = judge_run(coarse_run(make_maps, strips=False, totals=True), both)
    he = verdict.verdicts[1]
    assert (he.granularity, he.states.shape, he.trust) == ("run", (1, len(HE)), Trust.ADAPTED)
    assert (he.states == State.GOOD).all()
    assert he.events.tolist() == [12_000]
    assert he.expected == pytest.approx(3_600, rel=1e-3)
    assert verdict.notes[0].startswith("run totals: channels per run against the reference")
    assert verdict.trust is Trust.ADAPTED


@pytest.mark.parametrize(
    ("count", "kind"), [(0, Kind.DEAD), (1_800, Kind.DEGRADED), (4_400, Kind.WARM), (6_000, Kind.HOT)]
)
def test_a_fault_spans_the_whole_run(make_maps: MakeMaps, both: list[Model], count: int, kind: Kind) -> None:
    maps = with_total(coarse_run(make_maps, strips=False, totals=True), int(HE[20]), count)
    he = judge_run(maps, both).verdicts[1]
    assert [(i.channel, i.kind, i.first, i.last, i.observed) for i in he.intervals] == [(20, kind, 5, 16, count)]
    assert [(f.rows, f.kind, f.ranges) for f in he.findings] == [((20,), kind, ((5, 16),))]
    assert he.intervals[0].expected == pytest.approx(3_600, rel=1e-3)
    assert he.states[0, 20] == kind.state


def test_a_coarse_file_is_judged_as_far_as_it_goes_and_says_so(make_maps: MakeMaps, both: list[Model]) -> None:
    verdict = judge_run(with_total(coarse_run(make_maps, strips=True, totals=True), int(HE[9]), 0), both)
    assert [(one.subdetector, one.granularity, len(one.states)) for one in verdict.verdicts] == [
        ("HB", "run", 1),
        ("HE", "run", 1),
    ]
    assert [(i.channel, i.kind) for i in verdict.verdicts[1].intervals] == [(9, Kind.DEAD)]
    assert verdict.strips is not None
    assert verdict.strips.findings == ()
    assert [note.split(":")[0] for note in verdict.every_note] == [
        "run totals",
        "strips are measured against their own share in this run",
    ]
    # The strips have no reference, whatever the totals rest on.
    assert verdict.trust is Trust.NONE


@pytest.mark.parametrize(("strips", "totals"), [(True, False), (False, True)])
def test_a_coarse_file_with_one_of_them(make_maps: MakeMaps, both: list[Model], strips: bool, totals: bool) -> None:
    verdict = judge_run(coarse_run(make_maps, strips=strips, totals=totals), both)
    assert (verdict.strips is not None, len(verdict.verdicts)) == (strips, 2 * totals)


def test_strips_need_no_model(make_maps: MakeMaps) -> None:
    verdict = judge_run(coarse_run(make_maps, strips=True, totals=False), [])
    assert verdict.strips is not None
    assert (verdict.strips.states == State.GOOD).all()
    assert verdict.strips.judge.false_alarms == 0.5


def test_totals_without_a_model_are_said_not_to_be_judged(make_maps: MakeMaps, make_model: MakeModel) -> None:
    verdict = judge_run(coarse_run(make_maps, strips=True, totals=True), [make_model("HE")])
    assert [one.subdetector for one in verdict.verdicts] == ["HE"]
    assert "no model for HB: its channels were not judged" in verdict.every_note
    alone = judge_run(coarse_run(make_maps, strips=True, totals=True), [])
    assert alone.verdicts == ()
    assert any(note.startswith("run totals are not judged: run 370101 holds HB, HE") for note in alone.notes)
    with pytest.raises(ModelError, match="the models given are none"):
        judge_run(coarse_run(make_maps, strips=False, totals=True), [])


def stranger(make_maps: MakeMaps) -> LumiMaps:
    """Totals of a detector whose channels are 20 % from those of the model."""
    maps = coarse_run(make_maps, strips=False, totals=True)
    rate = np.exp(np.random.default_rng(3).normal(0, 0.2, len(CHANNELS)))
    totals = np.rint(12_000 * (1 - 0.7**rate)).astype(np.int64)
    return replace(maps, coarse=CoarseMaps(strips=None, totals=totals))


def test_totals_of_an_unknown_detector_are_not_judged(make_maps: MakeMaps, both: list[Model]) -> None:
    verdict = judge_run(stranger(make_maps), both)
    assert [(one.trust, one.assessed.any(), one.findings) for one in verdict.verdicts] == [(Trust.NONE, False, ())] * 2


def test_totals_are_judged_without_a_reference_on_request_only(make_maps: MakeMaps, both: list[Model]) -> None:
    verdict = judge_run(stranger(make_maps), both, without_reference=True)
    assert [(one.trust, bool(one.assessed.all())) for one in verdict.verdicts] == [(Trust.NONE, True)] * 2


@pytest.mark.parametrize(("strips", "totals"), [(False, False), (True, True), (True, False)])
def test_a_coarse_file_that_tells_nothing_is_an_error(
    make_maps: MakeMaps, both: list[Model], strips: bool, totals: bool
) -> None:
    with pytest.raises(NoHcalError, match="run 370101: neither strips per lumisection nor run totals"):
        judge_run(coarse_run(make_maps, strips=strips, totals=totals, events=0), both)


def test_coarse_files_come_as_a_whole(make_maps: MakeMaps, both: list[Model]) -> None:
    judge = RunJudge(both)
    judge.add(coarse_run(make_maps, strips=True, totals=True))
    verdict: RunVerdict = judge.verdict()
    assert verdict.strips is not None
