"""Judge runs: ``run`` what is there, ``watch`` what comes, and ``report`` on a run or a campaign as a page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from hcal_root_ad.cli.settings import input_files, judging_of, read_runs
from hcal_root_ad.cli.terminal import be_quiet, plain_line, progress, remark, show
from hcal_root_ad.errors import UsageError
from hcal_root_ad.files import check_places, plain_name, write_text
from hcal_root_ad.harvest.inputs import digest_ahead
from hcal_root_ad.harvest.read import LeftOut
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.pipeline import Judging
from hcal_root_ad.provenance import Provenance, write_beside
from hcal_root_ad.publish.publish import publish, target_path
from hcal_root_ad.publish.verdict_tables import run_summary, write_flags, write_verdicts

if TYPE_CHECKING:  # what a plain run need not load
    from hcal_root_ad.conditions import Conditions
    from hcal_root_ad.publish.saved_verdict import RunRecord


def execute_run(arguments: argparse.Namespace) -> int:
    if arguments.attach and arguments.online:
        raise UsageError("--attach keeps the input's file name, so it cannot go with --online; leave one of them out.")
    if arguments.quiet:
        be_quiet()
    files = input_files(arguments.inputs)
    left_out: list[LeftOut] = []
    runs = read_runs(arguments.inputs, arguments.definition, left_out)
    attached = [_harvested_file(maps, files) if arguments.attach else None for maps in runs]
    # Of several runs each has a folder for its pictures.
    plots = [arguments.plots / f"R{maps.run}" if arguments.plots and runs[1:] else arguments.plots for maps in runs]
    targets = [target_path(maps, arguments.output, online=arguments.online, attach_to=attach_to)
               for maps, attach_to in zip(runs, attached, strict=True)]  # fmt: skip
    tables = [path for path in (arguments.flags, arguments.json) if path]
    saved = []
    if arguments.save_verdict:
        from hcal_root_ad.publish.saved_verdict import record_name, record_of, save_record

        saved = [arguments.save_verdict / record_name(maps.run) for maps in runs]
    check_places([*targets, *tables, *saved], [folder for folder in plots if folder], files)
    conditions = None
    if arguments.oms:
        from hcal_root_ad.oms import read_conditions

        conditions = read_conditions(arguments.oms, None)
    taken = frozenset(maps.run for maps in runs) | (conditions.runs if conditions else frozenset())
    judging = replace(judging_of(arguments), taken=taken)
    ahead = digest_ahead(source for maps in runs for source in maps.sources)
    verdicts = [judge(maps, judging, conditions) for maps in runs]
    ahead.join()
    options = {name: getattr(arguments, name) for name in ("definition", "online", "attach", "as_hcalmltask")}
    made = [judging.provenance("run", [verdict], options) for verdict in verdicts]

    for verdict, attach_to, folder, provenance in zip(verdicts, attached, plots, made, strict=True):
        _publish(verdict, attach_to, arguments, folder, provenance)
    if flags := arguments.flags:
        flags.parent.mkdir(parents=True, exist_ok=True)
        write_flags(verdicts, flags)
        write_beside(judging.provenance("run", verdicts, options), flags.parent, flags.name, [flags])
        show(f"flags:     {flags}")
    if arguments.json:
        write_verdicts(verdicts, judging.provenance("run", verdicts, options), arguments.json)
        show(f"JSON:      {arguments.json}")
    for verdict, provenance, path in zip(verdicts, made, saved, strict=False):
        save_record(record_of(verdict, provenance), path)
        show(f"verdict:   {path}")
    remark(*(f"{bad.path} was left out: {bad.error}" for bad in left_out))
    return int(bool(left_out))


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


def judge(maps: LumiMaps, judging: Judging, conditions: Conditions | None = None) -> RunVerdict:
    """The verdict on a run, with a progress bar; under its conditions, without the lumisections on standby."""
    with progress(f"Judging run {maps.run}") as report:
        if conditions is None:
            return judging.judge(maps, report)
        known, of_run = conditions, conditions.of(maps.run)
        own = judging.for_run(maps, lambda start: known.for_state(maps.run, start))
        return own.finished(own.judge_run(of_run.without_standby(maps), report, of_run.pileup))


def _publish(
    verdict: RunVerdict, attach_to: Path | None, arguments: argparse.Namespace, plots: Path | None, made: Provenance
) -> None:
    run = verdict.maps.run
    written = publish(
        verdict, arguments.output, online=arguments.online, attach_to=attach_to, provenance=made,
        as_production=arguments.as_hcalmltask,
    )  # fmt: skip
    show(*run_summary(verdict))
    remark(*(f"run {run}: {note}" for note in verdict.every_note))
    remark(*(f"run {run}: masked: {sentence}" for sentence in verdict.masked))
    remark(*(f"run {run}: open finding {sentence}" for sentence in verdict.open_findings))
    show(f"ROOT file: {written}")
    if plots:
        from hcal_root_ad.publish.run_plots import draw_plots

        pictures = draw_plots(verdict, plots)
        write_beside(made, plots, "plots", pictures)
        show(f"pictures:  {len(pictures)} in {pictures[0].parent}")


def execute_watch(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.watch.alarms import Severity
    from hcal_root_ad.watch.received import sole_watch
    from hcal_root_ad.watch.run_in_progress import ConditionsNow, GrowingExport, nothing
    from hcal_root_ad.watch.service import Watch, WatchSettings

    settings = WatchSettings(
        arguments.folder, arguments.output, 0.0 if arguments.once else arguments.patience, arguments.online,
        arguments.digest, Severity(arguments.minimum_severity), arguments.on_alarm, arguments.on_publish,
        arguments.register, arguments.definition,
    )  # fmt: skip
    settings.check()
    check_places([], [arguments.output])
    judging = judging_of(arguments)
    conditions: ConditionsNow = nothing
    if arguments.oms:
        conditions = GrowingExport(arguments.oms, _say)
    with sole_watch(arguments.output, _say):
        watch = Watch(settings, judging, _say, conditions=conditions)
        if arguments.once:
            watch.once()
        else:
            _say(f"watching {arguments.folder}, writing to {arguments.output}")
            watch.forever()
    return 0


def _say(sentence: str) -> None:
    """A line with its time (UTC)."""
    from hcal_root_ad.watch.alarms import utc

    show(plain_line(f"{utc(time())} {sentence}"))


def execute_report(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.publish.saved_verdict import SUFFIX, load_record
    from hcal_root_ad.report.campaign_page import is_campaign
    from hcal_root_ad.report.run_page import run_page

    name, output = arguments.path, arguments.output
    campaign, recorded = is_campaign(Path(name)), name.endswith(SUFFIX)
    options = ("model", "false_alarms", "mask", "definition")
    given = [option for option in options if getattr(arguments, option) and option not in arguments.from_settings]
    if (campaign or recorded) and given:
        needless = ", ".join(f"--{option.replace('_', '-')}" for option in given)
        raise UsageError(f"{name} is judged already: leave {needless} out, or name the run's files.")
    if campaign:
        _report_campaign(Path(name), output, arguments.runs)
    elif arguments.runs:
        raise UsageError(f"--runs goes with the folder of a campaign, but {Path(name)} is none; leave it out.")
    else:
        check_places([output], inputs=[Path(name)] if recorded else input_files([name]))
        write_text(output, run_page(load_record(Path(name)) if recorded else _judged(arguments)))
    show(f"report:    {output}")
    return 0


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
