"""What is timed of reading: ours, and what a user would do instead with uproot, with ROOT, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.worker import Action
from hcal_root_ad.detector import ChannelTable, channel_table, era_of_run

PREFIX = "Hcal/DigiTask/Occupancy/depth/depth"
MAPS = (*(f"depth{depth}" for depth in range(1, 8)), "depthHO")
"""Of each lumisection, in the order in which they stand in a file."""


def ours(path: str) -> Action:
    """``read_lumi_maps``: counts per channel and LS, events, remarks."""
    from hcal_root_ad.harvest.read import read_lumi_maps

    def read() -> int:
        (maps,) = read_lumi_maps(path)
        return int(maps.counts.sum(dtype=np.int64))

    return read


def streamed(path: str) -> Action:
    """``stream_lumi_maps``, one piece after the other."""
    from hcal_root_ad.harvest.read import stream_lumi_maps

    def read() -> int:
        return sum(int(piece.counts.sum(dtype=np.int64)) for piece in stream_lumi_maps(path))

    return read


def careful_uproot(path: str) -> Action:
    """Plain uproot: of the names, which entries; then only the baskets that hold these as objects, each basket once.

    uproot makes objects of whole baskets, so one call for each LS would make those of large baskets many times.
    """
    import uproot

    def read() -> int:
        with uproot.open({path: "TH2Fs"}) as tree:
            digis = 0
            for wanted in _stretches(tree["Value"], _wanted(tree)):
                first, stop = int(wanted[0]), int(wanted[-1]) + 1
                histograms = tree["Value"].array(library="np", entry_start=first, entry_stop=stop)
                digis += _digis(np.array([histogram.values() for histogram in histograms[wanted - first]]))
        return digis

    return read


def whole_branch(path: str) -> Action:
    """``array(library="np")`` over the branch; nothing is done with the objects."""
    import uproot

    def read() -> None:
        with uproot.open({path: "TH2Fs"}) as tree:
            tree["Value"].array(library="np")

    return read


def decompression(path: str, threads: str) -> Action:
    """Merely fetching and unpacking the baskets that hold wanted entries, on so many threads; places are known."""
    import uproot

    from hcal_root_ad.harvest.inputs import open_root
    from hcal_root_ad.root_io.records import Record, basket_objects, fetch

    with uproot.open({path: "TH2Fs"}) as tree:
        branch = tree["Value"]
        baskets = np.unique(np.searchsorted(branch.entry_offsets, _wanted(tree), side="right") - 1)
        seeks = [int(branch.member("fBasketSeek")[n]) for n in baskets]
        records = [Record(seek, branch.basket_compressed_bytes(n)) for n, seek in zip(baskets, seeks, strict=True)]

    def unpack() -> None:
        with open_root(input_path(path)) as root, ThreadPoolExecutor(int(threads)) as pool:

            def one(record: Record) -> None:
                for raw in fetch(root.file.source, [record]):
                    basket_objects(raw)

            # A basket that is still in memory has no place in the file; there are none of ours.
            list(pool.map(one, [record for record in records if record.seek]))

    return unpack


def input_path(path: str) -> Any:
    """A path as the package takes it."""
    from hcal_root_ad.harvest.inputs import input_file

    return input_file(path)


def genuine_root(path: str) -> Action:
    """ROOT itself: a compiled loop that reads every name, and the histogram where the name is a wanted one."""
    from benchmarks.genuine_root import read_maps

    def read() -> int:
        flow = read_maps(path, "TH2Fs", PREFIX)
        return _digis(flow[:, 1:-1, 1:-1].transpose(0, 2, 1))

    return read


def harvested_values(path: str) -> Action:
    """Plain uproot on a harvested file: one ``values()`` per object, folder by folder."""
    import uproot

    def read() -> int:
        digis = 0
        with uproot.open({path: "DQMData"}) as data:
            for run in data.keys(recursive=False):
                subsystem = data[run]["Hcal"]
                for name in subsystem.keys(recursive=False, filter_name="By Lumi Section*"):
                    folder = subsystem[name]["DigiTask/Occupancy/depth"]
                    digis += _digis(np.array([folder[name].values() for name in MAPS]))
        return digis

    return read


def _wanted(tree: Any) -> NDArray[np.int64]:
    """Entries of the tree whose name is a wanted one."""
    names = tree["FullName"].array(library="np")
    return np.flatnonzero([name.startswith(PREFIX) for name in names])


def _stretches(branch: Any, entries: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Entries whose baskets follow each other."""
    basket = np.searchsorted(branch.entry_offsets, entries, side="right") - 1
    yield from np.split(entries, np.flatnonzero(np.diff(basket) > 1) + 1)


def _channels() -> ChannelTable:
    from benchmarks.inputs import RUN

    return channel_table(era_of_run(RUN))


def _digis(maps: NDArray[Any]) -> int:
    """Digis in (LS · 8, 84, 72) maps, gathered to counts per LS and channel on the way."""
    channels = _channels()
    counts = maps.reshape(-1, len(MAPS), *maps.shape[1:])[:, channels.dqm_map - 1, channels.dqm_x, channels.dqm_y]
    return int(counts.astype(np.int32).sum(dtype=np.int64))


def cores() -> int:
    """Processors of this machine that may be used."""
    return len(os.sched_getaffinity(0))
