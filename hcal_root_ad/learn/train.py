"""``train``: a bundle from clean runs alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.learn.checkpoint import checkpoint_path
from hcal_root_ad.learn.fit import ONE_RUN_ERROR, fit_bundle, run_numbers
from hcal_root_ad.learn.loop import Progress, Schedule
from hcal_root_ad.learn.series import clean_series
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.networks.graphstad import GraphSTAD, GraphSTADConfig


def train(
    runs: Sequence[LumiMaps],
    subdetector: str,
    folder: Path,
    *,
    schedule: Schedule | None = None,
    config: GraphSTADConfig | None = None,
    ring_normalisation: bool = False,
    data: str = "",
    progress: Progress | None = None,
) -> Bundle:
    """Train GraphSTAD on clean runs of one detector and save the bundle.

    ``data`` says in words what the runs are (for the card). Several runs at different pileup teach the
    pileup response; a single one leaves it to the prior. What was killed goes on after its last whole epoch when it is
    called again.
    """
    schedule = schedule or Schedule()
    torch.manual_seed(schedule.seed)
    channels = runs[0].channels.select(subdetector)
    bundle = fit_bundle(
        folder.name,
        subdetector,
        clean_series(runs, subdetector),
        GraphSTAD(channels, config),
        schedule=schedule,
        prior_power=None,
        least_error=ONE_RUN_ERROR if len(runs) == 1 else 0.0,
        ring_normalisation=ring_normalisation,
        definition=runs[0].definition,
        story={
            "data": data or "not said",
            "training": f"from scratch, {schedule.epochs} epochs, seed {schedule.seed}",
            "runs": run_numbers(runs),
        },
        checkpoint=checkpoint_path(folder),
        progress=progress,
    )
    saved = bundle.save(folder)
    checkpoint_path(folder).unlink(missing_ok=True)
    return saved
