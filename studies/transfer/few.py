"""A detector of which few lumisections exist: ``python -m studies few -o DIR``.

The question of use. Models are made of 3, 10, 30 or 100 lumisections of a detector that no model has met, with and
without what another detector teaches, and judge another run of it, with weak faults from its first LS on: there the
reference is the limit, and nothing else. On a real run (``--real FILES``) faults are put into the counts of the
lumisections that were not learned from. One JSON file per point: what is there is not measured again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from hcal_root_ad.certify.policy import load_policy
from hcal_root_ad.cli.terminal import progress, show
from hcal_root_ad.detector import Era
from hcal_root_ad.errors import InputError
from hcal_root_ad.files import write_text
from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.counts import clean_runs, joint_reference_of
from hcal_root_ad.model.model import Model, load_model
from hcal_root_ad.model.reference import Reference, Widths
from hcal_root_ad.model.transfer import learned, transfer
from hcal_root_ad.pipeline import SHIPPED_MODELS
from hcal_root_ad.simulate.scenario import FaultKind, InjectedFault, apply_faults
from hcal_root_ad.simulate.simulated_detector import simulate_detector
from hcal_root_ad.simulate.simulated_run import FIRST_RUN, simulate_run
from hcal_root_ad.unit_names import rows_of_unit, unit_names
from studies.evaluate.real import shares, ten_lumisections
from studies.evaluate.suite import with_faults
from studies.folder import POINTS
from studies.stress.current import flagged_pairs, lines_of_verdict
from studies.stress.failures import Drawn, Unit
from studies.stress.judged import Certified, JudgedRun
from studies.stress.measure import measure
from studies.stress.truth import truth_of
from studies.stress.worlds import Setting, World, WorldRuns, simulate_world

LUMISECTIONS = (3, 10, 30, 100)
SEEDS = (40, 41)
"""Detectors that no model has met."""
SEVERAL = (9001, 9002, 9003, 9004, 9005, 9006)
"""Detectors whose powers are averaged."""
RUN2_DETECTOR = 8000
"""Where the seeds of those of 2018 begin."""
PILEUP = {"as learned": (48.0, 38.0), "half of it": (24.0, 19.0)}
EVENTS = 1400.0
"""Per LS: three LS hold 4,200, ten 14,000."""
FROM = {
    "nothing": "powers are first guesses, widths those that every model begins with",
    "shipped models": "powers, widths: what `transfer` takes from the models of another detector",
    "the other sub-detector": "widths and nothing else: HB's model is made from HE's, and HE's from HB's",
    "Run 2's detector": "powers that 100 LS of a detector of 2018 have taught, where the channels are the same (HE)",
    "six detectors": "powers of six detectors that no model has met, 100 LS of each, their mean",
    "true powers": "a bound: the powers are those of the truth",
}
"""What is transferred, beside the few lumisections."""
BESIDE = ("the other sub-detector", "Run 2's detector", "six detectors", "true powers")
"""Measured where the pileup is another one and powers count."""
WEAK = ("RBX ×0.85", "RM ×0.9", "channel ×0.7", "channel ×1.3")
"""Kinds whose captured share is asked for; fainter ones stand beside."""
FAILURES = (
    Drawn("RBX", 0.85, 2, halves=("HBP", "HEM")),
    Drawn("RBX", 0.9, 1, halves=("HEP",)),
    Drawn("RM", 0.9, 4, halves=("HBM", "HEM", "HBP", "HEP")),
    Drawn("RM", 0.95, 4, halves=("HBM", "HEM", "HBP", "HEP")),
    *(Drawn("channel", strength, 12) for strength in (0.7, 0.8, 0.85, 1.3)),
)  # fmt: skip
CONTAMINATED = (0.1, 0.2)
"""Shares of the learned lumisections that have faults, where some have."""
BEFORE_FAULTS = 44
"""Last sound LS of a contaminated clean run before its faults."""
IN_CLEAN = (("HEM05", 0.6), ("HBP03-RM2", 0.0), ("HBM09", 0.8), ("HE +20/5/3", 2.0), ("HB -4/30/2", 0.0))


@dataclass(frozen=True)
class Point:
    """One model, and the run that it judges; ``contaminated``: share of the learned LS that have faults."""

    lumisections: int
    source: str
    pileup: str
    seed: int
    contaminated: float = 0.0

    @property
    def name(self) -> str:
        return "-".join(
            str(part).replace(" ", "_")
            for part in (self.lumisections, self.source, self.pileup, self.seed, self.contaminated)
        )


def points() -> list[Point]:
    """All of them: every number of LS with and without transfer, and what stands beside."""
    out = [Point(*one) for one in product(LUMISECTIONS, ("nothing", "shipped models"), PILEUP, SEEDS)]
    out += [Point(n, source, "half of it", seed) for n, source, seed in product((3, 10, 100), BESIDE, SEEDS)]
    out += [
        Point(n, "shipped models", "as learned", seed, share)
        for n, share, seed in product((10, 100), CONTAMINATED, SEEDS)
    ]
    return sorted(out, key=lambda point: (point.seed, point.pileup, point.contaminated))


def main(argv: Sequence[str]) -> int:
    """Measure what lacks, and write the tables."""
    parser = argparse.ArgumentParser("python -m studies few", description=__doc__, allow_abbrev=False)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of numbers and table")
    parser.add_argument("--real", type=Path, nargs="+", metavar="FILES", help="a real run of ten LS")
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS), metavar="N", help="detectors to measure")
    arguments = parser.parse_args(argv)
    folder = arguments.output / POINTS
    wanted = [point for point in points() if point.seed in arguments.seeds]
    with progress("Points") as report:
        for done, point in enumerate(wanted):
            path = folder / f"few-{point.name}.json"
            if not path.exists():
                write_text(path, json.dumps(_measured(point), indent=1) + "\n")
            if report:
                report(done + 1, len(wanted))
    if arguments.real:
        path = folder / "real.json"
        if not path.exists():
            (maps,) = read_lumi_maps(map(str, arguments.real))
            write_text(path, json.dumps(real_rows(maps), indent=1) + "\n")
        write_text(arguments.output / "real.md", real_table_of(json.loads(path.read_text())))
        show(str(arguments.output / "real.md"))
    rows = [json.loads(path.read_text()) for path in sorted(folder.glob("few-*.json"))]
    if rows:
        write_text(arguments.output / "few.md", table_of(rows))
        show(str(arguments.output / "few.md"))
    return 0


def _measured(point: Point) -> dict[str, Any]:
    """Numbers of one point, as JSON holds them."""
    runs = _runs(point.pileup, point.seed, point.contaminated)
    models = _models(point)
    verdict = judge_run(runs.judged.maps, models, false_alarms=0.5)
    judged = JudgedRun(
        lines_of_verdict(verdict), flagged_pairs(verdict), str(verdict.trust), verdict.trust.trusted,
        (Certified.NOTSET,) * len(runs.judged.maps), len(verdict.verdicts),
    )  # fmt: skip
    numbers = measure(runs, judged, truth_of(runs, load_policy()))
    kept = ("lumisections", "faults", "found", "lines", "false_lines", "false_outer", "false_units", "capture", "trust")
    row: dict[str, Any] = {
        "learned": point.lumisections, "source": point.source, "pileup": point.pileup, "seed": point.seed,
        "contaminated": point.contaminated, **{key: numbers[key] for key in kept},
    }  # fmt: skip
    return row | {"error": _level_error(models, runs)}


@lru_cache(maxsize=2)
def _runs(pileup: str, seed: int, contaminated: float) -> WorldRuns:
    return simulate_world(world_of(pileup, contaminated), seed)


def world_of(pileup: str, contaminated: float) -> World:
    """Clean run of 100 LS, and the judged one; the same detector and faults whatever was learned."""
    clean = Setting(pileup=(52.0, 33.0), events=EVENTS)
    if contaminated:
        ends = BEFORE_FAULTS + 1, BEFORE_FAULTS + round(100 * contaminated)
        clean = replace(clean, failures=tuple(Unit(unit, strength, *ends) for unit, strength in IN_CLEAN))
    return World(
        f"few {pileup}", "weak faults from the first LS on",
        Setting(pileup=PILEUP[pileup], events=EVENTS, failures=FAILURES), clean,
    )  # fmt: skip


def learned_rows(lumisections: int, contaminated: float) -> slice:
    """Which LS of the clean run are learned from: consecutive ones; of fewer than 100, the last ones have faults."""
    if lumisections == 100:
        return slice(0, 100)
    first = BEFORE_FAULTS - round((1 - contaminated) * lumisections) if contaminated else 40
    return slice(first, first + lumisections)


def _models(point: Point) -> list[Model]:
    runs = _runs(point.pileup, point.seed, point.contaminated)
    clean = [some_lumisections(runs.clean[0].maps, learned_rows(point.lumisections, point.contaminated))]
    bare = [replace(load_model(name), architecture={}, weights={}) for name in SHIPPED_MODELS]
    bare = [model for model in bare if model.subdetector in ("HB", "HE")]
    with TemporaryDirectory() as folder:
        if point.source == "nothing":
            return [_trained(clean, model) for model in bare]
        if point.source == "the other sub-detector":
            other = {"HB": "HE", "HE": "HB"}
            by_name = {model.subdetector: model for model in bare}
            return [transfer(by_name[other[name]], clean, Path(folder) / name, to=name) for name in ("HB", "HE")]
        if point.source == "Run 2's detector":
            bare = [_of_run2(model, point.seed) for model in bare]
        if point.source == "six detectors":
            bare = [_of_several(model) for model in bare]
        if point.source == "true powers":
            bare = [_with_true_powers(model, runs) for model in bare]
        return [transfer(model, clean, Path(folder) / model.subdetector) for model in bare]


def _trained(clean: list[LumiMaps], like: Model) -> Model:
    """A model that nobody taught anything."""
    found = clean_runs(clean)
    reference = learned(joint_reference_of(found, like.subdetector).select(like.subdetector), found).reference
    return Model(f"from nothing {like.subdetector}", like.subdetector, replace(reference, widths=Widths()))


def _of_run2(like: Model, seed: int) -> Model:
    """A model of 100 LS of a detector of 2018."""
    detector = simulate_detector(RUN2_DETECTOR + seed, Era.RUN2_2018)
    conditions = Setting(pileup=(52.0, 33.0), events=EVENTS).conditions(np.random.default_rng([RUN2_DETECTOR, seed]))
    clean = simulate_run(detector, conditions, seed=seed, run=FIRST_RUN[Era.RUN2_2018]).maps
    return _trained([clean], like)


def _of_several(like: Model) -> Model:
    """The same model with the mean powers of several detectors."""
    power = np.mean([reference.select(like.subdetector).power for reference in _several_references()], axis=0)
    return replace(like, reference=replace(like.reference, power=power.astype(like.reference.power.dtype)))


@lru_cache(maxsize=1)
def _several_references() -> list[Reference]:
    """Of a clean run of each."""
    clean = Setting(pileup=(52.0, 33.0), events=EVENTS)
    out = []
    for seed in SEVERAL:
        conditions = clean.conditions(np.random.default_rng([SEVERAL[0], seed]))
        run = simulate_run(simulate_detector(seed), conditions, seed=seed, run=FIRST_RUN[Era.RUN3])
        out.append(joint_reference_of(clean_runs([run.maps]), "HE"))
    return out


def _with_true_powers(model: Model, runs: WorldRuns) -> Model:
    """A source whose powers are those of the detector, in units of the mean power of HB."""
    detector = runs.judged.detector
    hb = detector.channels.rows_of("HB")
    mean = float(np.average(detector.power[hb], weights=-np.expm1(-detector.response[hb]) * detector.live[hb]))
    power = detector.power[detector.channels.rows_of(model.subdetector)] / mean
    return replace(model, reference=replace(model.reference, power=power))


def _level_error(models: Sequence[Model], runs: WorldRuns) -> dict[str, float]:
    """How far the references are off in the middle of the judged run: scatter of log rate, rings taken out."""
    out = {}
    for model in models:
        reference = model.reference
        rows = runs.judged.maps.channels.rows_of(model.subdetector)
        middle = runs.judged.rates[len(runs.judged.rates) // 2, rows]
        use = reference.live & (middle > 0.05) & (middle < 0.95)
        off = np.where(use, np.log(-np.log1p(-np.clip(middle, 1e-9, 1 - 1e-6))) - reference.level, np.nan)
        ring = reference.tree.ring.of
        for unit in np.unique(ring[use]):
            off[ring == unit] -= np.nanmedian(off[ring == unit])
        out[model.subdetector] = float(1.4826 * np.nanmedian(np.abs(off)))
    return out


def some_lumisections(maps: LumiMaps, where: slice | np.ndarray) -> LumiMaps:
    """Some of the lumisections of a run."""
    arrays = ("lumisections", "events", "event_source", "counts", "present")
    return replace(
        maps,
        **{name: getattr(maps, name)[where] for name in arrays},
        missing={name: lacking[where] for name, lacking in maps.missing.items()},
    )


# --- ten real lumisections

REAL_FIRST = {2: ((0, 1), (8, 9)), 3: ((0, 1, 2), (7, 8, 9), (0, 4, 8)), 5: ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9))}
"""Positions of the LS that are learned from, by their number."""
REPLICAS = 8
REAL_CHANNELS = (0.0, 0.4, 0.7, 2.0, 4.0)
PER_STRENGTH = 7
LEAST_SHARE = 0.05
"""Channels with fewer digis per event are not drawn: they show nothing in few LS."""
SHORTEST = 3


def real_rows(maps: LumiMaps) -> list[dict[str, Any]]:
    """References from few real LS: findings in the LS not learned from, untouched and with faults put in."""
    ten = some_lumisections(maps, ten_lumisections(maps))
    out: list[dict[str, Any]] = []
    try:
        _real_models(some_lumisections(ten, slice(0, 1)))
    except InputError as error:
        out.append({"learned": 1, "refused": str(error)})
    for number, chosen in ((n, one) for n, several in REAL_FIRST.items() for one in several):
        models = _real_models(some_lumisections(ten, np.array(chosen)))
        rest = some_lumisections(ten, np.setdiff1d(np.arange(len(ten)), chosen))
        row: dict[str, Any] = {
            "learned": number, "lumisections": [int(ls) for ls in ten.lumisections[list(chosen)]],
            "untouched": len(judge_run(ten, models).findings), "faults": 0, "found": 0, "false": 0, "pairs": [0, 0],
            "by_kind": {}, "false_units": [],
        }  # fmt: skip
        for replica in range(REPLICAS):
            _add_replica(row, ten, rest, models, replica)
        out.append(row)
    return out


def _real_models(clean: LumiMaps) -> list[Model]:
    sources = (("he-graphstad", "HE"), ("he-graphstad", "HB"), ("ho", "HO"), ("hf", "HF"))
    with TemporaryDirectory() as folder:
        return [transfer(load_model(name), [clean], Path(folder) / to, to=to) for name, to in sources]


def _add_replica(row: dict[str, Any], ten: LumiMaps, rest: LumiMaps, models: list[Model], replica: int) -> None:
    """Judge the LS that were not learned from with some faults put in, and count."""
    draw = np.random.default_rng([306138, replica])
    rates = shares(ten.counts, ten.events.astype(float))
    faults = list(_real_faults(rest, rates, draw))
    healthy = np.tile(rates.astype(np.float32), (len(rest), 1))
    faulty = apply_faults(healthy, rest.lumisections, tuple(faults))
    counts = with_faults(rest.counts, rest.events.astype(float), healthy, faulty, draw)
    verdict = judge_run(replace(rest, counts=counts), models)
    at_fault, flagged = healthy != faulty, flagged_pairs(verdict)
    row["pairs"] = [row["pairs"][0] + int((at_fault & flagged).sum()), row["pairs"][1] + int(at_fault.sum())]
    near = at_fault.copy()
    near[1:] |= at_fault[:-1]
    near[:-1] |= at_fault[1:]
    for line in lines_of_verdict(verdict):
        inside = np.any([(rest.lumisections >= a) & (rest.lumisections <= b) for a, b in line.ranges], axis=0)
        if near[np.ix_(inside, line.rows)].mean() <= 0.5:
            row["false"] += 1
            row["false_units"].append(line.unit)
    for fault in faults:
        inside = (rest.lumisections >= fault.first) & (rest.lumisections <= fault.last)
        hit = bool(flagged[np.ix_(inside, fault.rows)].any(axis=0).mean() > 0.5)
        kind = f"{fault.scale} ×{fault.strength:g}"
        sums = row["by_kind"].setdefault(kind, [0, 0])
        sums[0], sums[1] = sums[0] + hit, sums[1] + 1
        row["faults"], row["found"] = row["faults"] + 1, row["found"] + hit


def _real_faults(maps: LumiMaps, rates: np.ndarray, draw: np.random.Generator) -> Iterator[InjectedFault]:
    """Faults of disjoint channels: boxes, and single channels that are bright enough, for three LS or more."""
    channels, numbers = maps.channels, maps.lumisections
    free = (rates > LEAST_SHARE) & (channels.subdetector <= 2)

    def fault(unit: str, rows: np.ndarray, strength: float) -> InjectedFault:
        first = int(draw.integers(len(numbers) - SHORTEST + 1))
        last = int(draw.integers(first + SHORTEST - 1, len(numbers)))
        n = int(numbers[last] - numbers[first]) + 1
        kind = FaultKind.DEAD if strength == 0 else FaultKind.DEGRADED if strength < 1 else FaultKind.HOT
        free[rows] = False
        course = np.full(n, strength), np.zeros(n)
        return InjectedFault(kind, unit, rows, int(numbers[first]), int(numbers[last]), strength, *course)

    boxes = unit_names(channels.select("HB", "HE"), "RBX")
    for strength in (0.0, 0.7):
        unit = boxes[int(draw.integers(len(boxes)))]
        rows = rows_of_unit(channels, unit)
        yield fault(unit, rows[rates[rows] > 0], strength)
    for strength in REAL_CHANNELS:
        dim = rates < 0.5 / max(strength, 1)  # twice a share of 0.9 is no fault
        for _ in range(PER_STRENGTH):
            row = int(draw.choice(np.flatnonzero(free & dim)))
            yield fault(channels.name_of(row), np.array([row]), strength)


# --- tables


HEAD = """\
# A detector of which few lumisections exist

