"""The network as it judges gives what the network gives."""

import numpy as np
import pytest
import torch

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.model.graphstad import GraphSTAD
from hcal_root_ad.model.inference import FoldedGraphSTAD

STEPS = 5


def made(era: Era, subdetector: str) -> tuple[GraphSTAD, torch.Tensor]:
    """A network with weights and biases of some size, and features (LS, channels, 3)."""
    torch.manual_seed(3)
    network = GraphSTAD(channel_table(era).select(subdetector)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network, torch.randn(STEPS, len(network.side_maps.cell), 3)


@pytest.mark.parametrize(
    ("era", "subdetector"), [(Era.RUN3, "HB"), (Era.RUN3, "HE"), (Era.RUN2_2017, "HB"), (Era.RUN2_2017, "HE")]
)
def test_it_gives_what_the_network_gives(era: Era, subdetector: str) -> None:
    network, features = made(era, subdetector)
    with torch.inference_mode():
        wanted, _, state = network(features[None], network.start())
    folded = FoldedGraphSTAD(network)
    found, after = folded(features.transpose(1, 2).contiguous(), folded.start())
    assert 0.02 < wanted.abs().max() < 0.1  # not near the bound, which would hide a difference
    assert torch.allclose(found, wanted[0], rtol=1e-4, atol=2e-6)
    for one, other in zip(after, state, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("size", [1, 2])
def test_lumisections_may_come_in_any_number(size: int) -> None:
    network, features = made(Era.RUN3, "HE")
    folded = FoldedGraphSTAD(network)
    turned = features.transpose(1, 2).contiguous()
    whole, _ = folded(turned, folded.start())
    state, parts = folded.start(), []
    for piece in torch.split(turned, size):
        part, state = folded(piece, state)
        parts.append(part)
    assert np.allclose(torch.cat(parts).numpy(), whole.numpy(), atol=1e-7)
