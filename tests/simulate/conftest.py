"""One simulated detector."""

from __future__ import annotations

import pytest

from hcal_root_ad.simulate.simulated_detector import SimulatedDetector, simulate_detector


@pytest.fixture(scope="session")
def detector() -> SimulatedDetector:
    return simulate_detector(1)
