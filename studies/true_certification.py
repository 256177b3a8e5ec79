"""What a policy says of a simulated run by its truth: the record that a judge without error would have made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_DEPTH, N_DQM_IETA, N_IPHI, ChannelTable, channel_table
from hcal_root_ad.judge.aggregate import modules_of, sum_by_box, unit_states
from hcal_root_ad.judge.findings import DEAD_BELOW, HOT_ABOVE
from hcal_root_ad.judge.verdict import ModelInfo, State
from hcal_root_ad.lumi_maps import Range, ranges_of
from hcal_root_ad.model.counts import MINIMUM_EVENTS
from hcal_root_ad.publish.saved_verdict import PartRecord, RunRecord

Truth = Mapping[str, Any]
"""What ``simulate`` writes as ``run<N>_truth.json``."""


def read_truth(path: Path) -> Truth:
    """The truth of a simulated run."""
    truth: Truth = json.loads(path.read_text(encoding="utf-8"))
    return truth


def true_record(truth: Truth) -> RunRecord:
    """The record of a simulated run by its truth; it has no findings, maps and forecasts."""
    lumisections = np.arange(1, truth["lumisections"] + 1, dtype=np.int32)
    events = np.array(truth["events"], dtype=np.int64)
    table = channel_table(truth["era"]).select("HB", "HE")
    states = true_states(truth, table)
    parts = []
    for name in ("HB", "HE"):
        rows = table.rows_of(name)
        parts.append(_part(name, states[:, rows], table.take(rows)))
    return RunRecord(truth["run"], "truth", lumisections, events, (), (), "truth", tuple(parts))


def true_states(truth: Truth, table: ChannelTable) -> NDArray[np.uint8]:
    """(LS, channels) states as the faults are: bad if dead, hot or noisy, problematic with any other factor."""
    row_of = {cell: row for row, cell in enumerate(_cells(table))}
    states = np.full((truth["lumisections"], len(table)), State.GOOD, dtype=np.uint8)
    for fault in truth["faults"]:
        rows = np.array([row_of[name, ieta, iphi, depth] for name, ieta, iphi, depth in fault["channels"]])
        inside = np.arange(fault["first_ls"] - 1, fault["last_ls"])
        factor, added = (np.broadcast_to(fault[key], len(inside)) for key in ("factor", "added"))
        bad = (factor <= DEAD_BELOW) | (factor >= HOT_ABOVE) | (added > 0)
        state = np.select([bad, factor != 1], [State.BAD, State.PROBLEMATIC], State.GOOD).astype(np.uint8)
        cells = np.ix_(inside, rows)
        states[cells] = np.maximum(states[cells], state[:, None])
    dark = np.array(truth["events"]) < MINIMUM_EVENTS
    dark[np.array(truth["no_collisions_ls"], dtype=np.intp) - 1] = True
    states[dark] = State.NOT_ASSESSED
    masked = [row_of[tuple(cell)] for cell in truth["masked"] if tuple(cell) in row_of]
    states[:, masked] = State.NOT_CONNECTED
    states[:, ~table.instrumented] = State.NOT_CONNECTED
    return states


def near_edges(truth: Truth, reach: int = 1) -> list[Range]:
    """Lumisections within ``reach`` of the first or last LS of a fault."""
    edges = (fault[key] for fault in truth["faults"] for key in ("first_ls", "last_ls"))
    return ranges_of(ls for edge in edges for ls in range(edge - reach, edge + reach + 1))


def _cells(table: ChannelTable) -> list[tuple[str, int, int, int]]:
    columns = (table.names, table.ieta.tolist(), table.iphi.tolist(), table.depth.tolist())
    return list(zip(*columns, strict=True))


def _part(name: str, states: NDArray[np.uint8], channels: ChannelTable) -> PartRecord:
    boxes = channels.box.astype(np.intp)
    counts = {
        "judged": sum_by_box(states >= State.GOOD, boxes),
        "problematic": sum_by_box(states == State.PROBLEMATIC, boxes),
        "bad": sum_by_box(states == State.BAD, boxes),
    }
    nothing, empty = np.zeros((0, len(states)), dtype=np.float32), np.zeros((N_DEPTH, N_DQM_IETA, N_IPHI), np.float32)
    return PartRecord(
        name=name,
        granularity="lumisection",
        judge=ModelInfo("truth", "", "", 0.0, 0.0),
        assessed=np.asarray((states >= State.GOOD).any(axis=1)),
        judged=counts["judged"].astype(np.int32),
        problematic=counts["problematic"].astype(np.int32),
        bad=counts["bad"].astype(np.int32),
        box_states=unit_states(states, boxes, modules_of(channels)),
        findings=(),
        finding_observed=nothing,
        finding_expected=nothing,
        worst=empty.astype(np.uint8),
        fraction=empty,
        observed=empty,
        expected=empty,
        score=empty,
    )
