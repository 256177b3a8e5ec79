"""Faults that are one: channels that fail alike in a unit, rings of a depth, half of all boxes, crowds of channels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable, Subdetector
from hcal_root_ad.judge.findings import HUNDREDS, Fault, JudgedDigis
from hcal_root_ad.judge.verdict import Level
from hcal_root_ad.model.unit_tree import UnitTree

ALIKE = 0.5
"""Faults whose lumisections overlap by more (over their union) may have one cause."""
MOST_OF = 0.7
"""Share of a unit's live channels that must fail alike for the unit to be named."""
FEWEST = 4
"""Channels from which on a unit is named."""
SEVERAL = 3
"""QIE cards of an RBX that fail alike from which on it is no card that fails."""
CLUSTER = {Level.RBX: 10, Level.RM: 6, Level.SUBDETECTOR: 25}
"""Channels that fail alike in an RBX, an RM or a sub-detector from which on they are one line."""
HALF_OF, LIKE_FACTORS = 0.5, 0.2
"""Share of a sub-detector's boxes that fail alike from which on they are one line; how far their log sizes differ."""


@dataclass(frozen=True, eq=False)
class _Level:
    """Units of a level whose channels may fail together.

    ``of``: (channels,) unit, or −1. ``name``: of a channel's unit.
    """

    level: Level
    of: NDArray[np.intp]
    name: Callable[[int], str]


def grouped(faults: Sequence[Fault], channels: ChannelTable, live: NDArray[np.bool_]) -> list[Fault]:
    """Channels that fail alike joined to the unit that they share, the largest first; then crowds without a unit."""
    left = list(faults)
    out: list[Fault] = []
    levels = _levels_of(channels, live.tobytes()) if len(left) >= FEWEST else ()
    while levels and (best := _largest(left, levels)):
        fault, used = best
        out.append(fault)
        left = [f for i, f in enumerate(left) if i not in used]
    crowds, left = _crowds(left, channels)
    return _of_one_box([*crowds, *left], out, channels)


@lru_cache(maxsize=8)
def _levels_of(channels: ChannelTable, live: bytes) -> tuple[_Level, ...]:
    """The levels, once for a detector."""
    return tuple(_levels(channels, np.frombuffer(live, dtype=np.bool_)))


def _levels(channels: ChannelTable, live: NDArray[np.bool_]) -> Iterator[_Level]:
    sub = channels.names[0]
    eta, side = np.abs(channels.ieta).astype(int), "MP"

    def level(level: Level, key: NDArray[np.integer], name: Callable[[int], str]) -> _Level:
        _, of = np.unique(np.where(live, key, -1), return_inverse=True)
        return _Level(level, np.where(live & (key >= 0), of, -1), name)

    yield level(Level.SUBDETECTOR, np.zeros(len(channels), dtype=int), lambda _: sub)
    yield level(Level.HALF, channels.side.astype(int), lambda row: f"{sub}{side[channels.side[row]]}")
    yield level(Level.DEPTH, channels.depth.astype(int), lambda row: f"{sub} depth {channels.depth[row]}")
    yield level(
        Level.RING, eta * 8 + channels.depth, lambda row: f"{sub} |ieta| {eta[row]} depth {channels.depth[row]}"
    )
    yield level(
        Level.RING, (eta * 2 + channels.side) * 8 + channels.depth,
        lambda row: f"{sub} ieta {channels.ieta[row]:+d} depth {channels.depth[row]}",
    )  # fmt: skip
    yield level(
        Level.WEDGE, channels.iphi.astype(int) * 2 + channels.side,
        lambda row: f"{sub}{side[channels.side[row]]} iphi {channels.iphi[row]}",
    )  # fmt: skip
    if sub == "HF":  # whose boxes follow no rule
        return
    box, rm = channels.box.astype(int), channels.rm.astype(int)
    if sub == "HO":
        yield level(Level.RBX, box, channels.box_name)
        return
    yield level(Level.FED, np.where(channels.crate > 0, channels.fed, -1), lambda row: f"{sub} FED {channels.fed[row]}")
    yield level(
        Level.UHTR, np.where(channels.crate > 0, channels.crate.astype(int) * 16 + channels.slot, -1),
        lambda row: f"{sub} uHTR crate {channels.crate[row]} slot {channels.slot[row]}",
    )  # fmt: skip
    yield level(Level.RBX, box, channels.box_name)
    yield level(Level.RM, np.where(rm > 0, box * 8 + rm, -1), lambda row: f"{channels.box_name(row)}-RM{rm[row]}")
    yield level(
        Level.CARD, np.where(channels.card > 0, (box * 8 + rm) * 8 + channels.card, -1),
        lambda row: f"{channels.box_name(row)}-RM{rm[row]}-card{channels.card[row]}",
    )  # fmt: skip


