"""A verdict as scripts want it: tables (Arrow, awkward, pandas) and histograms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hcal_root_ad.detector import N_IPHI, SUBDET_PM, box_name
from hcal_root_ad.errors import UsageError
from hcal_root_ad.histograms import AXES, Names, Numbers, channel_histogram, strongest, total, worst
from hcal_root_ad.judge.aggregate import (
    boxes_of,
    channel_sums,
    count_by_channel,
    flagged_fraction,
    judged,
    strongest_scores,
    worst_state,
)
from hcal_root_ad.judge.verdict import (
    Finding,
    Interval,
    RunParts,
    StripVerdict,
    Verdict,
    how_sure,
    rests_on,
)

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = (
    "run", "subdetector", "ieta", "iphi", "depth", "rbx", "rm", "kind",
    "ls_first", "ls_last", "observed", "expected", "score", "group", "trust",
)  # fmt: skip
"""Of the table of intervals."""
Row = tuple[int | float | str, ...]
TABLES = ("findings", "intervals", "channels")
QUANTITIES = {"observed": total, "expected": total, "score": strongest, "states": worst}
"""What histograms hold, and how values of one bin are put together."""


def table_of(run: RunParts, name: str) -> pa.Table:
    """``findings``, ``intervals`` or ``channels`` of a run, one row each, with the names of the readout in columns.

    Raises:
        UsageError: there is no such table.
    """
    if name not in TABLES:
        raise UsageError(f"there is no table {name!r} of a verdict; there are {', '.join(TABLES)}.")
    return {"findings": _findings, "intervals": _intervals, "channels": _channels}[name](run)


def pandas_of(run: RunParts, name: str) -> Any:
    """As :func:`table_of`, as a pandas DataFrame.

    Raises:
        UsageError: pandas is not installed, or there is no such table.
    """
    try:
        return table_of(run, name).to_pandas()
    except ImportError as error:
        raise UsageError("pandas is not installed; pip install pandas, or take to_arrow or to_awkward.") from error


def awkward_of(run: RunParts, name: str) -> Any:
    """As :func:`table_of`, as an awkward array of records."""
    import awkward as ak
    import pyarrow as pa

    table = table_of(run, name)
    fields = [
        field.with_nullable(table[field.name].null_count > 0) for field in table.schema
    ]  # no options where no gaps
    return ak.from_arrow(table.cast(pa.schema(fields)))


def _findings(run: RunParts) -> pa.Table:
    import pyarrow as pa

    trust = {one.subdetector: one.trust for one in run.judged if isinstance(one, Verdict)}
    rows = [
        {
            "run": run.maps.run, "subdetector": one.subdetector, "level": str(one.level), "unit": one.unit,
            "rbx": _box(one), "kind": str(one.kind), "state": int(one.state), "ls_first": one.first,
            "ls_last": one.last, "ranges": [list(pair) for pair in one.ranges], "lumisections": one.lumisections,
            "duty": one.duty, "channels": one.channels, "observed": one.observed, "expected": float(one.expected),
            "size": float(one.size), "size_error": float(one.size_error), "significance": float(one.significance),
            "sure": how_sure(one), "trust": str(trust.get(one.subdetector, run.trust)),
        }
        for one, _ in run.every_finding
    ]  # fmt: skip
    small, whole, real, text = pa.int32(), pa.int64(), pa.float64(), pa.string()
    kinds = {
        "run": whole, "subdetector": text, "level": text, "unit": text, "rbx": text, "kind": text, "state": pa.int8(),
        "ls_first": small, "ls_last": small, "ranges": pa.list_(pa.list_(small, 2)), "lumisections": small,
        "duty": real, "channels": small, "observed": whole, "expected": real, "size": real, "size_error": real,
        "significance": real, "sure": text, "trust": text,
    }  # fmt: skip
    return pa.Table.from_pylist(rows, schema=pa.schema(kinds))


_TEXTS = ("subdetector", "rbx", "kind", "group", "trust")


def _box(finding: Finding) -> str:
    """Readout box in which a finding lies, by its name; "" where it is larger."""
    head = finding.unit.partition("-")[0]
    return head if head[:3] in SUBDET_PM and head[3:].isdigit() else ""


def flag_rows(run: RunParts) -> Iterator[Row]:
    """The intervals of a run, in the order of :data:`COLUMNS`; "" where there is none."""
    for verdict in run.verdicts:
        for interval in _in_order(verdict):
            yield (
                run.maps.run,
                *_channel(verdict, interval.channel),
                *_numbers(interval),
                rests_on(verdict.trust, verdict.trust_reason),
            )
    if run.strips:
        for interval in _in_order(run.strips):
            yield (run.maps.run, *_strip(run.strips, interval.channel), *_numbers(interval), str(run.strips.trust))


def _in_order(verdict: Verdict | StripVerdict) -> list[Interval]:
    return sorted(verdict.intervals, key=lambda interval: (interval.first, interval.channel))


def _channel(verdict: Verdict, row: int) -> Row:
    table = verdict.channels
    place = (int(table.ieta[row]), int(table.iphi[row]), int(table.depth[row]))
    box = table.box_name(row) if table.rbx[row] else ""
    return (verdict.subdetector, *place, box, int(table.rm[row]) or "")


def _strip(strips: StripVerdict, column: int) -> Row:
    box = box_name(int(boxes_of(strips)[column]))
    return (box[:2], "", column % N_IPHI + 1, "", box, "")


def _numbers(interval: Interval) -> Row:
    expected, score = round(float(interval.expected), 2), round(float(interval.score), 2)
    return (str(interval.kind), interval.first, interval.last, interval.observed, expected, score, interval.group)


def _intervals(run: RunParts) -> pa.Table:
    import pyarrow as pa

    columns: list[list[Any]] = [list(column) for column in zip(*flag_rows(run), strict=True)] or [[] for _ in COLUMNS]
    arrays = {}
    for name, values in zip(COLUMNS, columns, strict=True):
        text, real = name in _TEXTS, name in ("expected", "score")
        kind = pa.string() if text else pa.float64() if real else pa.int64()
        arrays[name] = pa.array(values if text else [None if value == "" else value for value in values], kind)
    return pa.table(arrays)


def _channels(run: RunParts) -> pa.Table:
    import pyarrow as pa

    parts = [_channels_of(run, verdict) for verdict in run.verdicts]
    if not parts:
        raise UsageError(f"run {run.maps.run} was judged in strips, not by channel; take the findings.")
    return pa.concat_tables(parts)


def _channels_of(run: RunParts, verdict: Verdict) -> pa.Table:
    import pyarrow as pa

    table, sums = verdict.channels, channel_sums(verdict)
    size = len(table)
    numbers = {name: getattr(table, name) for name in ("ieta", "iphi", "depth")}
    boxes = [table.box_name(row) if table.rbx[row] else "" for row in range(size)]
    readout = {name: getattr(table, name) for name in ("rm", "card", "crate", "slot", "fed")}
    return pa.table(
        {
            "run": np.full(size, run.maps.run), "subdetector": [verdict.subdetector] * size, **numbers, "rbx": boxes,
            **{name: pa.array(values, mask=values == 0) for name, values in readout.items()},
            "state": worst_state(verdict.states), "judged": count_by_channel(verdict.states, judged),
            "flagged": flagged_fraction(verdict), "observed": sums.observed.astype(np.int64),
            "expected": sums.expected, "score": strongest_scores(verdict),
        }
    )  # fmt: skip


def histogram_of(
    run: RunParts, quantity: str, axes: Sequence[str], subdetector: Names, ls: Numbers, cells: Mapping[str, Numbers]
) -> Any:
    """A quantity of :data:`QUANTITIES` of a verdict as ``hist.Hist``; see :meth:`LumiMaps.to_hist` for the axes.

    Raises:
        UsageError: nothing of that is there, or the run was not judged by channel and lumisection.
    """
    if quantity not in QUANTITIES:
        raise UsageError(f"there is no quantity {quantity!r} of a verdict; there are {', '.join(QUANTITIES)}.")
    names = [subdetector] if isinstance(subdetector, str) else subdetector and list(subdetector)
    parts = [one for one in run.verdicts if one.subdetector in (names or ("HB", "HE"))] or list(run.verdicts)[:1]
    if not parts:
        raise UsageError(f"run {run.maps.run} was judged in strips, not by channel; there is no such histogram.")
    if any(len(part.lumisections) != len(parts[0].lumisections) for part in parts):
        raise UsageError(f"run {run.maps.run}: its sub-detectors were judged differently; choose one.")
    channels = run.maps.channels
    values = np.zeros((len(parts[0].states), len(channels)), dtype=getattr(parts[0], quantity).dtype)
    for part in parts:
        values[:, channels.rows_of(part.subdetector)] = getattr(part, quantity)
    whole = parts[0].granularity == "run"
    lumisections = parts[0].lumisections[:1] if whole else parts[0].lumisections
    wanted = tuple(axes) or (tuple(name for name in AXES[1:] if not isinstance(cells.get(name), int)) if whole else ())
    of = [part.subdetector for part in parts]
    return channel_histogram(
        channels, values, lumisections, wanted, subdetector=of, ls=None if whole else ls, cells=cells,
        together=QUANTITIES[quantity], label=quantity,
    )  # fmt: skip
