"""GraphSTAD as published, its parts, and the shape that CMSSW's ``HcalMLTask`` runs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from hcal_root_ad.detector import ChannelTable
from studies.baselines.spatio_temporal import Parts, SpatioTemporalAutoencoder
from studies.evaluate.protocol import WINDOW
from studies.evaluate.systems.deep import Recipe, minimum_to_maximum, sigmas, system_of


def _network(parts: Parts, channels: ChannelTable) -> SpatioTemporalAutoencoder:
    return SpatioTemporalAutoencoder(channels, parts)


def _recipe(name: str, origin: str, parts: Parts) -> Recipe:
    """The public trainer's defaults; where a comment there suggests a rate of 1e-3, more steps would be needed."""
    return Recipe(
        name=name,
        origin=origin,
        network=partial(_network, parts),
        scaling=minimum_to_maximum,
        window=WINDOW,
        scored=WINDOW,
        batch=4,
        steps=300,
        epochs=10,
        optimiser=partial(torch.optim.Adam, lr=1e-2, amsgrad=True, weight_decay=1e-7),
        divergence=1e-4,
        error=torch.abs,
        standard=sigmas,
        threshold=25.0,
    )


GRAPHSTAD = _recipe("graphstad", "arXiv:2311.04190: CNN+GNN+RNN, variational", Parts())
HCAL_ML_TASK = replace(
    _recipe(
        "hcal-ml-task",
        "CMSSW HcalMLTask: CNN+RNN, variational, latent 32, RIN, one LS",
        Parts(latent=32, graph=False, ring_normalisation=True),
    ),
    scored=1,
    steps=40,
    threshold=20.0,
)
"""Trained on windows, but run on one LS at a time with the state reset, as CMSSW does online."""
RECIPES = (
    GRAPHSTAD,
    _recipe("graphstad-rin", "the same with RIN", Parts(ring_normalisation=True)),
    _recipe("graphstad-ae", "the same, not variational", Parts(variational=False)),
    _recipe("cnn-rnn-ae", "part of GraphSTAD: CNN+RNN", Parts(graph=False, variational=False)),
    _recipe("cnn-rnn-vae", "CNN+RNN, variational", Parts(graph=False)),
    _recipe("cnn-rnn-vae-rin", "CNN+RNN, variational, RIN", Parts(graph=False, ring_normalisation=True)),
    _recipe("cnn-fc-ae", "part of GraphSTAD: CNN+FC", Parts(graph=False, recurrent=False, variational=False)),
    _recipe("cnn-fc-vae", "CNN+FC, variational", Parts(graph=False, recurrent=False)),
    HCAL_ML_TASK,
)


WHOLE = (GRAPHSTAD, HCAL_ML_TASK)
SYSTEMS = tuple(
    system_of(recipe) if recipe in WHOLE else replace(system_of(recipe), only=("HE",)) for recipe in RECIPES
)
"""The parts are measured where GraphSTAD was published: on HE."""
