"""What is timed of judging: runs, one lumisection alone, and the production-shaped network in ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.worker import Action
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model, load_model

MODELS = ("hb-graphstad-from-he", "he-graphstad", "ho", "hf")
THREADS = 2


def run(path: str) -> Action:
    """``judge_run`` on a whole run, all of HCAL; gives the number of lumisections."""
    from hcal_root_ad.judge.run import judge_run

    maps, models = _read(path), _models()

    def judge() -> int:
        judge_run(maps, models)
        return len(maps)

    return judge


def one_lumisection(path: str) -> Action:
    """``judge_run`` on one lumisection from cold state, another one each time."""
    from hcal_root_ad.judge.run import judge_run
    from hcal_root_ad.model.counts import MINIMUM_EVENTS

    maps, models = _read(path), _models()
    alone = cycle([_only(maps, row) for row in np.flatnonzero(maps.present & (maps.events >= MINIMUM_EVENTS))])

    def judge() -> None:
        judge_run(next(alone), models)

    return judge


def late_lumisection(path: str) -> Action:
    """The verdict on a run once a lumisection came late, as ``watch`` makes it; gives the number of lumisections."""
    from hcal_root_ad.judge.run import RunJudge

    maps, models, before = _read(path), _models(), RunJudge(_models())
    middle = len(maps) // 2
    before.add(maps.rows(slice(0, middle)))
    before.add(maps.rows(slice(middle + 1, None)))

    def judge() -> int:
        judge = RunJudge(models).after(before)
        judge.add(maps)
        judge.verdict()
        return len(maps)

    return judge


def production(path: str, folder: str, *subdetectors: str) -> Action:
    """The production-shaped network, one lumisection per call; gives the number of lumisections.

    Only the network is run: its inputs are ready, and nothing is made of its outputs.
    """
    from benchmarks.networks import INPUT, export
    from hcal_root_ad.export.onnx_file import session

    maps = _read(path)
    sessions = [
        (session(export(maps.channels.select(name), Path(folder) / f"production_{name}.onnx"), THREADS), digis)
        for name, digis in ((name, _occupancies(maps, name)) for name in subdetectors)
    ]

    def reconstruct() -> int:
        for row in range(len(maps)):
            for opened, digis in sessions:
                opened.run(None, {INPUT: digis[row][None, None]})
        return len(maps)

    return reconstruct


def _occupancies(maps: LumiMaps, subdetector: str) -> NDArray[np.float32]:
    """(LS, channels) digis per event of a sub-detector, as the network takes them."""
    counts = maps.counts[:, maps.channels.rows_of(subdetector)]
    return np.asarray(counts / np.maximum(maps.events, 1)[:, None], dtype=np.float32)


def _read(path: str) -> LumiMaps:
    from hcal_root_ad.harvest.read import read_lumi_maps

    (maps,) = read_lumi_maps(path)
    return maps


def _models() -> list[Model]:
    return [load_model(name) for name in MODELS]


def _only(maps: LumiMaps, row: np.integer) -> LumiMaps:
    """One lumisection as a run of its own."""
    part = slice(int(row), int(row) + 1)
    fields = ("lumisections", "events", "event_source", "counts", "present")
    return replace(maps, **{name: getattr(maps, name)[part].copy() for name in fields})
