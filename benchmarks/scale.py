"""What `certify` costs, and what many workers make of it: ``python -m benchmarks.scale -o docs/results/bench``.

1. Measures the cost of starting, of looking at a file, of judging a run (so much for each, so much per lumisection)
   and of writing the outputs, in a process of its own.
2. Predicts a campaign on 2 processes from these numbers, runs it, and compares.
3. Puts thousands of tasks that sleep as long as a run would take on a real Dask scheduler with 50, 500 and 5,000
   workers (all in this process), and compares with the prediction: what remains is what the scheduler costs.
4. Extrapolates an era of data taking, and a detector with as many channels as at the HL-LHC.

The page is ``scale.md``; the numbers are ``scale.json`` beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs import campaign as simulated_campaign
from benchmarks.machine import machine, program
from benchmarks.scale_model import SEED, Cost, makespan
from benchmarks.scale_page import page
from hcal_root_ad.certify.executors import DaskExecutor
from hcal_root_ad.files import write_text

SHORT = 50
"""Lumisections of the short runs; with the long ones they tell the cost of a run from that of its lumisections."""
TASKS = {50: (1_000, 1.0), 500: (3_000, 4.0), 5_000: (7_500, 20.0)}
"""Workers to tasks and the mean seconds that a task sleeps: a minute or two each."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.scale", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the page")
    parser.add_argument("--scratch", type=Path, default=Path("out/bench"), metavar="DIR", help="for inputs and outputs")
    parser.add_argument("--runs", type=int, default=40, help="of the campaign that is measured (default: 40)")
    parser.add_argument("--lumisections", type=int, default=200, help="of each of them (default: 200)")
    parser.add_argument("--sample", type=int, default=4, help="runs of each length that tell the cost (default: 4)")
    parser.add_argument("--skip-simulation", action="store_true",
                        help="take what the Dask scheduler did from the page that is there")  # fmt: skip
    arguments = parser.parse_args(argv)
    made = program()
    made["command"] = made["command"].replace("benchmarks", "benchmarks.scale", 1)
    about: dict[str, Any] = {"machine": machine(), "program": made}
    length = arguments.lumisections
    long = inputs(arguments.scratch / f"{arguments.runs}_runs_{length}_LS", arguments.runs, length)
    short = inputs(arguments.scratch / f"{arguments.sample}_runs_{SHORT}_LS", arguments.sample, SHORT)
    cost = measured_cost(long[: arguments.sample], short, length, arguments.scratch / "cost")
    campaigns = [campaign(cost, long, length, workers, arguments.scratch / "campaign") for workers in (2, 1)]
    kept = arguments.output / "scale.json"
    if arguments.skip_simulation:
        scheduled = json.loads(kept.read_text())["scheduler"] if kept.exists() else []
    else:
        scheduled = [simulated(workers) for workers in TASKS]
    results = about | {
        "cost": asdict(cost),
        "bytes_per_lumisection": sum(path.stat().st_size for path in long) / len(long) / length,
        "campaigns": campaigns,
        "scheduler": scheduled,
        "load": os.getloadavg()[1],
    }
    write_text(kept, json.dumps(results, indent=1))
    write_text(arguments.output / "scale.md", page(results))
    return 0


def inputs(folder: Path, runs: int, lumisections: int) -> list[Path]:
    """Simulated runs with mixed faults, made once."""
    if len(list(folder.glob("*.root"))) < runs:
        simulated_campaign(str(folder), str(runs), str(lumisections))()
    return sorted(folder.glob("*.root"))[:runs]


def measured_cost(long: Sequence[Path], short: Sequence[Path], length: int, folder: Path) -> Cost:
    """Each part of the work in fresh processes, in processor seconds; what a first run takes longer is of the start."""
    start = float(np.median([_timed([sys.executable, "-c", _START])["processor"] for _ in range(3)]))
    steps = {n: _steps(paths, folder / str(n)) for n, paths in ((length, long), (SHORT, short))}
    (run, lumisection), (output, output_lumisection) = (
        _line(SHORT, steps[SHORT][name], length, steps[length][name]) for name in ("judge", "output")
    )
    start += float(np.mean([max(steps[n]["first"] - steps[n]["judge"], 0.0) for n in steps]))
    look = float(np.mean([steps[n]["look"] for n in steps]))
    return Cost(start, look, run, lumisection, output, output_lumisection)


