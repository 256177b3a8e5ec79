"""Judge the runs in the inputs and write, for each, the ROOT file that the DQM GUI shows."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hcal_root_ad.cli.inputs import input_path, positive, read_runs
from hcal_root_ad.cli.terminal import progress, remark, show
from hcal_root_ad.errors import UsageError
from hcal_root_ad.lumi_maps import LumiMaps

if TYPE_CHECKING:
    from hcal_root_ad.judge.verdict import RunVerdict
    from hcal_root_ad.learn.bundle import Bundle

SHIPPED_BUNDLES = ("hb-graphstad-from-he", "he-graphstad")
"""Who judges HB and HE where no ``--bundle`` is given; the judge takes those that the run needs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="DQM file, or name of a reference run")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the ROOT files")
    parser.add_argument("--bundle", action="append", metavar="NAME_OR_PATH",
                        help="who judges; repeatable, one per sub-detector (default: the shipped ones)")  # fmt: skip
    parser.add_argument("--false-alarms", type=positive, metavar="PER_100_LS",
                        help="false intervals per 100 LS and sub-detector (default: the bundle's)")  # fmt: skip
    parser.add_argument("--flags", type=Path, metavar="FILE.csv", help="write every flagged interval, one row each")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw the main pictures into this folder")
    parser.add_argument("--online", action="store_true", help="name the ROOT file as the online GUI wants it")
    parser.add_argument("--attach", action="store_true",
                        help="write a copy of the harvested input file with our folders added")  # fmt: skip


def execute(arguments: argparse.Namespace) -> int:
    if arguments.attach and arguments.online:
        raise UsageError("--attach keeps the input's file name, so it cannot go with --online; leave one of them out.")
    paths = [input_path(name) for name in arguments.inputs]
    runs = read_runs(arguments.inputs)
    attached = [_harvested_file(maps, paths) if arguments.attach else None for maps in runs]
    bundles = _load_bundles(arguments.bundle or SHIPPED_BUNDLES)
    verdicts = [_judge(maps, bundles, arguments.false_alarms) for maps in runs]
    for verdict, attach_to in zip(verdicts, attached, strict=True):
        _publish(verdict, attach_to, arguments, folder_per_run=len(runs) > 1)
    if arguments.flags:
        _write_flags(verdicts, arguments.flags)
    return 0


def _harvested_file(maps: LumiMaps, paths: Sequence[Path]) -> Path:
    """The one input file of a run, to which its verdict can be attached."""
    names = [source.name for source in maps.sources]
    files = [path for path in paths if path.name in names]
    if len(files) != 1 or len(names) != 1:
        raise UsageError(
            f"--attach adds to one harvested file per run, named itself, but run {maps.run} was read from "
            f"{', '.join(names)}; give one file, or leave --attach out."
        )
    return files[0]


def _load_bundles(names: Sequence[str]) -> list[Bundle]:
    from hcal_root_ad.learn.bundle import load_bundle

    return [load_bundle(name) for name in names]


def _judge(maps: LumiMaps, bundles: Sequence[Bundle], false_alarms: float | None) -> RunVerdict:
    from hcal_root_ad.judge.run import judge_run

    with progress(f"Judging run {maps.run}") as report:
        return judge_run(maps, bundles, false_alarms=false_alarms, progress=report)


def _publish(verdict: RunVerdict, attach_to: Path | None, arguments: argparse.Namespace, folder_per_run: bool) -> None:
    from hcal_root_ad.publish.publish import publish
    from hcal_root_ad.publish.summary_table import groups_table

    run = verdict.maps.run
    written = publish(verdict, arguments.output, online=arguments.online, attach_to=attach_to)
    show(groups_table(verdict))
    remark(*(f"run {run}: {note}" for note in verdict.every_note))
    show(f"ROOT file: {written}")
    if arguments.plots:
        from hcal_root_ad.publish.plots import draw_plots

        pictures = draw_plots(verdict, arguments.plots / f"R{run}" if folder_per_run else arguments.plots)
        show(f"pictures:  {len(pictures)} in {pictures[0].parent}")


def _write_flags(verdicts: Sequence[RunVerdict], path: Path) -> None:
    from hcal_root_ad.publish.flags_table import write_flags

    path.parent.mkdir(parents=True, exist_ok=True)
    write_flags(verdicts, path)
    show(f"flags:     {path}")