def _largest(faults: Sequence[Fault], levels: Sequence[_Level]) -> tuple[Fault, set[int]] | None:
    """The unit of which most channels fail alike, and that has the most of them."""
    best: tuple[Fault, set[int]] | None = None
    best_share = 0.0
    for sign in (-1, 1):
        mine = np.array([i for i, f in enumerate(faults) if f.sign == sign and f.level is Level.CHANNEL], dtype=int)
        if len(mine) < FEWEST:
            continue
        columns = np.array([faults[i].columns[0] for i in mine])
        for level in levels:
            sizes = np.bincount(level.of[level.of >= 0], minlength=1)
            failing = np.bincount(level.of[columns][level.of[columns] >= 0], minlength=len(sizes))
            for unit in np.flatnonzero(failing >= np.maximum(FEWEST, MOST_OF * sizes)):
                members = mine[level.of[columns] == unit]
                used = members[agreeing([faults[i] for i in members])]
                share = len(used) / sizes[unit]
                enough = len(used) >= max(FEWEST, MOST_OF * sizes[unit])
                if enough and (best is None or (len(used), share) > (len(best[1]), best_share)):
                    name = level.name(int(faults[used[0]].columns[0]))
                    best, best_share = (
                        (joined([faults[i] for i in used], level.level, name), set(used.tolist())),
                        share,
                    )
    return best


def agreeing(faults: Sequence[Fault]) -> list[int]:
    """Those whose lumisections are like those of the most typical one."""
    times = np.stack([fault.inside for fault in faults])
    typical = times.mean(axis=0) > 0.5
    if not typical.any():
        typical = times[int(np.argmax([fault.significance for fault in faults]))]
    overlap = (times & typical).sum(axis=1) / np.maximum((times | typical).sum(axis=1), 1)
    return np.flatnonzero(overlap >= ALIKE).tolist()


def joined(faults: Sequence[Fault], level: Level, name: str) -> Fault:
    """One fault of many that fail alike: where most of them do; of each channel only its own lumisections are bad."""
    every = np.arange(len(faults[0].inside))
    columns, place = np.unique(np.concatenate([fault.columns for fault in faults]), return_inverse=True)
    fails = np.zeros((len(every), len(columns)), dtype=bool)
    weight = np.stack([fault.inside for fault in faults]).mean(axis=0) >= 0.5
    for fault, own in zip(
        faults, np.split(place, np.cumsum([len(fault.columns) for fault in faults])[:-1]), strict=True
    ):
        fails[:, own] |= fault.fails(every)
    significance = max(fault.significance for fault in faults)
    return Fault(level, name, faults[0].sign, columns, weight, significance, ~fails)


def _crowds(faults: list[Fault], channels: ChannelTable) -> tuple[list[Fault], list[Fault]]:
    """Many channels of an RM, an RBX or the sub-detector that fail alike, without being most of it: one line."""
    out: list[Fault] = []
    for level, least in ((Level.SUBDETECTOR, HUNDREDS), *CLUSTER.items()):
        if len(faults) < least:
            continue
        clusters: dict[tuple[int, int], list[int]] = defaultdict(list)
        crowd_of = _crowd_keys(level, channels)
        for i, fault in enumerate(faults):
            if fault.level == Level.CHANNEL:
                clusters[fault.sign, int(crowd_of[fault.columns[0]])].append(i)
        used: set[int] = set()
        for (_, key), members in clusters.items():
            if key < 0 or len(members) < least:
                continue
            mine = [members[i] for i in agreeing([faults[i] for i in members])]
            if len(mine) >= least:
                where = _crowd_name(level, channels, np.array([faults[i].columns[0] for i in mine]))
                out.append(joined([faults[i] for i in mine], Level.CHANNELS, f"{len(mine):,} channels of {where}"))
                used |= set(mine)
        faults = [fault for i, fault in enumerate(faults) if i not in used]
    return out, faults


def _of_one_box(loose: Sequence[Fault], units: Sequence[Fault], channels: ChannelTable) -> list[Fault]:
    """Faults with QIE cards of an RBX that fail as other cards, a crowd or several channels of it do made one line.

    ``loose``: crowds and single channels. Several cards that fail alike are no fault of a card.
    """
    box, out = _crowd_keys(Level.RBX, channels), [unit for unit in units if unit.level is not Level.CARD]
    pieces: dict[tuple[int, int], list[Fault]] = defaultdict(list)
    for fault in (*loose, *(unit for unit in units if unit.level is Level.CARD)):
        boxes = np.unique(box[fault.columns])
        if len(boxes) == 1 and boxes[0] >= 0:
            pieces[fault.sign, int(boxes[0])].append(fault)
        else:
            out.append(fault)
    for mine in pieces.values():
        alike = [mine[i] for i in agreeing(mine)] if any(fault.level is Level.CARD for fault in mine) else []
        single = sum(fault.level is Level.CHANNEL for fault in alike)
        cards = sum(fault.level is Level.CARD for fault in alike)
        if cards and (cards >= SEVERAL or single >= FEWEST or len(alike) > cards + single):
            columns = np.unique(np.concatenate([fault.columns for fault in alike]))
            where = _crowd_name(Level.RBX, channels, columns)
            out.append(joined(alike, Level.CHANNELS, f"{len(columns):,} channels of {where}"))
            mine = [fault for fault in mine if all(fault is not other for other in alike)]
        out += mine
    return out


