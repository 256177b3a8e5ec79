"""What a campaign writes, run by run: golden-style JSON, Run Registry ranges, tables, and where they come from."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hcal_root_ad.certify.campaign import Campaign
from hcal_root_ad.certify.certification import RunCertification, certify_run
from hcal_root_ad.certify.flags import join_flags
from hcal_root_ad.certify.golden import golden_text
from hcal_root_ad.certify.items import ConditionsOf
from hcal_root_ad.certify.labels import Agreement
from hcal_root_ad.certify.lumisections import COLUMNS, lumisection_rows
from hcal_root_ad.certify.policy import Policy, load_policy, policy_of
from hcal_root_ad.certify.run_registry import registry_ranges
from hcal_root_ad.certify.store import Store
from hcal_root_ad.certify.survey import Surveyed
from hcal_root_ad.errors import InputError
from hcal_root_ad.files import whole_file, write_text
from hcal_root_ad.lumi_ranges import Range
from hcal_root_ad.publish.provenance import INPUTS, Material, Option, Provenance
from hcal_root_ad.publish.provenance_beside import beside_table
from hcal_root_ad.publish.record import RunRecord, load_record

GOLDEN, REGISTRY, PROVENANCE = "certification.json", "run_registry.json", "certification.provenance.json"
TABLE, FLAGS, AGREEMENT = "lumisections.csv", "flags.parquet", "agreement.json"


@dataclass(frozen=True)
class Summary:
    """How many lumisections have which status, by sub-detector and HCAL; ``good`` ranges by run.

    ``untrusted``: by run, the sub-detectors that decide and are not trusted, each with what its verdict rests on.
    """

    statuses: Counter[tuple[str, str]]
    good: dict[int, list[Range]]
    untrusted: dict[int, dict[str, str]]

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
    other files that were read, for the provenance. One run is in memory at a time.

    Raises:
        InputError: a record is damaged. OutputError: the folder cannot be written.
    """
    summary = Summary(Counter(), {}, {})
    registry: dict[str, list[dict[str, Any]]] = {}
    runs: dict[str, dict[str, Any]] = {}
    judged: list[Provenance] = []
    with whole_file(store.folder / TABLE) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for run in _certified(campaign, store, policy, conditions_of):
            writer.writerows(lumisection_rows(run))
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
    parts = (store.flags(run) for run in campaign.runs)
    with whole_file(store.folder / FLAGS) as partial:
        join_flags(parts, partial, {"policy": policy.label, "program": _program()})
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
    files = sorted({(one.file.name, _sha256(one), one.size) for item in campaign.items for one in item.files})
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
    campaign: Campaign, store: Store, policy: Policy, conditions_of: ConditionsOf
) -> Iterator[RunCertification]:
    for run in campaign.runs:
        conditions = conditions_of(run)
        store.keep_conditions(run, conditions)
        yield certify_run(load_record(store.record(run)), policy, conditions)


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
    try:
        table = json.loads(path.read_text(encoding="utf-8"))["policy"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged; certify again, or name a --policy.") from error
    return policy_of({key: value for key, value in table.items() if key not in ("label", "digest")}, str(path))
