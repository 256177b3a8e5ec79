"""What clean runs teach: one reference over the sub-detectors that share a pileup, and one for HF."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.errors import InputError, UsageError
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.counts import assessable
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.reference_fit import CleanLumisections, fit_reference
from hcal_root_ad.stats.binomial import LARGEST, log_rate

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
    columns = np.concatenate([first.rows_of(name) for name in subdetectors])
    channels = first.take(columns)
    counts = []
    for run in runs:
        own = columns if run.maps.channels is first else _columns(run.maps, subdetectors)
        counts.append(np.minimum(run.maps.counts[np.ix_(run.position, own)], run.events[:, None]).astype(np.int32))
    of_run = np.repeat(np.arange(len(runs)), [len(run) for run in runs])
    return CleanLumisections(channels, np.concatenate(counts), np.concatenate([run.events for run in runs]), of_run)


def _columns(maps: LumiMaps, subdetectors: Sequence[str]) -> NDArray[np.intp]:
    return np.concatenate([maps.channels.rows_of(name) for name in subdetectors])


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
