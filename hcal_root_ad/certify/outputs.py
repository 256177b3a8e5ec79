"""What a campaign writes, run by run: golden-style JSON, Run Registry ranges, tables, and where they come from."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hcal_root_ad.certify.campaign import Campaign
from hcal_root_ad.certify.certification import RunCertification, certify_run
from hcal_root_ad.certify.flags import join_flags
from hcal_root_ad.certify.golden import golden_text
from hcal_root_ad.certify.items import ConditionsOf, Failure
from hcal_root_ad.certify.labels import Agreement
from hcal_root_ad.certify.lumisections import COLUMNS, lumisection_rows
from hcal_root_ad.certify.policy import Policy, load_policy, policy_of
from hcal_root_ad.certify.run_registry import registry_ranges
from hcal_root_ad.certify.store import Store
from hcal_root_ad.certify.survey import Surveyed
from hcal_root_ad.errors import InputError
from hcal_root_ad.files import plain_name, whole_file, write_text
from hcal_root_ad.lumi_ranges import Range
from hcal_root_ad.provenance import INPUTS, Material, Option, Provenance, beside_table
from hcal_root_ad.publish.saved_verdict import RunRecord, load_record
from hcal_root_ad.tables import read_json, write_rows

GOLDEN, REGISTRY, PROVENANCE = "certification.json", "run_registry.json", "certification.provenance.json"
TABLE, FLAGS, AGREEMENT = "lumisections.csv", "flags.parquet", "agreement.json"


@dataclass(frozen=True)
class Summary:
    """How many lumisections have which status, by sub-detector and HCAL; ``good`` ranges by run.

    ``untrusted``: by run, the sub-detectors that decide and are not trusted, each with what its verdict rests on.
    ``failures``: runs of which what is kept cannot be read.
    """

    statuses: Counter[tuple[str, str]]
    good: dict[int, list[Range]]
    untrusted: dict[int, dict[str, str]]
    failures: list[Failure] = field(default_factory=list)

    def count(self, of: str, status: str) -> int:
        return self.statuses[of, status]


def write_outputs(
    campaign: Campaign,
    store: Store,
    policy: Policy,
    conditions_of: ConditionsOf,
    agreement: Agreement | None = None,
    notes: Sequence[str] = (),
    given: Sequence[Material] = (),
) -> Summary:
    """Certify every run of a campaign by its record, and write what the folder of a campaign holds.

    Equal records, conditions and policy give equal bytes. ``agreement`` counts along. ``given``: the
    other files that were read, for the provenance. One run is in memory at a time. A run whose record cannot be read is
    a failure of the summary, and is judged anew when its files are given again.

    Raises:
        OutputError: the folder cannot be written.
    """
    summary = Summary(Counter(), {}, {})
    registry: dict[str, list[dict[str, Any]]] = {}
    runs: dict[str, dict[str, Any]] = {}
    judged: list[Provenance] = []
    with whole_file(store.folder / TABLE) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, [COLUMNS])
        for run in _certified(campaign, store, policy, conditions_of, summary.failures):
            write_rows(file, lumisection_rows(run))
            summary.good[run.run] = run.good()
            if run.untrusted:
                summary.untrusted[run.run] = run.untrusted
            summary.statuses.update((of, str(one.status)) for of, rulings in run.rulings.items() for one in rulings)
            registry[str(run.run)] = registry_ranges(run)
            runs[str(run.run)] = _origin(run.record)
            judged += [run.record.provenance] if run.record.provenance else []
            if agreement:
                agreement.add(run)
    provenance = _made_of(campaign, policy, judged, given)
    write_text(store.folder / REGISTRY, json.dumps(registry, indent=1) + "\n")
    parts = [store.flags(run) for run in summary.good]
    with whole_file(store.folder / FLAGS) as partial:
        summary.failures.extend(join_flags(parts, partial, {"policy": policy.label, "program": _program()}))
    campaign = replace(campaign, failures=(*campaign.failures, *summary.failures))
    if agreement:
        write_text(
            store.folder / AGREEMENT, json.dumps({"policy": policy.label, **agreement.as_table()}, indent=1) + "\n"
        )
    golden = golden_text(summary.good)
    outputs = [store.folder / name for name in (TABLE, REGISTRY, FLAGS, *([AGREEMENT] if agreement else []))]
    table = _provenance(campaign, policy, runs, notes) | beside_table(provenance, store.folder, outputs)
    table["outputs"][GOLDEN] = hashlib.sha256(golden.encode()).hexdigest()
    write_text(store.folder / PROVENANCE, json.dumps(table, indent=1) + "\n")
    write_text(store.folder / GOLDEN, golden)
    return summary


def _made_of(campaign: Campaign, policy: Policy, judged: Sequence[Provenance], given: Sequence[Material]) -> Provenance:
    """Where the whole campaign comes from: its files, what its runs were judged with, policy, and what was given."""
    surveyed = [file for item in campaign.items for file in item.files]
    files = sorted({(plain_name(file.file.name), _sha256(file), file.size) for file in surveyed})
    others = (material for one in judged for material in one.materials if material.role != INPUTS)
    options: dict[str, Option] = {}
    for one in judged:
        options |= one.options
    inputs = (Material(INPUTS, *file) for file in files)
    rule = Material("policy", policy.name, policy.digest)
    return Provenance("certify", (*inputs, *dict.fromkeys(others), rule, *given), options)


def _sha256(file: Surveyed) -> str:
    """The digest of a file here; a file elsewhere has none, and its address stays where it is."""
    return file.digest if isinstance(file.file, Path) else ""


def _certified(
    campaign: Campaign, store: Store, policy: Policy, conditions_of: ConditionsOf, failures: list[Failure]
) -> Iterator[RunCertification]:
    for run in campaign.runs:
        try:
            conditions, record = conditions_of(run), load_record(store.record(run))
        except InputError as error:
            failures.append(Failure(store.record(run).name, str(error)))
            store.judge_anew(run)
            continue
        store.keep_conditions(run, conditions)
        yield certify_run(record, policy, conditions)


def _origin(record: RunRecord) -> dict[str, Any]:
    """What a run was judged from and with."""
    judges = {part.name: f"{part.judge.name} {part.judge.version} {part.judge.digest}".strip() for part in record.parts}
    files = [{"name": source.name, "sha256": source.sha256} for source in record.sources]
    trust = {
        part.name: {"trust": str(part.trust), "reason": part.trust_reason, "sensitivity": part.sensitivity}
        for part in record.parts
    }
    return {"files": files, "definition": record.definition, "judges": judges, "trust": trust,
            "program": record.program, "notes": list(record.notes)}  # fmt: skip


def _provenance(
    campaign: Campaign, policy: Policy, runs: dict[str, dict[str, Any]], notes: Sequence[str]
) -> dict[str, Any]:
    return {
        "program": _program(),
        "policy": {"label": policy.label, "digest": policy.digest, **policy.as_table()},
        "notes": list(notes),
        "failed": [asdict(failure) for failure in campaign.every_failure],
        "runs": runs,
    }


def _program() -> str:
    return f"hcal-root-ad {version('hcal-root-ad')}"


def last_policy(store: Store) -> Policy:
    """The policy of the last certification in a campaign's folder; the standard one if there was none.

    Raises:
        InputError: the provenance file is damaged. PolicyError: it holds no policy as this version writes it.
    """
    path = store.folder / PROVENANCE
    if not path.is_file():
        return load_policy()
    table = read_json(path, "provenance")
    policy = table.get("policy") if isinstance(table, dict) else None
    if not isinstance(policy, dict):
        raise InputError(f"{path} is damaged; certify again, or name a --policy.")
    return policy_of({key: value for key, value in policy.items() if key not in ("label", "digest")}, str(path))
