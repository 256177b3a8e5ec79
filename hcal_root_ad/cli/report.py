"""Make one HTML page to look at: of a run, or of a campaign of certify; it opens anywhere, without a network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hcal_root_ad.cli.inputs import input_files, read_runs
from hcal_root_ad.cli.places import check_places
from hcal_root_ad.cli.terminal import progress, show
from hcal_root_ad.errors import UsageError

if TYPE_CHECKING:
    from hcal_root_ad.publish.record import RunRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH",
                        help="record of a run (R<run>.verdict.npz, from `run --record`), or a DQM file or the name "
                             "of a reference run, which is judged first with the shipped bundles")  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.html", help="page to write")


def execute(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.publish.record import SUFFIX, load_record

    recorded = arguments.path.endswith(SUFFIX)
    check_places([arguments.output], inputs=[Path(arguments.path)] if recorded else input_files([arguments.path]))
    record = load_record(Path(arguments.path)) if recorded else _judged(arguments.path)

    from hcal_root_ad.report.page import write_page
    from hcal_root_ad.report.run_page import run_page

    write_page(run_page(record), arguments.output)
    show(f"report:    {arguments.output}")
    return 0


def _judged(name: str) -> RunRecord:
    """The record of a run that is judged now, as `run` does it by itself."""
    from hcal_root_ad.cli.run import SHIPPED_BUNDLES
    from hcal_root_ad.judge.run import judge_run
    from hcal_root_ad.learn.bundle import load_bundle
    from hcal_root_ad.publish.record import record_of

    runs = read_runs([name])
    if len(runs) != 1:
        numbers = ", ".join(str(maps.run) for maps in runs)
        raise UsageError(f"{name} holds runs {numbers}, but a report is of one; use `run --record` and name a record.")
    with progress(f"Judging run {runs[0].run}") as report:
        return record_of(judge_run(runs[0], [load_bundle(name) for name in SHIPPED_BUNDLES], progress=report))
