"""Autoencoders that see each LS as images: the CMS–IBM HCAL study's, its slides' deeper one, and DepthViT."""

from __future__ import annotations

from functools import partial

import torch

from hcal_root_ad.detector import ChannelTable
from studies.baselines.convolutional import DEEP, SHALLOW, ConvolutionalAutoencoder
from studies.baselines.masked_depths import MaskedDepthAutoencoder
from studies.evaluate.systems.deep import (
    Recipe,
    plain,
    quartiles,
    share_of_largest,
    sigmas_from_mean,
    system_of,
)
from studies.evaluate.systems.training import Schedule


def _network(filters: tuple[int, ...], channels: ChannelTable) -> ConvolutionalAutoencoder:
    return ConvolutionalAutoencoder(channels, filters)


def _convolutional(name: str, origin: str, filters: tuple[int, ...], steps: int) -> Recipe:
    """AdaDelta, MSE, 100 images per step; the largest squared error of an LS is the study's discriminant.

    The study separated good from bad images by a cut on it; so the score of a channel is its squared
    error, and the cut is the one that clean runs give.
    """
    return Recipe(
        name=name,
        origin=origin,
        network=partial(_network, filters),
        scaling=share_of_largest,
        window=1,
        scored=1,
        schedule=Schedule(25, steps, partial(torch.optim.Adadelta, lr=1.0), 0.0),
        epochs=200,
        batch=100,
        error=torch.square,
        standard=plain,
        threshold=None,
    )


DEPTH_VIT = Recipe(
    name="depthvit",
    origin="arXiv:2603.02369 as far as public: masked autoencoder, depth-wise embeddings",
    network=MaskedDepthAutoencoder,
    scaling=quartiles,
    window=1,
    scored=1,
    schedule=Schedule(16, 3000, partial(torch.optim.Adam, lr=1e-3, amsgrad=True, weight_decay=1e-7), 1e-6),
    epochs=100,
    batch=32,
    error=torch.abs,
    standard=sigmas_from_mean,
    threshold=5.5,
)
"""Sizes, rates and the cut of 5.5 standard deviations are those of the working group's public scripts."""
RECIPES = (
    _convolutional("cms-ibm-ae", "CMS–IBM HCAL study: convolutional autoencoder", SHALLOW, 6000),
    _convolutional("cms-ibm-deep-ae", "student slides: 86-64-32 filters", DEEP, 3000),
    DEPTH_VIT,
)


SYSTEMS = tuple(system_of(recipe) for recipe in RECIPES)
