"""What the watch tells people in a whole fill: a run is judged as it grows, and every line about an alarm is kept.

Once with ordinary conditions alone (pileup that falls, prescale changes, stops, beam gaps), once with faults on top.
The judge and the alarms are those of ``watch``; there are no files in between. The detector is the one that the shipped
models know.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

from hcal_root_ad.errors import HcalRootAdError, UsageError
from hcal_root_ad.files import write_text
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.pipeline import Judging, load_models
from hcal_root_ad.simulate.scenario import FaultKind, InjectedFault, make_fault, simulate_conditions
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run
from hcal_root_ad.watch.alarms import Alarm, Place, changes
from hcal_root_ad.watch.messages import alarm_sentence
from studies.folder import study_folder

DETECTOR, SEED = 2022, 77
"""Seed of the detector of the shipped models, and of the run."""
LENGTHS = {"quick": (30, 30), "part": (400, 80), "presets": (2000, 100)}
"""LS of the fill with ordinary conditions alone, and of that with faults."""
EACH, STEP = 100, 40
"""The judge looks after each of so many LS, and from then on after so many at a time: each look scans the whole run, so
looks at each of 2,000 LS take two hours of a core, and these four minutes."""
SEVERITIES = ("channel", "module", "box", "sub-detector")

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Told:
    """A line that the watch would print, and the lumisection in which."""

    lumisection: int
    severity: str
    sentence: str


def faults_of(detector: SimulatedDetector, length: int) -> tuple[InjectedFault, ...]:
    """A dead box, a degraded module, a flickering card and a hot channel, each for a tenth of the run or so."""
    tenth = length // 10
    return (
        make_fault(detector, FaultKind.DEAD, "HEP07", 2 * tenth, 3 * tenth, 0.0),
        make_fault(detector, FaultKind.DEGRADED, "HBM12-RM2", 4 * tenth, 5 * tenth, 0.7),
        make_fault(detector, FaultKind.FLICKERING, "HBP05-RM1-card2", 6 * tenth, 7 * tenth, 0.5),
        make_fault(detector, FaultKind.HOT, "HE -25/33/4", 8 * tenth, 9 * tenth, 3.0),
    )


def told_of(maps: LumiMaps, progress: Progress | None = None) -> list[Told]:
    """Every line about an alarm of a run that is judged as it grows."""
    return [line for _, lines in looks(maps, progress) for line in lines]


def looks(maps: LumiMaps, progress: Progress | None = None) -> Iterator[tuple[int, list[Told]]]:
    """Each look by its lumisection, with the lines about alarms that it gives."""
    judge, active = Judging(load_models()).run_judge(), dict[Place, Alarm]()
    for number, one in enumerate(maps):
        judge.add(one)
        if number >= EACH and (number + 1) % STEP:
            continue
        try:
            verdict = judge.verdict()
        except HcalRootAdError:  # the first lumisections may be too few
            continue
        active, found = changes(active, verdict)
        ls = int(one.lumisections[0])
        yield ls, [Told(ls, str(c.alarm.severity), alarm_sentence(maps.run, c)) for c in found if c.louder]
        if progress:
            progress(number + 1, len(maps))


def run_alarms(grid: str, folder: Path, resume: bool = False, progress: Progress | None = None) -> tuple[Path, ...]:
    """The study as a command: a page, both logs and the numbers in a folder.

    Raises:
        UsageError: for an unknown grid, or a folder that holds something.
    """
    if grid not in LENGTHS:
        raise UsageError(f"no grid {grid!r} of alarms; there are {', '.join(LENGTHS)}.")
    if resume:
        raise UsageError(f"{folder}: a study of alarms is made in one go into a new folder; leave --resume out.")
    study_folder(folder, resume)
    ordinary, faulty = LENGTHS[grid]
    detector = simulate_detector(DETECTOR)
    fills = {
        f"{ordinary} LS, ordinary conditions": (ordinary, ()),
        f"{faulty} LS, four faults": (faulty, faults_of(detector, faulty)),
    }
    head = (
        f"`python -m studies alarms --grid {grid}`, version {version('hcal-root-ad')}, {date.today()}: simulated fills "
        f"(detector {DETECTOR}, seed {SEED}), judged by the shipped models, which know this detector, after each of "
        f"the first {EACH} LS and after every {STEP} LS from then on, because each look scans the whole run so far. "
        "Lines that `watch` prints about alarms, by severity; `--minimum-severity` leaves out the lower ones."
    )
    written = [folder / "table.md", folder / "results.json"]
    logs: dict[str, list[Told]] = {}
    for words, (length, faults) in fills.items():
        run = simulate_run(detector, simulate_conditions(length, SEED, start=0.0), faults, seed=SEED)
        logs[words] = []
        for reached, lines in looks(run.maps, progress):
            logs[words] += lines
            part = "" if reached == length else f" Of the last fill, the first {reached} LS were judged so far."
            write_text(written[0], page(logs, head + part))
    write_text(written[1], json.dumps({words: list(map(asdict, told)) for words, told in logs.items()}, indent=1))
    return tuple(written)


def page(logs: dict[str, list[Told]], head: str) -> str:
    """Counts by severity, and the logs, in Markdown."""
    lines = ["# Alarms of a whole fill", "", head, "", f"| fill | lines | {' | '.join(SEVERITIES)} |"]
    lines.append("|---" * (len(SEVERITIES) + 2) + "|")
    for words, told in logs.items():
        counts = Counter(one.severity for one in told)
        lines.append(f"| {words} | {len(told)} | {' | '.join(str(counts[name]) for name in SEVERITIES)} |")
    for words, told in logs.items():
        lines += ["", f"## The log: {words}", "", "```text", *_log(told), "```"]
    return "\n".join([*lines, ""])


def _log(told: Sequence[Told]) -> list[str]:
    return [f"LS {one.lumisection:>4}  {one.sentence}" for one in told] or ["(nothing)"]
