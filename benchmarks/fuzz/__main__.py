"""Hand thousands of damaged files to the reader and count what comes of it: ``python -m benchmarks.fuzz -o DIR``.

10,000 files of each kind take some twenty minutes. What was found goes to ``finds.json`` in the output folder, in the
form in which the tests keep it; exit code 1 if there is something.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.fuzz.campaign import PATIENCE, trials
from benchmarks.fuzz.cases import as_find, case
from benchmarks.fuzz.originals import kinds
from benchmarks.fuzz.table import Count, page
from benchmarks.fuzz.trial import EVERY, FIND, MOST, ROOM, Trial
from benchmarks.machine import machine, program
from hcal_root_ad.cli.inputs import count
from hcal_root_ad.cli.terminal import progress, remark, show
from hcal_root_ad.evaluate.written import write_text


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    found: list[Trial] = []
    counts = {kind: Count() for kind in arguments.only}
    cases = (case(kind, arguments.first + n) for kind in arguments.only for n in range(arguments.files))
    with progress("Damaging") as report:
        for done, trial in enumerate(trials(cases), start=1):
            counts[trial.case.kind].add(trial)
            if trial.result == FIND:
                found.append(trial)
                remark(f"{trial.case.kind} {trial.case.number}: {trial.words}")
            if report:
                report(done, arguments.files * len(counts))
    show(f"table: {_write(counts, found, arguments.files, arguments.output)}")
    return int(bool(found))


def _write(counts: dict[str, Count], found: Sequence[Trial], files: int, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    about = machine() | program()
    facts = [f"{name}: {about[name]}" for name in ("processor", "Python", "packages", "version", "commit")]
    numbers = {"files": files, "every": EVERY, "room": ROOM >> 30, "patience": PATIENCE, "most": MOST >> 10}
    write_text(folder / "table.md", page(counts, [*facts, f"date: {datetime.now(UTC):%F}"], numbers))
    if found:
        rows = [as_find(trial.case, trial.words) for trial in found]
        write_text(folder / "finds.json", json.dumps(rows, indent=1))
    return folder / "table.md"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the table")
    parser.add_argument("--files", type=count, default=10_000, metavar="N", help="of each kind (default: 10000)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first (default: 0)")
    parser.add_argument("--only", nargs="+", default=kinds(), choices=kinds(), metavar="KIND",
                        help="kinds of container (default: all)")  # fmt: skip
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
