"""Models and runs in which every channel has a digi in 3 of 10 events."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model
from tests.flat_runs import flat_maps, flat_reference

MakeModel = Callable[..., Model]
MakeMaps = Callable[..., LumiMaps]


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """A model whose reference is exact."""

    def make(subdetector: str = "HE", era: Era = Era.RUN3, name: str = "") -> Model:
        channels = channel_table(era).select(subdetector)
        return Model(name or f"flat-{subdetector.lower()}", subdetector, flat_reference(channels), digest="ab12")

    return make


@pytest.fixture(scope="session")
def both(make_model: MakeModel) -> list[Model]:
    return [make_model("HB"), make_model("HE")]


@pytest.fixture(scope="session")
def make_maps() -> MakeMaps:
    return flat_maps
