"""A small simulated detector with models of its own: learned once, from one clean run, for all tests that judge."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.content import SEARCH_VARIABLE
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.reference_fit import CleanLumisections, fit_reference
from hcal_root_ad.simulate.conditions import Conditions
from hcal_root_ad.simulate.detector import SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.run import simulate_run

SEED = 99
"""Of the detector that the models know."""
NAMES = {"HB": "hb-graphstad-from-he", "HE": "he-graphstad", "HO": "ho", "HF": "hf"}
"""Models by sub-detector, named as the shipped ones, whose place they take."""


@pytest.fixture(scope="session")
def detector() -> SimulatedDetector:
    """The detector that the models know."""
    return simulate_detector(SEED)


@pytest.fixture(scope="session")
def clean_run(detector: SimulatedDetector) -> LumiMaps:
    """Sixty clean lumisections of it, as the pileup falls from 55 to 35."""
    size, nothing = 60, np.zeros(60, dtype=bool)
    conditions = Conditions(
        np.arange(1, size + 1, dtype=np.int32), np.full(size, 1500, dtype=np.int64), np.linspace(55, 35, size),
        np.zeros(size, dtype=int), nothing, nothing,
    )  # fmt: skip
    return simulate_run(detector, conditions, seed=1, run=370100).maps


@pytest.fixture(scope="session")
def models(clean_run: LumiMaps, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Model]:
    """Models by sub-detector, saved in a folder ``models``."""
    folder = tmp_path_factory.mktemp("search-path") / "models"
    together = clean_run.channels.rows_of("HB", "HE", "HO")
    clean = CleanLumisections(
        clean_run.channels.take(together), clean_run.counts[:, together], clean_run.events,
        np.zeros(len(clean_run), dtype=np.intp),
    )  # fmt: skip
    reference = fit_reference(clean, name=str(clean_run.run))
    references = {name: reference.select(name) for name in ("HB", "HE", "HO")} | {"HF": _hf_reference(clean_run)}
    return {name: Model(NAMES[name], name, own).save(folder / NAMES[name]) for name, own in references.items()}


def _hf_reference(clean: LumiMaps) -> Reference:
    """HF is not zero suppressed: who is alive is all there is to know."""
    channels = clean.channels.select("HF")
    nothing = np.zeros(len(channels))
    live = clean.counts[:, clean.channels.rows_of("HF")].any(axis=0)
    return Reference(channels, nothing, nothing, nothing, nothing, live, (0.0, 0.0), clean=str(clean.run))


@pytest.fixture(scope="session")
def model_path(models: Mapping[str, Model], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder to name in ``HCAL_ROOT_AD_PATH`` for these models to be found first."""
    del models  # they are saved by now
    return next(path for path in tmp_path_factory.getbasetemp().glob("search-path*") if (path / "models").is_dir())


@pytest.fixture
def own_models(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verb judges with these models."""
    monkeypatch.setenv(SEARCH_VARIABLE, str(model_path))
