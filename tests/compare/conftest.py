"""Reference runs and runs in which every channel has a digi in 3 of 10 events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.rates import Rates
from hcal_root_ad.references import NamedReference, ReferenceEntry
from tests.flat_runs import flat_maps, flat_reference

MakeMaps = Callable[..., LumiMaps]
MakeReference = Callable[..., NamedReference]


@pytest.fixture(scope="session")
def make_maps() -> MakeMaps:
    return flat_maps


@pytest.fixture(scope="session")
def make_reference() -> MakeReference:
    """A reference of run 370100, 300 digis of every channel in each of its 10 LS of 1000 events; runs spread by 3 %."""

    def make(*subdetectors: str, era: Era = Era.RUN3, spread: float = 0.03, trigger: str = "") -> NamedReference:
        rates = {}
        for name in subdetectors or ("HB", "HE"):
            channels = channel_table(era).select(name)
            every = np.ones(len(channels))
            digis = (3000 * every).astype(np.int64)
            rates[name] = Rates(channels, flat_reference(channels), spread * every, digis, 10_000.0)
        return NamedReference(ReferenceEntry("flat", Path(), (370100,), era, "Occupancy", (), trigger=trigger), rates)

    return make
