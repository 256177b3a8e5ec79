"""What is timed of commands: help, reading, a run and its steps, a campaign, and a Python that does nothing.

Processes find compiled modules, as those of an installed package do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from benchmarks.judging import MODELS
from benchmarks.worker import Action

PROGRAM = (sys.executable, "-m", "hcal_root_ad")


def help_text() -> Action:
    """``hcal-root-ad --help`` as a process."""
    script = shutil.which("hcal-root-ad", path=str(Path(sys.executable).parent))
    return _process(*([script] if script else PROGRAM), "--help")


def empty_python() -> Action:
    """``python -c pass`` as a process."""
    return _process(sys.executable, "-c", "pass")


def small_run(path: str, folder: str) -> Action:
    """``hcal-root-ad run`` as a process."""
    return _process(*PROGRAM, "run", path, "-o", folder)


def import_and_read(path: str) -> Action:
    """A script that reads the maps of a file, as a process."""
    return _process(sys.executable, "-c", f"import hcal_root_ad; hcal_root_ad.read_lumi_maps({path!r})")


def certify(inputs: str, output: str, workers: str) -> Action:
    """``hcal-root-ad certify`` into a new folder; gives the good lumisections, which all workers must agree on.

    One thread for each process: one worker by itself would use all cores.
    """
    command = _process(*PROGRAM, "certify", inputs, "-o", output, "--workers", workers, OMP_NUM_THREADS="1")

    def execute() -> str:
        shutil.rmtree(output, ignore_errors=True)
        command()
        return (Path(output) / "certification.json").read_text()

    return execute


def _process(*words: str, **variables: str) -> Action:
    environment: Mapping[str, str] = os.environ | {"PYTHONDONTWRITEBYTECODE": ""} | variables

    def execute() -> None:
        subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, env=environment)

    return execute


def run(path: str, folder: str) -> Action:
    """``hcal-root-ad run`` in this process; its imports count."""

    def execute() -> None:
        from hcal_root_ad.cli.main import main

        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            code = main(["run", path, "-o", folder])
        if code:
            raise RuntimeError(f"run ended with {code}")

    return execute


def watched(lumisections: str, at_once: str) -> Action:
    """A watch over a run that grows; gives the MB of its own that it holds after the first look and after the last."""
    from benchmarks.soak import soak

    def execute() -> tuple[float, float]:
        looks = soak(int(lumisections), int(at_once))
        return looks[0].own, looks[-1].own

    return execute


def run_steps(path: str, folder: str) -> Action:
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
