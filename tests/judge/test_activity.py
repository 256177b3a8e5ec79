"""The activity of each lumisection: from the sub-detector itself, or from the other where it cannot tell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hcal_root_ad.detector import channel_table
from hcal_root_ad.judge.activity import Activity, activities
from hcal_root_ad.references.catalogue import NamedReference
from hcal_root_ad.learn.series import series_of
from hcal_root_ad.lumi_maps import LumiMaps

MakeMaps = Callable[..., LumiMaps]
MakeReference = Callable[..., NamedReference]

CHANNELS = channel_table().select("HB", "HE")
HE = CHANNELS.rows_of("HE")


def found(maps: LumiMaps, reference: NamedReference) -> dict[str, Activity]:
    references = {name: rates.reference for name, rates in reference.rates.items()}
    return activities(references, {name: series_of(maps, name) for name in references})


def test_each_lumisection_has_its_own(
    make_maps: MakeMaps, make_reference: MakeReference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hcal_root_ad.judge.activity.CHUNK", 4)
    maps = make_maps(10)
    maps.counts[7:] = 510  # p = 1 − 0.7²: twice the rate
    for one in found(maps, make_reference()).values():
        assert one.near.all()
        assert one.u[:7] == pytest.approx(0, abs=1e-3)
        assert one.u[7:] == pytest.approx(np.log(2), abs=1e-3)


def test_a_subdetector_that_fails_takes_the_others(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    maps = make_maps(4)
    maps.counts[:] = 510
    maps.counts[1, HE] = 0
    maps.counts[2, HE[: 2 * len(HE) // 3]] = 0
    he = found(maps, make_reference())["HE"]
    assert he.near.all()
    assert he.u == pytest.approx(np.log(2), abs=1e-3)


def test_without_collisions_nobody_tells(make_maps: MakeMaps, make_reference: MakeReference) -> None:
    maps = make_maps(3)
    maps.counts[1] = 0
    for one in found(maps, make_reference()).values():
        assert one.near.tolist() == [True, False, True]
