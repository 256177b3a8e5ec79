"""What of the source's network becomes the target's, block by block."""

from __future__ import annotations

from torch import nn

from hcal_root_ad.model.graphstad import GraphSTAD
from studies.transfer.settings import BLOCKS

MODULES = {
    "encoder CNN": ("encoder_cnn",),
    "encoder GNN": ("encoder_gnn", "context"),
    "encoder RNN": ("encoder_rnn", "bottleneck"),
    "decoder RNN": ("decoder_rnn",),
    "decoder CNN": ("decoder_cnn", "decoder_gnn"),
}
"""Parts of :class:`GraphSTAD` by block; together they are all of its weights."""


def carry_over(source: GraphSTAD, target: GraphSTAD, blocks: str) -> None:
    """Give the target the source's weights where its letter is I or F, and freeze those with F."""
    for block, letter in zip(BLOCKS, blocks, strict=True):
        for name in MODULES[block]:
            part: nn.Module = getattr(target, name)
            if letter != "S":
                part.load_state_dict(getattr(source, name).state_dict())
            part.requires_grad_(letter != "F")


def trainable(network: nn.Module) -> int:
    """Number of parameters that training may move."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