@lru_cache(maxsize=32)
def _crowd_keys(level: Level, channels: ChannelTable) -> NDArray[np.intp]:
    """(channels,) the unit in which each may be in a crowd, −1 in none."""
    if level == Level.SUBDETECTOR:
        return np.zeros(len(channels), dtype=np.intp)
    by_itself = (channels.rm == 0) & ((level == Level.RM) | (channels.subdetector > Subdetector.HE))
    key = channels.box.astype(np.intp) * 8 + (channels.rm if level == Level.RM else 0)
    return np.asarray(np.where(by_itself, -1, key))


def _crowd_name(level: Level, channels: ChannelTable, rows: NDArray[np.intp]) -> str:
    """The sub-detector, or the box, or the RM of the box that holds all of the rows."""
    if level is Level.SUBDETECTOR:
        return channels.names[int(rows[0])]
    box, rm = channels.box_name(int(rows[0])), np.unique(channels.rm[rows])
    return f"{box}-RM{rm[0]}" if len(rm) == 1 and rm[0] > 0 else box


def rings_joined(units: Sequence[Fault], judged: JudgedDigis) -> list[Fault]:
    """Rings that fail alike are one fault: sides or depths of one, or all of a depth (of one side)."""
    rings = [fault for fault in units if fault.level is Level.RING]
    joint: list[Fault] = []
    for level, key, name in _ring_unions(judged.channels) if len(rings) > 1 else ():
        sizes = np.bincount(key[judged.live], minlength=int(key.max()) + 1)
        for value, sign in product(np.unique([key[fault.columns[0]] for fault in rings]), (-1, 1)):
            mine = [fault for fault in rings if key[fault.columns[0]] == value and fault.sign == sign]
            alike = [mine[i] for i in agreeing(mine)] if len(mine) > 1 else []
            if alike and sum(len(fault.columns) for fault in alike) >= MOST_OF * sizes[value]:
                joint.append(joined(alike, level, name(int(alike[0].columns[0]))))
                rings = [fault for fault in rings if all(fault is not other for other in alike)]
    return [fault for fault in units if fault.level is not Level.RING] + joint + rings


@lru_cache(maxsize=8)
def _ring_unions(channels: ChannelTable) -> tuple[tuple[Level, NDArray[np.intp], Callable[[int], str]], ...]:
    """What several rings make together, the largest first: level, (channels,) which, and its name by a channel."""
    sub, eta, depth = channels.names[0], np.abs(channels.ieta).astype(np.intp), channels.depth.astype(np.intp)
    side = channels.side.astype(np.intp)
    return (
        (Level.DEPTH, depth, lambda row: f"{sub} depth {depth[row]}"),
        (Level.DEPTH, 2 * depth + side, lambda row: f"{sub}{'MP'[side[row]]} depth {depth[row]}"),
        (Level.RING, eta, lambda row: f"{sub} |ieta| {eta[row]}"),
        (Level.RING, 2 * eta + side, lambda row: f"{sub} ieta {channels.ieta[row]:+d}"),
        (Level.RING, 8 * eta + depth, lambda row: f"{sub} |ieta| {eta[row]} depth {depth[row]}"),
    )


def boxes_joined(units: Sequence[Fault], tree: UnitTree, judged: JudgedDigis) -> list[Fault]:
    """Half of all boxes or more that fail alike, at the same time and by like factors, are one fault."""
    out = list(units)
    if sum(fault.level is Level.RBX for fault in units) < 2:
        return out
    live = np.unique(tree.box.of[judged.columns[judged.live]])
    for sign in (-1, 1):
        boxes = [fault for fault in units if fault.level is Level.RBX and fault.sign == sign]
        if len(boxes) < max(HALF_OF * len(live), 2):
            continue
        boxes = [boxes[i] for i in agreeing(boxes)]
        sizes = np.array([_log_size(judged, fault) for fault in boxes])
        alike = [f for f, size in zip(boxes, sizes, strict=True) if abs(size - np.median(sizes)) < LIKE_FACTORS]
        if len(alike) >= HALF_OF * len(live):
            name = f"{len(alike)} of {len(live)} RBXs of {judged.subdetector}"
            out = [fault for fault in out if all(fault is not other for other in alike)]
            out.append(joined(alike, Level.CHANNELS, name))
    return out


def _log_size(judged: JudgedDigis, fault: Fault) -> float:
    """Log of the digis of a fault over those that were expected."""
    cells = np.ix_(fault.inside, fault.columns)
    n, e = judged.observed[cells].sum(dtype=np.float64), judged.expected[cells].sum(dtype=np.float64)
    return float(np.log(max(n, 1) / max(e, 1)))
