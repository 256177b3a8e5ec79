"""Shipped models as ONNX files, and a simulated run of the detector that they know, with faults and a short LS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model, load_model
from hcal_root_ad.simulate.scenario import make_fault, simulate_conditions
from hcal_root_ad.simulate.simulated_detector import simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run

LUMISECTIONS = 34
SHORT = 20
"""Position of a lumisection with too few events to be assessed."""


@pytest.fixture(scope="session", params=["he-graphstad", "hb-graphstad-from-he"])
def model(request: pytest.FixtureRequest) -> Model:
    return load_model(request.param)


@pytest.fixture(scope="session")
def he_model() -> Model:
    return load_model("he-graphstad")


@pytest.fixture(scope="session")
def maps() -> LumiMaps:
    detector = simulate_detector(2022)
    faults = [
        make_fault(detector, "dead", unit, 8, 12, 0.0) for unit in ("HEP07", "HBM03", "HE +20/5/3", "HB -3/40/2")
    ] + [make_fault(detector, "hot", unit, 24, 30, 3.0) for unit in ("HE -24/7/4", "HB +16/72/1")]
    maps = simulate_run(detector, simulate_conditions(LUMISECTIONS, seed=4, start=0.2), faults, seed=4).maps
    events, counts = maps.events.copy(), maps.counts.copy()
    events[SHORT] = 50
    counts[SHORT] = np.minimum(counts[SHORT], 50)
    return replace(maps, events=events, counts=counts)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("onnx")
