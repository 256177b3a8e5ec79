"""GraphSTAD's blocks: shapes, memory, bounds, and that information flows where it should only."""

import pytest
import torch

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.model.graphstad import GraphSTAD, GraphSTADConfig


@pytest.fixture(scope="module")
def network() -> GraphSTAD:
    torch.manual_seed(0)
    network = GraphSTAD(channel_table().select("HE")).eval()
    with torch.no_grad():  # away from the start, where it says nothing
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def features(windows: int, steps: int, channels: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(windows, steps, channels, 3, generator=torch.Generator().manual_seed(seed))


def test_shapes(network: GraphSTAD) -> None:
    shift, divergence, state = network(features(2, 3, 6768), network.start(2))
    assert shift.shape == (2, 3, 6768)
    assert divergence.shape == ()
    assert [tuple(part.shape) for part in state] == [(72, 32)] * 4


def test_untrained_it_leaves_the_reference_nearly_alone() -> None:
    torch.manual_seed(0)
    fresh = GraphSTAD(channel_table().select("HE")).eval()
    shift, _, _ = fresh(features(1, 2, 6768), fresh.start())
    assert shift.abs().max() < 0.01


def test_state_carried_is_the_same_as_one_call(network: GraphSTAD) -> None:
    window = features(1, 6, 6768)
    whole, _, last = network(window, network.start())
    state, parts = network.start(), []
    for cut in (window[:, :1], window[:, 1:4], window[:, 4:]):
        part, _, state = network(cut, state)
        parts.append(part)
    assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-6)
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(state, last, strict=True))


def test_the_past_matters_and_the_future_does_not(network: GraphSTAD) -> None:
    window = features(1, 4, 6768)
    before, after = window.clone(), window.clone()
    before[:, 0] += 3
    after[:, 3] += 3
    whole, _, _ = network(window, network.start())
    assert not torch.allclose(network(before, network.start())[0][:, 3], whole[:, 3], atol=1e-6)
    assert torch.allclose(network(after, network.start())[0][:, :3], whole[:, :3], atol=1e-6)


def test_no_shift_exceeds_the_bound(network: GraphSTAD) -> None:
    shift, _, _ = network(100 * features(1, 2, 6768), network.start())
    assert shift.abs().max() <= GraphSTADConfig().largest_shift


def test_readout_neighbours_share_what_the_graph_sees(network: GraphSTAD) -> None:
    channels = channel_table().select("HE")
    window = torch.zeros(1, 6768, 3)
    window[0, (channels.box == 60) & (channels.rm == 2)] = 1.0
    quiet = network.encoder_gnn(torch.zeros_like(window), network.channel_to_module, network.module_to_box)
    seen = network.encoder_gnn(window, network.channel_to_module, network.module_to_box)
    changed = (seen - quiet).abs().amax(dim=-1)[0] > 1e-7
    assert changed.nonzero().flatten().tolist() == [60 - 36]


def test_weights_of_one_subdetector_fit_every_other_and_every_era(network: GraphSTAD) -> None:
    for era, name in ((Era.RUN3, "HB"), (Era.RUN2_2017, "HE"), (Era.RUN2_2018, "HB")):
        other = GraphSTAD(channel_table(era).select(name))
        assert other.load_state_dict(network.state_dict()).missing_keys == []


def test_the_bottleneck_samples_only_in_training(network: GraphSTAD) -> None:
    boxes = torch.randn(2, 36, 32)
    bottleneck = network.bottleneck
    assert torch.equal(bottleneck(boxes)[0], bottleneck(boxes)[0])
    bottleneck.train()
    assert not torch.equal(bottleneck(boxes)[0], bottleneck(boxes)[0])
    bottleneck.eval()


def test_without_the_variational_part_there_is_no_divergence() -> None:
    plain = GraphSTAD(channel_table().select("HE"), GraphSTADConfig(variational=False))
    assert plain(features(1, 1, 6768), plain.start())[1] == 0
