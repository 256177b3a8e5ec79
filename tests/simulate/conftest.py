"""One simulated detector, and conditions in which nothing changes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hcal_root_ad.simulate.fill import Conditions
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector, simulate_detector

Steady = Callable[..., Conditions]


@pytest.fixture(scope="session")
def detector() -> SimulatedDetector:
    return simulate_detector(1)


@pytest.fixture(scope="session")
def steady() -> Steady:
    """``n`` lumisections of equal events and pileup."""

    def conditions(n: int, events: int = 1500, pileup: float = 45.0) -> Conditions:
        no = np.zeros(n, dtype=np.bool_)
        return Conditions(
            lumisections=np.arange(1, n + 1, dtype=np.int32),
            events=np.full(n, events, dtype=np.int64),
            pileup=np.full(n, pileup),
            prescale_column=np.zeros(n, dtype=np.int64),
            short=no,
            gap=no,
        )

    return conditions
