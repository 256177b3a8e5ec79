"""A tiny world: six LS of a detector, one box dead in LS 3 and 4."""

from __future__ import annotations

from dataclasses import replace

import pytest

from studies.stress.failures import Unit
from studies.stress.worlds import CLEAN, Setting, World, WorldRuns, simulate_world

BOX = Unit("HEP07", 0.0, 3, 4)


@pytest.fixture(scope="session")
def runs() -> WorldRuns:
    setting = Setting(lumisections=6, failures=(BOX,))
    return simulate_world(World("tiny", "one dead box", setting, replace(CLEAN, lumisections=4)), 0)
