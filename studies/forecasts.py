"""Forecasts of ageing against what comes: how often the announced interval holds, and what is announced in vain.

Each detector's models are transferred from the shipped ones with a single clean run of 100 LS. In other runs of that
detector some channels and readout modules lose digis steadily. The run is judged up to its last LS, and the LS
at which a ramp will have taken half of the digis, mostly long after that, is known exactly.

Other runs have no ramp at all: clean ones, ones in which as many channels and modules lose digis at once, and
ones in which the trigger mix changes. Whatever is announced there is announced in vain.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np

from hcal_root_ad.errors import UsageError
from hcal_root_ad.files import write_text
from hcal_root_ad.judge.forecast import BAD_BELOW, PROBABILITY
from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.judge.verdict import Forecast, Verdict
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model, load_model
from hcal_root_ad.simulate.scenario import FaultKind, InjectedFault, make_fault, simulate_conditions
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run
from hcal_root_ad.unit_names import unit_names
from studies.false_alarms import FIRST_DETECTOR, RUN_LENGTH, SOURCES, adapted
from studies.folder import study_folder
from studies.stress.changes import TriggerMix

LENGTH = 160
"""LS of a run with ramps."""
ONSET = (10, 90)
"""LS between which ramps begin."""
LEFT = (0.55, 0.95)
"""Share of the digis that a ramp has left in the last LS: half is still to come."""
CHANNELS, MODULES = 30, 5
"""Ramps per run."""
SINGLE, MODULE = "single channel", "channel of a module"
CLEAN, STEPS, MIX = "clean", "steps", "trigger mix"
WORLDS = {
    CLEAN: "clean runs",
    STEPS: f"runs in which {CHANNELS} channels and {MODULES} modules lose digis at once",
    MIX: "runs in which the trigger mix changes in the middle",
}
"""Runs without a ramp, in words."""
STRENGTHS = ((0.0, 0.15), (0.15, 0.3), (0.3, 0.45))
"""Groups of ramps: share of the digis taken by the last LS."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Size:
    """How much is measured: ``runs`` of :data:`LENGTH` LS per detector."""

    detectors: int
    runs: int


SIZES = {"quick": Size(1, 1), "presets": Size(3, 8)}


@dataclass(frozen=True)
class Ramp:
    """A channel that ages, and what was said of it.

    ``lost``: share taken by the last LS. ``crossing``: true LS of half of the digis. ``earliest``, ``latest``: what was
    announced, 0 if nothing was.
    """

    subdetector: str
    what: str
    lost: float
    crossing: float
    earliest: int = 0
    latest: int = 0

    @property
    def announced(self) -> bool:
        return self.latest > 0

    @property
    def held(self) -> bool:
        return self.earliest <= self.crossing <= self.latest


@dataclass(frozen=True)
class InVain:
    """Forecasts in runs without a ramp, and the assessed LS of these runs."""

    world: str
    forecasts: int
    lumisections: int


@dataclass(frozen=True)
class Found:
    """All ramps, the forecasts of channels without one, and the LS of both sub-detectors that they were seen in."""

    ramps: tuple[Ramp, ...]
    in_vain: int
    lumisections: int
    without_ramps: tuple[InVain, ...] = ()


def measure_forecasts(sources: Sequence[Model], size: Size, progress: Progress | None = None) -> Found:
    """Ramps of all runs of all detectors."""
    ramps: list[Ramp] = []
    in_vain = lumisections = 0
    others = {world: [0, 0] for world in WORLDS}
    for number in range(size.detectors * size.runs):
        if progress:
            progress(number, size.detectors * size.runs)
        seed = FIRST_DETECTOR + number // size.runs
        if number % size.runs == 0:
            detector = simulate_detector(seed)
            models = [adapted(source, detector) for source in sources]
        faults = ramps_of(detector, 1000 * seed + number)
        conditions = simulate_conditions(LENGTH, 1000 * seed + number)
        maps = simulate_run(detector, conditions, faults, seed=1000 * seed + number).maps
        truth = {int(row): fault for fault in faults for row in fault.rows}
        for verdict in judge_run(maps, models).verdicts:
            rows = detector.channels.rows_of(verdict.subdetector)
            said = {int(rows[row]): one for one in verdict.forecasts for row in _rows_of(verdict, one)}
            inside = set(rows.tolist())
            mine = {row: fault for row, fault in truth.items() if row in inside}
            ramps += [_ramp(verdict.subdetector, fault, said.get(row)) for row, fault in mine.items()]
            in_vain += len(said.keys() - truth.keys())
            lumisections += int(verdict.assessed.sum())
        for world, counts in others.items():
            quiet = judge_run(_without_ramps(detector, world, 1000 * seed + number), models)
            counts[0] += sum(len(one.forecasts) for one in quiet.verdicts)
            counts[1] += max(int(one.assessed.sum()) for one in quiet.verdicts)
    without = tuple(InVain(world, *counts) for world, counts in others.items())
    return Found(tuple(ramps), in_vain, lumisections, without)


def _without_ramps(detector: SimulatedDetector, world: str, seed: int) -> LumiMaps:
    """A run of a world of :data:`WORLDS`."""
    steps = ramps_of(detector, seed, FaultKind.DEGRADED) if world == STEPS else ()
    changes = [TriggerMix()] if world == MIX else []
    return simulate_run(detector, simulate_conditions(LENGTH, seed), steps, seed=seed, changes=changes).maps


