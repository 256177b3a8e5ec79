"""The flags table as parquet through awkward: every flagged channel interval of a run, and of a campaign."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import awkward as ak
import pyarrow as pa
import pyarrow.parquet as pq

from hcal_root_ad.certify.items import Failure
from hcal_root_ad.judge.verdict import RunVerdict
from hcal_root_ad.publish.verdict_tables import COLUMNS, flag_rows

_TYPES = {
    "run": "int64", "ieta": "?int64", "iphi": "int64", "depth": "?int64", "rm": "?int64",
    "ls_first": "int64", "ls_last": "int64", "observed": "int64", "expected": "float64", "score": "float64",
}  # fmt: skip
FORM = "{" + ", ".join(f"{name}: {_TYPES.get(name, 'string')}" for name in COLUMNS) + "}"
"""Type of a row; ieta, depth and rm are missing where strips were judged."""


def flags_array(verdict: RunVerdict | None) -> ak.Array:
    """The flagged intervals of a run as an awkward array of records, in the order of the CSV table."""
    rows = flag_rows(verdict) if verdict else ()
    options = [name for name in COLUMNS if _TYPES.get(name, "").startswith("?")]
    records: list[dict[str, int | float | str | None]] = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    for record in records:
        record.update({name: None for name in options if record[name] == ""})
    return ak.enforce_type(ak.Array(records), FORM)


def write_flags_part(verdict: RunVerdict | None, path: Path) -> None:
    """Write the table of one run."""
    ak.to_parquet(flags_array(verdict), path, extensionarray=False)


def join_flags(parts: Iterable[Path], path: Path, words: Mapping[str, str]) -> list[Failure]:
    """Write the tables of many runs as one, a row group each; returns which of them could not be read.

    ``words`` go into the metadata of the file.
    """
    failures = []
    empty = ak.to_arrow_table(flags_array(None), extensionarray=False)
    schema = empty.schema.with_metadata({**(empty.schema.metadata or {}), **words})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        writer.write_table(empty.cast(schema))  # awkward does not read a file without any row group
        for part in parts:
            try:
                table: pa.Table = ak.to_arrow_table(ak.from_parquet(part), extensionarray=False).cast(schema)
            except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
                failures.append(Failure(part.name, f"The flags {part} cannot be read ({type(error).__name__})."))
                continue
            if len(table):
                writer.write_table(table)
    return failures
