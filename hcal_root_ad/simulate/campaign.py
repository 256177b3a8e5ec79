"""Many simulated runs of one detector, written to a folder with their truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hcal_root_ad.detector import Era
from hcal_root_ad.errors import UsageError
from hcal_root_ad.simulate.conditions import Conditions, simulate_conditions
from hcal_root_ad.simulate.containers import CONTAINERS, write_container, write_truth
from hcal_root_ad.simulate.detector import SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.fault_list import read_faults
from hcal_root_ad.simulate.faults import Fault, mixed_faults
from hcal_root_ad.simulate.run import FIRST_RUN, simulate_run

RUNS_PER_SEED = 1000
"""Run numbers are first run of the era + 1000 × seed + number of the run, so seeds never collide."""


def simulate_campaign(
    folder: Path,
    container: str,
    n_lumisections: int,
    n_runs: int,
    detector_seed: int,
    seed: int,
    faults: str | Path = "none",
    progress: Callable[[int, int], None] | None = None,
    era: Era = Era.RUN3,
) -> tuple[Path, ...]:
    """Simulate ``n_runs`` runs of the detector ``detector_seed`` and write each with ``run<N>_truth.json``.

    ``faults`` is ``"none"``, ``"mixed"`` or a file as in ``fault_list``; ``progress(done, n_runs)`` is
    called after each run. Returns all files. Each run has conditions, drifts and faults of its own,
    drawn from its number.

    Raises:
        UsageError: a container, seed or number that cannot be.
        InputError: the list of faults cannot be used.
        OutputError: the container cannot be written.
    """
    if container not in CONTAINERS:
        raise UsageError(f"No container is called {container!r}; known are {', '.join(CONTAINERS)}.")
    if not 1 <= n_runs <= RUNS_PER_SEED:
        raise UsageError(f"One seed gives 1 to {RUNS_PER_SEED} runs; {n_runs} were asked for.")
    if seed < 0 or detector_seed < 0:
        raise UsageError(f"Seeds are whole numbers from 0 on, not {min(seed, detector_seed)}.")
    detector = simulate_detector(detector_seed, era)
    written: list[Path] = []
    for number in range(n_runs):
        run = FIRST_RUN[detector.era] + RUNS_PER_SEED * seed + number
        conditions = simulate_conditions(n_lumisections, run)
        simulated = simulate_run(detector, conditions, _faults(faults, detector, conditions, run), run, run)
        written += [*write_container(simulated, folder, container), write_truth(simulated, folder / _truth_name(run))]
        if progress:
            progress(number + 1, n_runs)
    return tuple(written)


def _truth_name(run: int) -> str:
    return f"run{run}_truth.json"


def _faults(faults: str | Path, detector: SimulatedDetector, conditions: Conditions, seed: int) -> tuple[Fault, ...]:
    if faults == "none":
        return ()
    return mixed_faults(detector, conditions, seed) if faults == "mixed" else read_faults(Path(faults), detector, seed)
