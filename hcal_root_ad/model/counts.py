"""Counts of one sub-detector to learn from, and what clean runs teach.

Sub-detectors that share a pileup have one reference together, HF has one of its own.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.errors import InputError, UsageError
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.reference_fit import CleanLumisections, fit_reference
from hcal_root_ad.stats.binomial import LARGEST, Floats, log_rate

MINIMUM_EVENTS = 100
"""Fewer events than this leave an LS not assessed (``minEventsPerLumi`` of CMSSW's HCAL client)."""
BLOCK = 24
"""Lumisections that are computed together: their arrays stay in a processor's cache."""


@dataclass(frozen=True, eq=False)
class SubdetectorCounts:
    """Counts of lumisections, in order.

    ``counts``: (LS, channels) int32; ``events``: (LS,) float64; ``lumisections``: (LS,);
    ``position``: (LS,) index of each LS in the run's :class:`LumiMaps`.
    """

    channels: ChannelTable
    counts: NDArray[np.int32]
    events: Floats
    lumisections: NDArray[np.int32]
    position: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.lumisections)

    @property
    def trials(self) -> Floats:
        """(LS, 1) events, ready to broadcast over channels."""
        return self.events[:, None]

    def single(self, rows: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Counts (rows, channels) and events (rows, 1) of some lumisections, in single precision."""
        return self.counts[rows].astype(np.float32), self.trials[rows].astype(np.float32)

    def rows(self, where: slice | NDArray[np.intp]) -> SubdetectorCounts:
        """Some of the lumisections."""
        arrays = ("counts", "events", "lumisections", "position")
        return replace(self, **{name: getattr(self, name)[where] for name in arrays})

    def stretches(self) -> Iterator[slice]:
        """Runs of consecutive lumisection numbers: nothing that remembers may cross their ends."""
        breaks = np.flatnonzero(np.diff(self.lumisections) != 1) + 1
        edges = [0, *breaks.tolist(), len(self)]
        yield from (slice(first, last) for first, last in itertools.pairwise(edges) if last > first)


def subdetector_counts(maps: LumiMaps, subdetector: str, position: NDArray[np.intp] | None = None) -> SubdetectorCounts:
    """The assessable lumisections of one sub-detector, or those of them at the given positions."""
    position = assessable(maps) if position is None else position
    rows, events = maps.channels.rows_of(subdetector), maps.events[position]
    # More digis than events cannot be: the count is cut, so that one wrong counter does no harm.
    counts = np.minimum(maps.counts[np.ix_(position, rows)], events[:, None]).astype(np.int32)
    return SubdetectorCounts(
        maps.channels.take(rows), counts, events.astype(np.float64), maps.lumisections[position], position
    )


def assessable(maps: LumiMaps) -> NDArray[np.intp]:
    """Positions of the lumisections that can be learned from: HCAL maps present, enough events known."""
    return np.flatnonzero(maps.present & (maps.events >= MINIMUM_EVENTS))


def run_total(maps: LumiMaps, totals: NDArray[np.int64], subdetector: str) -> SubdetectorCounts:
    """The whole run as one lumisection, numbered as the run's first."""
    rows = maps.channels.rows_of(subdetector)
    events = maps.run_events
    return SubdetectorCounts(
        channels=maps.channels.take(rows),
        counts=np.minimum(totals[rows], events)[None].astype(np.int32),
        events=np.array([float(events)]),
        lumisections=maps.lumisections[:1],
        position=np.array([0]),
    )


def blocks(stop: int, start: int = 0) -> Iterator[slice]:
    """Rows that are computed together."""
    yield from (slice(first, min(first + BLOCK, stop)) for first in range(start, stop, BLOCK))


TOGETHER = ("HB", "HE", "HO")
"""Sub-detectors whose digis follow the pileup: they are learned together."""
DARK = 0.02
"""An LS with a smaller share of the typical digis per event had no collisions, or was not read out."""
HF_LIVE = 0.5
"""HF is not zero suppressed: a channel with a digi in fewer events is not connected, or masked."""


@dataclass(frozen=True, eq=False)
class CleanRun:
    """Lumisections of one clean run: ``position`` (LS,) in its maps."""

    maps: LumiMaps
    position: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.position)

    @property
    def events(self) -> NDArray[np.int64]:
        """(LS,) events."""
        return self.maps.events[self.position]

    def halves(self) -> tuple[CleanRun, CleanRun]:
        """Its first and its second half."""
        middle = len(self) // 2
        return CleanRun(self.maps, self.position[:middle]), CleanRun(self.maps, self.position[middle:])


