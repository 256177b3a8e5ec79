"""Asked against observed: false alarms on clean runs of detectors that a model was never made for.

Each detector's models are transferred from the shipped ones with a single clean run of 100 LS; then other clean
runs of that detector are judged, early in a fill (high pileup) and late (low), and under
conditions that change. A false alarm is one line of
the verdict: a channel, a readout unit, a ring, or a sub-detector as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from scipy.stats import chi2

from hcal_root_ad.errors import UsageError
from hcal_root_ad.files import write_text
from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.model.model import Model, load_model
from hcal_root_ad.model.transfer import transfer
from hcal_root_ad.simulate.scenario import FillShape, simulate_conditions
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.simulated_run import Drift, simulate_run

ASKED = (0.05, 0.5, 5.0)
"""False alarms per 100 LS and sub-detector that are asked for: two decades."""
HIGH, LOW = 0.02, 0.85
"""Where in its fill a run begins, as a share of the fill's length: at high and at low pileup."""


@dataclass(frozen=True)
class World:
    """Conditions that clean runs are judged under; ``share`` of the runs of the first two."""

    start: float
    share: float = 0.2
    shape: FillShape = field(default_factory=FillShape)
    drift: Drift = field(default_factory=Drift)


WORLDS = {
    "high pileup": World(HIGH, 1.0),
    "low pileup": World(LOW, 1.0),
    "luminosity steps of 30 % every 12 LS": World(HIGH, shape=FillShape(level_step=0.3, plateau=(1000, 1200))),
    "prescale changes every 20 LS": World(HIGH, shape=FillShape(prescale_every=20)),
    "beam gaps every 25 LS": World(HIGH, shape=FillShape(beam_gap_every=25)),
    "short lumisections every 8 LS": World(HIGH, shape=FillShape(stop_every=8, long_stop=0.02)),
    "drifts three times as large": World(HIGH, drift=Drift(box=0.03, module=0.015, channel=0.015)),
}
ADAPTED_AT = 0.4
"""The clean run that a model is adapted on begins here: neither high nor low."""
RUN_LENGTH = 100
FIRST_DETECTOR = 5000
SOURCES = ("he-graphstad", "hb-graphstad-from-he")

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Size:
    """How much is measured: ``runs`` clean runs of 100 LS per detector, at high and at low pileup."""

    detectors: int
    runs: int


SIZES = {"quick": Size(1, 1), "short": Size(2, 6), "presets": Size(3, 25), "full": Size(6, 60)}


@dataclass(frozen=True)
class Observed:
    """False alarms on some clean lumisections of one sub-detector in one world."""

    subdetector: str
    world: str
    asked: float
    alarms: int
    lumisections: int

    @property
    def per_100(self) -> float:
        return 100 * self.alarms / self.lumisections

    @property
    def interval(self) -> tuple[float, float]:
        """68 % Poisson interval of the rate per 100 LS (F. Garwood, Biometrika 28 (1936) 437)."""
        low = chi2.ppf(0.16, 2 * self.alarms) / 2 if self.alarms else 0.0
        high = chi2.ppf(0.84, 2 * self.alarms + 2) / 2
        return 100 * float(low) / self.lumisections, 100 * float(high) / self.lumisections


def measure_false_alarms(
    sources: Sequence[Model], size: Size, progress: Progress | None = None, asked: Sequence[float] = ASKED
) -> list[Observed]:
    """False alarms per sub-detector, world and wished rate, over all detectors and runs."""
    found: dict[tuple[str, str, float], list[int]] = {}
    done, total = 0, size.detectors * (len(sources) + sum(runs_of(size, world) for world in WORLDS))
    for number in range(size.detectors):
        detector = simulate_detector(FIRST_DETECTOR + number)
        models = []
        for source in sources:
            models.append(adapted(source, detector))
            done += 1
            if progress:
                progress(done, total)
        for world in WORLDS:
            for run in range(runs_of(size, world)):
                for key, alarms, lumisections in false_alarms_of(models, detector, world, run, asked):
                    entry = found.setdefault(key, [0, 0])
                    entry[0] += alarms
                    entry[1] += lumisections
                done += 1
                if progress:
                    progress(done, total)
    return [Observed(*key, *numbers) for key, numbers in found.items()]


