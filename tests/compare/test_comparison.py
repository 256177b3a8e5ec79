"""A run against a reference: elements, kinds of likeness, luminosity, notes, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hcal_root_ad.compare.comparison import Comparison, Likeness, compare, compared
from hcal_root_ad.compare.shifts import ChangeKind
from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.errors import CatalogueError, NoHcalError
from hcal_root_ad.lumi_maps import CoarseMaps, LumiMaps, Source
from hcal_root_ad.mask import Mask, MaskEntry
from hcal_root_ad.references import NamedReference
from hcal_root_ad.stats.root_tests import chi2_test, kolmogorov_test

MakeMaps = Callable[..., LumiMaps]
MakeReference = Callable[..., NamedReference]

CHANNELS = channel_table().select("HB", "HE")
HE = CHANNELS.rows_of("HE")
HEP = HE[CHANNELS.ieta[HE] > 0]
HEP07 = HEP[CHANNELS.rbx[HEP] == 7]
HALVES = ("HBM", "HBP", "HEM", "HEP")
PATHS = [
    *(f"Occupancy/depth/depth{depth}" for depth in range(1, 8)),
    *(f"Occupancyvsieta/Subdet/{name}" for name in ("HB", "HE")),
    *(f"{kind}/SubdetPM/{half}" for half in HALVES for kind in ("Occupancyvsiphi", "OccupancyvsRBX")),
    *(f"OccupancyvsLS/SubdetPM/{half}" for half in HALVES),
]


def likeness(comparison: Comparison) -> dict[str, Likeness]:
    return {element.path: element.likeness for element in comparison.differing}


def element(comparison: Comparison, path: str):
    return next(one for one in comparison.elements if one.path == path)


def test_a_run_like_its_reference(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    found = compare(make_maps(), make_reference())
    assert [one.path for one in found.elements] == PATHS
    assert all(one.likeness is Likeness.SAME for one in found.elements)
    assert (found.changes, found.differs, found.notes) == ((), False, ())
    assert found.lumisections.tolist() == list(range(1, 13))
    depth4 = element(found, "Occupancy/depth/depth4")
    there = (CHANNELS.depth == 4).sum()
    assert (depth4.observed.sum(), depth4.expected.sum(), depth4.reference.sum()) == (
        3600 * there,
        3000 * there,
        3000 * there,
    )
    # The DQM axes: HE ieta −29 is bin 14 (row 13), iphi 1 is row 0.
    assert (element(found, "Occupancy/depth/depth1").observed[13, :3] == [3600, 0, 3600]).all()
    assert element(found, "OccupancyvsRBX/SubdetPM/HEP").observed.tolist() == [188 * 3600] * 18
    assert element(found, "OccupancyvsLS/SubdetPM/HBP").observed.tolist() == [4536 * 300] * 12


def test_another_luminosity_lights_up_nothing(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    maps, reference = make_maps(), make_reference()
    # Rings differ in pileup power, so that their shares change: at λ^(1/2) in HB depth 1 and 2.
    deep = CHANNELS.depth > 2
    for name, rates in reference.rates.items():
        power = np.where(rates.channels.depth > 2, 1.2, 0.8)
        rates.reference.power[:] = power
        assert name in ("HB", "HE")
    maps.counts[:, deep] = round(1000 * (1 - 0.7 ** (0.5**1.2)))
    maps.counts[:, ~deep] = round(1000 * (1 - 0.7 ** (0.5**0.8)))
    found = compare(maps, reference)
    assert not found.differs
    map_of_both = element(found, "Occupancyvsieta/Subdet/HE")
    assert map_of_both.plain_chi2.chi2 > 1000 * map_of_both.chi2.chi2
    assert [abs(one.shift) < 0.002 for one in found.drift.halves] == [True] * 4


def test_a_dead_box_differs_where_it_shows(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    maps = make_maps()
    maps.counts[:, HEP07] = 0
    found = compare(maps, make_reference())
    assert [(line.unit, line.change) for line in found.changes] == [("HEP07", ChangeKind.EMPTY)]
    where = likeness(found)
    assert where["Occupancyvsiphi/SubdetPM/HEP"] is where["OccupancyvsRBX/SubdetPM/HEP"] is Likeness.DIFFERS
    assert not any("HB" in path or "HEM" in path for path in where)
    assert found.differs
    boxes = element(found, "OccupancyvsRBX/SubdetPM/HEP")
    # 17/18 of the shares are 1/17 for 1/18, one is gone.
    assert boxes.beyond == pytest.approx(np.sqrt(chi2_like(boxes)), rel=1e-3)


def chi2_like(one) -> float:
    n, m = one.observed, one.expected
    test = chi2_test(n, m)
    return (test.chi2 - test.ndf) * (1 / n.sum() + 1 / m.sum())


def test_a_dead_half_at_another_luminosity_does_not_make_the_other_half_hot(
    make_maps: MakeMaps, make_reference: MakeReference
) -> None:
    maps, reference = make_maps(), make_reference()
    for rates in reference.rates.values():
        rates.reference.power_error[:] = 0.25
    maps.counts[:] = round(1000 * (1 - 0.7**0.6))
    maps.counts[:, HEP] = 0
    assert [(line.unit, line.change) for line in compare(maps, reference).changes] == [("HEP", ChangeKind.EMPTY)]


def test_what_died_on_the_way_shows_against_lumisections(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    maps = make_maps(12)
    maps.counts[6:, HEP07] = 0
    found = compare(maps, make_reference())
    trend = element(found, "OccupancyvsLS/SubdetPM/HEP")
    assert (trend.likeness, trend.limit) == (Likeness.DIFFERS, 0.01)
    assert element(found, "OccupancyvsLS/SubdetPM/HEM").likeness is Likeness.SAME


def test_empty_here_and_filled_in_the_reference_is_a_fault_of_its_own(
    make_maps: MakeMaps, make_reference: MakeReference
) -> None:
    maps = make_maps()
    maps.counts[:, HE] = 0
    where = likeness(compare(maps, make_reference()))
    assert {path for path, what in where.items() if what is Likeness.EMPTY} == {
        *(f"Occupancy/depth/depth{depth}" for depth in (5, 6, 7)),
        "Occupancyvsieta/Subdet/HE",
        *(f"Occupancyvs{axis}/SubdetPM/{half}" for axis in ("iphi", "RBX", "LS") for half in ("HEM", "HEP")),
    }


@pytest.mark.parametrize(
    ("observed", "expected", "says"),
    [
        ([0, 0], [0, 0], Likeness.NO_DATA),
        ([0, 0], [0, 9], Likeness.EMPTY),
        ([9, 0], [0.2, 0], Likeness.FILLED),
        ([1000, 1000], [1000, 1000], Likeness.SAME),
        ([100, 120], [1000, 1000], Likeness.SAME),  # 9 % that are chance
        ([100_000, 104_000], [1e5, 1e5], Likeness.WITHIN),  # 2 % that are no chance
        ([100_000, 130_000], [1e5, 1e5], Likeness.DIFFERS),
    ],
)
def test_likeness_of_one_element(observed: list[int], expected: list[float], says: Likeness) -> None:
    assert compared("Occupancyvsieta/Subdet/HB", np.array(observed, float), np.array(expected, float)).likeness is says


def test_tests_are_those_of_the_histograms(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    maps = make_maps()
    maps.counts[:] = np.random.default_rng(2).binomial(1000, 0.3, maps.counts.shape)
    for one in compare(maps, make_reference()).elements:
        assert (one.expected == np.rint(one.expected)).all()
        assert one.chi2 == chi2_test(one.observed, one.expected)
        assert one.kolmogorov == kolmogorov_test(one.observed, one.expected)
        if one.reference is not None:
            assert one.plain_chi2 == chi2_test(one.observed, one.reference)
            assert one.plain_kolmogorov == kolmogorov_test(one.observed, one.reference)


def test_the_largest_pulls_come_first(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    maps = make_maps()
    maps.counts[:, HE[3]], maps.counts[:, 17] = 320, 250
    found = compare(maps, make_reference()).pulls
    assert len(found) == 10
    first, second = found[:2]
    assert first.channel == f"HB {CHANNELS.ieta[17]:+d}/{CHANNELS.iphi[17]}/{CHANNELS.depth[17]}"
    assert (first.observed, second.observed) == (3000, 3840)
    assert first.expected == pytest.approx(3600, rel=1e-4)
    assert first.pull == pytest.approx(-600 / np.sqrt(2520), rel=1e-3)
    assert second.ratio == pytest.approx(np.log(0.68) / np.log(0.7), rel=1e-3)


def test_lumisections_that_cannot_be_compared_are_left_out_and_said(
    make_maps: MakeMaps, make_reference: MakeReference
) -> None:
    maps = make_maps([1, 2, 3, 7, 8], events=[1000, 50, 1000, 1000, 1000])
    maps.counts[1] = 0
    maps.counts[3] = 0
    maps.present[4] = False
    found = compare(replace(maps, notes=("Read with care.",)), make_reference())
    assert found.lumisections.tolist() == [1, 3]
    assert found.notes == (
        "Read with care.",
        "3 of 5 lumisections not compared: no maps, few events, or no collisions",
    )
    assert not found.differs


def test_run_totals_are_compared_too(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    maps = make_maps()
    totals = maps.counts.sum(axis=0, dtype=np.int64)
    totals[HEP07] = 0
    coarse = make_maps(coarse=CoarseMaps(strips=None, totals=totals))
    found = compare(coarse, make_reference())
    assert [(line.unit, line.change) for line in found.changes] == [("HEP07", ChangeKind.EMPTY)]
    assert not any(one.path.startswith("OccupancyvsLS") for one in found.elements)


def test_a_subdetector_that_the_reference_has_not_is_said(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    found = compare(make_maps(), make_reference("HB"))
    assert list(found.parts) == ["HB"]
    assert found.notes == ("HE: the reference flat has none, its channels were not compared",)


def test_another_trigger_and_another_detector_are_said(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    maps = make_maps()
    other = np.random.default_rng(3).normal(0, 0.3, len(CHANNELS))
    maps.counts[:] = np.rint(1000 * (1 - 0.7 ** np.exp(other)))
    notes = compare(maps, make_reference(trigger="JetHT")).notes
    assert notes[0].startswith("the reference flat is of the trigger JetHT, the run of one that its file does not name")
    assert notes[1].startswith("HB: the reference flat knows another detector (its typical deviation is 8.9 times")
    named = replace(maps, sources=(Source("DQM_V0001_R000370101__JetHT__A-v1__DQMIO.root", 1, "0"),))
    assert "trigger" not in compare(named, make_reference(trigger="JetHT")).notes[0]


def test_what_cannot_be_compared_is_one_sentence(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    with pytest.raises(
        CatalogueError, match="run 370101 is of the detector of Run3, the reference flat of that of 2018"
    ):
        compare(make_maps(), make_reference(era=Era.RUN2_2018))
    cut = replace(make_maps(), definition="dqmio-occupancycut")
    with pytest.raises(CatalogueError, match="was read as OccupancyCut, the reference flat is of Occupancy"):
        compare(cut, make_reference())
    maps = make_maps(3)
    maps.counts[:] = 0
    with pytest.raises(NoHcalError, match="nothing can be compared"):
        compare(maps, make_reference())
    with pytest.raises(NoHcalError, match="nothing can be compared"):
        compare(make_maps(3, events=50), make_reference())


def test_masked_channels_count_on_neither_side(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    maps, reference = make_maps(), make_reference()
    maps.counts[:, HEP07] = 0
    entry = MaskEntry("no high voltage", units=("HEP07",))
    masked = compare(maps, reference, Mask("known.toml", "", (entry,)))
    assert (masked.changes, masked.differs) == ((), False)
    assert masked.notes == (f"masked HEP07 ({len(HEP07)} channels): no high voltage",)
    box = element(masked, "OccupancyvsRBX/SubdetPM/HEP")
    assert (box.observed[6], box.expected[6], box.observed[7]) == (0, 0, 188 * 3600)
    assert [change.unit for change in compare(maps, reference).changes] == ["HEP07"]
