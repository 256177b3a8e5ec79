"""Shared evidence, by hand: a module at −20 % is seen before its channels, one dead channel is no module."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad.detector import ChannelTable, Era, channel_table
from hcal_root_ad.evidence import HYPOTHESES, log_likelihood_ratios
from hcal_root_ad.pooling import (
    FEWEST,
    MODULES,
    PRIOR,
    UNLIKE,
    Pools,
    RecentEvidence,
    card_of,
    module_of,
    neighbours,
    tempered,
    unit_members,
    unit_ratios,
)
from hcal_root_ad.stats.binomial import Floats, log_rate

HE = channel_table(Era.RUN3).select("HE")
HB = channel_table(Era.RUN3).select("HB")
EVENTS, P = 100.0, 0.3


def ratios_of(channels: ChannelTable, counts: Floats) -> Floats:
    eta = np.full(len(channels), log_rate(np.array(P)))
    return log_likelihood_ratios(counts, np.array(EVENTS), eta, np.zeros(len(channels)))


@given(st.floats(-200, 200))
def test_a_say_is_bounded_odd_and_grows_with_the_ratio(ratio: float) -> None:
    one = tempered(np.array([ratio, -ratio, ratio + 1]))
    assert one[0] == pytest.approx(-one[1], abs=1e-9)
    assert abs(one[0]) <= np.log((1 - UNLIKE) / UNLIKE) + 1e-12
    assert one[2] >= one[0]


def test_a_say_by_hand() -> None:
    # Λ = 9: (0.1 + 8.1) / (0.9 + 0.9).
    assert tempered(np.array([np.log(9)])) == pytest.approx(np.log(8.2 / 1.8))


@pytest.mark.parametrize("channels", [HE, HB])
def test_units_are_modules_and_cards_of_live_channels(channels: ChannelTable) -> None:
    live = np.ones(len(channels), dtype=bool)
    live[::7] = False
    members = unit_members(channels, live)
    assert not members[:, ~live].nnz
    for unit in np.flatnonzero(np.asarray(members.sum(axis=1)).ravel()):
        cells = members[unit].indices
        assert len(cells) >= FEWEST
        label = module_of(channels) if unit < MODULES else card_of(channels)
        assert set(label[cells]) == {unit % MODULES if unit < MODULES else unit - MODULES}


def test_a_unit_of_few_channels_is_none() -> None:
    live = np.zeros(len(HE), dtype=bool)
    live[np.flatnonzero(module_of(HE) == module_of(HE).max())[: FEWEST - 1]] = True
    assert unit_members(HE, live).nnz == 0


def test_neighbours_are_mutual_near_and_on_one_side() -> None:
    live = np.ones(len(HE), dtype=bool)
    near = neighbours(HE, live)
    assert (near != near.T).nnz == 0
    assert (near.diagonal() == 1).all()
    row, column = near.nonzero()
    assert np.abs(HE.ieta[row].astype(int) - HE.ieta[column]).max() == 1
    assert np.abs(HE.depth[row].astype(int) - HE.depth[column]).max() == 1
    around = np.abs(HE.iphi[row].astype(int) - HE.iphi[column])
    assert set(np.minimum(around, 72 - around)) == {0, 1, 2}
    fine = np.maximum(np.abs(HE.ieta[row]), np.abs(HE.ieta[column])) < 21
    assert np.minimum(around, 72 - around)[fine].max() == 1


def test_a_module_at_80_percent_is_seen_as_a_whole_within_one_lumisection() -> None:
    live = np.ones(len(HE), dtype=bool)
    module = module_of(HE)
    chosen = module == module[0]
    counts = np.full(len(HE), EVENTS * P)
    counts[chosen] *= 0.8
    ratios = ratios_of(HE, counts)
    together = unit_ratios(unit_members(HE, live), ratios)
    # 24·ln 0.8 + 76·ln(0.76/0.7) = 0.895 for each channel: a say of 0.73.
    alone = 24 * np.log(0.8) + 76 * np.log(0.76 / 0.7)
    assert ratios[3, chosen] == pytest.approx(alone, rel=1e-4)
    assert together[3, module[0]] == pytest.approx(chosen.sum() * tempered(np.array(alone)), rel=1e-4)
    assert together[:, module[0]].max() > 30
    assert together[:, : module.max() + 1][:, np.unique(module[~chosen])].max() < 0


def test_one_dead_channel_is_no_dead_module() -> None:
    counts = np.full(len(HE), EVENTS * P)
    counts[0] = 0
    together = unit_ratios(unit_members(HE, np.ones(len(HE), dtype=bool)), ratios_of(HE, counts))
    assert together[:, module_of(HE)[0]].max() < 0


def test_a_channel_alone_scores_its_own_evidence() -> None:
    live = np.zeros(len(HE), dtype=bool)
    live[[5]] = True
    recent = RecentEvidence(Pools(HE, live))
    ratios = np.zeros((HYPOTHESES, len(HE)))
    ratios[1, 5], ratios[6, 5] = 2.0, -3.0
    assert recent.add(ratios)[0][:, 5] == pytest.approx([2.0, 0.0], abs=1e-6)
    assert recent.add(ratios)[0][0, 5] == pytest.approx(4.0)
    for _ in range(9):
        score, _ = recent.add(ratios)
    assert score[0, 5] == pytest.approx(10.0)  # five lumisections, no more


def test_what_others_say_helps_a_channel_that_agrees_and_not_one_that_does_not() -> None:
    live = np.ones(len(HE), dtype=bool)
    module = module_of(HE)
    chosen = np.flatnonzero(module == module[0])
    counts = np.full(len(HE), EVENTS * P)
    counts[chosen] *= 0.8
    counts[chosen[0]] = EVENTS * P * 1.1
    ratios = ratios_of(HE, counts)
    (score, _), units = RecentEvidence(Pools(HE, live)).add(ratios)
    assert np.allclose(units, unit_ratios(unit_members(HE, live), ratios), rtol=1e-4, atol=1e-4)
    own = ratios[3, chosen[1]]
    # The others' evidence is beyond its reach of 12: 8 more, after log odds of 4 against.
    assert score[chosen[1]] == pytest.approx(own + np.log((1 + np.exp(12 - PRIOR)) / (1 + np.exp(-PRIOR))), rel=1e-3)
    assert score[chosen[0]] < score[chosen[1]] - 1
