"""Hand hostile files to the reader: ``python -m benchmarks.fuzz.hostile -o docs/results/fuzz``; needs genuine ROOT.

A lumisection that is assessed must be what it truly is: to the last digi, and to a percent of its events. All others
are not assessed, or the file is refused in a sentence. Exit code 1 if anything else comes of a file.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.fuzz.hostile_files import KINDS, Hostile, channels_of
from benchmarks.fuzz.trial import PATIENCE, _peak, memory_folder
from benchmarks.machine import machine, program
from hcal_root_ad.cli.options import count
from hcal_root_ad.cli.terminal import remark, show
from hcal_root_ad.errors import HcalRootAdError
from hcal_root_ad.files import whole_file
from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.lumi_maps import EventSource, LumiMaps

RIGHT, LEFT_OUT, REFUSED, FIND = (
    "read right",
    "some lumisections not assessed",
    "refused in a sentence",
    "anything else",
)
RESULTS = (RIGHT, LEFT_OUT, REFUSED, FIND)
MOST = 2**20
"""kB of memory that a file may fill."""
_CLOSE, _ESTIMATED = 0.01, 0.2
"""Share by which events may be wrong: counted, and estimated."""
_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Outcome:
    """What came of hostile files, in which words, and how much memory (kB) and time (s) it took."""

    kind: str
    result: str
    words: str
    growth: int = 0
    seconds: float = 0.0


def judge(folder: Path, hostile: Hostile) -> tuple[str, str]:
    """Read the files of a folder and hold what is assessed against the truth."""
    try:
        runs = read_lumi_maps(folder, left_out=[])
    except HcalRootAdError as error:
        return REFUSED, str(error)
    except BaseException as error:  # the very thing that is looked for
        return FIND, f"{hostile.words}: {type(error).__name__}: {error}"
    (maps,) = runs
    wrong = list(_wrong_totals(maps, hostile)) if maps.coarse else list(_wrong_lumisections(maps, hostile))
    if wrong:
        return FIND, f"{hostile.words}: {'; '.join(wrong)}"
    assessed = int(maps.present.sum()) if maps.coarse is None else 1
    return (RIGHT if assessed >= len(hostile.truth) else LEFT_OUT), ""


def _wrong_lumisections(maps: LumiMaps, hostile: Hostile) -> Iterator[str]:
    hbhe = maps.channels.rows_of("HB", "HE")
    for n in np.flatnonzero(maps.present).tolist():
        last = int(maps.lumisections[n])
        spans = [note for note in maps.notes if f"–{last} cannot be told apart" in note]
        first = int(spans[0].removeprefix("LS ").partition("–")[0]) if spans else last
        parts = [hostile.truth.get(ls) for ls in range(first, last + 1)]
        known = [one for one in parts if one is not None]
        if len(known) < len(parts):
            yield f"LS {last} is assessed"
            continue
        counts, events = sum(channels_of(one) for one, _ in known), sum(number for _, number in known)
        if not np.array_equal(maps.counts[n][hbhe], counts):
            yield f"LS {last} has other counts"
        share = _ESTIMATED if maps.event_source[n] == EventSource.ESTIMATE else _CLOSE
        if abs(int(maps.events[n]) - events) > share * events + 1:
            yield f"LS {last} has {maps.events[n]} events, not {events}"


def _wrong_totals(maps: LumiMaps, hostile: Hostile) -> Iterator[str]:
    if hostile.totals is None or maps.coarse is None or maps.coarse.totals is None:
        return
    counts, events = hostile.totals
    if not np.array_equal(maps.coarse.totals[maps.channels.rows_of("HB", "HE")], channels_of(counts)):
        yield "the totals have other counts"
    if abs(maps.run_events - events) > _CLOSE * events:
        yield f"the totals have {maps.run_events} events, not {events}"


def outcomes(files: int, seed: int = 0) -> Iterator[Outcome]:
    """What comes of so many hostile files, the kinds in turn."""
    for number in range(files):
        kind = KINDS[number % len(KINDS)]
        with TemporaryDirectory(prefix="hostile-", dir=memory_folder()) as place:
            hostile = kind(np.random.default_rng([seed, number]), Path(place))
            yield _in_a_process(kind.__name__, Path(place), hostile)


def _in_a_process(kind: str, folder: Path, hostile: Hostile) -> Outcome:
    here, there = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_work, args=(there, kind, folder, hostile), daemon=True)
    process.start()
    there.close()
    try:
        outcome: Outcome = (
            here.recv() if here.poll(PATIENCE) else Outcome(kind, FIND, f"{hostile.words}: still reading")
        )
    except EOFError:
        outcome = Outcome(kind, FIND, f"{hostile.words}: the process died")
    process.kill()
    process.join()
    return outcome


def _work(line: Connection, kind: str, folder: Path, hostile: Hostile) -> None:
    before, start = _peak(), time.perf_counter()
    result, words = judge(folder, hostile)
    growth, seconds = _peak() - before, time.perf_counter() - start
    if growth > MOST:
        result, words = FIND, f"{hostile.words}: took {growth >> 10} MB"
    line.send(Outcome(kind, result, words, growth, seconds))


def page(found: Sequence[Outcome], facts: Mapping[str, str]) -> str:
    """The counts as Markdown."""
    counts = Counter((one.kind, one.result) for one in found)
    rows = [["kind", "files", *RESULTS], ["---"] * (2 + len(RESULTS))]
    for kind in (one.__name__ for one in KINDS):
        of_kind = [counts[kind, result] for result in RESULTS]
        rows.append([kind.replace("_", " "), str(sum(of_kind)), *map(str, of_kind)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    counts_of = Counter(one.result for one in found)
    most, longest = max(one.growth for one in found), max(one.seconds for one in found)
    about = "\n".join(f"- {name}: {fact}" for name, fact in facts.items())
    return f"""# Hostile files

Well-formed files that genuine ROOT wrote, and that lie: indices that point elsewhere, shapes of millions of bins,
contents at the ceiling of their class, lumisections twice, sizes that differ, folders of no lumisections, counters of
other events, numbers and names that there cannot be, run totals with other axes, snapshots of jobs that began again,
versions and datasets side by side. A
lumisection that is assessed must be right to the last digi and to a percent of its events (a fifth where they are
estimated); anything else is a find.
`python -m benchmarks.fuzz.hostile` makes this page again.

{table}

Of these {len(found)} files, {counts_of[FIND]} were believed where they lie, or ended otherwise than they must.

The most memory that a file filled was {most / 1024:.0f} MB, the longest took {longest:.1f} s.

{about}
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.fuzz.hostile", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the page")
    parser.add_argument("--files", type=count, default=400, metavar="N", help="in all (default: 400)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="other files with another number")
    arguments = parser.parse_args(argv)
    found = []
    for one in outcomes(arguments.files, arguments.seed):
        found.append(one)
        if one.result == FIND:
            remark(f"{len(found) - 1} {one.kind}: {one.words}")
    about = machine() | program()
    facts = {name: about[name] for name in ("processor", "Python", "packages", "commit")}
    arguments.output.mkdir(parents=True, exist_ok=True)
    with whole_file(arguments.output / "hostile.md") as partial:
        partial.write_text(page(found, facts), encoding="utf-8")
    show(f"{len(found)} hostile files: {arguments.output / 'hostile.md'}")
    return int(any(one.result == FIND for one in found))


if __name__ == "__main__":
    raise SystemExit(main())
