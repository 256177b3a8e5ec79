"""Make an HTML page to look at, of a run or of a campaign of certify; it opens anywhere, without a network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hcal_root_ad.cli.options import add_definition, add_judging, add_output, input_files, judging_of, read_runs
from hcal_root_ad.cli.terminal import progress, show
from hcal_root_ad.errors import UsageError
from hcal_root_ad.files import check_places

if TYPE_CHECKING:
    from hcal_root_ad.publish.saved_verdict import RunRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH",
                        help="folder of a campaign; verdict on a run (R<run>.verdict.npz, from `run --save-verdict`); "
                             "or DQM file or reference run, which is judged first")  # fmt: skip
    add_output(parser, "FILE.html", "page to write")
    add_judging(parser)
    add_definition(parser)
    parser.add_argument("--runs", action="store_true",
                        help="of a campaign: a page for each run too, in FILE_runs/, with links")  # fmt: skip


def execute(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.report.campaign_page import is_campaign

    path, output = Path(arguments.path), arguments.output
    if is_campaign(path):
        _report_campaign(path, output, arguments.runs)
    elif arguments.runs:
        raise UsageError(f"--runs goes with the folder of a campaign, but {path} is none; leave it out.")
    else:
        _report_run(arguments)
    show(f"report:    {output}")
    return 0


def _report_run(arguments: argparse.Namespace) -> None:
    from hcal_root_ad.publish.saved_verdict import SUFFIX, load_record

    name, output = arguments.path, arguments.output
    recorded = name.endswith(SUFFIX)
    check_places([output], inputs=[Path(name)] if recorded else input_files([name]))
    record = load_record(Path(name)) if recorded else _judged(arguments)

    from hcal_root_ad.report.page import write_page
    from hcal_root_ad.report.run_page import run_page

    write_page(run_page(record), output)


def _judged(arguments: argparse.Namespace) -> RunRecord:
    """The record of a run that is judged now, as `run` does it."""
    from hcal_root_ad.cli.run import judge
    from hcal_root_ad.publish.saved_verdict import record_of

    runs = read_runs([arguments.path], arguments.definition)
    if len(runs) != 1:
        numbers = ", ".join(str(maps.run) for maps in runs)
        raise UsageError(
            f"{arguments.path} holds runs {numbers}, but a report is of one; "
            "use `run --save-verdict` and name a verdict."
        )
    judging = judging_of(arguments)
    verdict = judge(runs[0], judging)
    return record_of(verdict, judging.provenance("run", [verdict]))


def _report_campaign(folder: Path, output: Path, with_runs: bool) -> None:
    from hcal_root_ad.publish.saved_verdict import load_record, record_name
    from hcal_root_ad.report.campaign_page import RECORDS, campaign_page, load_campaign
    from hcal_root_ad.report.page import write_page
    from hcal_root_ad.report.run_page import run_page

    campaign = load_campaign(folder)
    runs = campaign.runs if with_runs else []
    pages = {run: f"{output.stem}_runs/R{run}.html" for run in runs}
    check_places([output, *(output.parent / page for page in pages.values())])
    with progress("Drawing runs") as report:
        for done, (run, page) in enumerate(pages.items(), start=1):
            record = load_record(folder / RECORDS / record_name(run))
            pileup = campaign.lumisections.pileup[campaign.lumisections.rows_of(run)]
            write_page(run_page(record, pileup), output.parent / page)
            if report:
                report(done, len(pages))
    write_page(campaign_page(campaign, pages), output)
