"""Which lumisections of many runs are good: ``certify``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from hcal_root_ad.cli.options import (
    add_definition,
    add_judging,
    add_output,
    add_states,
    add_without_reference,
    count,
    stores_of,
)
from hcal_root_ad.cli.terminal import campaign_progress, progress, remark, show
from hcal_root_ad.errors import UsageError
from hcal_root_ad.files import check_places

if TYPE_CHECKING:
    from hcal_root_ad.certify.agreement import Labels, MissingRuns
    from hcal_root_ad.certify.conditions import Conditions
    from hcal_root_ad.certify.outputs import Summary
    from hcal_root_ad.certify.policy import Policy
    from hcal_root_ad.certify.store import Campaign, ConditionsOf, StatePlace, Store
    from hcal_root_ad.harvest.inputs import InputFile
    from hcal_root_ad.provenance import Material

_CAUSES = 8
"""Causes that are named; lumisections.csv has all."""
_DOUBTS = 8
"""Runs that are not trusted and named; certification.provenance.json has all."""


def add_certify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", nargs="*", metavar="INPUT",
        help="file, folder, pattern, address, dataset list (.txt, .list, .json), or dials:RUN; none: the runs in DIR",
    )  # fmt: skip
    add_output(parser, "DIR", "folder of the campaign")
    parser.add_argument("--policy", metavar="NAME_OR_FILE", help="what makes an LS bad (default: standard)")
    parser.add_argument("--oms", type=Path, metavar="FILE", help="OMS lumisections (CSV or JSON): beams, flags, pileup")
    parser.add_argument("--dcs", type=Path, metavar="FILE", help='selection {"run": [[first, last], …]}: no other LS')
    parser.add_argument("--labels", type=Path, metavar="FILE",
                        help="flags that people set (Run Registry or golden JSON), to compare with")  # fmt: skip
    parser.add_argument("--explain", type=_lumisection, metavar="RUN:LS", help="only say why an LS is good or bad")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--workers", type=count, default=1, metavar="N", help="processes on this machine (default: 1)")
    where.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers do the work")
    where.add_argument("--condor", type=Path, metavar="FILE", help="HTCondor jobs as the file says (docs/certify.md)")
    parser.add_argument("--retry-failed", action="store_true", help="try again what could not be judged")
    add_judging(parser)
    add_definition(parser)
    add_states(parser)
    parser.add_argument("--adapt", type=Path, metavar="STATE",
                        help="certify runs in their order, and let this detector state learn from each")  # fmt: skip
    add_without_reference(parser)


def execute_certify(arguments: argparse.Namespace) -> int:
    """Certify many runs: judge what is new, apply a policy, and write which lumisections are good, and why.

    The folder DIR keeps every run's record: the same command goes on where it was stopped, and without INPUT the runs
    that DIR holds are certified again, without their files, for example by another --policy. Exit codes: 0 done, 1 some
    file or run could not be judged, or its verdict is not trusted (the others are certified), 2 wrong use.
    """
    from hcal_root_ad.certify.store import Store

    store = Store(arguments.output.absolute())
    if arguments.explain:
        run, lumisection = arguments.explain
        return _explain(store, run, lumisection, arguments.policy)
    names = ("model", "false_alarms", "without_reference", "mask", "definition", "state", "adapt", "retry_failed")
    needless = [name for name in names if getattr(arguments, name) and name not in arguments.from_settings]
    if not arguments.inputs and needless:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in needless)
        raise UsageError(f"Without INPUT nothing is judged: leave {options} out.")
    return _certify(arguments, store)


def _certify(arguments: argparse.Namespace, store: Store) -> int:
    from hcal_root_ad.certify.agreement import Agreement, read_labels
    from hcal_root_ad.certify.conditions import read_conditions
    from hcal_root_ad.certify.outputs import write_outputs
    from hcal_root_ad.certify.policy import load_policy

    policy = load_policy(arguments.policy or "standard")
    conditions = read_conditions(arguments.oms, arguments.dcs)
    conditions_of = conditions.of if conditions else store.conditions
    labels = read_labels(arguments.labels) if arguments.labels else None
    agreement = Agreement(labels) if labels else None
    campaign_of = _judge(arguments, store, conditions_of, conditions) if arguments.inputs else _stored(store)
    check_places([], [store.folder])
    with store.alone(remark):
        campaign = campaign_of()
        missing = _missing_runs(arguments, conditions, labels, campaign.runs)
        notes = (*(conditions.notes if conditions else ()), *(file.sentence for file in missing))
        summary = write_outputs(campaign, store, policy, conditions_of, agreement, notes, _side_files(arguments))
    remark(*notes)
    _report(campaign, summary, policy, store)
    if agreement:
        _show_agreement(agreement.as_table(), store.folder, arguments.labels)
    doubtful = _show_doubts(summary, policy)
    failed = bool(campaign.every_failure or summary.failures)
    return int(failed or doubtful or any(file.all_missing for file in missing))


def _show_doubts(summary: Summary, policy: Policy) -> bool:
    """Say which runs have a verdict that is not trusted; whether that kept them from being certified."""
    from hcal_root_ad.certify.policy import Untrusted

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
    from hcal_root_ad.certify.agreement import missing_runs

    covers: dict[Path, Callable[[int], bool]] = {}
    if conditions and conditions.oms is not None:
        covers[arguments.oms] = conditions.oms.__contains__
    if conditions and conditions.selection is not None:
        covers[arguments.dcs] = conditions.selection.__contains__
    if labels:
        covers[arguments.labels] = labels.covers
    return [missing for path, covered in covers.items() if (missing := missing_runs(path, covered, runs))]


def _side_files(arguments: argparse.Namespace) -> list[Material]:
    """The files beside those of the runs, for the provenance."""
    from hcal_root_ad.provenance import file_material

    files = {name: getattr(arguments, name) for name in ("oms", "dcs", "labels", "mask")}
    return [file_material(name, path) for name, path in files.items() if path]


def _lumisection(text: str) -> tuple[int, int]:
    """Option type: RUN:LS."""
    run, colon, lumisection = text.partition(":")
    if not (colon and run.isdigit() and lumisection.isdigit()):
        raise argparse.ArgumentTypeError(f"expected RUN:LS, for example 370101:25, found {text}")
    return int(run), int(lumisection)


def _stored(store: Store) -> Callable[[], Campaign]:
    """What is stored, to be certified again."""
    if not store.campaign().items:
        raise UsageError(f"{store.folder} holds no certified run yet; name the INPUT to judge.")
    return store.campaign


def _judge(
    arguments: argparse.Namespace, store: Store, conditions_of: ConditionsOf, conditions: Conditions | None
) -> Callable[[], Campaign]:
    """What judges the inputs, once the folder is ours; wrong use is found before that."""
    from hcal_root_ad.certify.campaign import judge_all, judge_in_order, judging_with, survey_all
    from hcal_root_ad.certify.dataset import Survey, campaign_files
    from hcal_root_ad.certify.executors import open_executor
    from hcal_root_ad.harvest.harvester import choose_definitions
    from hcal_root_ad.mask import read_mask

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
            taken = {run for file in surveyed for run in file.runs} | set((conditions and conditions.oms) or ())
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
    from hcal_root_ad.certify.store import StatePlace

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
    from hcal_root_ad.harvest.dials import dials_run, fetch, open_client
    from hcal_root_ad.references import input_paths

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


def _report(campaign: Campaign, summary: Summary, policy: Policy, store: Store) -> None:
    """How many lumisections are what, where everything lies, and what failed."""
    from rich.table import Table

    from hcal_root_ad.certify.certification import HCAL, Status
    from hcal_root_ad.certify.outputs import FLAGS, GOLDEN, REGISTRY
    from hcal_root_ad.certify.policy import SUBDETECTORS
    from hcal_root_ad.certify.store import TABLE

    runs = "1 run" if len(campaign.runs) == 1 else f"{len(campaign.runs)} runs"
    table = Table("LS", *Status)
    for name in (*SUBDETECTORS, HCAL):
        table.add_row(name, *(str(summary.count(name, status)) for status in Status))
    show(f"{runs}, policy {policy.label}", table)
    _show_causes(summary)
    for output, name in (("good LS", GOLDEN), ("ranges", REGISTRY), ("LS table", TABLE), ("flags", FLAGS)):
        show(f"{output + ':':<10} {store.folder / name}")
    failures = (*campaign.every_failure, *summary.failures)
    remark(*(f"failed: {failure.file}: {failure.sentence}" for failure in failures))
    if failures:
        these = "1 file or run" if len(failures) == 1 else f"{len(failures)} files or runs"
        remark(f"{these} could not be judged; once that is mended, try again with --retry-failed.")


def _show_causes(summary: Summary) -> None:
    """Why lumisections are not good for HCAL, the most frequent cause first."""
    from hcal_root_ad.certify.store import TABLE

    causes = [(n, status, cause) for (status, cause), n in summary.causes.most_common() if cause]
    for n, status, cause in causes[:_CAUSES]:
        show(f"{status:<8} {n:>6} LS: {cause}")
    rest = causes[_CAUSES:]
    if rest:
        show(f"and {sum(n for n, _, _ in rest)} LS for other causes, see {TABLE}")


def _show_agreement(table: Mapping[str, Any], campaign: Path, labels: Path) -> None:
    from hcal_root_ad.certify.agreement import write_agreement

    for row in table["counts"]:
        show(f"{row['status']:<8} by certification, {row['label']:<8} by people: {row['lumisections']} LS")
    if table["compared"]:
        show(
            f"agreement: {table['agreed']} of {table['compared']} LS that both called good or bad, {table['share']:.2%}"
        )
        show(f"scores:    {write_agreement(campaign, labels)}")


def _explain(store: Store, run: int, lumisection: int, policy_name: str | None) -> int:
    """Say why, from what is stored: by the policy of the last certification, or the one that is given."""
    from hcal_root_ad.certify.certification import certify_run
    from hcal_root_ad.certify.explain import explanation
    from hcal_root_ad.certify.outputs import last_policy
    from hcal_root_ad.certify.policy import load_policy
    from hcal_root_ad.publish.saved_verdict import load_record

    record = load_record(store.stored_record(run))
    policy = load_policy(policy_name) if policy_name else last_policy(store)
    show(*explanation(certify_run(record, policy, store.conditions(run)), lumisection))
    return 0
