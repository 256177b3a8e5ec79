"""One lumisection reconstructed by tensors alone is what ``learn`` makes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hcal_root_ad.model.model import Bundle

from hcal_root_ad.errors import BundleError
from hcal_root_ad.export.reconstruction import Activity, Reconstruct
from hcal_root_ad.model.reconstruction import model_error, reconstruct
from hcal_root_ad.learn.reference import fit_activity
from hcal_root_ad.model.counts import Series, series_of
from hcal_root_ad.lumi_maps import LumiMaps

SINGLE = 1e-6
"""The judge works in single precision, the export in double."""


def tensors(series: Series, row: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(series.counts[[row]]).double(), torch.from_numpy(series.trials[[row]])


def test_the_activity_is_fitted_alike(bundle: Bundle, maps: LumiMaps) -> None:
    series = series_of(maps, bundle.subdetector)
    counts = series.counts.copy()
    counts[1, : counts.shape[1] // 3] = 0  # a third of the channels off
    counts[2, : 2 * counts.shape[1] // 3] = 0  # and two thirds, which the fit follows
    wanted = fit_activity(bundle.reference, counts, series.events)
    fit = Activity(bundle.reference)
    series = replace(series, counts=counts)
    found = [float(fit(*tensors(series, row))) for row in range(6)]
    assert np.allclose(found, wanted[:6], rtol=0, atol=SINGLE)


@pytest.mark.parametrize("ring_normalisation", [False, True])
def test_log_rates_and_errors_are_alike_with_state_carried(
    he: Bundle, maps: LumiMaps, ring_normalisation: bool
) -> None:
    series = series_of(maps, "HE").part(slice(0, 10))
    wanted = reconstruct(he.network, he.reference, series, ring_normalisation)
    module = Reconstruct(replace(he, ring_normalisation=ring_normalisation))
    memory = module.start()
    with torch.no_grad():
        for row in range(len(series)):
            activity, log_rate, memory = module(*tensors(series, row), memory)
            assert abs(float(activity) - wanted.activity[row]) < SINGLE
            assert np.allclose(log_rate[0].numpy(), wanted.log_rate[row], rtol=SINGLE, atol=SINGLE)
            error = model_error(he.reference, he.model_error, wanted.activity[[row]])
            assert np.allclose(module.error(activity), error)


@pytest.mark.parametrize("distance", [-0.1, 0.3, 1.0, 2.5])
def test_errors_grow_outside_of_known_conditions(he: Bundle, distance: float) -> None:
    low, high = he.reference.activity
    module = Reconstruct(he)
    for activity in (low - distance, high + distance):
        wanted = model_error(he.reference, he.model_error, np.array([activity]))
        assert np.allclose(module.error(torch.tensor([[activity]], dtype=torch.float64)), wanted, rtol=SINGLE)


def test_a_bundle_without_live_channels_is_refused(he: Bundle) -> None:
    dead = replace(he, reference=replace(he.reference, live=np.zeros(len(he.channels), dtype=bool)))
    with pytest.raises(BundleError, match="none of its channels is live"):
        Reconstruct(dead)
