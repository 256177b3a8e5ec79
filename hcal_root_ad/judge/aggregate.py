"""From (LS, channel) to what people look at: boxes against LS, maps per depth, counts by kind, states of boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import scipy.sparse as sparse
from numpy.typing import ArrayLike, NDArray

from hcal_root_ad.detector import (
    MODULES_PER_BOX,
    N_DEPTH,
    N_DQM_IETA,
    N_IPHI,
    N_RBX,
    SUBDET_PM,
    ChannelTable,
    rbx_of,
)
from hcal_root_ad.judge.verdict import Kind, RunParts, State, StripVerdict, Verdict
from hcal_root_ad.machine import Cells, iter_chunks, row_blocks

Array = NDArray[Any]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
States = NDArray[np.uint8]
Which = Callable[[States], NDArray[np.bool_]]

LOSSES = (Kind.DEAD, Kind.DEGRADED)
"""Kinds with fewer digis than expected; the others have more."""
N_BOXES = len(SUBDET_PM) * N_RBX
BAD_SHARE = 0.25
"""A readout box is BAD from this share of bad channels on,"""
LOST_SHARE = 0.5
"""and where this share of the judged channels of one of its modules is bad: a module is lost or not by itself."""
_SMALLEST = 4
"""Fewer judged channels make no unit that could be lost."""


def axis_length(run: RunParts) -> int:
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


def exactly(state: State) -> Which:
    """Which (LS, channel) pairs have that state."""
    return lambda states: np.equal(states, state)


def worst_state(states: States) -> States:
    """(columns,) highest state over the rows; what is masked whenever it is not assessed counts as not connected."""
    lowest, highest = np.full(states.shape[1], State.BAD), np.zeros(states.shape[1])
    for rows in iter_chunks(states):
        np.minimum(lowest, states[rows].min(axis=0), out=lowest)
        np.maximum(highest, states[rows].max(axis=0), out=highest)
    masked = (highest == State.NOT_ASSESSED) & (lowest == State.NOT_CONNECTED)
    return np.where(masked, State.NOT_CONNECTED, highest).astype(np.uint8)


def count_by_channel(states: States, which: Which) -> Counts:
    """(columns,) in how many lumisections a state is such."""
    counts = np.zeros(states.shape[1], dtype=np.int64)
    for rows in iter_chunks(states):
        counts += np.count_nonzero(which(states[rows]), axis=0)
    return counts


def count_by_lumi(states: States, which: Which) -> Counts:
    """(LS,) how many columns have such a state."""
    counts = np.zeros(len(states), dtype=np.int64)
    for rows in iter_chunks(states):
        counts[rows] = np.count_nonzero(which(states[rows]), axis=1)
    return counts


def depth_maps(channels: ChannelTable, values: ArrayLike) -> Floats:
    """(channels,) values as (7, 84, 72) maps on the DQM axes; cells without a channel are 0."""
    maps = np.zeros((N_DEPTH, N_DQM_IETA, N_IPHI))
    maps[channels.depth - 1, channels.dqm_x, channels.dqm_y] = values
    return maps


def by_map(parts: Sequence[tuple[ChannelTable, ArrayLike]]) -> Iterator[tuple[str, Floats]]:
    """``depth1`` … ``depth7`` and ``depthHO``, those that have a channel, with the sum of their (channels,) values.

    HO sits in the bins of HB's depth 4 and has a map of its own, as in CMSSW's ``DQM/HcalTasks``.
    """
    names = (*(f"depth{depth}" for depth in range(1, N_DEPTH + 1)), "depthHO")
    maps, there = np.zeros((len(names), N_DQM_IETA, N_IPHI)), np.zeros(len(names), dtype=np.bool_)
    for channels, values in parts:
        number = map_of(channels)
        maps[number, channels.dqm_x, channels.dqm_y] += np.asarray(values)
        there[np.unique(number)] = True
    yield from ((name, maps[number]) for number, name in enumerate(names) if there[number])


def map_of(channels: ChannelTable) -> NDArray[np.intp]:
    """(channels,) number of the map on which a channel is shown: depth − 1, 7 for HO."""
    return (channels.dqm_map - 1).astype(np.intp)


def has_boxes(verdict: Verdict | StripVerdict) -> bool:
    """Whether its columns belong to the 72 readout boxes of HB and HE."""
    return isinstance(verdict, StripVerdict) or verdict.subdetector in ("HB", "HE")


def boxes_of(verdict: Verdict | StripVerdict) -> NDArray[np.intp]:
    """Readout box 0…71 of every column."""
    if isinstance(verdict, Verdict):
        return verdict.channels.box.astype(np.intp)
    half, iphi = np.divmod(np.arange(len(SUBDET_PM) * N_IPHI), N_IPHI)
    return np.asarray(half * N_RBX + rbx_of(iphi + 1) - 1, dtype=np.intp)


def modules_of(channels: ChannelTable) -> NDArray[np.intp]:
    """Readout module of every channel, box × 5 + RM; −1 where none is known (photodiodes, HO, HF)."""
    return np.where(channels.rm > 0, channels.box.astype(np.intp) * MODULES_PER_BOX + channels.rm, -1)


def count_by_box(states: States, boxes: NDArray[np.intp], which: Which) -> Floats:
    """(LS, 72 boxes) how many columns of a box have such a state."""
    return count_by_unit(states, boxes, N_BOXES, which)


def count_by_unit(states: States, units: NDArray[np.intp], n_units: int, which: Which) -> Floats:
    """(LS, units) how many columns of a unit have such a state; columns of unit −1 are in none."""
    return _by_unit(lambda rows: which(states[rows]), units, n_units, len(states))


def sum_by_box(values: Array | Cells[np.float32], boxes: NDArray[np.intp], states: States | None = None) -> Floats:
    """(LS, columns) values summed to (LS, 72 boxes); with ``states``, those alone that were judged."""
    if states is None:
        return _by_unit(lambda rows: values[rows], boxes, N_BOXES, len(values))
    return _by_unit(lambda rows: values[rows] * judged(states[rows]), boxes, N_BOXES, len(values))


def _by_unit(part: Callable[[slice], Array], units: NDArray[np.intp], n_units: int, length: int) -> Floats:
    """What is found in some rows, summed to units: a product with their members."""
    columns = np.flatnonzero(units >= 0)
    members: dict[type, sparse.csr_array] = {}
    sums = np.zeros((length, n_units))
    for rows in row_blocks(length):
        found = part(rows)
        precision = np.float32 if found.dtype in (np.bool_, np.uint8, np.float32) else np.float64
        if precision not in members:
            ones = np.ones(len(columns), dtype=precision)
            members[precision] = sparse.csr_array((ones, (units[columns], columns)), shape=(n_units, len(units)))
        sums[rows] = (members[precision] @ np.ascontiguousarray(found.astype(precision, copy=False).T)).T
    return sums


def lost_units(states: States, units: NDArray[np.intp], n_units: int) -> NDArray[np.bool_]:
    """(LS, units) whether a unit is lost: half of its judged channels or more are bad."""
    at_fault = np.unique(units[np.flatnonzero(count_by_channel(states, exactly(State.BAD)))])
    at_fault = at_fault[at_fault >= 0]
    lost = np.zeros((len(states), n_units), dtype=np.bool_)
    if len(at_fault):
        columns = np.flatnonzero(np.isin(units, at_fault))
        few, of = states[:, columns], np.searchsorted(at_fault, units[columns])
        bad, assessed = (count_by_unit(few, of, len(at_fault), which) for which in (exactly(State.BAD), judged))
        lost[:, at_fault] = (assessed >= _SMALLEST) & (bad >= LOST_SHARE * assessed)
    return lost


def unit_states(states: States, boxes: NDArray[np.intp], modules: NDArray[np.intp] | None = None) -> States:
    """(LS, 72) states of readout boxes from (LS, columns) states; boxes without columns are 0.

    BAD from a quarter of bad channels on, and where a module (box × 5 + RM) is lost; PROBLEMATIC with any flagged
    channel.
    """
    there = np.bincount(boxes, minlength=N_BOXES)
    out, assessed = (count_by_box(states, boxes, which) for which in (exactly(State.NOT_CONNECTED), judged))
    at_fault = np.flatnonzero(count_by_channel(states, flagged))
    faulty, bad = (
        _by_unit(lambda rows, which=which: which(states[rows][:, at_fault]), boxes[at_fault], N_BOXES, len(states))  # type: ignore[misc]
        for which in (flagged, exactly(State.BAD))
    )
    lost: NDArray[np.bool_] = np.zeros(bad.shape, dtype=np.bool_)
    if modules is not None:
        by_module = lost_units(states, modules, N_BOXES * MODULES_PER_BOX)
        lost = np.any(by_module.reshape(*bad.shape, MODULES_PER_BOX), axis=2)
    conditions = [
        np.broadcast_to(there == 0, bad.shape),
        out == there,
        assessed == 0,
        lost | ((bad > 0) & (bad >= BAD_SHARE * assessed)),
        faulty > 0,
    ]
    choices = [0, State.NOT_CONNECTED, State.NOT_ASSESSED, State.BAD, State.PROBLEMATIC]
    return np.select(conditions, choices, State.GOOD).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class ChannelSums:
    """(channels,) digis seen and expected, summed over the judged lumisections."""

    observed: Floats
    expected: Floats


def flagged_fraction(verdict: Verdict) -> Floats:
    """(channels,) flagged share of the lumisections in which a channel was judged."""
    flags, pairs = (count_by_channel(verdict.states, which) for which in (flagged, judged))
    return np.asarray(flags / np.maximum(pairs, 1))


def channel_sums(verdict: Verdict) -> ChannelSums:
    """What maps of the run show of each channel."""
    observed, expected = np.zeros((2, len(verdict.channels)))
    for rows in iter_chunks(verdict.observed, verdict.states):
        use = judged(verdict.states[rows])
        observed += (verdict.observed[rows] * use).sum(axis=0)
        expected += (verdict.expected[rows] * use).sum(axis=0, dtype=np.float64)
    return ChannelSums(observed, expected)


def strongest_scores(verdict: Verdict) -> Floats:
    """(channels,) the largest score of the judged lumisections, with its sign."""
    largest, smallest = np.zeros((2, len(verdict.channels)))
    for rows in iter_chunks(verdict.observed, verdict.states):
        score = verdict.score[rows] * judged(verdict.states[rows])
        largest, smallest = np.maximum(largest, score.max(axis=0)), np.minimum(smallest, score.min(axis=0))
    return np.where(largest >= -smallest, largest, smallest)


_box_states: WeakKeyDictionary[Verdict | StripVerdict, States] = WeakKeyDictionary()


def box_states(verdict: Verdict | StripVerdict) -> States:
    """(LS, 72) states of the readout boxes of a verdict, see :func:`unit_states`; several elements show them."""
    if verdict not in _box_states:
        modules = modules_of(verdict.channels) if isinstance(verdict, Verdict) else None
        _box_states[verdict] = unit_states(verdict.states, boxes_of(verdict), modules)
    return _box_states[verdict]


def kind_counts(verdict: Verdict | StripVerdict) -> dict[Kind, Counts]:
    """Flagged channels (or strips) per kind as (LS, 72 boxes), 0 where the LS was not assessed."""
    return _kinds(verdict, boxes_of(verdict), N_BOXES)


def kinds_by_lumi(verdict: Verdict) -> dict[Kind, Counts]:
    """Flagged channels per kind, (LS,)."""
    counts = _kinds(verdict, np.zeros(len(verdict.channels), dtype=np.intp), 1)
    return {kind: values[:, 0] for kind, values in counts.items()}


def _kinds(verdict: Verdict | StripVerdict, units: NDArray[np.intp], n_units: int) -> dict[Kind, Counts]:
    rows = verdict.lumisections
    steps = {kind: np.zeros((len(rows) + 1, n_units), dtype=np.int64) for kind in Kind}
    for interval in verdict.intervals:
        step, unit = steps[interval.kind], units[interval.channel]
        step[np.searchsorted(rows, interval.first), unit] += 1
        step[np.searchsorted(rows, interval.last, side="right"), unit] -= 1
    return {kind: step[:-1].cumsum(axis=0) * verdict.assessed[:, None] for kind, step in steps.items()}


def variance(expected: Array, events: ArrayLike) -> Array:
    """Binomial variance N·p·(1 − p) of expected counts N·p in N events (shapes that broadcast), at least 0.25."""
    return np.maximum(expected * (1 - expected / np.maximum(events, 1)), 0.25)


def reconstruction_error(verdict: Verdict) -> Floats:
    """(LS,) root mean square of the binomial pulls of the judged channels: 1 is statistics alone, 0 is none judged."""
    errors = np.zeros(len(verdict.events))
    for rows, residual, spread, use in _residuals(verdict):
        squares = (residual**2 / spread).sum(axis=1, dtype=np.float64)
        errors[rows] = np.sqrt(squares / np.maximum(np.count_nonzero(use, axis=1), 1))
    return errors


def run_pull(verdict: Verdict) -> Floats:
    """(channels,) signed binomial pull of the run's sums, over the judged lumisections."""
    residual, spread = np.zeros(len(verdict.channels)), np.zeros(len(verdict.channels))
    for _, difference, width, use in _residuals(verdict):
        residual += difference.sum(axis=0, dtype=np.float64)
        spread += (width * use).sum(axis=0, dtype=np.float64)
    return residual / np.sqrt(np.maximum(spread, 0.25))


def _residuals(verdict: Verdict) -> Iterator[tuple[slice, Array, Array, NDArray[np.bool_]]]:
    """Rows, and of them (LS, channels) seen − expected (0 where not judged), its variance, and which were judged."""
    for rows in iter_chunks(verdict.observed, verdict.states):
        expected, use = verdict.expected[rows], judged(verdict.states[rows])
        residual = (verdict.observed[rows].astype(np.float32) - expected) * use
        yield rows, residual, variance(expected, verdict.events[rows, None].astype(np.float32)), use
