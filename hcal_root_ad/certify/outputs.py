"""What a campaign writes, run by run: golden-style JSON, Run Registry ranges, tables, flags, and provenance."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hcal_root_ad.certify.agreement import REGISTRY_COLUMNS, TABLE, TABLE_COLUMNS, Agreement
from hcal_root_ad.certify.certification import HCAL, LumiFlag, RbxCounts, RunCertification, certify_run, comment
from hcal_root_ad.certify.policy import SUBDETECTORS, Policy, load_policy, policy_of
from hcal_root_ad.certify.store import Campaign, ConditionsOf, Failure, Store
from hcal_root_ad.conditions import QUANTITIES, golden_text
from hcal_root_ad.errors import InputError
from hcal_root_ad.files import plain_name, whole_file, write_text
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import rests_on
from hcal_root_ad.judge.views import COLUMNS as FLAG_COLUMNS
from hcal_root_ad.judge.views import flag_rows
from hcal_root_ad.lumi_maps import Range
from hcal_root_ad.provenance import INPUTS, Material, Option, Provenance, beside_table
from hcal_root_ad.publish.saved_verdict import RunRecord, load_record
from hcal_root_ad.tables import read_json, write_rows

GOLDEN, REGISTRY, PROVENANCE = "certification.json", "run_registry.json", "certification.provenance.json"
FLAGS, AGREEMENT = "flags.parquet", "agreement.json"

_TYPES = {
    "run": "int64", "ieta": "?int64", "iphi": "int64", "depth": "?int64", "rm": "?int64",
    "ls_first": "int64", "ls_last": "int64", "observed": "int64", "expected": "float64", "score": "float64",
}  # fmt: skip
FLAGS_FORM = "{" + ", ".join(f"{name}: {_TYPES.get(name, 'string')}" for name in FLAG_COLUMNS) + "}"
"""awkward type of a row of flags; ieta, depth and rm are missing where strips were judged."""


@dataclass(frozen=True)
class Summary:
    """How many lumisections have which status, by sub-detector and HCAL; ``good`` ranges by run.

    ``causes``: how many lumisections have which status of HCAL for which cause.
    ``untrusted``: by run, the sub-detectors that decide and are not trusted, each with what its verdict rests on.
    ``failures``: runs whose record or flags cannot be read.
    """

    statuses: Counter[tuple[str, str]]
    good: dict[int, list[Range]]
    untrusted: dict[int, dict[str, str]]
    causes: Counter[tuple[str, str]] = field(default_factory=Counter)
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
    side_files: Sequence[Material] = (),
) -> Summary:
    """Certify every run of a campaign by its record, and write what the folder of a campaign holds.

    Equal records, conditions and policy give equal bytes. ``agreement`` counts along. ``side_files``: the
    other files that were read, for the provenance. One run is in memory at a time. A run whose record cannot be read is
    a failure of the summary, and is judged again when its files are given again.

    Raises:
        OutputError: the folder cannot be written.
    """
    summary = Summary(Counter(), {}, {})
    registry: dict[str, list[dict[str, Any]]] = {}
    runs: dict[str, dict[str, Any]] = {}
    judged: list[Provenance] = []
    with whole_file(store.folder / TABLE) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, [TABLE_COLUMNS])
        for run in _certified(campaign, store, policy, conditions_of, summary.failures):
            write_rows(file, lumisection_rows(run))
            summary.good[run.run] = run.good()
            if run.untrusted:
                summary.untrusted[run.run] = run.untrusted
            summary.statuses.update((of, str(flag.status)) for of, flags in run.flags.items() for flag in flags)
            summary.causes.update((str(flag.status), flag.cause) for flag in run.flags[HCAL])
            registry[str(run.run)] = registry_ranges(run)
            runs[str(run.run)] = _origin(run.record)
            judged += [run.record.provenance] if run.record.provenance else []
            if agreement:
                agreement.add(run)
    provenance = _made_of(campaign, policy, judged, side_files)
    write_text(store.folder / REGISTRY, json.dumps(registry, indent=1) + "\n")
    flags_of_runs = [store.flags(run) for run in summary.good]
    with whole_file(store.folder / FLAGS) as partial:
        summary.failures.extend(join_flags(flags_of_runs, partial, {"policy": policy.label, "program": _program()}))
    campaign = replace(campaign, failures=(*campaign.failures, *summary.failures))
    if agreement:
        counts = {"policy": policy.label, **agreement.as_table()}
        write_text(store.folder / AGREEMENT, json.dumps(counts, indent=1) + "\n")
    golden = golden_text(summary.good)
    outputs = [store.folder / name for name in (TABLE, REGISTRY, FLAGS, *([AGREEMENT] if agreement else []))]
    table = {
        "program": _program(),
        "policy": {"label": policy.label, "digest": policy.digest, **policy.as_table()},
        "notes": list(notes),
        "failed": [asdict(failure) for failure in campaign.every_failure],
        "runs": runs,
        **beside_table(provenance, store.folder, outputs),
    }
    table["outputs"][GOLDEN] = hashlib.sha256(golden.encode()).hexdigest()
    write_text(store.folder / PROVENANCE, json.dumps(table, indent=1) + "\n")
    write_text(store.folder / GOLDEN, golden)
    return summary


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


def registry_ranges(run: RunCertification) -> list[dict[str, Any]]:
    """The ranges of one run as the Run Registry gives them: ``start``, ``end``, and a flag for each column.

    Form of the ``runregistry`` client's ``get_lumisection_ranges``; a flag has status, cause and comment.
    """

    def flag(of: str, own: LumiFlag, first: int, last: int) -> dict[str, str]:
        return {"status": str(own.status), "cause": own.cause, "comment": comment(run, of, first, last)}

    return [
        {
            "start": first,
            "end": last,
            **{REGISTRY_COLUMNS[of]: flag(of, flags[of], first, last) for of in REGISTRY_COLUMNS},
        }
        for first, last, flags in run.stretches()
    ]


def lumisection_rows(run: RunCertification) -> Iterator[tuple[object, ...]]:
    """Every lumisection of a run as a row, in the order of :data:`TABLE_COLUMNS`; what is not known is empty."""
    quantities = [run.conditions.quantity(name, run.lumisections) for name in QUANTITIES]
    counts = {name: _channel_counts(run.counts[name], len(run.lumisections)) for name in SUBDETECTORS}
    lost = {name: _lost(run, name) for name in SUBDETECTORS}
    trusts = {
        name: ", ".join(dict.fromkeys(rests_on(each.trust, each.trust_reason) for each in run.counts[name]))
        for name in SUBDETECTORS
    }
    for row, lumisection in enumerate(run.lumisections.tolist()):
        hcal = run.flags[HCAL][row]
        numbers = [
            entry
            for name in SUBDETECTORS
            for entry in (*counts[name][row].tolist(), lost[name].get(row, ""), trusts[name])
        ]
        yield (
            run.run, lumisection, str(hcal.status), hcal.cause,
            *(str(run.flags[name][row].status) for name in SUBDETECTORS),
            int(run.events[row]), *(_number(values[row]) for values in quantities), *numbers, run.policy.label,
        )  # fmt: skip


def _channel_counts(counts: tuple[RbxCounts, ...], length: int) -> NDArray[np.int64]:
    """(LS, 3) channels judged, bad, and problematic or bad, in the first component."""
    if not counts:
        return np.zeros((length, 3), dtype=np.int64)
    first = counts[0]
    return np.stack([first.judged.sum(axis=1), first.bad.sum(axis=1), first.problematic.sum(axis=1)], axis=1)


def _lost(run: RunCertification, name: str) -> dict[int, str]:
    """Names of the RBX that are lost, by row; only rows with such."""
    names: dict[int, dict[str, None]] = {}
    for component in run.counts[name]:
        for row, column in np.argwhere(component.lost(run.policy.rules[name])).tolist():
            names.setdefault(row, {})[component.rbx[column]] = None
    return {row: " ".join(of_row) for row, of_row in names.items()}


def _number(value: np.floating) -> str:
    return "" if np.isnan(value) else f"{value:g}"


def flags_array(verdict: RunVerdict | None) -> ak.Array:
    """The flagged intervals of a run as an awkward array of records, in the order of the CSV table."""
    rows = flag_rows(verdict) if verdict else ()
    options = [name for name in FLAG_COLUMNS if _TYPES.get(name, "").startswith("?")]
    records: list[dict[str, int | float | str | None]] = [dict(zip(FLAG_COLUMNS, row, strict=True)) for row in rows]
    for record in records:
        record.update({name: None for name in options if record[name] == ""})
    return ak.enforce_type(ak.Array(records), FLAGS_FORM)


def write_run_flags(verdict: RunVerdict | None, path: Path) -> None:
    """Write the flagged intervals of one run as parquet."""
    ak.to_parquet(flags_array(verdict), path, extensionarray=False)


def join_flags(paths: Iterable[Path], joined: Path, metadata: Mapping[str, str]) -> list[Failure]:
    """Write the flags of many runs as one parquet file, a row group each; returns which of them could not be read."""
    failures = []
    empty = ak.to_arrow_table(flags_array(None), extensionarray=False)
    schema = empty.schema.with_metadata({**(empty.schema.metadata or {}), **metadata})
    with pq.ParquetWriter(joined, schema, compression="zstd") as writer:
        writer.write_table(empty.cast(schema))  # awkward does not read a file without any row group
        for path in paths:
            try:
                table: pa.Table = ak.to_arrow_table(ak.from_parquet(path), extensionarray=False).cast(schema)
            except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
                failures.append(Failure(path.name, f"The flags {path} cannot be read ({type(error).__name__})."))
                continue
            if len(table):
                writer.write_table(table)
    return failures


def _made_of(
    campaign: Campaign, policy: Policy, judged: Sequence[Provenance], side_files: Sequence[Material]
) -> Provenance:
    """Where the whole campaign comes from: its files, what its runs were judged with, the policy, and side files."""
    surveyed = [file for item in campaign.items for file in item.files]
    # A file elsewhere has no digest, and its address stays where it is.
    files = sorted({(plain_name(file.file.name), file.digest if isinstance(file.file, Path) else "", file.size)
                    for file in surveyed})  # fmt: skip
    others = (material for run in judged for material in run.materials if material.role != INPUTS)
    options: dict[str, Option] = {}
    for run in judged:
        options |= run.options
    inputs = (Material(INPUTS, *file) for file in files)
    rules = Material("policy", policy.name, policy.digest)
    return Provenance("certify", (*inputs, *dict.fromkeys(others), rules, *side_files), options)


def _origin(record: RunRecord) -> dict[str, Any]:
    """What a run was judged from and with."""
    return {
        "files": [{"name": source.name, "sha256": source.sha256} for source in record.sources],
        "definition": record.definition,
        "judges": {
            part.name: f"{part.judge.name} {part.judge.version} {part.judge.digest}".strip() for part in record.parts
        },
        "trust": {
            part.name: {"trust": str(part.trust), "reason": part.trust_reason, "sensitivity": part.sensitivity}
            for part in record.parts
        },
        "open_findings": list(record.open_findings),
        "program": record.program,
        "notes": list(record.notes),
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
