"""Small runs for the verbs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.detector import channel_table
from hcal_root_ad.lumi_maps import EventSource, LumiMaps, Source

MakeMaps = Callable[..., LumiMaps]


@pytest.fixture
def make_maps() -> MakeMaps:
    """Maps of a run whose channels count 10 in every LS of 100 events; LS 2 is without HCAL."""

    def make(run: int, *names: str, present: tuple[bool, ...] = (True, False, True)) -> LumiMaps:
        channels = channel_table().select("HB", "HE")
        here = np.array(present)
        return LumiMaps(
            run=run,
            channels=channels,
            lumisections=np.arange(1, len(here) + 1, dtype=np.int32),
            events=np.where(here, 100, 0),
            event_source=np.full(len(here), EventSource.COUNTER, dtype=np.uint8),
            counts=np.full((len(here), len(channels)), 10, dtype=np.int32),
            present=here,
            definition="nanodqmio",
            sources=tuple(Source(Path(name).name, 1, "0") for name in names),
            notes=("LS 2: without HCAL maps, not assessed.",),
        )

    return make
