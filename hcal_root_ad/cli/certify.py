"""Which lumisections of many runs are good: ``certify``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.table import Table

from hcal_root_ad.certify import outputs
from hcal_root_ad.certify.agreement import (
    TABLE,
    Agreement,
    Labels,
    MissingRuns,
    missing_runs,
    read_labels,
    write_agreement,
)
from hcal_root_ad.certify.campaign import campaign_files, judge_all, judge_in_order, judging_with, survey_all
from hcal_root_ad.certify.certification import HCAL, Status, certify_run, explanation
from hcal_root_ad.certify.executors import open_executor
from hcal_root_ad.certify.policy import SUBDETECTORS, Policy, Untrusted, load_policy
from hcal_root_ad.certify.store import Campaign, ConditionsOf, StatePlace, Store, Survey
from hcal_root_ad.cli.settings import stores_of
from hcal_root_ad.cli.terminal import campaign_progress, progress, remark, show
from hcal_root_ad.conditions import Conditions
from hcal_root_ad.errors import UsageError
from hcal_root_ad.files import check_places
from hcal_root_ad.harvest.dials import dials_run, fetch, open_client
from hcal_root_ad.harvest.harvester import choose_definitions
from hcal_root_ad.harvest.inputs import InputFile
from hcal_root_ad.mask import read_mask
from hcal_root_ad.oms import read_conditions
from hcal_root_ad.provenance import file_material
from hcal_root_ad.publish.saved_verdict import load_record
from hcal_root_ad.references import input_paths

_CAUSES = 8
"""Causes that are named; lumisections.csv has all."""
_DOUBTS = 8
"""Runs that are not trusted and named; certification.provenance.json has all."""


def execute_certify(arguments: argparse.Namespace) -> int:
    store = Store(arguments.output.absolute())
    if arguments.explain:  # from what is stored, by the policy of the last certification, or the one that is given
        run, lumisection = arguments.explain
        record = load_record(store.stored_record(run))
        policy = load_policy(arguments.policy) if arguments.policy else outputs.last_policy(store)
        show(*explanation(certify_run(record, policy, store.conditions(run)), lumisection))
        return 0
    names = ("model", "false_alarms", "without_reference", "mask", "definition", "state", "adapt", "retry_failed")
    needless = [name for name in names if getattr(arguments, name) and name not in arguments.from_settings]
    if not arguments.inputs and needless:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in needless)
        raise UsageError(f"Without INPUT nothing is judged: leave {options} out.")
    return _certify(arguments, store)


def _certify(arguments: argparse.Namespace, store: Store) -> int:
    policy = load_policy(arguments.policy or "standard")
    conditions = read_conditions(arguments.oms, arguments.dcs)
    conditions_of = conditions.of if conditions else store.conditions
    labels = read_labels(arguments.labels) if arguments.labels else None
    agreement = Agreement(labels) if labels else None
    if not arguments.inputs and not store.campaign().items:
        raise UsageError(f"{store.folder} holds no certified run yet; name the INPUT to judge.")
    campaign_of = _judge(arguments, store, conditions_of, conditions) if arguments.inputs else store.campaign
    check_places([], [store.folder])
    side_files = {name: getattr(arguments, name) for name in ("oms", "dcs", "labels", "mask")}
    side = [file_material(name, path) for name, path in side_files.items() if path]
    with store.alone(remark):
        campaign = campaign_of()
        missing = _missing_runs(arguments, conditions, labels, campaign.runs)
        notes = (*(conditions.notes if conditions else ()), *(file.sentence for file in missing))
        summary = outputs.write_outputs(campaign, store, policy, conditions_of, agreement, notes, side)
    remark(*notes)
    _report(campaign, summary, policy, store)
    if agreement:
        _show_agreement(agreement.as_table(), store.folder, arguments.labels)
    doubtful = _show_doubts(summary, policy)
    failed = bool(campaign.every_failure or summary.failures)
    return int(failed or doubtful or any(file.all_missing for file in missing))


def _show_doubts(summary: outputs.Summary, policy: Policy) -> bool:
    """Say which runs have a verdict that is not trusted; whether that kept them from being certified."""
    if not summary.untrusted:
        return False
    for run, doubts in list(summary.untrusted.items())[:_DOUBTS]:
        remark(f"run {run}: " + "; ".join(f"{name} is not trusted ({doubt})" for name, doubt in doubts.items()))
    more = len(summary.untrusted) - _DOUBTS
    remark(*([f"and {more} more runs"] if more > 0 else []))
    many = len(summary.untrusted) != 1
    runs = f"{len(summary.untrusted)} runs have verdicts" if many else "1 run has a verdict"
    if policy.untrusted is Untrusted.JUDGE:
        remark(f"{runs} not to be trusted; the policy {policy.label} lets its rules decide all the same.")
        return False
    remark(
        f"{runs} not to be trusted, so nothing of {'them' if many else 'it'} is good; "
        "adapt the model with transfer, or give a state the runs that it missed, and certify again."
    )
    return True


def _missing_runs(
    arguments: argparse.Namespace, conditions: Conditions | None, labels: Labels | None, runs: Sequence[int]
) -> list[MissingRuns]:
    """Which of the files of conditions and flags lack runs."""
    covers: dict[Path, Callable[[int], bool]] = {}
    if conditions and conditions.oms is not None:
        covers[arguments.oms] = conditions.oms.__contains__
    if conditions and conditions.selection is not None:
        covers[arguments.dcs] = conditions.selection.__contains__
    if labels:
        covers[arguments.labels] = labels.covers
    return [missing for path, covered in covers.items() if (missing := missing_runs(path, covered, runs))]


def _judge(
    arguments: argparse.Namespace, store: Store, conditions_of: ConditionsOf, conditions: Conditions | None
) -> Callable[[], Campaign]:
    """What judges the inputs, once the folder is ours; wrong use is found before that."""
    choose_definitions(arguments.definition)
    mask = read_mask(arguments.mask) if arguments.mask else None
    judging = judging_with(arguments.model, arguments.false_alarms, arguments.without_reference, mask)
    places = _states(arguments, conditions_of)
    files = campaign_files(arguments.inputs, Survey(store.survey).paths, _resolver(store), store.folder)
    retry = arguments.retry_failed

    def judge() -> Campaign:
        with open_executor(arguments.workers, arguments.scheduler, arguments.condor, store.records) as executor:
            with progress("Looking at files") as report:
                surveyed = survey_all(files, store, executor, retry, report)
            remark(*(f"{file.path} holds no lumisection: left out." for file in surveyed if file.empty))
            taken = {run for file in surveyed for run in file.runs} | (conditions.runs if conditions else frozenset())
            own = replace(judging, states=places, taken=frozenset(taken), adapt=bool(arguments.adapt),
                          definition=arguments.definition)  # fmt: skip
            start = perf_counter()
            with campaign_progress("Judging") as advance:
                if own.adapt:
                    campaign = judge_in_order(surveyed, own, conditions_of, store, remark, retry, advance)
                else:
                    campaign = judge_all(surveyed, own, conditions_of, store, executor, retry, advance)
        if campaign.judged_now:
            seconds, new = perf_counter() - start, campaign.judged_now
            show(f"judged:    {new} LS in {seconds:.0f} s, {new / seconds:.1f} LS/s")
        return campaign

    return judge


def _states(arguments: argparse.Namespace, conditions_of: ConditionsOf) -> tuple[StatePlace, ...]:
    """The detector states that judge, and what was delivered before each began."""
    if not (arguments.state or arguments.adapt):
        return ()
    if arguments.state and arguments.adapt:
        raise UsageError("--state judges by a state as it is, and --adapt lets one learn; leave one of them out.")
    if arguments.without_reference:
        raise UsageError("--without-reference judges a run against itself, not by a state; leave one of them out.")
    if arguments.adapt and (arguments.workers > 1 or arguments.scheduler or arguments.condor):
        remark("--adapt: each run is judged by what those before it taught, so one is judged after the other; "
               "more than one process only looks at the files.")  # fmt: skip
    places = []
    for store in stores_of(arguments.state or [arguments.adapt]):
        oms = conditions_of(store.history().start).oms
        places.append(StatePlace(str(store.folder), oms.before if oms else None))
    return tuple(places)


def _resolver(store: Store) -> Callable[[str], tuple[InputFile, ...]]:
    """Gives the paths or addresses of a name; what is named ``dials:RUN`` is fetched where it is not here yet."""
    login = cache(open_client)

    def resolve(name: str) -> tuple[InputFile, ...]:
        dials = dials_run(name)
        if dials is None:
            return input_paths(name)
        path = store.folder / "dials" / dials.file_name
        if not path.is_file():
            with progress(f"Fetching run {dials.run} from DIALS") as report:
                fetch(dials, path, login(), report)
        return (path,)

    return resolve


def _report(campaign: Campaign, summary: outputs.Summary, policy: Policy, store: Store) -> None:
    """How many lumisections are what, where everything lies, and what failed."""
    runs = "1 run" if len(campaign.runs) == 1 else f"{len(campaign.runs)} runs"
    table = Table("LS", *Status)
    for name in (*SUBDETECTORS, HCAL):
        table.add_row(name, *(str(summary.count(name, status)) for status in Status))
    show(f"{runs}, policy {policy.label}", table)
    causes = [(n, status, cause) for (status, cause), n in summary.causes.most_common() if cause]
    show(*(f"{status:<8} {n:>6} LS: {cause}" for n, status, cause in causes[:_CAUSES]))
    if rest := causes[_CAUSES:]:
        show(f"and {sum(n for n, _, _ in rest)} LS for other causes, see {TABLE}")
    places = {"good LS": outputs.GOLDEN, "ranges": outputs.REGISTRY, "LS table": TABLE, "flags": outputs.FLAGS}
    for output, name in places.items():
        show(f"{output + ':':<10} {store.folder / name}")
    failures = (*campaign.every_failure, *summary.failures)
    remark(*(f"failed: {failure.file}: {failure.sentence}" for failure in failures))
    if failures:
        these = "1 file or run" if len(failures) == 1 else f"{len(failures)} files or runs"
        remark(f"{these} could not be judged; once that is mended, try again with --retry-failed.")


def _show_agreement(table: Mapping[str, Any], campaign: Path, labels: Path) -> None:
    for row in table["counts"]:
        show(f"{row['status']:<8} by certification, {row['label']:<8} by people: {row['lumisections']} LS")
    if table["compared"]:
        both = f"{table['agreed']} of {table['compared']} LS"
        show(f"agreement: {both} that both called good or bad, {table['share']:.2%}")
        show(f"scores:    {write_agreement(campaign, labels)}")
