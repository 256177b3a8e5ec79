"""A simulated run as files of every kind that users have, and the truth beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.errors import UsageError
from hcal_root_ad.files import write_text
from hcal_root_ad.simulate.faults import Fault
from hcal_root_ad.simulate.run import SimulatedRun

Writer = Callable[[SimulatedRun, Path], tuple[Path, ...]]

CONTAINERS = {
    "nanodqmio": "dqmio",
    "dqm_file": "dqm_files",
    "per_lumisection": "dqm_files",
    "snapshots": "dqm_files",
    "online": "dqm_files",
    "hcalanalyzer": "hcalanalyzer",
    "dials": "dials",
}
"""Container to the module whose ``write_<container>`` writes it; imported when asked for."""
LOW_EVENTS = 200
"""LS with fewer events are listed in the truth: nobody can be asked to judge them."""


def write_container(simulated: SimulatedRun, folder: Path, container: str) -> tuple[Path, ...]:
    """Write a run in one container; returns the files, in the order of the LS.

    Raises:
        UsageError: an unknown container.
        OutputError: the container cannot be written, for example because ROOT is missing.
    """
    if container not in CONTAINERS:
        raise UsageError(f"No container is called {container!r}; known are {', '.join(CONTAINERS)}.")
    module = import_module(f"hcal_root_ad.simulate.{CONTAINERS[container]}")
    writer: Writer = getattr(module, f"write_{container}")
    return writer(simulated, folder)


def write_truth(simulated: SimulatedRun, path: Path) -> Path:
    """Write what is true of a run as JSON.

    Keys: run, lumisections (number), events and pileup per LS, low_event_ls, no_collisions_ls, masked
    channels, seeds, and faults with kind, unit, scale, first_ls, last_ls, factor (and added digi
    probability) and channels as [sub-detector, ieta, iphi, depth]. Where factor or added change from LS
    to LS they are lists.
    """
    maps, detector, conditions = simulated.maps, simulated.detector, simulated.conditions
    truth = {
        "run": simulated.run,
        "lumisections": len(maps),
        "detector_seed": detector.seed,
        "era": str(detector.era),
        "events": maps.events.tolist(),
        "pileup": np.round(conditions.pileup, 3).tolist(),
        "low_event_ls": maps.lumisections[maps.events < LOW_EVENTS].tolist(),
        "no_collisions_ls": maps.lumisections[conditions.gap].tolist(),
        "masked": _cells(detector.channels, np.flatnonzero(detector.masked)),
        "faults": [_fault_truth(detector.channels, fault) for fault in simulated.faults],
    }
    write_text(path, json.dumps(truth, indent=1))
    return path


def _fault_truth(channels: ChannelTable, fault: Fault) -> dict[str, Any]:
    factor, added = np.round(fault.factor, 6).tolist(), np.round(fault.added, 6).tolist()
    return {
        "kind": str(fault.kind),
        "unit": fault.unit,
        "scale": fault.scale,
        "factor": factor[0] if fault.constant else factor,
        "added": added[0] if fault.constant else added,
        "first_ls": fault.first,
        "last_ls": fault.last,
        "channels": _cells(channels, fault.rows),
    }


def _cells(channels: ChannelTable, rows: np.ndarray) -> list[list[Any]]:
    some = channels.take(rows)
    columns = (some.names, some.ieta.tolist(), some.iphi.tolist(), some.depth.tolist())
    return [list(cell) for cell in zip(*columns, strict=True)]
