"""``Rates``: what clean runs say of one sub-detector's channels, with errors, and ``Sums``: a run compared with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from hcal_root_ad.detector import ChannelTable, Era, channel_table
from hcal_root_ad.errors import InputError
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.common_part import CommonPartFit
from hcal_root_ad.model.counts import TOGETHER, SubdetectorCounts, name_of_clean_runs, run_total, subdetector_counts
from hcal_root_ad.model.reference import COLUMNS, Overdispersion, Reference, Widths, joined_tables
from hcal_root_ad.model.reference_fit import CleanLumisections, fit_reference
from hcal_root_ad.stats.binomial import LARGEST, SMALLEST, Floats, information, log_rate, probability

Progress = Callable[[int, int], None]
SUBDETECTORS = TOGETHER
"""Sub-detectors whose rates are learned; HF counts every event."""
ONE_RUN_SPREAD = 0.03
"""Spread of log λ about a reference of one run, where nothing is known of others (two simulated runs: 0.028)."""
LEAST_SPREAD = 0.005
"""Spread below which no channel is believed."""
LARGEST_PULL = 5.0
"""Deviations count as this many σ at most, so that a channel at fault in one run does not widen its ring's error."""
CHUNK = 128
"""Lumisections that are held as floating-point numbers at once."""


@dataclass(frozen=True, eq=False)
class Rates:
    """Rates of one sub-detector's channels, learned from clean runs.

    Attributes:
        channels: the sub-detector's channels.
        reference: level and pileup power of log λ, with their statistical errors.
        spread: (channels,) standard deviation of another run's log λ about the reference, beyond statistics.
        digis: (channels,) int64 digis of the clean runs in all. events: events in all.
    """

    channels: ChannelTable
    reference: Reference
    spread: Floats
    digis: NDArray[np.int64]
    events: float

    def error(self, log_pileup: float) -> Floats:
        """(channels,) standard error of the expected log λ of another run, at a mean log pileup.

        The level and the pileup power are known so well, and runs differ so much.
        """
        power = self.reference.power_error * log_pileup
        return np.asarray(np.sqrt(self.reference.level_error**2 + self.spread**2 + power**2))


@dataclass(frozen=True, eq=False)
class ReferenceSums:
    """Digis of a run's lumisections against a reference: N ``events``, and (channels,) n and E = Σ N·p."""

    events: float
    observed: Floats
    expected: Floats

    @cached_property
    def shift(self) -> Floats:
        """(channels,) log λ of n/N less that of E/N: the rate's ratio is its exponential. Half a digi is added."""
        n, e = ((values + 0.5) / (self.events + 1) for values in (self.observed, self.expected))
        difference: Floats = log_rate(n) - log_rate(e)
        return difference

    @property
    def probability(self) -> Floats:
        """(channels,) mean digi probability E/N."""
        return np.asarray(np.clip(self.expected / self.events, SMALLEST, LARGEST))

    @cached_property
    def information(self) -> Floats:
        """(channels,) what the counts say of the shift; its statistical error is one over the root."""
        return np.asarray(information(np.array(self.events), self.probability))


def expected_share(reference: Reference, log_pileup: Floats) -> Floats:
    """(LS, channels) expected digi probability at log pileups (LS,)."""
    return probability(reference.level + np.multiply.outer(log_pileup, reference.power))


def sums_against(reference: Reference, series: SubdetectorCounts, log_pileup: Floats) -> ReferenceSums:
    """Sum lumisections (at least one) at log pileups (LS,), piece by piece."""
    observed, expected = np.zeros(len(series.channels)), np.zeros(len(series.channels))
    for first in range(0, len(series), CHUNK):
        rows = slice(first, first + CHUNK)
        observed += series.counts[rows].sum(axis=0)
        expected += series.events[rows] @ expected_share(reference, log_pileup[rows])
    return ReferenceSums(float(series.events.sum()), observed, expected)


def comparable(maps: LumiMaps, subdetector: str) -> SubdetectorCounts:
    """The lumisections that can be compared with a reference; of a file without maps per LS, the run as one."""
    if maps.coarse is not None and maps.coarse.totals is not None:
        return run_total(maps, maps.coarse.totals, subdetector)
    return subdetector_counts(maps, subdetector)


def fit_rates(runs: Sequence[LumiMaps], progress: Progress | None = None) -> dict[str, Rates]:
    """Rates of every sub-detector that has digis in all clean runs; ``progress`` is told when they are learned.

    Raises:
        InputError: no digi, too few events, or runs of several eras.
    """
    eras = sorted({run.channels.era.value for run in runs})
    if len(eras) != 1:
        raise InputError(f"the clean runs are of the detector eras {', '.join(eras)}; a reference is of one era")
    series = {name: [comparable(run, name) for run in runs] for name in SUBDETECTORS}
    series = {name: runs_of for name, runs_of in series.items() if all(clean_run.counts.any() for clean_run in runs_of)}
    if not series:
        raise InputError("the clean runs hold no digi of HB or HE with enough events; nothing can be learned from them")
    if progress:
        progress(0, 1)
    clean = [_together([runs_of[number] for runs_of in series.values()], number) for number in range(len(runs))]
    arrays = [np.concatenate([getattr(run, name) for run in clean]) for name in ("counts", "events", "run")]
    name = name_of_clean_runs([run.run for run in runs], clean)
    reference = fit_reference(CleanLumisections(clean[0].channels, *arrays), name=name)
    log_pileups = [
        CommonPartFit(reference).fit(counts_of_run.counts, counts_of_run.events).log_pileup.astype(np.float64)
        for counts_of_run in clean
    ]
    rates = {}
    for name, runs_of in series.items():
        own = reference.select(name)
        digis = np.sum([clean_run.counts.sum(axis=0, dtype=np.int64) for clean_run in runs_of], axis=0)
        events = float(sum(clean_run.events.sum() for clean_run in runs_of))
        rates[name] = Rates(own.channels, own, _spread(own, runs_of, log_pileups), digis, events)
    return rates


