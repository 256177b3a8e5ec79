"""Maps to channels: the axes, what cannot be a count, and what belongs to no channel."""

from __future__ import annotations

import numpy as np
import pytest

from hcal_root_ad.detector import HO_MAP, Era, channel_table
from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.gathering import LumisectionCounts, needed_depths, whole_numbers

RUN_2017, RUN_2023 = 306_138, 370_101


def filled(cells: dict[tuple[int, int], float]) -> np.ndarray:
    values = np.zeros((84, 72))
    for (x, y), content in cells.items():
        values[x, y] = content
    return values


def count_of(section: LumisectionCounts, name: str, ieta: int, iphi: int, depth: int) -> int:
    table = channel_table(Era.RUN3 if section.run == RUN_2023 else Era.RUN2_2017)
    row = next(r for r in table.rows_of(name) if (table.ieta[r], table.iphi[r], table.depth[r]) == (ieta, iphi, depth))
    assert section.counts is not None
    return int(section.counts[row])


def test_bins_on_the_axis_with_84_bins() -> None:
    """HE −29 is 0-based bin 13, HF −29 bin 12, HB −1 bin 41, HB +1 bin 42, HE +29 bin 70, HF +29 bin 71."""
    section = LumisectionCounts(RUN_2023, 1)
    cells = {(13, 0): 1, (12, 2): 2, (41, 71): 3, (42, 5): 4, (70, 4): 5, (71, 70): 6}
    section.add_map(1, filled(cells), "x")
    assert count_of(section, "HE", -29, 1, 1) == 1
    assert count_of(section, "HF", -29, 3, 1) == 2
    assert count_of(section, "HB", -1, 72, 1) == 3
    assert count_of(section, "HB", 1, 6, 1) == 4
    assert count_of(section, "HE", 29, 5, 1) == 5
    assert count_of(section, "HF", 29, 71, 1) == 6
    assert section.stray == 0


def test_ho_lies_in_depth_4_in_2017_and_has_a_map_of_its_own_later() -> None:
    """HO +1 is 0-based bin 42, where HB has no depth 4 in 2017."""
    early, late = LumisectionCounts(RUN_2017, 1), LumisectionCounts(RUN_2023, 1)
    for section, number in ((early, 4), (late, HO_MAP)):
        section.add_map(number, filled({(42, 0): 7}), "x")
        assert section.counts is not None
        assert count_of(section, "HO", 1, 1, 4) == section.counts.sum() == 7
        assert section.stray == 0
    late.add_map(4, filled({(42, 0): 5}), "x")
    assert count_of(late, "HB", 1, 1, 4) == 5
    assert count_of(late, "HO", 1, 1, 4) == 7


@pytest.mark.parametrize(("run", "maps", "there"), [
    (RUN_2023, {}, False),
    (RUN_2023, {HO_MAP: 0}, True),
    (RUN_2017, {}, False),  # an empty depth 4 may be one of later software, which has a map of HO
    (RUN_2017, {4: 7}, True),
    (RUN_2017, {HO_MAP: 0}, True),
])  # fmt: skip
def test_ho_came_with_its_map_or_with_digis_in_depth_4(run: int, maps: dict[int, int], there: bool) -> None:
    section = LumisectionCounts(run, 1)
    for number in {*needed_depths(Era.RUN3 if run == RUN_2023 else Era.RUN2_2017), *maps}:
        section.add_map(number, filled({(42, 0): maps.get(number, 0)}), "x")
    assert section.complete
    assert section.has_ho is there


def test_ho_counts_as_often_as_the_depths_or_not_at_all() -> None:
    section = LumisectionCounts(RUN_2023, 1)
    for _ in range(2):
        for depth in needed_depths("Run3"):
            section.add_map(depth, filled({}), "x")
    section.add_map(HO_MAP, filled({}), "x")
    assert section.complete
    assert not section.has_ho
    section.add_map(HO_MAP, filled({}), "x")
    assert section.has_ho


def test_digis_without_a_channel_are_stray() -> None:
    """HE |ieta| 25 has odd iphi only, so iphi 2 is no channel."""
    section = LumisectionCounts(RUN_2023, 1)
    section.add_map(2, filled({(25 + 41, 1): 3, (25 + 41, 2): 4}), "x")
    assert section.stray == 3
    assert count_of(section, "HE", 25, 3, 2) == 4


@pytest.mark.parametrize("shape", [(82, 72), (83, 72), (64, 72), (84, 71), (72, 84), (85,)])
def test_other_axes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=f"element has {' × '.join(map(str, shape))} bins; .* 84"):
        LumisectionCounts(RUN_2023, 1).add_map(1, np.zeros(shape), "element")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (np.nan, "not numbers"),
        (np.inf, "not numbers"),
        (-1.0, "negative content -1"),
        (0.5, "fraction 0.5"),
        (3e9, "3e\\+09"),
    ],
)
def test_what_cannot_be_a_count_is_refused(content: float, words: str) -> None:
    with pytest.raises(InputError, match=f"depth1 of run 1.*{words}"):
        whole_numbers(np.array([0.0, content]), "depth1 of run 1")


def test_complete_means_every_depth_equally_often() -> None:
    section = LumisectionCounts(RUN_2023, 1)
    for depth in needed_depths("Run3"):
        assert not section.complete
        section.add_map(depth, filled({}), "x")
    assert section.complete
    section.add_map(1, filled({}), "x")
    assert not section.complete