def runs_of(size: Size, world: str) -> int:
    """Clean runs per detector in a world."""
    return max(1, round(size.runs * WORLDS[world].share))


def adapted(source: Model, detector: SimulatedDetector) -> Model:
    """A model adapted to a detector with one clean run."""
    conditions = simulate_conditions(RUN_LENGTH, detector.seed, ADAPTED_AT)
    clean = simulate_run(detector, conditions, seed=detector.seed).maps
    with TemporaryDirectory() as folder:
        # Judging takes no network: without one there is none to fine-tune.
        return transfer(replace(source, architecture={}, weights={}), [clean], Path(folder) / source.name)


Counted = tuple[tuple[str, str, float], int, int]


def false_alarms_of(
    models: Sequence[Model], detector: SimulatedDetector, world: str, number: int, asked: Sequence[float]
) -> list[Counted]:
    """Alarms and lumisections of one clean run: of each sub-detector at each wished rate."""
    seed = 1000 * detector.seed + 100 * list(WORLDS).index(world) + number
    conditions = simulate_conditions(RUN_LENGTH, seed, WORLDS[world].start, WORLDS[world].shape)
    maps = simulate_run(detector, conditions, seed=seed, drift=WORLDS[world].drift).maps
    counted = []
    for rate in asked:
        for verdict in judge_run(maps, models, false_alarms=rate).verdicts:
            alarms, lumisections = len(verdict.findings), int(verdict.assessed.sum())
            counted.append(((verdict.subdetector, world, rate), alarms, lumisections))
    return counted


HEAD = (
    "sub-detector",
    "clean runs",
    "asked per 100 LS",
    "observed per 100 LS",
    "observed / asked",
    "alarms",
    "clean LS",
)


def table(observed: Sequence[Observed], head: str) -> str:
    """The measurement in Markdown."""
    lines = ["# False alarms, asked and observed", "", head, ""]
    lines += ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    for one in sorted(observed, key=lambda o: (o.subdetector, list(WORLDS).index(o.world), o.asked)):
        low, high = one.interval
        lines.append(
            f"| {one.subdetector} | {one.world} | {one.asked:g} | {one.per_100:.3g} [{low:.3g}, {high:.3g}] "
            f"| {one.per_100 / one.asked:.2f} | {one.alarms} | {one.lumisections} |"
        )
    return "\n".join([*lines, ""])


def run_false_alarms(
    grid: str, folder: Path, resume: bool = False, progress: Progress | None = None
) -> tuple[Path, ...]:
    """The study as a command: table and numbers in a folder. It is not resumable; what is there is never overwritten.

    Raises:
        UsageError: for an unknown grid, or a folder that holds a result.
    """
    if grid not in SIZES:
        raise UsageError(f"no grid {grid!r} of false alarms; there are {', '.join(SIZES)}.")
    written = (folder / "table.md", folder / "results.json")
    if resume or any(path.exists() for path in written):
        raise UsageError(f"{folder}: a false-alarm study is made in one go into a new folder; choose another one.")
    sources = [load_model(name) for name in SOURCES]
    observed = measure_false_alarms(sources, SIZES[grid], progress)
    head = (
        f"`python -m studies false-alarms --grid {grid}`, version {version('hcal-root-ad')}, {date.today()}: "
        f"{', '.join(SOURCES)} transferred to {SIZES[grid].detectors} detectors (seeds from {FIRST_DETECTOR}) "
        f"with one clean run of {RUN_LENGTH} LS each; other clean runs judged. In brackets: 68 % Poisson intervals."
    )
    write_text(written[0], table(observed, head))
    write_text(written[1], json.dumps([asdict(one) for one in observed], indent=1))
    return written
