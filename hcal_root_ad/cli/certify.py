"""Certify many runs: judge what is new, apply a policy, and write which lumisections are good, and why.

The folder DIR keeps every run's record: the same command goes on where it was stopped, and without INPUT the runs
that DIR holds are certified anew, without their files, for example by another --policy. Exit codes: 0 done, 1 some
file or run could not be judged, or its verdict is not trusted (the others are certified), 2 wrong use.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from hcal_root_ad.cli.inputs import count, input_paths
from hcal_root_ad.cli.judging import add_judging, add_without_reference
from hcal_root_ad.cli.terminal import campaign_progress, progress, remark, show
from hcal_root_ad.errors import UsageError
from hcal_root_ad.files import check_places

if TYPE_CHECKING:
    from hcal_root_ad.certify.campaign import Campaign
    from hcal_root_ad.certify.conditions import Conditions
    from hcal_root_ad.certify.items import CampaignJudging, ConditionsOf
    from hcal_root_ad.certify.labels import Labels
    from hcal_root_ad.certify.outputs import Summary
    from hcal_root_ad.certify.policy import Policy
    from hcal_root_ad.certify.store import Store
    from hcal_root_ad.certify.strangers import Stranger
    from hcal_root_ad.harvest.inputs import InputFile
    from hcal_root_ad.provenance import Material


_DOUBTS = 8
"""Runs that are not trusted and named; certification.provenance.json has all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", nargs="*", metavar="INPUT",
        help="file, folder, pattern, address, dataset list (.txt, .list, .json), or dials:RUN; none: the runs in DIR",
    )  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the campaign")
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
    add_without_reference(parser)


def execute(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.certify.store import Store

    store = Store(arguments.output.absolute())
    if arguments.explain:
        run, lumisection = arguments.explain
        return _explain(store, run, lumisection, arguments.policy)
    names = ("model", "false_alarms", "without_reference", "mask", "retry_failed")
    if not arguments.inputs and any(getattr(arguments, name) for name in names):
        options = ", ".join(f"--{name.replace('_', '-')}" for name in names)
        raise UsageError(f"Without INPUT nothing is judged: leave {options} out.")
    return _certify(arguments, store)


def _certify(arguments: argparse.Namespace, store: Store) -> int:
    from hcal_root_ad.certify.campaign import conditions_for, stored
    from hcal_root_ad.certify.labels import Agreement, read_labels
    from hcal_root_ad.certify.outputs import write_outputs
    from hcal_root_ad.certify.policy import load_policy

    policy = load_policy(arguments.policy or "standard")
    conditions = _conditions(arguments.oms, arguments.dcs)
    labels = read_labels(arguments.labels) if arguments.labels else None
    agreement = Agreement(labels) if labels else None
    work = _work(arguments, store)
    check_places([], [store.folder])
    conditions_of = conditions_for(conditions, store)
    with store.alone(remark):
        campaign = _judge(*work, arguments, store, conditions_of) if work else stored(store)
        strangers = _strangers(arguments, conditions, labels, campaign.runs)
        notes = (*(conditions.notes if conditions else ()), *(one.sentence for one in strangers))
        summary = write_outputs(campaign, store, policy, conditions_of, agreement, notes, _given(arguments))
    remark(*notes)
    _report(campaign, summary, policy, store)
    if agreement:
        _show_agreement(agreement.as_table())
    doubtful = _show_doubts(summary, policy)
    return int(bool(campaign.every_failure or summary.failures) or doubtful or any(one.wholly for one in strangers))


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
        "adapt the model with transfer and certify again."
    )
    return True


def _strangers(
    arguments: argparse.Namespace, conditions: Conditions | None, labels: Labels | None, runs: Sequence[int]
) -> list[Stranger]:
    """Which of the files that were given are about other runs."""
    from hcal_root_ad.certify.strangers import stranger

    holds: dict[Path, Callable[[int], bool]] = {}
    if conditions and conditions.oms is not None:
        holds[arguments.oms] = conditions.oms.__contains__
    if conditions and conditions.selection is not None:
        holds[arguments.dcs] = conditions.selection.__contains__
    if labels:
        holds[arguments.labels] = labels.speaks_of
    found = (stranger(path, speaks_of, runs) for path, speaks_of in holds.items())
    return [one for one in found if one]


def _given(arguments: argparse.Namespace) -> list[Material]:
    """The files beside those of the runs."""
    from hcal_root_ad.provenance import file_material

    files = {name: getattr(arguments, name) for name in ("oms", "dcs", "labels", "mask")}
    return [file_material(name, path) for name, path in files.items() if path]


def _lumisection(text: str) -> tuple[int, int]:
    """Option type: RUN:LS."""
    run, colon, lumisection = text.partition(":")
    if not (colon and run.isdigit() and lumisection.isdigit()):
        raise argparse.ArgumentTypeError(f"expected RUN:LS, for example 370101:25, found {text}")
    return int(run), int(lumisection)


