"""Strips of an ordinary online file: what is found in them, and what must not be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hcal_root_ad.detector import channel_table
from hcal_root_ad.judge.strips import judge_strips, poisson_ratios, strip_names, strip_shares
from hcal_root_ad.judge.verdict import Kind, State, StripVerdict
from hcal_root_ad.lumi_maps import LumiMaps

MakeMaps = Callable[..., LumiMaps]
HBM, HBP, HEM, HEP = range(4)
ODD, EVEN = slice(0, 72, 2), slice(1, 72, 2)
"""Places of odd and even iphi: iphi 1 comes first."""
HEP07 = np.arange(23, 27) - 1
"""Readout box 7 holds iphi 23 to 26."""


def healthy(lumisections: int = 20) -> np.ndarray:
    """20,000 digis in HB strips, 9,000 and 3,000 in odd and even strips of HE, with a percent of their own each."""
    strips = np.full((lumisections, 4, 72), 20_000.0)
    strips[:, HEM:, ODD], strips[:, HEM:, EVEN] = 9_000, 3_000
    return np.rint(strips * (1 + 0.01 * np.sin(np.arange(4 * 72)).reshape(4, 72))).astype(np.int64)


@pytest.fixture(scope="module")
def judge(make_maps: MakeMaps) -> Callable[..., StripVerdict]:
    def judged(strips: np.ndarray, events: int | list[int] = 1000, false_alarms: float = 1.0) -> StripVerdict:
        one_channel = channel_table().select("HB", "HE").take(np.array([0]))
        maps = make_maps(len(strips), events, channels=one_channel)
        return judge_strips(maps, strips, false_alarms)

    return judged


Judging = Callable[..., StripVerdict]


def lines(verdict: StripVerdict) -> list[tuple[str, Kind, int, int, int]]:
    return [(g.unit, g.kind, g.first, g.last, g.channels) for g in verdict.groups]


def test_ratio_by_hand() -> None:
    # 500 of 1000 against ×0.4 of the lower edge, two errors of a percent: 500·ln 0.4 + 0.6·1000·e^−0.02.
    ratios = poisson_ratios(np.array([[500]]), np.array([[1000.0]]))
    assert ratios[1, 0, 0] == pytest.approx(500 * np.log(0.4) + 600 * np.exp(-0.02), rel=1e-5)
    assert ratios[-1, 0, 0] == pytest.approx(500 * np.log(4) - 3000 * np.exp(0.02), rel=1e-5)


def test_one_digi_in_each_strip_has_a_share_and_a_scale() -> None:
    shares, scale = strip_shares(np.ones((3, 4 * 72), dtype=np.int64))
    assert (shares == 1).all()
    assert (scale == 1).all()


def test_shares_and_scale_by_hand() -> None:
    # Half as many digis in LS 2 and 3: the scale says so, the shares do not.
    counts = np.full((3, 4, 72), 100)
    counts[:, HEP, ODD] = 300
    counts[1:] //= 2
    shares, scale = strip_shares(counts.reshape(3, -1))
    expected = shares * scale
    assert expected == pytest.approx(counts.reshape(3, -1))
    assert scale[1] / scale[0] == pytest.approx(0.5)


def test_a_healthy_run_is_good(judge: Judging) -> None:
    verdict = judge(healthy())
    assert lines(verdict) == []
    assert (verdict.states == State.GOOD).all()
    assert verdict.expected == pytest.approx(verdict.observed, rel=1e-3)


def test_the_verdict_says_that_no_bundle_judged(judge: Judging) -> None:
    found = judge(healthy()).judge
    assert (found.bundle, found.version, found.digest) == ("strips of this run", "1", "")


def test_counting_statistics_raise_nothing(judge: Judging) -> None:
    verdict = judge(np.random.default_rng(5).poisson(healthy(100)))
    assert lines(verdict) == []


@given(st.lists(st.floats(0.2, 5.0), min_size=3, max_size=20))
@settings(max_examples=25)
def test_luminosity_raises_nothing(judge: Judging, luminosity: list[float]) -> None:
    strips = np.rint(healthy(len(luminosity)) * np.array(luminosity)[:, None, None]).astype(np.int64)
    assert lines(judge(strips)) == []


def test_halves_may_follow_luminosity_each_in_its_way(judge: Judging) -> None:
    strips = healthy().astype(float)
    fall = np.linspace(1, 0.4, 20)[:, None, None]
    strips[:, :HEM] *= fall
    strips[:, HEM:] *= fall**0.7
    assert lines(judge(np.rint(strips).astype(np.int64))) == []


def test_a_dead_box_is_one_line(judge: Judging) -> None:
    strips = healthy()
    strips[5:9, HEP, HEP07] = 0
    verdict = judge(strips)
    assert lines(verdict) == [("HEP07", Kind.DEAD, 6, 9, 4)]
    assert {(i.channel, i.group, i.observed) for i in verdict.intervals} == {
        (HEP * 72 + strip, "HEP07", 0) for strip in HEP07
    }
    cells = HEP * 72 + HEP07
    assert (verdict.states[5:9, cells] == State.BAD).all()
    assert (verdict.states == State.BAD).sum() == 16
    assert (verdict.score[8, cells] < 0).all()
    # By hand: its own odd and even strips in four lumisections.
    assert verdict.groups[0].expected == pytest.approx(4 * (9_000 + 3_000 + 9_000 + 3_000), rel=0.02)


def test_a_dead_module_of_hb_is_one_strip(judge: Judging) -> None:
    strips = healthy()
    strips[2:, HBM, 40 - 1] = 0
    verdict = judge(strips)
    assert [(i.channel, i.kind, i.first, i.last) for i in verdict.intervals] == [(HBM * 72 + 39, Kind.DEAD, 3, 20)]


def test_strips_are_named_by_the_module_that_they_are() -> None:
    channels = channel_table().select("HB", "HE")
    names = strip_names(channels)
    hb = channels.select("HB")
    for iphi in (1, 40, 72):
        module = np.unique(hb.rm[(hb.ieta < 0) & (hb.iphi == iphi)])
        box = np.unique(hb.rbx[(hb.ieta < 0) & (hb.iphi == iphi)])
        assert names[HBM * 72 + iphi - 1] == f"HBM{box[0]:02d}-RM{module[0]}"
    # An odd strip of HE is shared by the modules of a comb.
    assert names[HEP * 72 + 23 - 1] == "HEP iphi 23"
    assert len(set(names)) == 288


@pytest.mark.parametrize(("factor", "kind"), [(0.6, Kind.DEGRADED), (1.3, Kind.WARM), (2.0, Kind.HOT)])
def test_kinds(judge: Judging, factor: float, kind: Kind) -> None:
    strips = healthy()
    strips[5:9, HBP, 10] = np.rint(strips[5:9, HBP, 10] * factor)
    verdict = judge(strips)
    assert [(i.channel, i.kind, i.first, i.last) for i in verdict.intervals] == [(HBP * 72 + 10, kind, 6, 9)]


def test_a_strip_silent_all_along_is_held_against_its_neighbours(judge: Judging) -> None:
    strips = healthy()
    strips[:, HEM, 1] = 0
    strips[:, HEM, 2] = 0
    verdict = judge(strips)
    assert [(i.channel, i.kind, i.first, i.last) for i in verdict.intervals] == [
        (HEM * 72 + 1, Kind.DEAD, 1, 20),
        (HEM * 72 + 2, Kind.DEAD, 1, 20),
    ]
    # Odd and even iphi of HE see different particles: each is held against its like.
    assert [i.expected for i in verdict.intervals] == pytest.approx([20 * 3_000, 20 * 9_000], rel=0.02)


def test_a_box_off_for_most_of_the_run_is_dead_where_it_was_off_only(judge: Judging) -> None:
    strips = healthy()
    strips[5:, HEP, HEP07] = 0
    assert lines(judge(strips)) == [("HEP07", Kind.DEAD, 6, 20, 4)]


def test_a_half_that_dies_is_seen_by_the_other_halves(judge: Judging) -> None:
    strips = healthy()
    strips[5:9, HEM] = 0
    verdict = judge(strips)
    assert lines(verdict) == [("HEM", Kind.DEAD, 6, 9, 72)]
    assert verdict.groups[0].expected == pytest.approx(4 * 36 * 12_000, rel=0.01)
    assert (verdict.states[5:9, HEM * 72 : HEP * 72] == State.BAD).all()


def test_a_half_off_for_most_of_the_run_is_dead_where_it_was_off_only(judge: Judging) -> None:
    strips = healthy()
    strips[5:, HEM] = 0
    assert lines(judge(strips)) == [("HEM", Kind.DEAD, 6, 20, 72)]


def test_a_half_that_dies_as_luminosity_falls(judge: Judging) -> None:
    strips = np.rint(healthy() * np.linspace(1, 0.4, 20)[:, None, None]).astype(np.int64)
    strips[15:, HEM:] = 0
    assert lines(judge(strips)) == [("HEM", Kind.DEAD, 16, 20, 72), ("HEP", Kind.DEAD, 16, 20, 72)]


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


def test_short_lumisections_are_no_fault(judge: Judging) -> None:
    strips = healthy()
    strips[4] //= 8
    assert lines(judge(strips, events=[1000] * 4 + [125] + [1000] * 15)) == []


@given(st.floats(0.01, 100.0), st.floats(0.01, 100.0))
@settings(max_examples=15)
def test_more_false_alarms_allowed_are_more_flags(judge: Judging, one: float, other: float) -> None:
    strips = np.random.default_rng(8).poisson(healthy(6) * 0.002)
    strips[2:4, HBM, 3:9] //= 2
    rare, often = sorted((one, other))
    few, many = (judge(strips, false_alarms=rate) for rate in (rare, often))
    assert {i.channel for i in few.intervals} <= {i.channel for i in many.intervals}
    # Wald: ln(strips × hypotheses × 100 LS / false alarms).
    assert few.judge.threshold == pytest.approx(np.log10(288 * 8 * 100 / rare))


def test_what_strips_cannot_see_is_said(judge: Judging) -> None:
    assert judge(healthy(3)).notes == (
        "strips are held against their own share in this run: a fault of single channels cannot be seen",
    )
