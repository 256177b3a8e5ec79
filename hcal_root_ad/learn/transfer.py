"""``transfer``: a bundle for another sub-detector or another detector state, from one that exists.

After arXiv:2408.16612: every block of the network starts from the source's weights (mode *init*) and is
fine-tuned on the target's clean runs. The weights fit any sub-detector because the maps of a side have
the same shape for all. The reference is the target's own; its pileup powers start from the source's
where the channels are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.learn.checkpoint import checkpoint_path
from hcal_root_ad.learn.fit import fit_bundle, run_numbers
from hcal_root_ad.learn.loop import Progress, Schedule
from hcal_root_ad.learn.series import clean_series
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.networks.graphstad import GraphSTAD
from hcal_root_ad.stats.binomial import Floats

FINE_TUNING = Schedule(epochs=6, rate=1e-3)
"""A fifth of the first learning rate, so that what was learned is moved, not lost."""


def transfer(
    source: Bundle,
    runs: Sequence[LumiMaps],
    folder: Path,
    *,
    to: str | None = None,
    schedule: Schedule = FINE_TUNING,
    data: str = "",
    progress: Progress | None = None,
) -> Bundle:
    """Adapt a bundle to the detector of the clean ``runs`` and save it.

    ``to`` names the target sub-detector; without it the source's own is adapted to a new state.
    """
    subdetector = to or source.subdetector
    channels = runs[0].channels.select(subdetector)
    network = GraphSTAD(channels, source.network.config)
    network.load_state_dict(source.network.state_dict())
    same = np.array_equal(channels.raw_id, source.channels.raw_id)
    least_error: Floats | float = source.model_error if same else float(np.median(source.model_error))
    bundle = fit_bundle(
        folder.name,
        subdetector,
        clean_series(runs, subdetector),
        network,
        schedule=schedule,
        prior_power=source.reference.power if same else None,
        least_error=least_error if len(runs) == 1 else 0.0,
        ring_normalisation=source.ring_normalisation,
        definition=runs[0].definition,
        story={
            "data": data or "not said",
            "training": f"weights of {source.name} ({source.subdetector}, digest {source.digest[:12]}), fine-tuned "
            f"{schedule.epochs} epochs, seed {schedule.seed}",
            "runs": run_numbers(runs),
        },
        checkpoint=checkpoint_path(folder),
        progress=progress,
    )
    saved = bundle.save(folder)
    checkpoint_path(folder).unlink(missing_ok=True)
    return saved
