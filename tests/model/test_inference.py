"""A segment moved by a network: LS after LS, the state carried, and again after a gap."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.model import counts as blocks_of
from hcal_root_ad.model.counts import SubdetectorCounts
from hcal_root_ad.model.graphstad import GraphSTAD, Segment, reconstruct, reconstruction_metrics


def made(lumisections: list[int]) -> tuple[GraphSTAD, Segment]:
    """A network with weights and biases of some size, and counts that follow their expectation."""
    torch.manual_seed(3)
    channels = channel_table(Era.RUN3).select("HB")
    network = GraphSTAD(channels).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    draw = np.random.default_rng(4)
    size = len(lumisections), len(channels)
    counts = SubdetectorCounts(
        channels, draw.binomial(1000, 0.3, size).astype(np.int32), np.full(size[0], 1000.0),
        np.array(lumisections, dtype=np.int32), np.arange(size[0]),
    )  # fmt: skip
    expected = np.full(size, np.log(-np.log1p(-0.3)), dtype=np.float32)
    return network, Segment(counts, expected, np.ones(size[1], dtype=bool))


def test_lumisections_in_any_blocks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    network, segment = made([1, 2, 3, 4, 5])
    whole = reconstruct(network, segment)
    assert 0.001 < np.abs(whole - segment.log_rate).max() < 0.15
    monkeypatch.setattr(blocks_of, "BLOCK", 2)
    assert np.allclose(reconstruct(network, segment), whole, atol=1e-6)


def test_the_state_is_carried_and_begins_anew_after_a_gap() -> None:
    network, segment = made([1, 2, 3])
    together = reconstruct(network, segment)
    apart = reconstruct(network, replace(segment, counts=replace(segment.counts, lumisections=np.array([1, 2, 9]))))
    first = reconstruct(network, Segment(segment.counts.rows(slice(2, 3)), segment.log_rate[2:], segment.live))
    assert np.array_equal(together[:2], apart[:2])
    assert np.allclose(apart[2], first[0], atol=1e-6)
    assert not np.allclose(together[2], first[0], atol=1e-6)


def test_metrics_of_counts_that_follow_their_expectation_are_one() -> None:
    network, segment = made([1, 2])
    metrics = reconstruction_metrics(network, [segment])
    assert abs(metrics["deviance_per_count_reference_only"] - 1) < 0.05
    assert abs(metrics["pull_spread_reference_only"] - 1) < 0.03
    assert metrics["deviance_per_count"] != metrics["deviance_per_count_reference_only"]
