"""One simulated detector, clean runs of it, and a model whose network nobody trained."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from hcal_root_ad.detector import channel_table
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.graphstad import GraphSTAD, architecture_of, weights_of
from hcal_root_ad.model.model import Model
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.reference_fit import CleanLumisections, fit_reference
from hcal_root_ad.simulate.scenario import FillConditions, simulate_conditions
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.simulated_run import SimulatedRun, simulate_run

TakeRun = Callable[..., SimulatedRun]


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


@pytest.fixture(scope="session")
def take_run(detector: SimulatedDetector) -> TakeRun:
    """A run of so many LS along a course of pileup, with 1,500 events per LS on average."""

    def take(lumisections: int, first: float, last: float, seed: int, events: int = 1500) -> SimulatedRun:
        draw, none = np.random.default_rng(seed), np.zeros(lumisections, dtype=bool)
        conditions = FillConditions(
            lumisections=np.arange(1, lumisections + 1, dtype=np.int32),
            events=draw.poisson(events, lumisections).astype(np.int64),
            pileup=np.linspace(first, last, lumisections),
            prescale_column=np.zeros(lumisections, dtype=np.int64),
            short=none,
            gap=none,
        )
        return simulate_run(detector, conditions, seed=seed, run=370_000 + seed)

    return take


def clean_lumisections(maps: LumiMaps) -> CleanLumisections:
    rows = maps.channels.rows_of("HB", "HE")
    run = np.zeros(len(maps), dtype=np.intp)
    return CleanLumisections(maps.channels.take(rows), maps.counts[:, rows], maps.events, run)


@pytest.fixture(scope="session")
def clean(take_run: TakeRun) -> SimulatedRun:
    return take_run(60, 52.0, 33.0, seed=1)


@pytest.fixture(scope="session")
def reference(clean: SimulatedRun) -> Reference:
    return fit_reference(clean_lumisections(clean.maps), name="370001")


@pytest.fixture(scope="session")
def judged(take_run: TakeRun) -> CleanLumisections:
    return clean_lumisections(take_run(12, 45.0, 45.0, seed=2).maps)
