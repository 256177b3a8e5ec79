"""One lumisection reconstructed by tensors alone is near what the common part and the network make of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hcal_root_ad.errors import ModelError
from hcal_root_ad.export.traceable import LogPileup, Reconstruct
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.common_part import CommonPartFit
from hcal_root_ad.model.counts import CleanRun, SubdetectorCounts, assessable, subdetector_counts
from hcal_root_ad.model.graphstad import network_of, reconstruct, segment_of
from hcal_root_ad.model.model import Model
from hcal_root_ad.stats.binomial import probability


def tensors(counts: SubdetectorCounts, row: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(counts.counts[[row]]).double(), torch.from_numpy(counts.trials[[row]])


def test_the_pileup_is_that_of_the_common_part(model: Model, maps: LumiMaps) -> None:
    counts = subdetector_counts(maps, model.subdetector)
    reference = model.reference
    expected = CommonPartFit(reference).fit(counts.counts, counts.events.astype(np.int64)).log_pileup
    fit = LogPileup(reference)
    found = [float(fit(*tensors(counts, row))) for row in range(len(counts))]
    assert np.allclose(found, expected, rtol=0, atol=0.01)


def test_the_pileup_of_a_lumisection_by_hand(model: Model) -> None:
    reference = model.reference
    fit = LogPileup(reference)
    for u in (-1.0, 0.0, 0.3):
        counts = 10_000.0 * probability(reference.level + u * reference.power) * reference.live
        counts[: len(counts) // 3] = 0  # a third of the channels off
        found = fit(torch.from_numpy(counts)[None], torch.tensor([[10_000.0]], dtype=torch.float64))
        assert float(found) == pytest.approx(u, abs=1e-3)


def test_log_rates_are_near_those_of_the_network_on_the_common_part(he_model: Model, maps: LumiMaps) -> None:
    run = CleanRun(maps, assessable(maps)[:8])
    segment = segment_of(run, he_model.reference, "HE")
    expected = reconstruct(network_of(he_model), segment)
    module = Reconstruct(he_model)
    memory = module.start()
    with torch.no_grad():
        for row in range(len(segment)):
            _, log_rate, memory = module(*tensors(segment.counts, row), memory)
            apart = np.abs(log_rate[0].numpy() - expected[row])[segment.live]
            assert np.quantile(apart, 0.99) < 0.01


def test_a_model_without_live_channels_or_without_a_network_is_refused(he_model: Model) -> None:
    dead = replace(he_model, reference=replace(he_model.reference, live=np.zeros(len(he_model.channels), dtype=bool)))
    with pytest.raises(ModelError, match="none of its channels is live"):
        Reconstruct(dead)
    with pytest.raises(ModelError, match="has no network"):
        Reconstruct(replace(he_model, architecture={}, weights={}))
