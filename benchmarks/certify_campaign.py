"""A campaign of simulated runs: right, whatever interrupts it, and how fast.

    python benchmarks/certify_campaign.py -o FOLDER --table docs/results/certify/table.md

Simulates runs of the detector that the shipped models know, with the mixed faults of ``simulate``, and certifies them
by the command line: on 2 workers without interruption; on 2 workers, killed (SIGKILL) three times at random moments
and resumed; half of them with one file in twenty damaged; and a fifth on 1 worker. Compares the good LS with what the
policy says of the truth, and every output of the interrupted campaign with the uninterrupted one.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hcal_root_ad.certify.agreement import TABLE
from hcal_root_ad.certify.certification import certify_run
from hcal_root_ad.certify.outputs import FLAGS, GOLDEN, PROVENANCE, REGISTRY
from hcal_root_ad.certify.policy import load_policy
from hcal_root_ad.conditions import read_selection
from hcal_root_ad.lumi_maps import within
from hcal_root_ad.simulate.formats import simulate_campaign
from studies.true_certification import near_edges, read_truth, true_record

DETECTOR, SEED = 2022, 77
WORKERS = 2
KILLS = 3
ERA_RUNS, ERA_LUMISECTIONS = 1_500, 500_000
WRITTEN = (GOLDEN, REGISTRY, TABLE, FLAGS, PROVENANCE)


@dataclass(frozen=True)
class Timed:
    """A finished command: seconds that it took, and runs and lumisections that it judged."""

    seconds: float
    runs: int
    lumisections: int

    @property
    def rate(self) -> float:
        return self.lumisections / self.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="scratch, some GB")
    parser.add_argument("--table", type=Path, required=True, metavar="FILE.md")
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--lumisections", type=int, default=200)
    parser.add_argument("--format", default="nanodqmio")
    arguments = parser.parse_args()
    data, runs, length = arguments.output / "data", arguments.runs, arguments.lumisections
    if not data.exists():
        simulate_campaign(data, arguments.format, length, runs, DETECTOR, SEED, "mixed")
    lines = list(_measured(arguments.output, data, runs, length))
    arguments.table.parent.mkdir(parents=True, exist_ok=True)
    arguments.table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def _measured(folder: Path, data: Path, runs: int, length: int) -> Iterator[str]:
    """The table, line by line; every command is run here."""
    whole, killed = folder / "whole", folder / "killed"
    for left in (whole, killed, folder / "one", folder / "damaged"):
        shutil.rmtree(left, ignore_errors=True)
    two = _certify([data], whole, runs, length, "--workers", WORKERS)
    moments = list(_killed(data, killed, two.seconds))
    resumed = _certify([data], killed, runs, length, "--workers", WORKERS)
    some = _files(data)[: max(2, runs // 5)]
    one = _certify(some, folder / "one", len(some), length)
    again = _certify([], whole, 0, 0, "--policy", "strict")
    _certify([], whole, 0, 0)
    yield from _head(runs, length)
    yield from _truth(data, whole)
    same = [name for name in WRITTEN if (whole / name).read_bytes() == (killed / name).read_bytes()]
    at = ", ".join(f"{seconds:.0f} s ({done} runs done)" for seconds, done in moments)
    yield f"| killed (SIGKILL) after {at}; then resumed | {len(same)} of {len(WRITTEN)} outputs identical |"
    yield f"| one file in twenty damaged | {_damaged(folder, data, whole)} |"
    yield from _speed(one, two, resumed, again, runs, whole)


def _head(runs: int, length: int) -> list[str]:
    return [
        "# Certification campaigns, measured",
        "",
        f"{runs} simulated runs of {length} LS with mixed faults (28 a run: single channels, cards, modules, boxes, a",
        f"sector; detector {DETECTOR}, seed {SEED}), certified by the policy {load_policy().label}.",
        "Made by `python benchmarks/certify_campaign.py`.",
        "",
        "| what | found |",
        "|---|---|",
    ]


def _truth(data: Path, folder: Path) -> Iterator[str]:
    """Good LS by the files against good LS by the truth."""
    policy, found = load_policy(), read_selection(folder / GOLDEN)
    good = total = near = 0
    outside: list[str] = []
    for path in sorted(data.glob("*_truth.json")):
        truth = read_truth(path)
        wanted = certify_run(true_record(truth), policy)
        axis = wanted.lumisections
        true, ours = within(axis, wanted.good()), within(axis, found.get(wanted.run, ()))
        edges = within(axis, near_edges(truth))
        good, total = good + int(true.sum()), total + len(axis)
        near += int(((true != ours) & edges).sum())
        outside += [
            f"{wanted.run}:{ls} ({'lost' if true[ls - axis[0]] else 'kept'})" for ls in axis[(true != ours) & ~edges]
        ]
    yield f"| LS, of which good by the policy on the truth | {total}, {good} |"
    yield f"| LS that differ, within ±1 LS of a fault's edge | {near} |"
    yield f"| LS that differ elsewhere | {len(outside)}{': ' + ', '.join(outside[:20]) if outside else ''} |"


def _speed(one: Timed, two: Timed, resumed: Timed, again: Timed, runs: int, folder: Path) -> Iterator[str]:
    size = sum(path.stat().st_size for path in (folder / "records").glob("*")) / 1e6
    yield from [
        "",
        f"Machine: {os.cpu_count()} cores ({platform.machine()}), load {os.getloadavg()[1]:.1f} during the run",
    ]
    yield "(other work shared it); one thread per worker; times hold start-up, reading, judging and all outputs."
    yield ""
    yield from ["| workers | runs | LS | time | LS/s | 1,500 runs, 500,000 LS |", "|---|---|---|---|---|---|"]
    for workers, timed in ((1, one), (WORKERS, two)):
        hours = ERA_LUMISECTIONS / timed.rate / 3600
        yield (
            f"| {workers} | {timed.runs} | {timed.lumisections} | {timed.seconds:.0f} s | {timed.rate:.1f} | "
            f"{hours:.2g} h |"
        )
    hours = ERA_LUMISECTIONS / one.rate / 3600
    yield f"| 50 (extrapolated: 50 × one worker) | | | | {50 * one.rate:.0f} | {hours / 50:.2g} h |"
    yield ""
    yield (
        f"Certifying the {runs} judged runs by another policy took {again.seconds:.1f} s, start-up included. What is "
        f"kept of them is {size:.1f} MB, {size / runs * ERA_RUNS / 1e3:.2f} GB for {ERA_RUNS:,} such runs. The last "
        f"resumption took {resumed.seconds:.0f} s."
    )


def _command(inputs: Sequence[Path], folder: Path, *options: object) -> list[str]:
    return [sys.executable, "-m", "hcal_root_ad", "certify", *map(str, inputs), "-o", str(folder), *map(str, options)]


def _certify(inputs: Sequence[Path], folder: Path, runs: int, length: int, *options: object) -> Timed:
    """Run the command to its end."""
    start = time.perf_counter()
    subprocess.run(_command(inputs, folder, *options), check=True)
    return Timed(time.perf_counter() - start, runs, runs * length)


def _killed(data: Path, folder: Path, seconds: float) -> Iterator[tuple[float, int]]:
    """Start and kill, at random moments up to half of the whole time; gives seconds, and runs that are done."""
    draw = np.random.default_rng(SEED)
    for _ in range(KILLS):
        process = subprocess.Popen(_command([data], folder, "--workers", WORKERS), stdout=subprocess.DEVNULL)
        wait = float(draw.uniform(0.1, 0.5) * seconds)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        yield wait, len(list((folder / "records").glob("*.item.json")))


def _files(data: Path) -> list[Path]:
    return sorted(path for path in data.iterdir() if path.suffix in (".root", ".parquet"))


def _damaged(folder: Path, data: Path, whole: Path) -> str:
    """Certify half of the files, every twentieth of them cut in the middle."""
    broken, campaign = folder / "damaged_data", folder / "damaged"
    shutil.rmtree(broken, ignore_errors=True)
    broken.mkdir()
    files = _files(data)[: max(2, len(_files(data)) // 2)]
    hit = files[::20]
    for path in files:
        if path in hit:
            (broken / path.name).write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        else:
            os.link(path, broken / path.name)
    done = subprocess.run(_command([broken], campaign, "--workers", WORKERS), capture_output=True, text=True)
    found, expected = read_selection(campaign / GOLDEN), read_selection(whole / GOLDEN)
    right = sum(found[run] == expected[run] for run in found)
    return (
        f"{len(files)} runs, {len(hit)} damaged: {done.stderr.count('failed: ')} named with its sentence, exit code "
        f"{done.returncode}; of the others {len(found)} have good LS, {right} of them as before"
    )


if __name__ == "__main__":
    main()
