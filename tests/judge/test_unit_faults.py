"""A unit at fault takes along what fails itself: not its sound modules, patches, channels or lumisections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hcal_root_ad.judge.findings import Fault, crowd_timed
from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.judge.unit_faults import UnitDigis
from hcal_root_ad.judge.verdict import Level, State
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model

MakeMaps = Callable[..., LumiMaps]
LENGTH = 40


def digis(ratio: NDArray[np.floating], group: NDArray[np.intp] | None = None, expected: float = 1000.0) -> UnitDigis:
    """Channels with a ratio to what is expected of each, in 10,000 events; a healthy one is off by 2 %."""
    size = len(ratio)
    return UnitDigis(
        observed=np.rint(ratio * expected), expected=np.full(size, expected), trials=np.full(size, 10_000.0),
        width=np.full(size, 0.02), group=np.zeros(size, dtype=np.intp) if group is None else group,
    )  # fmt: skip


def scaled(maps: LumiMaps, rows: NDArray[np.intp], factor: float, first: int = 1, last: int = LENGTH) -> LumiMaps:
    counts, lumisections = maps.counts.copy(), slice(first - 1, last)
    counts[lumisections, rows] = np.rint(counts[lumisections, rows] * factor)
    return replace(maps, counts=counts)


def flagged(maps: LumiMaps, models: list[Model], subdetector: str) -> NDArray[np.bool_]:
    verdict = next(v for v in judge_run(maps, models).verdicts if v.subdetector == subdetector)
    return np.asarray(verdict.states >= State.PROBLEMATIC)


def test_half_of_a_unit_at_0_8_is_told_from_a_unit_at_0_9() -> None:
    patch = np.arange(100) < 50
    assert digis(np.where(patch, 0.8, 1.0)).at_fault(-1).tolist() == patch.tolist()
    assert digis(np.full(100, 0.9)).at_fault(-1).all()


def test_a_module_that_hardly_tells_channel_by_channel_is_sound_as_a_whole() -> None:
    """Each channel of it is only two standard deviations from the loss: the module is fifty times as sure."""
    rng = np.random.default_rng(5)
    module = np.repeat(np.arange(4), 50)
    ratio = np.where(module == 2, 1.0, 0.9) + rng.normal(0, 0.045, 200)
    right = digis(ratio, module, expected=900.0).at_fault(-1) == (module != 2)
    assert right.mean() >= 0.95


def test_noise_that_adds_as_many_digis_to_busy_channels_as_to_quiet_ones_is_in_all_of_them() -> None:
    expected = np.repeat([200.0, 4000.0], 50)
    unit = UnitDigis(expected + 400, expected, np.full(100, 10_000.0), np.full(100, 0.02), np.zeros(100, dtype=np.intp))
    assert unit.at_fault(1).all()


@given(st.floats(0.0, 0.97), st.integers(1, 200), st.integers(0, 3))
def test_a_loss_that_all_channels_share_is_in_all_of_them(factor: float, size: int, groups: int) -> None:
    assert digis(np.full(size, factor), np.arange(size) % (groups + 1)).at_fault(-1).all()


def test_of_a_box_with_a_patch_at_fault_only_the_patch_is_flagged(make_maps: MakeMaps, both: list[Model]) -> None:
    maps = make_maps(LENGTH)
    names = np.array([maps.channels.box_name(row) for row in range(len(maps.channels))])
    box = np.flatnonzero(names == "HBP07")
    patch = box[np.abs(maps.channels.ieta[box]) <= 8]
    states = flagged(scaled(maps, patch, 0.8, 11, 15), both, "HB")
    expected = np.zeros_like(states)
    expected[10:15, np.searchsorted(maps.channels.rows_of("HB"), patch)] = True
    assert len(patch) < len(box)
    assert np.array_equal(states, expected)


def test_a_box_is_expected_where_its_health_drifted_though_it_fails_elsewhere(
    make_maps: MakeMaps, both: list[Model]
) -> None:
    maps = make_maps(LENGTH)
    names = np.array([maps.channels.box_name(row) for row in range(len(maps.channels))])
    box = np.flatnonzero(names == "HBP07")
    drifted = scaled(maps, box, 1.02)
    verdict = judge_run(scaled(drifted, box, 0.5, 11, 15), both)
    (hb,) = (v for v in verdict.verdicts if v.subdetector == "HB")
    own = np.searchsorted(maps.channels.rows_of("HB"), box)
    healthy = drifted.counts[:, box].sum(axis=1)
    assert np.asarray(hb.expected)[:, own].sum(axis=1) / healthy == pytest.approx(1, abs=0.005)


def test_what_is_sound_in_a_drifted_box_with_a_patch_at_fault_does_not_look_as_if_it_gained(
    make_maps: MakeMaps, both: list[Model]
) -> None:
    maps = make_maps(LENGTH)
    names = np.array([maps.channels.box_name(row) for row in range(len(maps.channels))])
    box = np.flatnonzero(names == "HBP07")
    patch = box[np.abs(maps.channels.ieta[box]) <= 8]
    before = scaled(scaled(maps, box, 1.02), box, 0.4, 31, 32)
    states = flagged(scaled(before, patch, 0.5, 11, 15), both, "HB")
    expected = np.zeros_like(states)
    expected[10:15, np.searchsorted(maps.channels.rows_of("HB"), patch)] = True
    expected[30:32, np.searchsorted(maps.channels.rows_of("HB"), box)] = True
    assert np.array_equal(states, expected)


def test_channels_all_over_a_box_that_fail_together_are_one_line(make_maps: MakeMaps, both: list[Model]) -> None:
    maps = make_maps(LENGTH)
    names = np.array([maps.channels.box_name(row) for row in range(len(maps.channels))])
    some = np.flatnonzero(names == "HEM05")[::2]
    verdict = judge_run(scaled(maps, some, 0.6, 11, 20), both)
    assert [(f.unit, f.ranges) for f in verdict.findings] == [(f"{len(some)} channels of HEM05", ((11, 20),))]


def test_a_card_is_told_by_its_channels_together(make_maps: MakeMaps, both: list[Model]) -> None:
    """Each channel is 2.5 standard deviations off, sixteen of them ten."""
    maps = make_maps(LENGTH)
    channels = maps.channels
    names = np.array([channels.box_name(row) for row in range(len(channels))])
    card = np.flatnonzero((names == "HBP07") & (channels.rm == 2) & (channels.card == 3))
    verdict = judge_run(scaled(maps, card, 0.88, 11, 11), both)
    assert [(f.unit, f.ranges, f.channels) for f in verdict.findings] == [("HBP07-RM2-card3", ((11, 11),), len(card))]


def test_several_cards_of_a_box_that_fail_alike_are_one_line(make_maps: MakeMaps, both: list[Model]) -> None:
    """A patch in |ieta| over all phi of a box is some of its cards, in each of its modules, and a part of others."""
    maps = make_maps(LENGTH)
    names = np.array([maps.channels.box_name(row) for row in range(len(maps.channels))])
    patch = np.flatnonzero((names == "HBP04") & (maps.channels.ieta > 2) & (maps.channels.ieta < 9))
    verdict = judge_run(scaled(maps, patch, 0.6, 11, 30), both)
    assert [(f.unit, f.ranges) for f in verdict.findings] == [(f"{len(patch)} channels of HBP04", ((11, 30),))]


@pytest.mark.parametrize("factor", [0.5, 0.7, 0.85])
def test_what_is_sound_beside_a_patch_is_no_gain_of_a_module_or_a_card(
    make_maps: MakeMaps, both: list[Model], factor: float
) -> None:
    maps = make_maps(LENGTH)
    names = np.array([maps.channels.box_name(row) for row in range(len(maps.channels))])
    patch = np.flatnonzero((names == "HEM11") & (maps.channels.rm > 1) & (np.abs(maps.channels.ieta) <= 20))
    verdict = judge_run(scaled(maps, patch, factor), both)
    assert all(finding.size < 1 for finding in verdict.findings)
    flagged_cells = np.asarray(verdict.verdicts[1].states >= State.PROBLEMATIC)
    own = np.zeros_like(flagged_cells)
    own[:, np.searchsorted(maps.channels.rows_of("HE"), patch)] = True
    assert np.array_equal(flagged_cells, own)


def test_half_of_a_subdetector_that_is_lost_leaves_no_gain_to_the_other_half(
    make_maps: MakeMaps, both: list[Model]
) -> None:
    maps = make_maps(LENGTH)
    lost = np.flatnonzero((maps.channels.subdetector == 1) & (maps.channels.ieta < 0))
    verdict = judge_run(scaled(maps, lost, 0.0, 11, 20), both)
    assert [(f.unit, f.ranges) for f in verdict.findings] == [("HBM", ((11, 20),))]
    assert verdict.common.sentences == ()


@pytest.mark.parametrize("every", [3, 5])
def test_channels_all_over_a_subdetector_fail_from_their_first_lumisection_to_their_last(
    make_maps: MakeMaps, both: list[Model], every: int
) -> None:
    maps = make_maps(LENGTH)
    rows = maps.channels.rows_of("HB")[::every]
    states = flagged(scaled(maps, rows, 0.6, 12, 31), both, "HB")
    expected = np.zeros_like(states)
    expected[11:31, ::every] = True
    assert np.array_equal(states, expected)


@pytest.mark.parametrize(("sign", "factor"), [(-1, 0.6), (1, 1.8)])
def test_a_crowd_has_the_lumisections_that_its_sum_tells(sign: int, factor: float) -> None:
    expected = np.full((30, 120), 50.0)
    observed = expected.copy()
    observed[8:20] *= factor
    coarse = np.zeros(30, dtype=bool)
    coarse[5:18] = True
    crowd = Fault(Level.CHANNELS, "120 channels of HE", sign, np.arange(120), coarse, 9.0)
    assert np.flatnonzero(crowd_timed(crowd, observed, expected).inside).tolist() == list(range(8, 20))
    few = replace(crowd, columns=np.arange(20))
    assert np.array_equal(crowd_timed(few, observed, expected).inside, coarse)


def test_channels_in_a_failed_unit_do_not_time_a_crowd() -> None:
    expected = np.full((30, 240), 50.0)
    observed = expected.copy()
    observed[8:20] *= 0.6
    observed[20:, :120] = 0
    inside = np.zeros(30, dtype=bool)
    inside[8:20] = True
    crowd = Fault(Level.CHANNELS, "240 channels of HE", -1, np.arange(240), inside, 9.0)
    half = Fault(Level.HALF, "HEM", -1, np.arange(120), np.arange(30) >= 20, 99.0)
    assert np.flatnonzero(crowd_timed(crowd, observed, expected, [half]).inside).tolist() == list(range(8, 20))


def test_more_channels_than_a_flood_have_their_own_edges(make_maps: MakeMaps, both: list[Model]) -> None:
    """Three hundred channels in a crowd, and five in one module that fail in other lumisections."""
    maps = make_maps(LENGTH)
    rows = maps.channels.rows_of("HB")
    names = np.array([maps.channels.box_name(row) for row in rows.tolist()])
    few = rows[(names == "HBP09") & (maps.channels.rm[rows] == 2)][::9]
    crowd = np.setdiff1d(rows[::20], few)
    states = flagged(scaled(scaled(maps, crowd, 0.6, 3, 20), few, 0.6, 23, 33), both, "HB")
    expected = np.zeros_like(states)
    expected[2:20, np.searchsorted(rows, crowd)] = True
    expected[22:33, np.searchsorted(rows, few)] = True
    assert np.array_equal(states, expected)
