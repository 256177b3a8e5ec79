"""Hand thousands of damaged files to the reader and count what comes of it: ``python -m benchmarks.fuzz -o DIR``.

Needs the extra ``fuzz``; 10,000 files of each kind take about an hour. Each kind leaves its counts as JSON, and the
table is of all that are there. What was found goes to ``finds.json``, once for each sentence and in the form in which
the tests keep it; exit code 1 if there is any.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.fuzz.cases import as_find
from benchmarks.fuzz.guided import Reach, guided_trials, reach
from benchmarks.fuzz.originals import kinds
from benchmarks.fuzz.table import Count, page
from benchmarks.fuzz.trial import EVERY, FIND, MOST, PATIENCE, ROOM, Trial, memory_folder
from benchmarks.machine import machine, program
from hcal_root_ad.cli.options import count
from hcal_root_ad.cli.terminal import progress, remark, show
from hcal_root_ad.files import write_text


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    arguments.output.mkdir(parents=True, exist_ok=True)
    found = [trial for kind in arguments.only for trial in _one_kind(kind, arguments)]
    if found:
        rows = [as_find(trial.case, trial.words) for trial in found]
        write_text(arguments.output / "finds.json", json.dumps(rows, indent=1))
    return int(bool(found))


def _one_kind(kind: str, arguments: argparse.Namespace) -> list[Trial]:
    """Hand the files of a kind to the reader, count, and write the page again; returns what was found."""
    counted, found = Count(), dict[str, Trial]()
    with progress(kind) as report, TemporaryDirectory(prefix="fuzz-", dir=memory_folder()) as folder:
        for done, trial in enumerate(guided_trials(kind, arguments.files, Path(folder)), start=1):
            counted.add(trial)
            if trial.result == FIND and trial.words not in found:
                found[trial.words] = trial
                remark(f"{kind} {trial.case.number}: {trial.words}")
            if report:
                report(done, arguments.files)
        reached = asdict(reach(Path(folder)))
    about = {"commit": program()["commit"], "date": f"{datetime.now(UTC):%F}"}
    table = {"count": counted.as_table(), "reach": reached, **about}
    write_text(arguments.output / f"{kind}.json", json.dumps(table, indent=1))
    show(f"{kind}: {arguments.output / _write_page(arguments.output)}")
    return list(found.values())


def _write_page(folder: Path) -> str:
    """The page of all kinds that are counted there; returns its name."""
    tables = {
        kind: json.loads((folder / f"{kind}.json").read_text())
        for kind in kinds()
        if (folder / f"{kind}.json").exists()
    }
    about = machine() | program()
    facts = [f"{name}: {about[name]}" for name in ("processor", "Python", "packages", "version")]
    facts.append(f"Atheris: {version('atheris')}")
    facts += [f"{kind}: {one['date']}, commit {one['commit']}" for kind, one in tables.items()]
    numbers = {"every": EVERY, "room": ROOM >> 30, "patience": PATIENCE, "most": MOST >> 10}
    counts = {kind: Count.of_table(one["count"]) for kind, one in tables.items()}
    reached = {kind: Reach(**one["reach"]) for kind, one in tables.items()}
    write_text(folder / "table.md", page(counts, reached, facts, numbers))
    return "table.md"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the table")
    parser.add_argument("--files", type=count, default=10_000, metavar="N", help="of each kind (default: 10000)")
    parser.add_argument("--only", nargs="+", default=kinds(), choices=kinds(), metavar="KIND",
                        help="kinds of container (default: all)")  # fmt: skip
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
