"""Judge the runs in the inputs and write, for each, the ROOT file that the DQM GUI shows."""

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
    add_output,
    add_states,
    add_without_reference,
    input_files,
    judging_of,
    read_runs,
)
from hcal_root_ad.cli.terminal import be_quiet, progress, remark, show
from hcal_root_ad.errors import UsageError
from hcal_root_ad.files import check_places, plain_name
from hcal_root_ad.lumi_maps import LumiMaps

if TYPE_CHECKING:
    from hcal_root_ad.harvest.read import LeftOut
    from hcal_root_ad.judge.verdict import RunVerdict
    from hcal_root_ad.pipeline import Judging
    from hcal_root_ad.provenance import Provenance


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_inputs(parser)
    add_output(parser, "DIR", "folder for the ROOT files")
    add_judging(parser)
    add_definition(parser)
    add_states(parser)
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


def execute(arguments: argparse.Namespace) -> int:
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
    judging = replace(judging_of(arguments), taken=frozenset(maps.run for maps in runs))
    ahead = digest_ahead(source for maps in runs for source in maps.sources)
    verdicts = [judge(maps, judging) for maps in runs]
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
    from hcal_root_ad.publish.saved_verdict import record_name

    targets = [
        target_path(maps, arguments.output, online=arguments.online, attach_to=attach_to)
        for maps, attach_to in zip(runs, attached, strict=True)
    ]
    tables = [path for path in (arguments.flags, arguments.json) if path]
    saved = [arguments.save_verdict / record_name(maps.run) for maps in runs] if arguments.save_verdict else []
    check_places([*targets, *tables, *saved], [folder for folder in plots if folder], inputs)


def judge(maps: LumiMaps, judging: Judging) -> RunVerdict:
    """The verdict on a run, with a progress bar."""
    with progress(f"Judging run {maps.run}") as report:
        return judging.judge(maps, report)


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
