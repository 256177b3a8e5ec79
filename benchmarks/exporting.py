"""How far the exported model is from torch, over a run with the state carried."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.worker import Action
from hcal_root_ad.model.model import load_model


def difference(model_name: str, path: str, folder: str) -> Action:
    """Largest difference of any output in any lumisection, relative to the largest value of the output (or 1)."""
    from hcal_root_ad.export.onnx_file import (
        INPUTS,
        OUTPUTS,
        STATES,
        LumisectionModel,
        channel_threshold,
        session,
        write_model,
    )
    from hcal_root_ad.harvest.read import read_lumi_maps

    model, file = load_model(model_name), Path(folder) / f"{model_name}.onnx"
    write_model(model, file)
    opened, module = session(file), LumisectionModel(model, channel_threshold(model)).eval()
    (maps,) = read_lumi_maps(path)

    def compare() -> float:
        ours = theirs = module.start()
        worst = 0.0
        for grid, events in zip(maps.grid(), maps.events[maps.present], strict=True):
            counts, trials = torch.from_numpy(grid[None]).float(), torch.tensor([float(events)])
            feed = dict(zip(INPUTS, (counts, trials, *theirs), strict=True))
            answer = opened.run(OUTPUTS, {name: value.numpy() for name, value in feed.items()})
            with torch.no_grad():
                wanted = [value.numpy() for value in module(counts, trials, *ours)]
            worst = max(worst, *(_relative(a, b) for a, b in zip(answer, wanted, strict=True)))
            ours, theirs = (tuple(map(torch.from_numpy, values[-len(STATES) :])) for values in (wanted, answer))
        return worst

    return compare


def _relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).max() / max(1.0, float(np.abs(wanted).max())))
