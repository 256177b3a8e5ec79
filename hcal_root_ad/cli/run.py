"""Judge runs: ``run`` what is there, ``watch`` what comes, and ``report`` on a run or a campaign as a page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hcal_root_ad.cli.options import (
    add_definition,
    add_inputs,
    add_judging,
    add_oms,
    add_output,
    add_states,
    add_without_reference,
    count,
    input_files,
    judging_of,
    positive,
    read_runs,
)
from hcal_root_ad.cli.terminal import be_quiet, plain_line, progress, remark, show
from hcal_root_ad.errors import UsageError
from hcal_root_ad.files import check_places, plain_name
from hcal_root_ad.lumi_maps import LumiMaps

if TYPE_CHECKING:
    from hcal_root_ad.certify.conditions import Conditions
    from hcal_root_ad.harvest.read import LeftOut
    from hcal_root_ad.judge.run_verdict import RunVerdict
    from hcal_root_ad.pipeline import Judging
    from hcal_root_ad.provenance import Provenance
    from hcal_root_ad.publish.saved_verdict import RunRecord


def add_run(parser: argparse.ArgumentParser) -> None:
    add_inputs(parser)
    add_output(parser, "DIR", "folder for the ROOT files")
    add_judging(parser)
    add_definition(parser)
    add_states(parser)
    add_oms(parser)
    add_without_reference(parser)
    parser.add_argument("--flags", type=Path, metavar="FILE.csv", help="write every flagged interval, one row each")
    parser.add_argument("--json", type=Path, metavar="FILE.json",
                        help="write findings, trust and conditions of all runs, for scripts")  # fmt: skip
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw the main pictures into this folder")
    parser.add_argument("--save-verdict", type=Path, metavar="DIR",
                        help="save the verdicts into this folder (R<run>.verdict.npz), for `report`")  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="print no result: files alone, and remarks on stderr")
    parser.add_argument("--online", action="store_true", help="name the ROOT file as the online GUI wants it")
    parser.add_argument("--as-hcalmltask", action="store_true",
                        help="in the folders of CMSSW's HcalMLTask, whose place it takes in the GUI")  # fmt: skip
    parser.add_argument("--attach", action="store_true",
                        help="write a copy of the harvested input file with our folders added")  # fmt: skip


def execute_run(arguments: argparse.Namespace) -> int:
    """Judge the runs in the inputs and write, for each, the ROOT file that the DQM GUI shows."""
    if arguments.attach and arguments.online:
        raise UsageError("--attach keeps the input's file name, so it cannot go with --online; leave one of them out.")
    from hcal_root_ad.harvest.inputs import digest_ahead

    if arguments.quiet:
        be_quiet()
    files = input_files(arguments.inputs)
    left_out: list[LeftOut] = []
    runs = read_runs(arguments.inputs, arguments.definition, left_out)
    attached = [_harvested_file(maps, files) if arguments.attach else None for maps in runs]
    plots = _plot_folders(arguments.plots, runs)
    _check_places(arguments, runs, attached, plots, files)
    conditions = _conditions(arguments.oms)
    taken = frozenset(maps.run for maps in runs) | frozenset(conditions.oms or () if conditions else ())
    judging = replace(judging_of(arguments), taken=taken)
    ahead = digest_ahead(source for maps in runs for source in maps.sources)
    verdicts = [judge(maps, judging, conditions) for maps in runs]
    ahead.join()
    options = {name: getattr(arguments, name) for name in ("definition", "online", "attach", "as_hcalmltask")}
    made = [judging.provenance("run", [verdict], options) for verdict in verdicts]

    for verdict, attach_to, plot_folder, provenance in zip(verdicts, attached, plots, made, strict=True):
        _publish(verdict, attach_to, arguments, plot_folder, provenance)
    if arguments.flags:
        _write_flags(verdicts, judging.provenance("run", verdicts, options), arguments.flags)
    if arguments.json:
        from hcal_root_ad.publish.verdict_tables import write_verdicts

        write_verdicts(verdicts, judging.provenance("run", verdicts, options), arguments.json)
        show(f"JSON:      {arguments.json}")
    if arguments.save_verdict:
        _save_verdicts(verdicts, made, arguments.save_verdict)
    remark(*(f"{one.path} was left out: {one.error}" for one in left_out))
    return int(bool(left_out))


def _conditions(oms: Path | None) -> Conditions | None:
    """What OMS says of the runs; None without an export."""
    if oms is None:
        return None
    from hcal_root_ad.certify.conditions import read_conditions

    return read_conditions(oms, None)


def _harvested_file(maps: LumiMaps, files: Sequence[Path]) -> Path:
    """The one input file of a run, to which its verdict can be attached."""
    names = [source.name for source in maps.sources]
    chosen = [file for file in files if plain_name(file.name) in names]
    if len(chosen) != 1 or len(names) != 1:
        raise UsageError(
            f"--attach adds to one harvested file per run, but run {maps.run} was read from "
            f"{', '.join(names)}; give one file, or leave --attach out."
        )
    return chosen[0]


def _plot_folders(plots: Path | None, runs: Sequence[LumiMaps]) -> list[Path | None]:
    """Where the pictures of each run go: several runs get a folder each."""
    return [plots / f"R{maps.run}" if plots and len(runs) > 1 else plots for maps in runs]


def _check_places(
    arguments: argparse.Namespace,
    runs: Sequence[LumiMaps],
    attached: Sequence[Path | None],
    plots: Sequence[Path | None],
    inputs: Sequence[Path],
) -> None:
    """Refuse what cannot be written while nothing is."""
    from hcal_root_ad.publish.publish import target_path

    targets = [
        target_path(maps, arguments.output, online=arguments.online, attach_to=attach_to)
        for maps, attach_to in zip(runs, attached, strict=True)
    ]
    tables = [path for path in (arguments.flags, arguments.json) if path]
    saved = []
    if arguments.save_verdict:
        from hcal_root_ad.publish.saved_verdict import record_name

        saved = [arguments.save_verdict / record_name(maps.run) for maps in runs]
    check_places([*targets, *tables, *saved], [folder for folder in plots if folder], inputs)


def judge(maps: LumiMaps, judging: Judging, conditions: Conditions | None = None) -> RunVerdict:
    """The verdict on a run, with a progress bar; under its conditions, without the lumisections on standby."""
    with progress(f"Judging run {maps.run}") as report:
        if conditions is None:
            return judging.judge(maps, report)
        known, of_run = conditions, conditions.of(maps.run)
        own = judging.for_run(maps, lambda start: known.for_state(maps.run, start))
        return own.finished(own.judge_run(of_run.without_standby(maps), report, of_run.pileup))


def _publish(
    verdict: RunVerdict,
    attach_to: Path | None,
    arguments: argparse.Namespace,
    plots: Path | None,
    provenance: Provenance,
) -> None:
    from hcal_root_ad.publish.publish import publish
    from hcal_root_ad.publish.verdict_tables import run_summary

    run = verdict.maps.run
    written = publish(
        verdict, arguments.output, online=arguments.online, attach_to=attach_to, provenance=provenance,
        as_production=arguments.as_hcalmltask,
    )  # fmt: skip
    show(*run_summary(verdict))
    remark(*(f"run {run}: {note}" for note in verdict.every_note))
    remark(*(f"run {run}: masked: {sentence}" for sentence in verdict.masked))
    remark(*(f"run {run}: open finding {sentence}" for sentence in verdict.open_findings))
    show(f"ROOT file: {written}")
    if plots:
        from hcal_root_ad.provenance import write_beside
        from hcal_root_ad.publish.run_plots import draw_plots

        pictures = draw_plots(verdict, plots)
        write_beside(provenance, plots, "plots", pictures)
        show(f"pictures:  {len(pictures)} in {pictures[0].parent}")


def _write_flags(verdicts: Sequence[RunVerdict], provenance: Provenance, path: Path) -> None:
    from hcal_root_ad.provenance import write_beside
    from hcal_root_ad.publish.verdict_tables import write_flags

    path.parent.mkdir(parents=True, exist_ok=True)
    write_flags(verdicts, path)
    write_beside(provenance, path.parent, path.name, [path])
    show(f"flags:     {path}")


def _save_verdicts(verdicts: Sequence[RunVerdict], made: Sequence[Provenance], folder: Path) -> None:
    from hcal_root_ad.publish.saved_verdict import record_name, record_of, save_record

    for verdict, provenance in zip(verdicts, made, strict=True):
        path = folder / record_name(verdict.maps.run)
        save_record(record_of(verdict, provenance), path)
        show(f"verdict:   {path}")


SEVERITIES = ("channel", "module", "box", "sub-detector")


def add_watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the files come")
    add_output(parser, "DIR", "folder for ROOT files, log of alarms and state; outside of FOLDER")
    add_judging(parser)
    add_definition(parser)
    add_states(parser)
    parser.add_argument("--patience", type=positive, default=60.0, metavar="SECONDS",
                        help="how long a missing LS or a half-written file is waited for (default: 60)")  # fmt: skip
    parser.add_argument("--once", action="store_true", help="handle what is there, wait for nothing, then stop")
    parser.add_argument("--digest", type=count, default=10, metavar="LS",
                        help="a status line every so many LS (default: 10); alarms are told at once")  # fmt: skip
    parser.add_argument("--minimum-severity", choices=SEVERITIES, default=SEVERITIES[0],
                        help="tell no alarm about less; the log has all (default: channel)")  # fmt: skip
    parser.add_argument("--on-alarm", default="", metavar="COMMAND",
                        help="run it for each alarm told: sentence as last argument, JSON on its input")  # fmt: skip
    parser.add_argument("--on-publish", default="", metavar="COMMAND",
                        help="run it for each published file, with its path as last argument")  # fmt: skip
    parser.add_argument("--register", default="", metavar="URL",
                        help="tell this GUI of each published file (POST to URL/api/v1/register)")  # fmt: skip
    parser.add_argument("--online", action="store_true", help="name the ROOT files as the online GUI wants it")


def execute_watch(arguments: argparse.Namespace) -> int:
    """Watch a folder in which the DQM leaves its files; judge each lumisection and publish the run again each time."""
    from hcal_root_ad.watch.alarms import Severity
    from hcal_root_ad.watch.received import sole_watch
    from hcal_root_ad.watch.service import Watch, WatchSettings

    settings = WatchSettings(
        arguments.folder,
        arguments.output,
        0.0 if arguments.once else arguments.patience,
        arguments.online,
        arguments.digest,
        Severity(arguments.minimum_severity),
        arguments.on_alarm,
        arguments.on_publish,
        arguments.register,
        arguments.definition,
    )
    settings.check()
    check_places([], [arguments.output])
    judging = judging_of(arguments)
    with sole_watch(arguments.output, _say):
        watch = Watch(settings, judging, _say)
        if arguments.once:
            watch.once()
        else:
            _say(f"watching {arguments.folder}, writing to {arguments.output}")
            watch.forever()
    return 0


def _say(sentence: str) -> None:
    """A line with its time (UTC)."""
    import time

    from hcal_root_ad.watch.alarms import utc

    show(plain_line(f"{utc(time.time())} {sentence}"))


def add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH",
                        help="folder of a campaign; verdict on a run (R<run>.verdict.npz, from `run --save-verdict`); "
                             "or DQM file or reference run, which is judged first")  # fmt: skip
    add_output(parser, "FILE.html", "page to write")
    add_judging(parser)
    add_definition(parser)
    parser.add_argument("--runs", action="store_true",
                        help="of a campaign: a page for each run too, in FILE_runs/, with links")  # fmt: skip


def execute_report(arguments: argparse.Namespace) -> int:
    """Make an HTML page to look at, of a run or of a campaign of certify; it opens anywhere, without a network."""
    from hcal_root_ad.report.campaign_page import is_campaign

    path, output = Path(arguments.path), arguments.output
    _refuse_needless(arguments, is_campaign(path))
    if is_campaign(path):
        _report_campaign(path, output, arguments.runs)
    elif arguments.runs:
        raise UsageError(f"--runs goes with the folder of a campaign, but {path} is none; leave it out.")
    else:
        _report_run(arguments)
    show(f"report:    {output}")
    return 0


def _refuse_needless(arguments: argparse.Namespace, campaign: bool) -> None:
    """Options of the judgement do nothing where the verdict is made already."""
    from hcal_root_ad.publish.saved_verdict import SUFFIX

    if campaign or arguments.path.endswith(SUFFIX):
        names = ("model", "false_alarms", "mask", "definition")
        given = [name for name in names if getattr(arguments, name) and name not in arguments.from_settings]
        if given:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise UsageError(f"{arguments.path} is judged already: leave {options} out, or name the run's files.")


def _report_run(arguments: argparse.Namespace) -> None:
    from hcal_root_ad.publish.saved_verdict import SUFFIX, load_record

    name, output = arguments.path, arguments.output
    recorded = name.endswith(SUFFIX)
    check_places([output], inputs=[Path(name)] if recorded else input_files([name]))
    record = load_record(Path(name)) if recorded else _judged(arguments)

    from hcal_root_ad.files import write_text
    from hcal_root_ad.report.run_page import run_page

    write_text(output, run_page(record))


def _judged(arguments: argparse.Namespace) -> RunRecord:
    """The record of a run that is judged now, as `run` does it."""
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
    from hcal_root_ad.files import write_text
    from hcal_root_ad.publish.saved_verdict import load_record, record_name
    from hcal_root_ad.report.campaign_page import RECORDS, campaign_page, load_campaign
    from hcal_root_ad.report.run_page import run_page

    campaign = load_campaign(folder)
    runs = campaign.runs if with_runs else []
    pages = {run: f"{output.stem}_runs/R{run}.html" for run in runs}
    check_places([output, *(output.parent / page for page in pages.values())])
    with progress("Drawing runs") as report:
        for done, (run, page) in enumerate(pages.items(), start=1):
            record = load_record(folder / RECORDS / record_name(run))
            pileup = campaign.lumisections.pileup[campaign.lumisections.rows_of(run)]
            write_text(output.parent / page, run_page(record, pileup))
            if report:
                report(done, len(pages))
    write_text(output, campaign_page(campaign, pages))
