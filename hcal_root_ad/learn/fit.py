"""From clean series to a bundle: reference, network, calibration, in that order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.learn.calibrate import own_errors, reconstruct_pieces, reconstruction_metrics
from hcal_root_ad.learn.clean_evidence import tails_of
from hcal_root_ad.learn.loop import Progress, Schedule, pieces_of, train_network
from hcal_root_ad.learn.reference import fit_reference
from hcal_root_ad.learn.series import Series
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.networks.graphstad import GraphSTAD
from hcal_root_ad.stats.binomial import Floats

ONE_RUN_ERROR = 0.015
"""Least standard error of log λ where a single run was seen, so that run-to-run shifts are unknown."""


def run_numbers(runs: Sequence[LumiMaps]) -> str:
    """Run numbers in words, for the story of a bundle."""
    return ", ".join(str(run.run) for run in runs)


def fit_bundle(
    name: str,
    subdetector: str,
    series: Sequence[Series],
    network: GraphSTAD,
    *,
    schedule: Schedule,
    prior_power: Floats | None,
    least_error: Floats | float,
    ring_normalisation: bool,
    definition: str,
    story: Mapping[str, str],
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Bundle:
    """Learn the reference, train the network on what it leaves, and calibrate both on clean series."""
    joint = fit_reference(series, prior_power)
    references = [fit_reference([one], joint.power) for one in series]
    pieces = pieces_of(references, series, ring_normalisation)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device)
    train_network(network, pieces, schedule, progress, checkpoint=checkpoint)
    network.to("cpu")
    reconstructions = reconstruct_pieces(network, pieces, ring_normalisation)
    own = np.maximum(own_errors(pieces, reconstructions), least_error)
    return Bundle(
        name=name,
        subdetector=subdetector,
        channels=series[0].channels,
        network=network,
        reference=joint,
        model_error=own,
        tails=tails_of(pieces, reconstructions, own),
        definition=definition,
        ring_normalisation=ring_normalisation,
        story=story,
        metrics=reconstruction_metrics(pieces, reconstructions),
    )
