"""What is timed of a whole run: the command from file to published ROOT file, and its steps one by one."""

from __future__ import annotations

import os
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from benchmarks.judging import MODELS
from benchmarks.worker import Action


def command(path: str, folder: str) -> Action:
    """``hcal-root-ad run`` in this process; its imports count."""

    def execute() -> None:
        from hcal_root_ad.cli.main import main

        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            code = main(["run", path, "-o", folder])
        if code:
            raise RuntimeError(f"run ended with {code}")

    return execute


def steps(path: str, folder: str) -> Action:
    """Seconds of reading, of judging, and of publishing; imports do not count."""
    from hcal_root_ad.harvest.read import read_lumi_maps
    from hcal_root_ad.judge.run import judge_run
    from hcal_root_ad.model.model import load_model
    from hcal_root_ad.publish.publish import publish

    def execute() -> dict[str, float]:
        models = [load_model(name) for name in MODELS]
        times = [time.perf_counter()]
        (maps,) = read_lumi_maps(path)
        times.append(time.perf_counter())
        verdict = judge_run(maps, models)
        times.append(time.perf_counter())
        publish(verdict, Path(folder))
        times.append(time.perf_counter())
        return {name: b - a for name, a, b in zip(("read", "judge", "publish"), times[:-1], times[1:], strict=True)}

    return execute