def _conditions(oms: Path | None, dcs: Path | None) -> Conditions | None:
    """What was given now, None if nothing was."""
    from hcal_root_ad.certify.conditions import Conditions
    from hcal_root_ad.certify.golden import read_selection
    from hcal_root_ad.certify.oms import read_oms

    if oms is None and dcs is None:
        return None
    runs, notes = read_oms(oms) if oms else (None, ())
    return Conditions(runs, read_selection(dcs) if dcs else None, notes)


def _work(arguments: argparse.Namespace, store: Store) -> tuple[CampaignJudging, tuple[InputFile, ...]] | None:
    """Who judges what; None where only what is stored is certified anew."""
    from hcal_root_ad.certify.dataset import campaign_files
    from hcal_root_ad.certify.items import judging_with
    from hcal_root_ad.certify.survey import KnownFiles
    from hcal_root_ad.mask import read_mask

    if arguments.inputs:
        mask = read_mask(arguments.mask) if arguments.mask else None
        judging = judging_with(arguments.model, arguments.false_alarms, arguments.without_reference, mask)
        known = KnownFiles(store.files).paths
        return judging, campaign_files(arguments.inputs, known, _resolver(store), store.folder)
    if not store.results():
        raise UsageError(f"{store.folder} holds no certified run yet; name the INPUT to judge.")
    return None


def _resolver(store: Store) -> Callable[[str], tuple[InputFile, ...]]:
    """Gives the paths or addresses of a name; what is named ``dials:RUN`` is fetched where it is not here yet."""
    from hcal_root_ad.harvest.dials_client import dials_run, fetch, open_client

    login = cache(open_client)

    def resolve(name: str) -> tuple[InputFile, ...]:
        wanted = dials_run(name)
        if wanted is None:
            return input_paths(name)
        path = store.folder / "dials" / wanted.file_name
        if not path.is_file():
            with progress(f"Fetching run {wanted.run} from DIALS") as report:
                fetch(wanted, path, login(), report)
        return (path,)

    return resolve


def _judge(
    judging: CampaignJudging,
    files: tuple[InputFile, ...],
    arguments: argparse.Namespace,
    store: Store,
    conditions_of: ConditionsOf,
) -> Campaign:
    """Judge what the files hold and is not judged yet."""
    from hcal_root_ad.certify.campaign import judge_all, look_at
    from hcal_root_ad.certify.engine import open_engine

    again = arguments.retry_failed
    with open_engine(arguments.workers, arguments.scheduler, arguments.condor, store.records) as engine:
        with progress("Looking at files") as report:
            found = look_at(files, store, engine, again, report)
        remark(*(f"{file.path} holds no lumisection: left out." for file in found if file.empty))
        start = perf_counter()
        with campaign_progress("Judging") as advance:
            campaign = judge_all(found, judging, conditions_of, store, engine, again, advance)
    if campaign.judged_now:
        seconds, new = perf_counter() - start, campaign.judged_now
        show(f"judged:    {new} LS in {seconds:.0f} s, {new / seconds:.1f} LS/s")
    return campaign


def _report(campaign: Campaign, summary: Summary, policy: Policy, store: Store) -> None:
    """How many lumisections are what, where everything lies, and what failed."""
    from rich.table import Table

    from hcal_root_ad.certify.certification import HCAL, Status
    from hcal_root_ad.certify.outputs import FLAGS, GOLDEN, REGISTRY, TABLE
    from hcal_root_ad.certify.policy import SUBDETECTORS

    runs = "1 run" if len(campaign.runs) == 1 else f"{len(campaign.runs)} runs"
    table = Table("LS", *Status, title=f"{runs}, policy {policy.label}", title_justify="left")
    for name in (*SUBDETECTORS, HCAL):
        table.add_row(name, *(str(summary.count(name, status)) for status in Status))
    show(table)
    for what, name in (("good LS", GOLDEN), ("ranges", REGISTRY), ("LS table", TABLE), ("flags", FLAGS)):
        show(f"{what + ':':<10} {store.folder / name}")
    failures = (*campaign.every_failure, *summary.failures)
    remark(*(f"failed: {failure.file}: {failure.sentence}" for failure in failures))
    if failures:
        remark(f"{len(failures)} could not be judged; once that is mended, try again with --retry-failed.")


def _show_agreement(table: Mapping[str, Any]) -> None:
    for row in table["counts"]:
        show(f"{row['here']:<8} here, {row['there']:<8} there: {row['lumisections']} LS")
    if table["compared"]:
        show(
            f"agreement: {table['agreed']} of {table['compared']} LS that both called good or bad, {table['share']:.2%}"
        )


def _explain(store: Store, run: int, lumisection: int, policy_name: str | None) -> int:
    """Say why, from what is stored: by the policy of the last certification, or the one that is given."""
    from hcal_root_ad.certify.certification import certify_run
    from hcal_root_ad.certify.explain import explanation
    from hcal_root_ad.certify.outputs import last_policy
    from hcal_root_ad.certify.policy import load_policy
    from hcal_root_ad.certify.store import known_run
    from hcal_root_ad.publish.saved_verdict import load_record

    record = load_record(known_run(store, run))
    policy = load_policy(policy_name) if policy_name else last_policy(store)
    show(*explanation(certify_run(record, policy, store.conditions(run)), lumisection))
    return 0