`python -m studies few -o DIR`. Models are made of 3, 10, 30 or 100 consecutive LS of {events:.0f} events each (so of
4,200, 14,000, …) of detectors that no model has met, and judge another run of 100 LS of them at the default
threshold, with two RBXs at × 0.85, one at × 0.9, four RMs each at × 0.9 and × 0.95, and twelve channels each at
× 0.7, × 0.8, × 0.85 and × 1.3, all from the first LS on: what is found there depends on the reference. Errors are
standard errors over up to {seeds} detectors. Numbers are shares of faulty (channel, LS) pairs that were flagged; *weak*
are RBXs × 0.85, RMs × 0.9 and channels × 0.7 and × 1.3 together, each kind counting alike. *False* are lines per
100 LS of HB and HE, most of whose pairs are sound. *Error* is by how much the reference is off channel by channel
(rings taken out; a healthy channel moves by some percent from run to run, which no reference can know).

What is transferred: *nothing* (powers are first guesses); *shipped models*: powers and widths of another detector, as
`transfer` does it; *the other sub-detector*: HB's model is made from HE's and HE's from HB's, which gives the widths
only; *Run 2's detector*: HE's powers of a detector of 2018, from 100 LS (HB has other channels since, and takes the
widths only); *six detectors*: the mean of the powers that 100 LS of each of six other detectors have taught; *true
powers*: a bound. From minus to plus there is nothing to transfer: powers are those of rings, and a
ring is both sides. Weights of the network have no part in a verdict, so they cannot change a number here; what they do
to the network's own error is in [the other table](table.md).
"""


def table_of(rows: list[dict[str, Any]]) -> str:
    """The tables of simulated detectors, as Markdown."""
    kinds = sorted({kind for row in rows for kind in row["capture"]}, key=lambda kind: (len(kind.split()[0]) < 4, kind))
    faint = [kind for kind in kinds if kind not in WEAK]
    seeds = len({row["seed"] for row in rows})
    out = [HEAD.format(events=EVENTS, seeds=seeds)]
    columns = ["LS", "transferred", "weak", *WEAK, *faint, "false", "error HB", "error HE"]
    groups = sorted({(row["pileup"], row["contaminated"]) for row in rows}, key=lambda group: (group[1], group[0]))
    for pileup, contaminated in groups:
        text = f"## Pileup of the judged run: {pileup}"
        text += f"; {contaminated:.0%} of the learned LS have faults" if contaminated else ""
        out += [text + "\n", _line(columns), _line(["---"] * len(columns))]
        for source, number in product(FROM, LUMISECTIONS):
            mine = [
                row for row in rows
                if (row["pileup"], row["contaminated"], row["source"], row["learned"])
                == (pileup, contaminated, source, number)
            ]  # fmt: skip
            if mine:
                out.append(_line([str(number), source, *_cells(mine, faint)]))
        out.append("")
    return "\n".join(out)


def _cells(rows: list[dict[str, Any]], faint: list[str]) -> list[str]:
    def captured(row: dict[str, Any], kinds: Sequence[str]) -> float:
        shares_of = [row["capture"][kind][0] / max(row["capture"][kind][1], 1) for kind in kinds]
        return float(np.mean(shares_of))

    cells = [_with_error([captured(row, WEAK) for row in rows])]
    cells += [f"{np.mean([captured(row, [kind]) for row in rows]):.3f}" for kind in (*WEAK, *faint)]
    false = [(row["false_lines"] - row["false_outer"]) * 100 / row["lumisections"] for row in rows]
    errors = [f"{100 * np.mean([row['error'][name] for row in rows]):.2f} %" for name in ("HB", "HE")]
    return [*cells, _with_error(false, 2), *errors]


def _with_error(values: Sequence[float], digits: int = 3) -> str:
    """Mean and standard error; the mean alone of one detector."""
    if len(values) < 2:
        return f"{np.mean(values):.{digits}f} (one detector)"
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.{digits}f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def real_table_of(real: list[dict[str, Any]]) -> str:
    """The table of the real run, as Markdown."""
    refused = [f"One LS alone is refused: {row['refused']}." for row in real if "refused" in row]
    columns = ["learned from LS", "findings untouched", "faults found", "captured pairs", "false lines", "by kind"]
    out = [
        "# A reference from few real lumisections\n",
        "`python -m studies few -o DIR --real FILES`. Run 306138. The reference is learned from some LS; all ten\n"
        "are judged as they are (*untouched*), and those that were not learned from with faults put into their\n"
        f"counts exactly, {REPLICAS} times: a dead RBX, one at × 0.7, and {PER_STRENGTH} channels each dead, at\n"
        f"× 0.4, × 0.7, × 2 and × 4 of their digis, for {SHORTEST} LS or longer. Channels have five digis per 100\n"
        "events or more. Default threshold.\n",
        *(f"{text}\n" for text in refused),
        _line(columns), _line(["---"] * len(columns)),
    ]  # fmt: skip
    for row in (row for row in real if "refused" not in row):
        share, pairs = row["found"] / row["faults"], row["pairs"][0] / row["pairs"][1]
        kinds = ", ".join(f"{kind} {a}/{b}" for kind, (a, b) in row["by_kind"].items())
        learned_from = ", ".join(map(str, row["lumisections"]))
        found = f"{row['found']} of {row['faults']} ({share:.3f})"
        out.append(_line([learned_from, str(row["untouched"]), found, f"{pairs:.3f}", str(row["false"]), kinds]))
    return "\n".join([*out, ""])