def clean_runs(runs: Sequence[LumiMaps]) -> list[CleanRun]:
    """The lumisections of clean runs that can be learned from; runs without any are left out.

    Raises:
        InputError: if there is none. UsageError: if the runs are of several eras.
    """
    if len({run.channels.era for run in runs}) > 1:
        raise UsageError("the clean runs are of different detector eras; give runs of one era")
    usable = [CleanRun(maps, _lit(maps)) for maps in runs]
    if not any(map(len, usable)):
        raise InputError(
            "the clean runs hold no lumisection with HCAL maps per channel and at least 100 events; "
            "give runs with maps per lumisection"
        )
    return [run for run in usable if len(run)]


def _lit(maps: LumiMaps) -> NDArray[np.intp]:
    """Assessable lumisections in which the detector saw collisions."""
    position = assessable(maps)
    if not len(position):
        return position
    rows = maps.channels.rows_of(*TOGETHER)
    digis = maps.counts[position][:, rows].sum(axis=1, dtype=np.int64) / maps.events[position]
    return np.asarray(position[digis > DARK * np.median(digis)])


def shared_subdetectors(runs: Sequence[CleanRun]) -> tuple[str, ...]:
    """Sub-detectors that are learned together: those with digis in every run."""
    return tuple(name for name in TOGETHER if all(_filled(run, name) for run in runs))


def _filled(run: CleanRun, subdetector: str) -> bool:
    """Whether the sub-detector has digis in the run, and came in every lumisection that is learned from."""
    rows = run.maps.channels.rows_of(subdetector)
    came = run.maps.present_of(subdetector)[run.position]
    return bool(came.all()) and bool(run.maps.counts[np.ix_(run.position, rows)].any())


def lumisections_of(runs: Sequence[CleanRun], subdetectors: Sequence[str]) -> CleanLumisections:
    """Counts of some sub-detectors in all runs, one after the other."""
    first = runs[0].maps.channels
    channels = first.take(np.concatenate([first.rows_of(name) for name in subdetectors]))
    counts = []
    for run in runs:
        own = np.concatenate([run.maps.channels.rows_of(name) for name in subdetectors])
        counts.append(np.minimum(run.maps.counts[np.ix_(run.position, own)], run.events[:, None]).astype(np.int32))
    of_run = np.repeat(np.arange(len(runs)), [len(run) for run in runs])
    return CleanLumisections(channels, np.concatenate(counts), np.concatenate([run.events for run in runs]), of_run)


def joint_reference_of(runs: Sequence[CleanRun], subdetector: str) -> Reference:
    """One reference of all sub-detectors that the runs hold: models of the same runs share the pileup.

    Raises:
        InputError: if the runs hold too few events, or no digi of ``subdetector``.
    """
    names = shared_subdetectors(runs)
    if subdetector not in names:
        raise InputError(
            f"run {', '.join(str(run.maps.run) for run in runs)}: no digi of {subdetector} in the clean runs "
            f"(found: {', '.join(names) or 'none'}); give runs that hold it"
        )
    lumisections = lumisections_of(runs, names)
    return fit_reference(lumisections, name=name_of_clean_runs([run.maps.run for run in runs], [lumisections]))


def hf_reference_of(runs: Sequence[CleanRun]) -> Reference:
    """Which channels of HF are live: those with a digi in nearly every event.

    Raises:
        InputError: if the runs hold no maps of HF, or HF does not count every event.
    """
    if any(not len(run.maps.channels.rows_of("HF")) for run in runs):
        raise InputError("the clean runs hold no maps of HF; give runs that hold them")
    clean = lumisections_of(runs, ("HF",))
    live = np.median(clean.counts / clean.events[:, None], axis=0) > HF_LIVE
    if live.mean() < HF_LIVE:
        raise InputError(
            f"the clean runs: {int(live.sum())} of {len(live)} channels of HF have a digi in most events, expected "
            "nearly all, as HF is not zero suppressed; give runs in which HF was read out"
        )
    nothing = np.zeros(len(live))
    level = np.full(len(live), float(log_rate(np.array(LARGEST))))
    name = name_of_clean_runs([run.maps.run for run in runs], [clean])
    return Reference(clean.channels, level, nothing, nothing, nothing, live, (0.0, 0.0), clean=name)


def name_of_clean_runs(runs: Sequence[int], clean: Sequence[CleanLumisections]) -> str:
    """Run numbers, and a short digest of the data: the same for references of the same clean lumisections."""
    digest = hashlib.sha256()
    for lumisections in clean:
        for array in (lumisections.channels.raw_id, lumisections.events, lumisections.counts):
            digest.update(np.ascontiguousarray(array).tobytes())
    return f"{', '.join(str(number) for number in dict.fromkeys(runs))} ({digest.hexdigest()[:12]})"