def _together(subdetectors: Sequence[SubdetectorCounts], run: int) -> CleanLumisections:
    """Lumisections of one run over several sub-detectors."""
    counts = np.concatenate([subdetector.counts for subdetector in subdetectors], axis=1)
    events = subdetectors[0].events.astype(np.int64)
    channels = joined_tables([subdetector.channels for subdetector in subdetectors])
    return CleanLumisections(channels, counts, events, np.full(len(events), run))


def _spread(reference: Reference, series: Sequence[SubdetectorCounts], log_pileups: Sequence[Floats]) -> Floats:
    """(channels,) spread of runs about their common reference beyond statistics, pooled over the ring.

    Each of R runs is part of the reference, which takes 1/R of the variance away; another run is not, and has
    the reference's own 1/R to bear.
    """
    ring, runs = series[0].channels.ring, len(series)
    if runs == 1:
        return np.full(len(ring), ONE_RUN_SPREAD)
    excess, weight = np.zeros(int(ring.max()) + 1), np.zeros(int(ring.max()) + 1)
    for counts_of_run, log_pileup in zip(series, log_pileups, strict=True):
        sums = sums_against(reference, counts_of_run, log_pileup)
        info = sums.information
        z2 = np.minimum(sums.shift**2 * info * runs / (runs - 1), LARGEST_PULL**2)
        excess += np.bincount(ring, reference.live * (z2 - 1), len(excess))
        weight += np.bincount(ring, reference.live * info, len(weight))
    variance = excess / np.maximum(weight, 1e-9) * (1 + 1 / runs)
    return np.asarray(np.sqrt(np.maximum(variance, LEAST_SPREAD**2))[ring])


KEYS = ("raw_id", *COLUMNS, "pileup_range", "widths", "overdispersion", "spread", "digis", "events")
"""Tensors of each sub-detector in a file of rates, named ``HB.level`` and so on."""
_CLEAN = "clean"
"""Key in the file's head of what it was learned from."""


def save_rates(rates: Mapping[str, Rates], path: Path) -> None:
    """Write the rates of the sub-detectors as one safetensors file."""
    tensors: dict[str, NDArray[Any]] = {}
    for name, subdetector in rates.items():
        reference = subdetector.reference
        values = {key: getattr(reference, key) for key in (*COLUMNS, "pileup_range")}
        values |= {"widths": astuple(reference.widths), "overdispersion": astuple(reference.overdispersion)}
        values |= {"spread": subdetector.spread, "digis": subdetector.digis, "events": np.array([subdetector.events])}
        values["raw_id"] = subdetector.channels.raw_id
        tensors |= {f"{name}.{key}": _stored(key, np.asarray(value)) for key, value in values.items()}
    save_file(tensors, path, {_CLEAN: next(iter(rates.values())).reference.clean})
    path.chmod(0o644)  # safetensors writes for the owner only


def _stored(key: str, values: NDArray[Any]) -> NDArray[Any]:
    if key == "live":
        return values.astype(np.uint8)
    return values.astype(np.float32) if key in (*COLUMNS, "spread") else np.ascontiguousarray(values)


def load_rates(path: Path, era: Era) -> dict[str, Rates]:
    """Read rates back.

    Raises:
        ValueError: tensors are missing, not finite, or of other channels than the era's.
        OSError, SafetensorError: the file is not there, or is damaged.
    """
    with safe_open(path, framework="numpy") as file:
        clean = (file.metadata() or {}).get(_CLEAN, "")
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    names = [name for name in SUBDETECTORS if f"{name}.raw_id" in tensors]
    expected = {f"{name}.{key}" for name in names for key in KEYS}
    if expected != tensors.keys() or not names:
        odd = sorted(expected ^ tensors.keys())
        raise ValueError(f"tensors are missing or unknown: {', '.join(odd[:4])}")
    return {name: _loaded(name, {key: tensors[f"{name}.{key}"] for key in KEYS}, era, clean) for name in names}


def _loaded(name: str, values: Mapping[str, NDArray[Any]], era: Era, clean: str) -> Rates:
    channels = channel_table(era).select(name)
    if not np.array_equal(values["raw_id"], channels.raw_id):
        raise ValueError(f"the channels of {name} are not those of {era.value}")
    if not all(bool(np.isfinite(array).all()) for array in values.values()):
        raise ValueError(f"numbers of {name} are not finite")
    if any(values[key].shape != channels.ieta.shape for key in (*COLUMNS, "spread", "digis")):
        raise ValueError(f"tensors of {name} are not of {len(channels)} channels")
    columns: dict[str, Any] = {key: values[key].astype(np.float64) for key in COLUMNS if key != "live"}
    low, high = values["pileup_range"].astype(np.float64)
    reference = Reference(
        channels, **columns, live=values["live"].astype(bool), pileup_range=(float(low), float(high)),
        widths=Widths(*map(float, values["widths"])),
        overdispersion=Overdispersion(*map(float, values["overdispersion"])), clean=clean,
    )  # fmt: skip
    return Rates(
        channels, reference, values["spread"].astype(np.float64), values["digis"].astype(np.int64),
        float(values["events"][0]),
    )  # fmt: skip
