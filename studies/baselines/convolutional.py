"""The convolutional autoencoders of the CMS–IBM HCAL study and of its student slides
(public code: HCALDQM/ML4DQM, ``notebooks/Semi_Supervised``)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from torch import Tensor, nn

from hcal_root_ad.detector import N_DEPTH, ChannelTable
from hcal_root_ad.model.graphstad import SideMaps

SHALLOW = (16, 8, 8)
"""Filters of the study's autoencoder."""
DEEP = (86, 64, 32)
"""Filters of the slides' deeper one."""


class ConvolutionalAutoencoder(nn.Module):
    """Convolution, batch normalisation, ReLU and pooling three times, and back to a sigmoid.

    The study had one image, depth 1 of the barrel with both sides. Here each side is an image and its
    depths are the colours, so that every channel is seen. LS are independent of each other.
    """

    def __init__(self, channels: ChannelTable, filters: tuple[int, ...] = SHALLOW) -> None:
        super().__init__()
        self.side_maps = SideMaps(channels)
        self.encoder = nn.Sequential(*_down((N_DEPTH, *filters)))
        self.decoder = nn.Sequential(*_up((filters[-1], *reversed(filters))))
        self.image = nn.Sequential(nn.Conv2d(filters[0], N_DEPTH, 3, padding=1), nn.Sigmoid())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(windows, LS, channels) → the same in 0…1, and 0."""
        images = self.side_maps.to_maps(x.flatten(0, 1).unsqueeze(-1))
        images = self.image(self.decoder(self.encoder(images)))
        return self.side_maps.to_channels(images).reshape(x.shape), x.new_zeros(())


def _down(filters: tuple[int, ...]) -> Iterator[nn.Module]:
    for inputs, outputs in itertools.pairwise(filters):
        yield from (_layer(inputs, outputs), nn.MaxPool2d(2))


def _up(filters: tuple[int, ...]) -> Iterator[nn.Module]:
    for inputs, outputs in itertools.pairwise(filters):
        yield from (_layer(inputs, outputs), nn.Upsample(scale_factor=2))


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())
