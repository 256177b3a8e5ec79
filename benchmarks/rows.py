"""The rows of the table: what is measured beside what, and what is asked for."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from benchmarks.inputs import CODECS, Inputs
from benchmarks.reasons import REASONS
from benchmarks.side_by_side import Sample, Stopwatch, Task, ratios


@dataclass(frozen=True)
class Target:
    """What is asked for: at least, or at most, so much of a unit."""

    limit: float
    at_least: bool
    unit: str = "×"

    def met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g} {self.unit}"


@dataclass(frozen=True)
class Sizes:
    """Lumisections of the inputs, and pairs of measurements; ``slow`` pairs where one takes half a minute or more."""

    few: int = 10
    small: int = 200
    middle: int = 1_000
    late: int = 2_000
    large: int = 4_000
    longest: int = 10_000
    network: int = 200
    """Lumisections that the production-shaped network is given at a time."""
    alone: int = 50
    """Lumisections that are judged alone."""
    runs: int = 40
    """Runs of a campaign."""
    pairs: int = 3
    slow: int = 1


QUICK = Sizes(few=2, small=2, middle=3, late=3, large=4, longest=4, network=1, alone=2, runs=2, pairs=1, slow=1)


@dataclass(frozen=True)
class Bench:
    """What a row needs to be measured."""

    sizes: Sizes
    inputs: Inputs
    stopwatch: Stopwatch
    folder: Path
    """For what the measured write."""


@dataclass(frozen=True)
class Found:
    """Values of a row, one for each pair, and the typical figures behind them."""

    values: tuple[float, ...]
    behind: str

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True)
class Row:
    """One row: its name, what it compares, what is asked for, and how it is measured."""

    name: str
    what: str
    target: Target
    measure: Callable[[Bench], Found] = field(repr=False)
    note: str = ""

    def found(self, bench: Bench) -> dict[str, Any]:
        """Measure; the row as it is stored.

        Raises:
            ArithmeticError: a value that is no number.
        """
        found = self.measure(bench)
        if not all(map(isfinite, found.values)):
            raise ArithmeticError(f"{self.name}: {found.values}")
        return {
            "name": self.name,
            "what": self.what,
            "target": str(self.target),
            "unit": self.target.unit,
            "measured": found.median,
            "least": min(found.values),
            "most": max(found.values),
            "values": list(found.values),
            "met": self.target.met(found.median),
            "behind": found.behind,
            "note": self.note or ("" if self.target.met(found.median) else REASONS.get(self.name, "")),
        }


def rows() -> Iterator[Row]:
    """All rows, in the order of the table."""
    for codec in CODECS:
        yield from _reading(codec)
    yield Row("reading-memory", "peak memory of streaming 4,000 LS ÷ 200 LS", Target(1.1, False), _flat_memory)
    yield Row("reading-memory-whole", "peak memory of reading 4,000 LS into one LumiMaps, all imports included",
              Target(1.0, False, "GB"), _whole_memory)  # fmt: skip
    yield Row("reading-harvested", "one `values()` per object of uproot ÷ ours, harvested file of 1,000 LS",
              Target(3, True), _harvested)  # fmt: skip
    yield from _judging()
    yield from _whole_run()
    yield Row("run-long", "`hcal-root-ad run` on 4,000 LS, start-up and publishing included", Target(12, False, "s"),
              _run_seconds)  # fmt: skip
    yield Row("certify-workers", "throughput of `certify` on 40 runs of 200 LS: 2 workers ÷ 1 worker, one thread each",
              Target(1.8, True), _certify_workers)  # fmt: skip
    yield Row("certify-rate", "LS per second of `certify` on 40 runs of 200 LS, 2 workers, start-up and outputs too",
              Target(300, True, "LS/s"), _certify_rate)  # fmt: skip
    yield Row("start-up", "`hcal-root-ad --help` ÷ `python -c pass`", Target(3, False), _start_up)
    yield from _export()


def _reading(codec: str) -> Iterator[Row]:
    name, file = f"reading-{codec}", f"nanoDQMIO, {codec}"
    yield Row(f"{name}-uproot", f"{file}, 200 LS: uproot, only wanted entries ÷ ours", Target(5, True),
              lambda bench: _uproot(bench, codec, "careful_uproot"))  # fmt: skip
    yield Row(f"{name}-array", f"{file}, 200 LS: uproot, `array(library=\"np\")` over the branch ÷ ours",
              Target(50, True), lambda bench: _uproot(bench, codec, "whole_branch"), "200 LS only")  # fmt: skip
    for cores, target, words in ((1, LEVEL, "one core"), (2, Target(1.5, True), "two cores")):
        yield Row(f"{name}-root-{cores}", f"{file}, 1,000 LS, {words}: compiled loop of genuine ROOT ÷ ours", target,
                  lambda bench, cores=cores: _beside(bench, bench.sizes.middle, codec, "genuine_root", cores))  # type: ignore[misc]  # fmt: skip
        yield Row(f"{name}-unpacking-{cores}", f"{file}, 1,000 LS, {words}: ours ÷ unpacking the needed baskets",
                  Target(1.5, False), lambda bench, cores=cores: _unpacking(bench, codec, cores))  # type: ignore[misc]  # fmt: skip


LEVEL = Target(0.95, True)
"""Level: no more than 5 % behind."""


def _beside(bench: Bench, size: int, codec: str, other: str, cores: int = 2) -> Found:
    path = str(bench.inputs.nanodqmio(size, codec))
    return _ratio(bench, Task("reading:ours", (path,), cores), Task(f"reading:{other}", (path,), cores))


def _ratio(bench: Bench, ours: Task, other: Task) -> Found:
    pairs = bench.stopwatch.alternate(ours, other, bench.sizes.pairs)
    return Found(ratios(pairs), _seconds(pairs))


def _seconds(pairs: list[tuple[Sample, Sample]]) -> str:
    ours, other = (statistics.median(pair[n].seconds for pair in pairs) for n in (0, 1))
    return f"{ours:.3g} s against {other:.3g} s"


def _uproot(bench: Bench, codec: str, way: str) -> Found:
    path = str(bench.inputs.nanodqmio(bench.sizes.small, codec))
    ours, other = Task("reading:ours", (path,)), Task(f"reading:{way}", (path,))
    pairs = bench.stopwatch.alternate(ours, other, bench.sizes.slow, warm=False)
    return Found(ratios(pairs), _seconds(pairs))


def _unpacking(bench: Bench, codec: str, cores: int) -> Found:
    path = str(bench.inputs.nanodqmio(bench.sizes.middle, codec))
    merely = Task("reading:decompression", (path, str(cores)), cores)
    pairs = bench.stopwatch.alternate(merely, Task("reading:ours", (path,), cores), bench.sizes.pairs)
    return Found(ratios(pairs), _seconds([(ours, merely) for merely, ours in pairs]))


def _flat_memory(bench: Bench) -> Found:
    def peak(size: int) -> float:
        return bench.stopwatch.once(Task("reading:streamed", (str(bench.inputs.nanodqmio(size)),))).peak_mb

    peaks = [(peak(bench.sizes.small), peak(bench.sizes.large)) for _ in range(bench.sizes.slow)]
    return Found(tuple(large / small for small, large in peaks), f"{peaks[0][0]:.0f} MB, {peaks[0][1]:.0f} MB")


def _whole_memory(bench: Bench) -> Found:
    task = Task("reading:ours", (str(bench.inputs.nanodqmio(bench.sizes.large)),))
    peaks = [bench.stopwatch.once(task).peak_mb for _ in range(bench.sizes.slow)]
    return Found(tuple(peak / 1024 for peak in peaks), f"{peaks[0]:.0f} MB")


def _harvested(bench: Bench) -> Found:
    path = str(bench.inputs.harvested(bench.sizes.middle))
    return _ratio(bench, Task("reading:ours", (path,)), Task("reading:harvested_values", (path,)))


def _judging() -> Iterator[Row]:
    for subdetectors in (("HE",), ("HB", "HE")):
        name = "-".join(subdetectors)
        yield Row(f"judging-production-{name}", f"LS per second of judging HB and HE ÷ the production-shaped network "
                  f"on {' and '.join(subdetectors)} in ONNX Runtime, one LS per call, two threads", Target(20, True),
                  lambda bench, them=subdetectors: _production(bench, them))  # type: ignore[misc]  # fmt: skip
    for cores, limit in ((1, 3.5), (2, 2.0)):
        yield Row(f"judging-cost-{cores}", f"judging HB, HE, HF and HO, 1,000 LS, on {cores} core{'s'[: cores - 1]}",
                  Target(limit, False, "ms/LS"), lambda bench, n=cores: _cost(bench, n))  # type: ignore[misc]  # fmt: skip
    yield Row("judging-one", "one LS alone, all of HCAL, from cold state to verdict", Target(8, False, "ms"), _one)
    yield Row("judging-late", "the verdict of `watch` on a run of 2,000 LS of which one came late",
              Target(1, False, "s"), _late)  # fmt: skip
    yield Row("judging-linear", "time per LS of judging 4,000 LS ÷ of 200 LS", Target(1.1, False), _linear)


def _production(bench: Bench, subdetectors: tuple[str, ...]) -> Found:
    run = Task("judging:run", (str(bench.inputs.nanodqmio(bench.sizes.middle)),))
    few = str(bench.inputs.nanodqmio(bench.sizes.network))
    network = Task("judging:production", (few, str(bench.folder), *subdetectors))
    pairs = bench.stopwatch.alternate(run, network, bench.sizes.pairs, same=False)
    times = [(ours.seconds / ours.answer, theirs.seconds / theirs.answer) for ours, theirs in pairs]
    a, b = (1e3 * statistics.median(time[n] for time in times) for n in (0, 1))
    return Found(tuple(theirs / ours for ours, theirs in times), f"{a:.2f} ms per LS against {b:.1f} ms")


def _cost(bench: Bench, cores: int) -> Found:
    task = Task("judging:run", (str(bench.inputs.nanodqmio(bench.sizes.middle)),), cores)
    samples = bench.stopwatch.often(task, bench.sizes.pairs)
    return Found(tuple(1e3 * sample.seconds / sample.answer for sample in samples), f"{samples[0].seconds:.3g} s")


def _late(bench: Bench) -> Found:
    path = str(bench.inputs.nanodqmio(bench.sizes.late))
    late, again = Task("judging:late_lumisection", (path,)), Task("judging:run", (path,))
    pairs = bench.stopwatch.alternate(late, again, bench.sizes.slow)
    return Found(tuple(late.seconds for late, _ in pairs), f"{pairs[0][1].seconds:.3g} s with nothing kept")


def _one(bench: Bench) -> Found:
    task = Task("judging:one_lumisection", (str(bench.inputs.nanodqmio(bench.sizes.small)),))
    times = [1e3 * sample.seconds for sample in bench.stopwatch.often(task, bench.sizes.alone)]
    return Found(tuple(times), f"{len(times)} lumisections")


def _linear(bench: Bench) -> Found:
    short, long = (
        Task("judging:run", (str(bench.inputs.nanodqmio(size)),)) for size in (bench.sizes.small, bench.sizes.large)
    )
    pairs = bench.stopwatch.alternate(short, long, bench.sizes.slow, same=False)
    times = [(a.seconds / a.answer, b.seconds / b.answer) for a, b in pairs]
    return Found(tuple(b / a for a, b in times), f"{1e3 * times[0][0]:.2f} ms per LS, {1e3 * times[0][1]:.2f} ms")


def _whole_run() -> Iterator[Row]:
    yield Row("run-steps", "`hcal-root-ad run` on 4,000 LS, start-up and publishing included ÷ reading + judging",
              Target(1.5, False), _steps)  # fmt: skip
    yield Row("run-publishing", "share of publishing in reading, judging and publishing 4,000 LS",
              Target(15, False, "%"), _publishing)  # fmt: skip
    yield Row("run-memory", "largest peak memory of `hcal-root-ad run` on 200, 1,000, 4,000 and 10,000 LS",
              Target(0.9, False, "GB"), _run_memory)  # fmt: skip
    yield Row("run-small", "`hcal-root-ad run` on 10 LS, the whole process", Target(1.5, False, "s"),
              lambda bench: _process_seconds(bench, "small_run", str(bench.folder)))  # fmt: skip
    yield Row("watch-memory", "own memory of `watch` after its look at 2,000 LS ÷ after that at 400 LS",
              Target(1.1, False), _watch_memory)  # fmt: skip
    yield Row("import-read", "`import hcal_root_ad` and `read_lumi_maps` of 10 LS, the whole process",
              Target(0.6, False, "s"), lambda bench: _process_seconds(bench, "import_and_read"))  # fmt: skip


def _run_task(bench: Bench, function: str, size: int) -> Task:
    return Task(f"commands:{function}", (str(bench.inputs.nanodqmio(size)), str(bench.folder)))


def _process_seconds(bench: Bench, function: str, *arguments: str) -> Found:
    path = str(bench.inputs.nanodqmio(bench.sizes.few))
    samples = bench.stopwatch.often(Task(f"commands:{function}", (path, *arguments)), 2 * bench.sizes.pairs)
    return Found(tuple(sample.seconds for sample in samples), f"{len(samples)} times")


def _watch_memory(bench: Bench) -> Found:
    task = Task("commands:watched", (str(bench.sizes.late), str(max(bench.sizes.late // 5, 1))))
    held = [bench.stopwatch.once(task).answer for _ in range(bench.sizes.slow)]
    return Found(tuple(last / first for first, last in held), f"{held[0][0]:.0f} MB, {held[0][1]:.0f} MB")


def _steps(bench: Bench) -> Found:
    command, steps = (_run_task(bench, function, bench.sizes.large) for function in ("run", "run_steps"))
    pairs = [(bench.stopwatch.once(command), bench.stopwatch.once(steps)) for _ in range(bench.sizes.slow)]
    needed = [b.answer["read"] + b.answer["judge"] for _, b in pairs]
    behind = ", ".join(f"{name} {seconds:.2g} s" for name, seconds in pairs[0][1].answer.items())
    return Found(tuple(a.seconds / n for (a, _), n in zip(pairs, needed, strict=True)),
                 f"{pairs[0][0].seconds:.3g} s; {behind}")  # fmt: skip


def _publishing(bench: Bench) -> Found:
    task = _run_task(bench, "run_steps", bench.sizes.large)
    answers = [bench.stopwatch.once(task).answer for _ in range(bench.sizes.slow)]
    return Found(tuple(100 * one["publish"] / sum(one.values()) for one in answers), f"{answers[0]['publish']:.2g} s")


def _run_memory(bench: Bench) -> Found:
    sizes = (bench.sizes.small, bench.sizes.middle, bench.sizes.large, bench.sizes.longest)
    peaks = [bench.stopwatch.once(_run_task(bench, "run", size)).peak_mb for size in sizes]
    return Found((max(peaks) / 1024,), ", ".join(f"{peak:.0f} MB" for peak in peaks))


def _run_seconds(bench: Bench) -> Found:
    samples = [bench.stopwatch.once(_run_task(bench, "run", bench.sizes.large)) for _ in range(bench.sizes.slow)]
    return Found(tuple(sample.seconds for sample in samples), f"{samples[0].peak_mb:.0f} MB")


def _certify(bench: Bench, workers: int) -> Task:
    folder, runs = bench.inputs.campaign(bench.sizes.runs, bench.sizes.small), str(bench.folder / f"certify_{workers}")
    return Task("commands:certify", (str(folder), runs, str(workers)))


def _certify_workers(bench: Bench) -> Found:
    two, one = (_certify(bench, workers) for workers in (2, 1))
    pairs = bench.stopwatch.alternate(two, one, bench.sizes.slow, warm=False)
    return Found(ratios(pairs), _seconds(pairs))


def _certify_rate(bench: Bench) -> Found:
    samples = [bench.stopwatch.once(_certify(bench, 2)) for _ in range(bench.sizes.slow)]
    lumisections = bench.sizes.runs * bench.sizes.small
    era = 500_000 / lumisections * samples[0].seconds / 60
    return Found(tuple(lumisections / sample.seconds for sample in samples),
                 f"{samples[0].seconds:.3g} s; 500,000 LS in {era:.0f} min")  # fmt: skip


def _start_up(bench: Bench) -> Found:
    pairs = bench.stopwatch.alternate(Task("commands:empty_python"), Task("commands:help_text"), 4 * bench.sizes.pairs)
    a, b = (1e3 * statistics.median(pair[n].seconds for pair in pairs) for n in (0, 1))
    return Found(ratios(pairs), f"{b:.0f} ms against {a:.0f} ms")


def _export() -> Iterator[Row]:
    for model in ("he-graphstad", "hb-graphstad-from-he"):
        yield Row(f"export-{model}", f"largest difference between ONNX Runtime and torch, {model}, relative to the "
                  "largest value (or 1), over a run with state carried", Target(1e-4, False, ""),
                  lambda bench, model=model: _parity(bench, model))  # type: ignore[misc]  # fmt: skip


def _parity(bench: Bench, model: str) -> Found:
    path = str(bench.inputs.nanodqmio(bench.sizes.network))
    difference = bench.stopwatch.once(Task("networks:difference", (model, path, str(bench.folder)))).answer
    return Found((difference,), f"{bench.sizes.network} LS")
