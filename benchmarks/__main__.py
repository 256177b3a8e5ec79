"""Measure every target and write the table: ``python -m benchmarks -o docs/results/bench``.

Takes about half an hour on two quiet cores; inputs that are there are not made again. The table is written after each
row, and with ``--only`` the other rows of an earlier call stay.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import table
from benchmarks.inputs import OTHERS, Inputs
from benchmarks.machine import machine, program
from benchmarks.rows import QUICK, Bench, Row, Sizes, rows
from benchmarks.side_by_side import Stopwatch
from hcal_root_ad.cli.terminal import progress, show

QUICK_OTHERS = 3


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    chosen = [row for row in rows() if any(fnmatch(row.name, pattern) for pattern in arguments.only)]
    others = QUICK_OTHERS if arguments.quick else OTHERS
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    stopwatch = Stopwatch(isolated=not arguments.quick)
    with TemporaryDirectory(dir=arguments.scratch) as folder:
        inputs = Inputs(arguments.scratch, stopwatch, others)
        bench = Bench(QUICK if arguments.quick else Sizes(), inputs, stopwatch, Path(folder))
        about = {"others": others, "machine": machine(), "program": program(), "date": f"{datetime.now(UTC):%F}"}
        _measure(chosen, bench, about, arguments.output)
    show(f"table: {arguments.output / table.PAGE}")
    return 0


def _measure(chosen: Sequence[Row], bench: Bench, about: dict[str, Any], folder: Path) -> None:
    found = {row["name"]: row for row in table.earlier_rows(folder)}
    with progress("Measuring") as report:
        for done, row in enumerate(chosen, start=1):
            one = found[row.name] = row.found(bench)
            table.write(about | {"rows": [found[known.name] for known in rows() if known.name in found]}, folder)
            show(f"{row.name}: {one['measured']:.3g} {one['unit']}, asked {one['target']} ({one['behind']})")
            if report:
                report(done, len(chosen))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the table")
    parser.add_argument("--scratch", type=Path, default=Path("out/bench"), metavar="DIR",
                        help="folder for the inputs, some 5 GB (default: out/bench)")  # fmt: skip
    parser.add_argument("--only", nargs="+", default=["*"], metavar="NAME",
                        help="rows to measure, by name or pattern (default: all)")  # fmt: skip
    parser.add_argument("--quick", action="store_true",
                        help="tiny inputs, measured once, in one process: that it works, not how fast")  # fmt: skip
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