_START = "import hcal_root_ad.certify.campaign as c; c.judging_with(None, None)"
_STEPS = """
import json, sys, time
from pathlib import Path
from hcal_root_ad.certify.campaign import judge_all, judge_item, judging_with, survey
from hcal_root_ad.conditions import RunConditions
from hcal_root_ad.certify.executors import SerialExecutor
from hcal_root_ad.certify.outputs import write_outputs
from hcal_root_ad.certify.policy import load_policy
from hcal_root_ad.certify.store import Store

def seconds(work):
    start = time.process_time()
    work()
    return time.process_time() - start

store, judging = Store(Path(sys.argv[1])), judging_with(None, None)
store.records.mkdir(parents=True, exist_ok=True)
conditions = lambda run: RunConditions()
files = [survey(Path(path)) for path in sys.argv[2:]]
looks = [seconds(lambda path=path: survey(Path(path))) for path in sys.argv[2:]]
judge = lambda some: judge_all(some, judging, conditions, store, SerialExecutor())
first = seconds(lambda: judge(files[:1]))
judged = [seconds(lambda file=file: judge([file])) for file in files[1:]]
outputs = [seconds(lambda: write_outputs(store.campaign(), store, load_policy(), conditions)) for _ in range(2)]
n = len(files)
judge = sum(judged) / len(judged)
print(json.dumps({"look": sum(looks) / n, "first": first, "judge": judge, "output": outputs[1] / n}))
"""


def _steps(paths: Sequence[Path], folder: Path) -> dict[str, float]:
    """Processor seconds per run of looking, judging and writing the outputs."""
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-c", _STEPS, str(folder), *map(str, paths)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=_one_thread())
    numbers: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return numbers


def _one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}


def _line(x: int, y: float, other_x: int, other_y: float) -> tuple[float, float]:
    """Value at 0, and slope, of the line through two points; neither is less than 0."""
    slope = max((other_y - y) / (other_x - x), 0.0)
    return max(y - slope * x, 0.0), slope


def _timed(command: Sequence[str]) -> dict[str, float]:
    """Seconds of a command, and processor seconds of it and of all its processes."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_one_thread())
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall": wall, "processor": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def campaign(cost: Cost, paths: Sequence[Path], length: int, workers: int, folder: Path) -> dict[str, Any]:
    """Certify the runs, and what the model says of it."""
    output = folder / f"{workers}_workers"
    shutil.rmtree(output, ignore_errors=True)
    names = [*map(str, paths), "-o", str(output), "--workers", str(workers)]
    found = _timed([sys.executable, "-m", "hcal_root_ad", "certify", *names])
    runs = [length] * len(paths)
    return {
        "workers": workers, "runs": len(runs), "lumisections": sum(runs), **found, "load": os.getloadavg()[0],
        "predicted_wall": cost.seconds(runs, workers), "predicted_processor": cost.processor_seconds(runs, workers),
    }  # fmt: skip


async def _sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)  # takes a worker's place, but no thread


def simulated(workers: int) -> dict[str, Any]:
    """Tasks that sleep, on a real scheduler with so many workers, by way of the executor of ``--scheduler``."""
    from distributed import Client, LocalCluster

    tasks, mean = TASKS[workers]
    lengths = np.random.default_rng(SEED).lognormal(0, 0.6, tasks)
    sleeps = sorted((mean * lengths / lengths.mean()).tolist(), reverse=True)
    hosts = max(2, workers // 250)
    options = {"n_workers": hosts, "threads_per_worker": workers // hosts, "processes": False}
    with LocalCluster(**options, dashboard_address=None) as cluster, Client(cluster) as client:
        executor = DaskExecutor(lambda: client)
        list(executor.results(_sleep, [0.0] * 100))
        start, processor = time.perf_counter(), time.process_time()
        answers = [answer for _, answer in executor.results(_sleep, sleeps)]
        wall, processor = time.perf_counter() - start, time.process_time() - processor
    ideal = makespan(sleeps, workers)
    return {
        "workers": workers, "tasks": tasks, "failed": sum(isinstance(answer, Exception) for answer in answers),
        "mean": mean, "ideal": ideal, "wall": wall, "handover": processor / tasks,
    }  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
