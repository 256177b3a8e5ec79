"""What a detector is judged by: models (``train``, ``transfer``, ``export``), and states that learn from run to run.

``adapt`` keeps a state, ``findings`` are what it asks people, ``innovations`` what it does not know.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import exp
from pathlib import Path

from rich.table import Table

from hcal_root_ad.cli.settings import judging_of, read_runs
from hcal_root_ad.cli.terminal import progress, remark, show
from hcal_root_ad.conditions import UNKNOWN, Conditions, RunFacts
from hcal_root_ad.errors import UsageError
from hcal_root_ad.files import check_places
from hcal_root_ad.harvest.inputs import RemoteFile
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model, load_model
from hcal_root_ad.oms import read_conditions
from hcal_root_ad.pipeline import Judging
from hcal_root_ad.provenance import Provenance, chosen, model_material, write_model_provenance
from hcal_root_ad.references import fitting_entries, quantity_of
from hcal_root_ad.state.detector_state import OpenFinding
from hcal_root_ad.state.era import begin, decide, learn, open_findings, sentence_on
from hcal_root_ad.state.history import Action, StateStore, Update
from hcal_root_ad.state.unexplained import table_of, unexplained

_LISTED = 20
"""Updates that are listed."""


def execute_train(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.model.transfer import read_widths, train  # torch is slow to import

    check_places([], [arguments.output])
    widths = read_widths(arguments.widths) if arguments.widths else None
    runs = read_runs(arguments.runs, arguments.definition)
    with progress("Training") as report:
        words = {"widths": widths, "data": arguments.data, "progress": report}
        model = train(runs, arguments.subdetector, arguments.output, **words)
    options = {name: getattr(arguments, name) or None for name in ("subdetector", "data", "definition")}
    options["widths"] = arguments.widths.name if arguments.widths else None
    write_model_provenance("train", arguments.output, runs, (), options)
    show(f"{arguments.output}: model {model.name} for {model.subdetector}")
    show(*(f"{key}: {text}" for key, text in model.story.items() if key != "data"))
    return 0


def execute_transfer(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.model.transfer import transfer

    check_places([], [arguments.output])
    source = load_model(arguments.source)
    runs = read_runs(arguments.runs or _clean_runs(source), arguments.definition)
    with progress("Transferring") as report:
        model = transfer(source, runs, arguments.output, to=arguments.to, data=arguments.data, progress=report)
    options = {"to": arguments.to, "data": arguments.data or None}
    write_model_provenance("transfer", arguments.output, runs, [source], options)
    show(f"{arguments.output}: model {model.name} for {model.subdetector}, from {source.name}")
    show(*(f"{key}: {text}" for key, text in model.story.items() if key not in ("data", "adapted from")))
    show(*_fit(model, runs), *_next_steps(model, arguments.output))
    return 0


def _fit(model: Model, runs: Sequence[LumiMaps]) -> Iterator[str]:
    """How the model fits the runs that it learned from: their scatter about it, and what it would flag in them."""
    if model.subdetector == "HF":
        return  # every event counts in HF: there is nothing to fit
    for maps in runs:
        (verdict,) = Judging((model,)).judge(maps).verdicts
        number = len(verdict.findings)
        flagged = f"{number} finding{'s' * (number != 1)}" if number else "no finding"
        yield (
            f"fit to run {maps.run}: channels scatter {verdict.sensitivity:.2f} times as much as it allows for, "
            f"{flagged} in {int(verdict.assessed.sum())} LS"
        )


def _next_steps(model: Model, folder: Path) -> list[str]:
    """What to do with the new model."""
    steps = []
    if any(key in model.story for key in ("dead units", "odd units")):
        steps.append("next: if the units named above are sound or masked, choose other clean runs and transfer again")
    others = [name for name in ("HB", "HE", "HO", "HF") if name != model.subdetector]
    return [
        *steps,
        f"next: adapt the models of {', '.join(others[:-1])} and {others[-1]} that you use on the same clean runs",
        f"next: hcal-root-ad run RUN -o DIR --model {folder} --model …",
    ]


def _clean_runs(source: Model) -> list[str]:
    """The clean runs of the reference that fits the model's era and quantity, the user's own before the shipped."""
    era, quantity = source.channels.era, quantity_of(source.definition)
    for entry in fitting_entries(era, quantity):
        if all(isinstance(path, RemoteFile) or path.exists() for path in entry.inputs):
            remark(f"no --runs: adapting to the clean runs of the reference {entry}")
            return [str(path) for path in entry.inputs]
    raise UsageError(
        f"--runs is missing, and no reference of the catalogue for {era.value} and {quantity or source.definition} has "
        "its files; name clean runs with --runs."
    )


def execute_export(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.export.onnx_file import require_onnx, write_model

    require_onnx()
    model = load_model(arguments.model)
    check_places([arguments.output])
    if arguments.output.suffix != ".onnx" and not arguments.output.is_dir():  # a folder has a sentence of its own
        raise UsageError(f"-o {arguments.output}: expected the name of a file that ends in .onnx.")
    options = chosen({"cmssw": arguments.cmssw, "false_alarms": arguments.false_alarms})
    about = {"provenance": Provenance("export", (model_material(model),), options).text()}
    if arguments.cmssw:
        from hcal_root_ad.export.cmssw import configuration, write_cmssw_model

        lines = configuration(model, arguments.output, arguments.false_alarms)
        write_cmssw_model(model, arguments.output, about)
        show(lines)
    else:
        write_model(model, arguments.output, arguments.false_alarms, about)
        show(f"{arguments.output}: model {model.name} for {model.subdetector}, one lumisection per call")
    return 0


def execute_adapt(arguments: argparse.Namespace) -> int:
    store = StateStore(arguments.folder)
    if arguments.undo and (arguments.clean or arguments.runs):
        raise UsageError("--undo goes with neither --from nor --with; undo first, then learn.")
    if arguments.undo:
        return _undo(store, arguments.undo, arguments.reason)
    if not (arguments.clean or arguments.runs):
        show(*_log(store))
        return 0
    return _learn(store, arguments)


def _undo(store: StateStore, what: str, reason: str) -> int:
    store.history()  # a state that is not there is not made by its lock
    with store.alone(remark):
        undone, back = store.undo(what, reason)
        history = store.history()
    last = history.reached(back)
    forgotten = [f"run {run}" for run in undone.runs]
    words = [history.updates[number] for number in undone.record["undone"]]
    forgotten += [f"{one.finding} {one.action}" for one in words if one.action in (Action.ACCEPTED, Action.CLOSED)]
    show(f"{store.folder}: {f'state of run {last}' if last else 'as it began'} again")
    show(f"forgotten: {', '.join(forgotten)}; what should stay can be given again")
    return 0


def _learn(store: StateStore, arguments: argparse.Namespace) -> int:
    conditions = read_conditions(arguments.oms, None)
    judging = judging_of(arguments)
    clean = read_runs(arguments.clean, arguments.definition) if arguments.clean else ()
    runs = read_runs(arguments.runs, arguments.definition) if arguments.runs else ()
    if arguments.clean or not store.exists:
        start = max((maps.run for maps in clean), default=0)
        own = conditions.for_state(start, start) if conditions and clean else UNKNOWN
        with progress("Fitting the clean runs"):
            begin(store, judging.models, [_fit_for_physics(maps, conditions) for maps in clean], remark, own)
        show(f"{store.folder}: state begun with {_names(clean) if clean else 'the models'}")
    taken = frozenset(maps.run for maps in runs) | (conditions.runs if conditions else frozenset())
    judging = replace(judging, states=(store,), taken=taken)
    history = store.history()
    in_order = sorted(runs, key=lambda maps: history.order(maps.run))
    taught = [_learn_run(maps, store, judging, conditions, arguments.reason) for maps in in_order]
    return int(not all(taught))


def _learn_run(maps: LumiMaps, store: StateStore, judging: Judging, conditions: Conditions | None, reason: str) -> bool:
    """Judge a run by the state and teach it; returns whether it taught, or had before."""

    def since(start: int) -> RunFacts:
        return conditions.for_state(maps.run, start) if conditions else UNKNOWN

    pileup = conditions.of(maps.run).pileup if conditions else {}
    with store.alone(remark), progress(f"Judging run {maps.run}") as report:
        own = judging.for_run(maps, since)
        chosen = own.chosen
        assert chosen is not None
        if chosen.has_learned:
            remark(f"run {maps.run}: learned before; nothing is done.")
            return True
        if not chosen.may_learn:
            remark(f"run {maps.run}: the state has learned up to run {chosen.reached} already, so it teaches nothing; "
                   "to learn it, undo what lies beyond it and give that again.")  # fmt: skip
            return False
        record = learn(chosen, own.judge_run(_fit_for_physics(maps, conditions), report, pileup), reason)
    show(f"run {maps.run}: judged by the {chosen.words}", *(f"  {sentence}" for sentence in record.sentences))
    show(*(f"  still open: {sentence_on(finding)}" for finding in record.still))
    return bool(record.lumisections)


def _fit_for_physics(maps: LumiMaps, conditions: Conditions | None) -> LumiMaps:
    """Without the lumisections that OMS has on standby."""
    return conditions.of(maps.run).without_standby(maps) if conditions else maps


def _names(runs: Sequence[LumiMaps]) -> str:
    return f"run{'s' if len(runs) > 1 else ''} {', '.join(str(maps.run) for maps in runs)}"


def _log(store: StateStore) -> list[str]:
    """The updates, a line each, in 80 columns; ``-`` before those that were undone."""
    history = store.history()
    count = {one.number for backwards in (False, True) for one in history.behind(history.last(backwards))}
    lines = [f"{store.folder}: {len(history.updates)} updates"]
    lines += [f"… {len(history.updates) - _LISTED} before"] if len(history.updates) > _LISTED else []
    for one in history.updates[-_LISTED:]:
        mark = " " if one.number in count else "-"
        lines.append(f"{mark}{one.number:5d} {one.action:<8} {_what(one)}"[:80].rstrip())
    return lines


def _what(update: Update) -> str:
    """What an update did, in a few words."""
    runs = ", ".join(map(str, update.runs)) or "no run"
    if update.finding:
        return f"{update.finding}: {update.reason}" if update.reason else update.finding
    used = update.record.get("lumisections") or {}
    opened = update.record.get("opened", ()) or ()
    words = [f"run{'s' if len(update.runs) > 1 else ''} {runs}"]
    count = sum if update.action == "begun" else max  # by run, or by sub-detector
    words += [f"{count(used.values())} LS"] if used else []
    words += [f"opened {', '.join(str(one['unit']) for one in opened)}"] if opened else []
    words += [update.reason] if update.reason else []
    return ", ".join(words)


def execute_findings(arguments: argparse.Namespace) -> int:
    store = StateStore(arguments.state)
    if arguments.action == "list":
        findings = [finding for _, finding in open_findings(store)]
        show(findings_table(findings) if findings else "no finding is open")
        return 0
    store.history()  # a state that is not there is not made by its lock
    with store.alone(remark):
        action = Action.ACCEPTED if arguments.action == "accept" else Action.CLOSED
        finding = decide(store, action, arguments.finding, arguments.reason)
    show(f"{finding.identifier} {finding.subdetector} {finding.unit}: {action}")
    return 0


def findings_table(findings: list[OpenFinding]) -> Table:
    """In at most 80 columns; what was there in two runs asks for a person's word."""
    table = Table("ID", "unit", "kind", "rate", "since", "runs", "last", "", box=None)
    table.columns[1].max_width = 20
    for one in findings:
        unit = one.unit if one.unit.startswith(one.subdetector) else f"{one.subdetector} {one.unit}"
        runs = (str(one.first_run), str(one.runs), str(one.last_run))
        question = "decide!" if one.asked else ""
        table.add_row(one.identifier, unit, one.kind, f"×{exp(one.size):.2f}", *runs, question)
    return table


def execute_innovations(arguments: argparse.Namespace) -> int:
    known = read_conditions(arguments.oms, None)
    runs = sorted(read_runs(arguments.runs, arguments.definition), key=lambda maps: maps.run)
    conditions = {maps.run: known.for_state(maps.run, runs[0].run) for maps in runs} if known else None
    runs = [_fit_for_physics(maps, known) for maps in runs]
    with progress("Judging") as report:
        rows = unexplained(runs, conditions, lambda done: report(done, len(runs)) if report else None)
    show(table_of(rows))
    return 0
