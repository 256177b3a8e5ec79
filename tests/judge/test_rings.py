"""Rings: both sides of one, or one side alone, against the conditions and against each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from hcal_root_ad.detector import Subdetector
from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.judge.verdict import State, Verdict
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model
from hcal_root_ad.model.unit_tree import unit_tree

MakeMaps = Callable[..., LumiMaps]
LENGTH = 40
MIDDLE = (11, 30)


def rows_of(maps: LumiMaps, subdetector: Subdetector, *ieta: int, depth: int = 0) -> NDArray[np.intp]:
    table = maps.channels
    inside = (table.subdetector == subdetector) & np.isin(table.ieta, ieta) & ((depth == 0) | (table.depth == depth))
    return np.flatnonzero(inside)


def judged(maps: LumiMaps, models: list[Model], rows: NDArray[np.intp], factor: float) -> tuple[Verdict, float, int]:
    """Verdict on a run of which some channels lose or gain digis, flagged share of those, other flagged cells."""
    counts, when = maps.counts.copy(), slice(MIDDLE[0] - 1, MIDDLE[1])
    changed = np.rint(counts[when][:, rows] * factor).astype(counts.dtype)
    counts[when, rows] = np.minimum(changed, maps.events[when, None])
    table = maps.channels
    name = Subdetector(table.subdetector[rows[0]]).name
    verdict = next(v for v in judge_run(replace(maps, counts=counts), models).verdicts if v.subdetector == name)
    flagged, truth = verdict.states >= State.PROBLEMATIC, np.zeros(verdict.states.shape, dtype=bool)
    own = np.searchsorted(table.rows_of(name), rows)
    truth[when, own] = verdict.states[when][:, own] != State.NOT_CONNECTED
    return verdict, float(flagged[truth].mean()), int((flagged & ~truth).sum())


@pytest.mark.parametrize("factor", [0.0, 0.6, 0.8, 0.9, 1.3])
@pytest.mark.parametrize(("subdetector", "ieta"), [(Subdetector.HE, 18), (Subdetector.HE, -22), (Subdetector.HB, 5)])
def test_a_ring_of_one_side_is_one_line_and_the_other_side_is_sound(
    make_maps: MakeMaps, both: list[Model], subdetector: Subdetector, ieta: int, factor: float
) -> None:
    maps = make_maps(LENGTH)
    verdict, share, others = judged(maps, both, rows_of(maps, subdetector, ieta), factor)
    assert [finding.unit for finding in verdict.findings] == [f"{subdetector.name} ieta {ieta:+d}"]
    assert verdict.findings[0].size == pytest.approx(factor, abs=0.02)
    assert (share, others) == (1.0, 0)
    assert verdict.trust.trusted


def test_both_sides_that_fail_alike_are_one_ring(make_maps: MakeMaps, both: list[Model]) -> None:
    maps = make_maps(LENGTH)
    verdict, share, others = judged(maps, both, rows_of(maps, Subdetector.HE, 22, -22), 0.8)
    assert [finding.unit for finding in verdict.findings] == ["HE |ieta| 22"]
    assert (share, others) == (1.0, 0)


def test_one_depth_of_one_side_is_named_so(make_maps: MakeMaps, both: list[Model]) -> None:
    maps = make_maps(LENGTH)
    verdict, share, others = judged(maps, both, rows_of(maps, Subdetector.HB, -9, depth=2), 0.8)
    assert [finding.unit for finding in verdict.findings] == ["HB ieta -9 depth 2"]
    assert (share, others) == (1.0, 0)


def test_a_depth_of_one_side_is_one_line(make_maps: MakeMaps, both: list[Model]) -> None:
    maps = make_maps(LENGTH)
    verdict, share, others = judged(maps, both, rows_of(maps, Subdetector.HE, *range(16, 30), depth=3), 0.7)
    assert [finding.unit for finding in verdict.findings] == ["HEP depth 3"]
    assert (share, others) == (1.0, 0)


def test_rings_in_a_row_on_one_side_are_no_condition(make_maps: MakeMaps, both: list[Model]) -> None:
    """A smooth function of |ieta| could follow them, if only one of the sides were asked."""
    maps = make_maps(LENGTH)
    verdict, share, others = judged(maps, both, rows_of(maps, Subdetector.HE, 20, 21, 22, 23, 24), 0.8)
    assert {finding.unit for finding in verdict.findings} == {f"HE ieta +{ieta}" for ieta in range(20, 25)}
    assert (share, others) == (1.0, 0)


def test_the_same_on_both_sides_is_a_condition(make_maps: MakeMaps, both: list[Model]) -> None:
    maps = make_maps(LENGTH)
    rows = rows_of(maps, Subdetector.HE, *range(20, 25), *range(-24, -19))
    verdict, share, others = judged(maps, both, rows, 0.95)
    assert not verdict.findings
    assert (share, others) == (0.0, 0)


def test_each_side_of_a_ring_has_the_other_one_across(make_maps: MakeMaps) -> None:
    tree = unit_tree(make_maps(1).channels.select("HB", "HE", "HO"))
    names, across = tree.side_ring.names, tree.other_side
    assert (across[across] == np.arange(len(across))).all()
    assert names[across[names.index("HE ieta +18 depth 2")]] == "HE ieta -18 depth 2"
    assert tree.ring.names[tree.ring_of_side_ring[names.index("HE ieta +18 depth 2")]] == "HE |ieta| 18 depth 2"
    assert tree.half.names[tree.half_of_side_ring[names.index("HE ieta -18 depth 2")]] == "HEM"


def test_a_ring_of_one_side_is_not_turned_round_by_the_loss_of_the_other_half(
    make_maps: MakeMaps, both: list[Model]
) -> None:
    maps = make_maps(LENGTH)
    counts, when, table = maps.counts.copy(), slice(MIDDLE[0] - 1, MIDDLE[1]), maps.channels
    lost = np.flatnonzero((table.subdetector == Subdetector.HB) & (table.ieta < 0))
    for rows, factor in ((lost, 0.85), (rows_of(maps, Subdetector.HB, 9), 0.6)):
        counts[when, rows] = np.rint(counts[when, rows] * factor)
    verdict = judge_run(replace(maps, counts=counts), both)
    sizes = {finding.unit: finding.size for finding in verdict.findings}
    assert sizes == pytest.approx({"HBM": 0.85, "HB ieta +9": 0.6}, abs=0.02)
    assert {f.ranges for f in verdict.findings} == {(MIDDLE,)}


@pytest.mark.parametrize("factor", [0.3, 0.6, 1.5])
def test_many_rings_of_one_side_in_few_events_are_no_loss_of_their_half(
    make_maps: MakeMaps, both: list[Model], factor: float
) -> None:
    """In 150 events an RBX of which a third is lost looks as if all of it had lost some."""
    maps = make_maps(LENGTH, events=150)
    healthy = np.random.default_rng(7).binomial(150, 0.3, maps.counts.shape).astype(maps.counts.dtype)
    rows = rows_of(maps, Subdetector.HE, *range(-29, -24))
    _, share, others = judged(replace(maps, counts=healthy), both, rows, factor)
    assert share > 0.98
    assert others < 0.01 * (MIDDLE[1] - MIDDLE[0] + 1) * len(rows)