def _rows_of(verdict: Verdict, forecast: Forecast) -> tuple[int, ...]:
    """Channels of the sub-detector that a forecast speaks of: those of its finding."""
    return next(finding.rows for finding in verdict.findings if finding.unit == forecast.unit)


def ramps_of(detector: SimulatedDetector, seed: int, kind: FaultKind = FaultKind.AGEING) -> tuple[InjectedFault, ...]:
    """Single channels and readout modules that lose digis until the last LS, none twice; degraded ones lose at once."""
    draw = np.random.default_rng([seed, 0xA6E])
    inner = detector.select("HB", "HE")
    channels = np.array(unit_names(inner.channels, "channel"))[inner.live]
    modules = draw.choice(unit_names(inner.channels, "RM"), MODULES, replace=False)
    taken = np.zeros(len(detector.live), dtype=bool)
    faults = []
    for unit in (*modules, *draw.choice(channels, CHANNELS, replace=False)):
        onset, left = int(draw.integers(*ONSET)), round(float(draw.uniform(*LEFT)), 3)
        fault = make_fault(detector, kind, str(unit), onset, LENGTH, left)
        if not taken[fault.rows].any():
            taken[fault.rows] = True
            faults.append(fault)
    return tuple(faults)


def _ramp(subdetector: str, fault: InjectedFault, said: Forecast | None) -> Ramp:
    lost = 1 - fault.strength
    crossing = fault.first - 1 + (fault.last - fault.first + 1) * (1 - BAD_BELOW) / lost
    what = SINGLE if fault.scale == "channel" else MODULE
    interval = (said.earliest, said.latest) if said else (0, 0)
    return Ramp(subdetector, what, lost, crossing, *interval)


def table(found: Found, head: str) -> str:
    """The measurement in Markdown."""
    names = (
        "sub-detector",
        "ramp",
        "digis lost by LS 160",
        "ramps",
        "announced",
        "interval holds",
        "median width (LS)",
    )
    lines = ["# Forecasts of ageing, compared with what comes", "", head, ""]
    lines += [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for subdetector in ("HB", "HE"):
        for what in (SINGLE, MODULE):
            for low, high in STRENGTHS:
                ramps = [
                    r for r in found.ramps if (r.subdetector, r.what) == (subdetector, what) and low <= r.lost < high
                ]
                lines.append(f"| {subdetector} | {what} | {low:.0%} to {high:.0%} | {_cells(ramps)} |")
    lines.append(f"| both | all | | {_cells(found.ramps)} |")
    rate = 100 * found.in_vain / max(found.lumisections, 1)
    vain = f"{found.in_vain} channels without a ramp were announced ({rate:.2g} per 100 LS of a sub-detector)."
    lines += ["", vain, "", "| runs without any ramp | LS | forecasts | per 1,000 LS |", "|---|---|---|---|"]
    for one in found.without_ramps:
        per_thousand = 1000 * one.forecasts / max(one.lumisections, 1)
        lines.append(f"| {WORLDS[one.world]} | {one.lumisections:,} | {one.forecasts} | {per_thousand:.2g} |")
    return "\n".join([*lines, ""])


def _cells(ramps: Iterable[Ramp]) -> str:
    ramps = list(ramps)
    said = [ramp for ramp in ramps if ramp.announced]
    if not said:
        return f"{len(ramps)} | 0 | – | –"
    held = sum(ramp.held for ramp in said)
    width = float(np.median([ramp.latest - ramp.earliest for ramp in said]))
    return f"{len(ramps)} | {len(said)} ({len(said) / len(ramps):.0%}) | {held} ({held / len(said):.1%}) | {width:.0f}"


def run_forecasts(grid: str, folder: Path, resume: bool = False, progress: Progress | None = None) -> tuple[Path, ...]:
    """The study as a command: table and numbers in a folder, made in one go.

    Raises:
        UsageError: for an unknown grid, or a folder that holds something.
    """
    if grid not in SIZES:
        raise UsageError(f"no grid {grid!r} of forecasts; there are {', '.join(SIZES)}.")
    if resume:
        raise UsageError(f"{folder}: a study of forecasts is made in one go into a new folder; leave --resume out.")
    study_folder(folder, resume)
    size = SIZES[grid]
    found = measure_forecasts([load_model(name) for name in SOURCES], size, progress)
    head = (
        f"`python -m studies forecasts --grid {grid}`, version {version('hcal-root-ad')}, {date.today()}: "
        f"{', '.join(SOURCES)} transferred to {size.detectors} detectors (seeds from {FIRST_DETECTOR}) with one clean "
        f"run of {RUN_LENGTH} LS each; {size.runs} other runs of {LENGTH} LS per detector, in each of which {CHANNELS} "
        f"channels and {MODULES} readout modules lose digis steadily. *Interval holds*: half of the digis is lost "
        f"within the announced LS; {PROBABILITY:.0%} is promised. All simulated."
    )
    write_text(folder / "table.md", table(found, head))
    write_text(folder / "results.json", json.dumps(asdict(found), indent=1))
    return folder / "table.md", folder / "results.json"
