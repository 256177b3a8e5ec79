"""One simulated detector, and clean runs of it."""

from __future__ import annotations

import pytest

from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.simulate.scenario import simulate_conditions
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run


@pytest.fixture(scope="session")
def detector() -> SimulatedDetector:
    return simulate_detector(5)


@pytest.fixture(scope="session")
def clean_runs(detector: SimulatedDetector) -> list[LumiMaps]:
    return [
        simulate_run(detector, simulate_conditions(24, seed=seed, start=0.3 * seed), seed=seed, run=370_000 + seed).maps
        for seed in (1, 2, 3)
    ]
