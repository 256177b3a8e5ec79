"""From (LS, channel) to what people look at: boxes against LS, maps per depth, counts by kind, states of boxes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hcal_root_ad.detector import N_DEPTH, N_DQM_IETA, N_IPHI, N_RBX, SUBDET_PM, ChannelTable, rbx_of
from hcal_root_ad.judge.verdict import Group, Interval, Kind, RunVerdict, State, StripVerdict, Verdict

Array = NDArray[Any]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
States = NDArray[np.uint8]

LOSSES = (Kind.DEAD, Kind.DEGRADED)
"""Kinds with fewer digis than expected; the others have more."""
N_BOXES = len(SUBDET_PM) * N_RBX
BAD_SHARE = 0.25
"""A readout box is BAD from this share of bad channels on: one of its four modules."""


def axis_length(run: RunVerdict) -> int:
    """Last lumisection of the run, and so the length of an axis from LS 1."""
    return int(run.maps.lumisections.max(initial=1))


def on_axis(values: ArrayLike, lumisections: NDArray[np.int32], length: int, missing: float = 0) -> Array:
    """Rows of (LS, …) values moved to row LS − 1 of an axis from LS 1; LS that are not there are ``missing``."""
    values = np.asarray(values)
    spread = np.full((length, *values.shape[1:]), missing, dtype=values.dtype)
    spread[lumisections - 1] = values
    return spread


def judged(states: States) -> NDArray[np.bool_]:
    """Which (LS, channel) pairs were judged: connected, and assessed."""
    return states >= State.GOOD


def flagged(states: States) -> NDArray[np.bool_]:
    """Which (LS, channel) pairs are problematic or bad."""
    return states >= State.PROBLEMATIC


def worst_state(states: States, axis: int = 0) -> States:
    """The highest state along an axis; what is masked whenever it is not assessed counts as not connected."""
    highest = states.max(axis=axis)
    masked = (highest == State.NOT_ASSESSED) & (states.min(axis=axis) == State.NOT_CONNECTED)
    return np.where(masked, State.NOT_CONNECTED, highest).astype(np.uint8)


def depth_maps(channels: ChannelTable, values: ArrayLike) -> Floats:
    """(channels,) values as (7, 84, 72) maps on the DQM axes; cells without a channel are 0."""
    maps = np.zeros((N_DEPTH, N_DQM_IETA, N_IPHI))
    maps[channels.depth - 1, channels.dqm_x, channels.dqm_y] = values
    return maps


def boxes_of(verdict: Verdict | StripVerdict) -> NDArray[np.intp]:
    """Readout box 0…71 of every column."""
    if isinstance(verdict, Verdict):
        return verdict.channels.box.astype(np.intp)
    half, iphi = np.divmod(np.arange(len(SUBDET_PM) * N_IPHI), N_IPHI)
    return np.asarray(half * N_RBX + rbx_of(iphi + 1) - 1, dtype=np.intp)


def sum_by_box(values: Array, boxes: NDArray[np.intp]) -> Floats:
    """(LS, columns) values summed to (LS, 72 boxes)."""
    sums = np.zeros((len(values), N_BOXES))
    for box in np.unique(boxes):
        sums[:, box] = values[:, boxes == box].sum(axis=1, dtype=np.float64)
    return sums


def unit_states(states: States, boxes: NDArray[np.intp]) -> States:
    """(LS, 72) states of readout boxes from (LS, columns) states; boxes without columns are 0.

    BAD from a quarter of bad channels on (one readout module), PROBLEMATIC with any flagged channel.
    """
    there = np.bincount(boxes, minlength=N_BOXES)
    connected = sum_by_box(states != State.NOT_CONNECTED, boxes)
    assessed, faulty = sum_by_box(judged(states), boxes), sum_by_box(flagged(states), boxes)
    bad = sum_by_box(states == State.BAD, boxes)
    conditions = [
        np.broadcast_to(there == 0, bad.shape),
        connected == 0,
        assessed == 0,
        (bad > 0) & (bad >= BAD_SHARE * assessed),
        faulty > 0,
    ]
    choices = [0, State.NOT_CONNECTED, State.NOT_ASSESSED, State.BAD, State.PROBLEMATIC]
    return np.select(conditions, choices, State.GOOD).astype(np.uint8)


def kind_counts(verdict: Verdict | StripVerdict) -> dict[Kind, Counts]:
    """Flagged channels (or strips) per kind as (LS, 72 boxes), 0 where the LS was not assessed."""
    boxes, rows = boxes_of(verdict), verdict.lumisections
    steps = {kind: np.zeros((len(rows) + 1, N_BOXES), dtype=np.int64) for kind in Kind}
    for interval in verdict.intervals:
        step, box = steps[interval.kind], boxes[interval.channel]
        step[np.searchsorted(rows, interval.first), box] += 1
        step[np.searchsorted(rows, interval.last, side="right"), box] -= 1
    return {kind: step[:-1].cumsum(axis=0) * verdict.assessed[:, None] for kind, step in steps.items()}


def group_columns(verdict: Verdict | StripVerdict, group: Group) -> NDArray[np.intp]:
    """Columns of the channels (or strips) that the group stands for."""
    rows = {interval.channel for interval in verdict.intervals if _stands_for(group, interval)}
    return np.array(sorted(rows), dtype=np.intp)


def _stands_for(group: Group, interval: Interval) -> bool:
    if interval.group:
        alike = interval.group == group.unit and (interval.kind in LOSSES) == (group.kind in LOSSES)
        return alike and interval.first <= group.last and interval.last >= group.first
    # A channel on its own is a line for people, but no group in the table of flags.
    own = (interval.kind, interval.first, interval.last, 1, interval.observed, interval.expected, interval.score)
    return own == (group.kind, group.first, group.last, group.channels, group.observed, group.expected, group.score)


def variance(expected: Floats, events: ArrayLike) -> Floats:
    """Binomial variance N·p·(1 − p) of expected counts N·p in N events (shapes that broadcast), at least 0.25."""
    return np.maximum(expected * (1 - expected / np.maximum(events, 1)), 0.25)


def reconstruction_error(verdict: Verdict) -> Floats:
    """(LS,) root mean square of the binomial pulls of the judged channels: 1 is statistics alone, 0 is none judged."""
    errors = np.zeros(len(verdict.events))
    for row, (residual, spread) in enumerate(_residuals(verdict)):
        pairs = max(int(judged(verdict.states[row]).sum()), 1)
        errors[row] = np.sqrt((residual**2 / spread).sum() / pairs)
    return errors


def run_pull(verdict: Verdict) -> Floats:
    """(channels,) signed binomial pull of the run's sums, over the judged lumisections."""
    residual, spread = np.zeros(len(verdict.channels)), np.zeros(len(verdict.channels))
    for row, (difference, width) in enumerate(_residuals(verdict)):
        residual += difference
        spread += width * judged(verdict.states[row])
    return residual / np.sqrt(np.maximum(spread, 0.25))


def _residuals(verdict: Verdict) -> Iterator[tuple[Floats, Floats]]:
    """Seen − expected (0 where not judged) and its variance, LS by LS: a long run need not be held twice."""
    for row, events in enumerate(verdict.events):
        expected = verdict.expected[row].astype(np.float64)
        residual = np.where(judged(verdict.states[row]), verdict.observed[row] - expected, 0)
        yield residual, variance(expected, events)
