"""Hostile files that are well-formed: genuine ROOT wrote them, but what they say of themselves is not so.

Each comes with what is true of every lumisection, so that it can be told whether a reader believed a lie.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_DEPTH, N_DQM_IETA, N_IPHI, channel_table
from hcal_root_ad.root_io.layout import read_key
from hcal_root_ad.simulate.root_files import ours, root, root_file, write_at, write_scalar

RUN = 370_100
Maps = NDArray[np.int64]
Draw = np.random.Generator
_TABLE = channel_table("Run3")
_ELEMENTS = [f"Hcal/DigiTask/Occupancy/depth/depth{depth}" for depth in range(1, N_DEPTH + 1)]
_TYPES = {"Ints": 0, "TH1Ds": 5, "TH2Fs": 6, "TH2Ss": 7, "TH2Ds": 8, "TH2Is": 13}


@dataclass
class Hostile:
    """Files in a folder; ``truth`` are the maps and the events of each lumisection (``totals`` of the run)."""

    words: str
    truth: dict[int, tuple[Maps, int]] = field(default_factory=dict)
    totals: tuple[Maps, int] | None = None


def true_maps(draw: Draw, events: int) -> Maps:
    """(7, 84, 72) maps: HF holds the events, HB and HE are binomial."""
    counts = draw.binomial(events, np.random.default_rng(7).uniform(0.05, 0.9, len(_TABLE)))
    counts[_TABLE.rows_of("HF")] = events
    maps = np.zeros((N_DEPTH, N_DQM_IETA, N_IPHI), dtype=np.int64)
    rows = _TABLE.rows_of("HB", "HE", "HF")
    maps[_TABLE.depth[rows] - 1, _TABLE.dqm_x[rows], _TABLE.dqm_y[rows]] = counts[rows]
    return maps


def channels_of(maps: Maps) -> Maps:
    """Counts of HB and HE, in the order of the channel table."""
    rows = _TABLE.rows_of("HB", "HE")
    return maps[_TABLE.depth[rows] - 1, _TABLE.dqm_x[rows], _TABLE.dqm_y[rows]]


def histogram(values: NDArray[Any], classname: str = "TH2F", low: tuple[float, float] = (0.0, 0.5)) -> Any:
    """A ROOT map of any shape."""
    (x, y), (x0, y0) = values.shape, low
    made = ours(getattr(root(), classname)("depth", "depth", x, x0, x0 + x, y, y0, y0 + y))
    for i, j in np.argwhere(values):
        made.SetBinContent(int(i) + 1, int(j) + 1, float(values[i, j]))
    return made


def elements(maps: Maps, classname: str = "TH2F") -> list[tuple[str, Any]]:
    """Full names and maps of the seven depths."""
    return [(name, histogram(one, classname)) for name, one in zip(_ELEMENTS, maps, strict=True)]


Row = tuple[int, Sequence[tuple[str, Any]]]
"""A lumisection, and full name and object (or whole number) of each of its elements."""
Lie = Callable[[list[list[int]]], object]


def write_dqmio(path: Path, rows: Sequence[Row], lie: Lie = lambda _: None) -> None:
    """DQMIO trees; ``lie`` may change the index, rows of run, LS, type, first and last entry."""
    index: list[list[int]] = []
    with root_file(path, title="1"):
        for name, number in _TYPES.items():
            _write_tree(name, number, rows, index)
        lie(index)
        _write_index(index)


def _write_tree(name: str, number: int, rows: Sequence[Row], index: list[list[int]]) -> None:
    own = [(ls, [(n, one) for n, one in found if _tree_of(one) == name]) for ls, found in rows]
    first = next((one for _, found in own for _, one in found), None)
    if first is None:
        return
    tree, full_name, whole = root().TTree(name, name), root().std.string(), np.zeros(1, "i8")
    tree.Branch("FullName", full_name)
    if name == "Ints":
        tree.Branch("Value", whole, "Value/L")
    else:
        tree.Branch("Value", name[:-1], first, 128 * 1024, 0)
    filled = 0
    for ls, found in own:
        for element, one in found:
            full_name.assign(element)
            if name == "Ints":
                whole[0] = one
            else:
                tree.SetBranchAddress("Value", one)
            tree.Fill()
        if found:
            index.append([RUN, ls, number, filled, filled + len(found) - 1])
            filled += len(found)
    tree.ResetBranchAddresses()
    tree.Write()


def _tree_of(one: Any) -> str:
    return "Ints" if isinstance(one, int) else f"{one.ClassName()}s"


def _write_index(index: list[list[int]]) -> None:
    tree = root().TTree("Indices", "Indices")
    columns = ("Run/i", "Lumi/i", "Type/i", "FirstIndex/l", "LastIndex/l")
    places = [np.zeros(1, "u4" if column.endswith("i") else "u8") for column in columns]
    for column, place in zip(columns, places, strict=True):
        tree.Branch(column[:-2], place, column)
    for row in index:
        for place, value in zip(places, row, strict=True):
            place[0] = value % 2 ** (8 * place.itemsize)
        tree.Fill()
    tree.Write()


def write_harvested(path: Path, scopes: Mapping[str, Sequence[Any]], scalars: Mapping[str, int] | None = None,
                    more: Mapping[str, Any] | None = None) -> None:  # fmt: skip
    """A harvested file: maps in folders below the run, scalars and other elements in its summary."""
    place = f"DQMData/Run {RUN}/Hcal"
    with root_file(path) as file:
        for scope, maps in scopes.items():
            for depth, one in enumerate(maps, start=1):
                one.SetName(f"depth{depth}")
            write_at(file, f"{place}/{scope}/DigiTask/Occupancy/depth", *maps)
        for name, value in (scalars or {}).items():
            write_scalar(file, f"{place}/Run summary/EventInfo", name, value)
        for name, one in (more or {}).items():
            write_at(file, f"{place}/Run summary/{name}", one)


def _run(draw: Draw, lumisections: int = 3) -> dict[int, tuple[Maps, int]]:
    events = draw.integers(300, 900, lumisections).tolist()
    return {ls: (true_maps(draw, n), n) for ls, n in enumerate(events, start=1)}


def _rows(truth: Mapping[int, tuple[Maps, int]], classname: str = "TH2F") -> list[Row]:
    return [(ls, elements(maps, classname)) for ls, (maps, _) in truth.items()]


def lying_index(draw: Draw, folder: Path) -> Hostile:
    """Rows that are shifted, stretched, doubled, left out, or point anywhere."""
    truth = _run(draw)
    lies: dict[str, Lie] = {
        "shifted": lambda rows: _shift(rows, int(draw.choice([-3, -1, 1, 2, 7]))),
        "stretched": lambda rows: _add(rows[draw.integers(3)], 4, by=int(draw.integers(1, 30))),
        "shortened": lambda rows: _add(rows[draw.integers(3)], 4, by=-int(draw.integers(1, 9))),
        "at another's": lambda rows: _copy(rows, *draw.choice(3, 2, replace=False)),
        "anywhere": lambda rows: _add(rows[draw.integers(3)], 3, 4, by=int(draw.integers(1, 2**62))),
        "left out": lambda rows: rows.pop(draw.integers(3)),
        "twice": lambda rows: rows.append(list(rows[draw.integers(3)])),
        "reversed": lambda rows: _reverse(rows[draw.integers(3)]),
        "of another LS": lambda rows: rows.append([RUN, 9, 6, 0, 6]),
    }
    lie = str(draw.choice(sorted(lies)))
    write_dqmio(folder / "n.root", _rows(truth), lies[lie])
    return Hostile(f"index: {lie}", truth)


def _shift(rows: list[list[int]], by: int) -> None:
    for row in rows:
        _add(row, 3, 4, by=by)


def _add(row: list[int], *places: int, by: int) -> None:
    for place in places:
        row[place] += by


def _reverse(row: list[int]) -> None:
    row[3], row[4] = row[4], row[3]


def _copy(rows: list[list[int]], a: int, b: int) -> None:
    rows[a][3:] = rows[b][3:]


def strange_shape(draw: Draw, folder: Path) -> Hostile:
    """One map has other bins, up to many millions, or other axes."""
    truth = _run(draw, 2)
    shape = tuple(int(n) for n in draw.choice([1, 60, 72, 84, 85, 600, 3000], 2))
    low = (float(draw.choice([0.0, -42.0])), float(draw.choice([0.5, 0.0])))
    if shape == (84, 72) and low == (0.0, 0.5):
        low = (1.0, 0.5)
    rows = _rows(truth)
    odd = int(draw.integers(7))
    first = list(rows[0][1])
    first[odd] = (_ELEMENTS[odd], histogram(np.zeros(shape), low=low))
    rows[0] = (1, first)
    if draw.random() < 0.5:
        write_dqmio(folder / "n.root", rows)
    else:
        scopes = {f"By Lumi Section {ls}-{ls}": [one for _, one in found] for ls, found in rows}
        write_harvested(folder / f"DQM_V0001_R{RUN:09d}__A__B-v1__DQMIO.root", scopes)
    return Hostile("shape", {2: truth[2]})


def at_the_ceiling(draw: Draw, folder: Path) -> Hostile:
    """Contents at the ceiling of their class in one lumisection."""
    truth = _run(draw)
    classname = str(draw.choice(["TH2F", "TH2S", "TH2I"]))
    most = {"TH2F": 2**24, "TH2S": 2**15 - 1, "TH2I": 2**31 - 1}[classname]
    rows = _rows(truth, classname)
    filled = np.argwhere(truth[2][0])
    for depth, x, y in draw.choice(filled, int(draw.integers(1, 2000))):
        rows[1][1][depth][1].SetBinContent(int(x) + 1, int(y) + 1, float(most))
    write_dqmio(folder / "n.root", rows)
    return Hostile(f"ceiling of {classname}", {ls: one for ls, one in truth.items() if ls != 2})


def the_same_twice(draw: Draw, folder: Path) -> Hostile:
    """An LS comes again: identical, in part, in another version, or as an honest half; in one file or two."""
    truth, how = _run(draw, 2), str(draw.choice(["identical", "in part", "nearly", "fewer", "honest half"]))
    maps, events = truth[1]
    other, more = maps.copy(), int(draw.integers(300, 900))
    if how == "in part":
        other[draw.choice(7, 3, replace=False)] = true_maps(draw, events)[0]
        other = np.where(maps > 0, np.minimum(other, events), 0)
        same = draw.choice(7, 3, replace=False)
        other[same] = maps[same]
    elif how == "nearly":
        other = np.where((maps > 1) & (draw.random(maps.shape) < 0.1), maps - 1, maps)
    elif how == "fewer":
        other = draw.binomial(maps, draw.uniform(0.55, 0.97))
    elif how == "honest half":
        other = true_maps(draw, more)
        truth[1] = (maps + other, events + more)
    if how in ("in part", "nearly", "fewer") and not np.array_equal(other, maps):
        del truth[1]
    again = [(1, elements(other))]
    first = [(1, elements(maps)), *_rows({2: truth[2]})]
    if draw.random() < 0.5:
        write_dqmio(folder / "n.root", [*first, *again])
    else:
        write_dqmio(folder / "1.root", first)
        write_dqmio(folder / "2.root", again)
    return Hostile(f"twice: {how}", truth)


def other_sizes(draw: Draw, folder: Path) -> Hostile:
    """Sizes in the keys of records, or in folders, are others than those of the lists that lead there."""
    truth = _run(draw, 2)
    path = folder / f"DQM_V0001_R{RUN:09d}__A__B-v1__DQMIO.root"
    write_harvested(path, {f"By Lumi Section {ls}-{ls}": [one for _, one in found] for ls, found in _rows(truth)})
    data = bytearray(path.read_bytes())
    places = list(_records(bytes(data)))
    for place in draw.choice(places, int(draw.integers(1, 5))):
        at, layout = ((0, ">i"), (6, ">I"), (14, ">H"), (18, ">I"))[draw.integers(4)]
        (value,) = struct.unpack_from(layout, data, int(place) + at)
        by = int(draw.choice([-30, -4, 4, 30, 3000]))
        most = 2 ** (8 * struct.calcsize(layout) - 1) - 1
        struct.pack_into(layout, data, int(place) + at, min(max(0, value + by), most))
    path.write_bytes(data)
    return Hostile("sizes", truth)


def _records(data: bytes) -> Iterator[int]:
    place = 100
    while place < len(data):
        (size,) = struct.unpack_from(">i", data, place)
        if size > 0 and read_key(data, place).class_name in ("TH2F", "TDirectory", "TDirectoryFile"):
            yield place
        place += abs(size)


def strange_folders(draw: Draw, folder: Path) -> Hostile:
    """Folders of lumisections that overlap, run backwards, or are written in two ways."""
    truth = _run(draw, 2)
    names = draw.choice(
        ["1-1", "01-1", "5-3", "0-4", "2-2", "1-2", "2-100001", "99999999999-3", "-1--1", "2", "1-x", "2-2 "],
        2,
        replace=False,
    )
    maps = dict(zip(names.tolist(), truth.values(), strict=True))
    scopes = {f"By Lumi Section {name}": [one for _, one in elements(found)] for name, (found, _) in maps.items()}
    write_harvested(folder / f"DQM_V0001_R{RUN:09d}__A__B-v1__DQMIO.root", scopes)
    return Hostile(f"folders {' '.join(names)}", {int(n[-1]): maps[n] for n in names if re.fullmatch(r"0?\d-\d", n)})


def lying_counter(draw: Draw, folder: Path) -> Hostile:
    """A counter that counts the job, other events, nothing, or less than nothing; half of the files have no HF."""
    truth, how = _run(draw, 6), str(draw.choice(["job", "zero", "negative", "half", "huge", "random", "right"]))
    events = [n for _, n in truth.values()]
    counted = {
        "job": list(accumulate(events)), "zero": [0] * 6, "negative": [-n for n in events],
        "half": [n // 2 for n in events], "huge": [2**40] * 6, "right": events,
        "random": draw.integers(1, 10**6, 6).tolist(),
    }[how]  # fmt: skip
    with_hf = bool(draw.random() < 0.5)
    rows = []
    for (ls, (maps, _)), number in zip(truth.items(), counted, strict=True):
        shown = maps if with_hf else _without_hf(maps)
        rows.append((ls, [*elements(shown), ("Ecal/EventInfo/processedEvents", int(number))]))
    write_dqmio(folder / "n.root", rows)
    return Hostile(f"counter: {how}, {'with' if with_hf else 'without'} HF", truth)


def _without_hf(maps: Maps) -> Maps:
    table = _TABLE.select("HF")
    changed = maps.copy()
    changed[table.depth - 1, table.dqm_x, table.dqm_y] = 0
    return changed


def strange_numbers(draw: Draw, folder: Path) -> Hostile:
    """One row of the index is of the run, or of a lumisection or run that there cannot be."""
    truth, place = _run(draw, 3), int(draw.integers(3))
    column, number = [(1, 0), (1, 2**31), (1, 2**32 - 1), (1, 100_001), (0, 0), (0, 999_999), (0, 1), (0, 2**31)][
        draw.integers(8)
    ]

    def lie(rows: list[list[int]]) -> None:
        rows[place][column] = number

    write_dqmio(folder / "n.root", _rows(truth), lie)
    return Hostile(f"{('run', 'LS')[column]} {number}", {ls: one for ls, one in truth.items() if ls != place + 1})


def strange_names(draw: Draw, folder: Path) -> Hostile:
    """Elements that come twice in a lumisection, are lost, of no depth, or named with bytes that are no text."""
    truth = _run(draw, 2)
    rows = _rows(truth)
    first, depth = list(rows[0][1]), int(draw.integers(7))
    how = str(draw.choice(["twice", "lost", "no depth", "no text", "very long"]))
    name, one = first[depth]
    if how == "twice":
        first.append((name, one))
    elif how == "lost":
        del first[depth]
    else:
        odd = {"no depth": f"{name[:-1]}8", "no text": f"{name}\x1b[2J\t", "very long": name + "x" * 70_000}[how]
        first[depth] = (odd, one)
    rows[0] = (1, first)
    write_dqmio(folder / "n.root", rows)
    return Hostile(f"names: {how}", {2: truth[2]})


def strange_content(draw: Draw, folder: Path) -> Hostile:
    """Contents that are no counts: fractions, negative or not numbers, more than 32 bits hold."""
    truth = _run(draw, 2)
    rows = _rows(truth, "TH2D")
    content = float(draw.choice([np.nan, np.inf, -1.0, 0.5, 2.0**31, 1e300]))
    depth, x, y = draw.choice(np.argwhere(truth[1][0]))
    rows[0][1][depth][1].SetBinContent(int(x) + 1, int(y) + 1, content)
    write_dqmio(folder / "n.root", rows)
    return Hostile(f"content {content:g}", {2: truth[2]})


def short_axis(draw: Draw, folder: Path) -> Hostile:
    """Run totals, and a profile against the LS that ends before the run, begins anywhere, or counts otherwise."""
    truth = _run(draw, 5)
    total, events = np.sum([maps for maps, _ in truth.values()], axis=0), sum(n for _, n in truth.values())
    bins, low = int(draw.choice([2, 5, 1000, 3_000_000])), float(draw.choice([1.0, 1.0, 0.5, -3.0, 1e9]))
    profile = ours(root().TProfile("HB", "HB", bins, low, low + bins))
    for ls, (_, n) in truth.items():
        for _ in range(n if draw.random() < 0.9 else n // 2):
            profile.Fill(ls + 0.2, 100.0)
    scopes = {"Run summary": [one for _, one in elements(total)]}
    write_harvested(folder / f"DQM_V0001_R{RUN:09d}__A__B-v1__DQMIO.root", scopes, {"processedEvents": events},
                    {"DigiTask/OccupancyvsLS/Subdet": profile})  # fmt: skip
    return Hostile(f"axis of {bins} LS", totals=(total, events))


def snapshots(draw: Draw, folder: Path) -> Hostile:
    """Snapshots of a job that began again, with gaps, stale ones among them, and not always the job in the name."""
    truth = _run(draw, 6)
    again, named = int(draw.integers(2, 6)), bool(draw.random() < 0.7)
    states: list[Maps] = []
    for ls, (maps, _) in truth.items():
        again = ls == again and named  # nothing else tells of a new job
        states = [maps] if again or not states else [*states, states[-1] + maps]
        shown = states[draw.integers(len(states))] if draw.random() < 0.1 else states[-1]
        if ls > 1 and draw.random() < 0.15:  # of a first job that left no snapshot at all, nothing could tell
            continue
        name = f"DQM_V0001_Hcal_R{RUN:09d}"
        suffix = f".root.ls{ls:08d}_hostx_pid{1 + (ls >= again):08d}" if named else f"_L{ls:09d}.root"
        write_harvested(folder / f"{name}{suffix}", {"Run summary": [one for _, one in elements(shown)]})
    return Hostile(f"snapshots, job {'named' if named else 'not named'}", truth)


def datasets(draw: Draw, folder: Path) -> Hostile:
    """Versions and datasets of one run side by side."""
    names = ("DQM_V0001_R{}__A__B-v1__DQMIO", "DQM_V0002_R{}__A__B-v1__DQMIO", "DQM_V0001_R{}__A__C-v1__DQMIO")
    chosen = sorted(draw.choice(3, 2, replace=False).tolist())
    for n in chosen:
        truth = _run(draw, 2)
        scopes = {f"By Lumi Section {ls}-{ls}": [one for _, one in found] for ls, found in _rows(truth)}
        write_harvested(folder / f"{names[n].format(f'{RUN:09d}')}.root", scopes)
    return Hostile("datasets", truth if chosen == [0, 1] else {})


KINDS: tuple[Callable[[Draw, Path], Hostile], ...] = (
    lying_index, strange_shape, at_the_ceiling, the_same_twice, other_sizes, strange_folders, lying_counter,
    strange_numbers, strange_names, strange_content, short_axis, snapshots, datasets,
)  # fmt: skip
