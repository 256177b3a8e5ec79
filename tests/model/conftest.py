"""One simulated detector, clean runs of it, and a model whose network nobody trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hcal_root_ad.detector import channel_table
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.graphstad import GraphSTAD, architecture_of, weights_of
from hcal_root_ad.model.model import Model
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.simulate.conditions import simulate_conditions
from hcal_root_ad.simulate.detector import SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.run import simulate_run


@pytest.fixture(scope="session")
def detector() -> SimulatedDetector:
    return simulate_detector(5)


@pytest.fixture(scope="session")
def clean_maps(detector: SimulatedDetector) -> list[LumiMaps]:
    return [
        simulate_run(detector, simulate_conditions(24, seed=seed, start=0.3 * seed), seed=seed, run=370_000 + seed).maps
        for seed in (1, 2)
    ]


@pytest.fixture(scope="session")
def model() -> Model:
    """A model of HE: every channel has a digi in about 3 of 10 events, but for one that is not live."""
    channels = channel_table().select("HE")
    size = len(channels)
    live = np.arange(size) != 7
    reference = Reference(
        channels, np.full(size, -1.03), np.full(size, 0.01), np.full(size, 1.4), np.full(size, 0.02), live, (-0.5, 0.5),
        clean="370001 (0123456789ab)",
    )  # fmt: skip
    torch.manual_seed(1)
    network = GraphSTAD(channels)
    return Model(
        name="he-small",
        subdetector="HE",
        reference=reference,
        architecture=architecture_of(network),
        weights=weights_of(network),
        story={"data": "made by hand"},
        metrics={"clean_lumisections": 60.0},
        digest="ab12" * 16,
    )
