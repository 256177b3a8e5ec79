"""``Rates``: what clean runs say of one sub-detector's channels, with errors, and ``Sums``: a run held against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from hcal_root_ad.detector import ChannelTable, Era, channel_table
from hcal_root_ad.errors import InputError
from hcal_root_ad.learn.reference import CHANNEL_POWER, Reference, fit_activity, fit_reference
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.counts import FEWEST, Series, series_of, series_of_totals
from hcal_root_ad.stats.binomial import LARGEST, SMALLEST, Floats, information, log_rate

Progress = Callable[[int, int], None]
SUBDETECTORS = ("HB", "HE")
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

    def error(self, activity: float) -> Floats:
        """(channels,) standard error of the expected log λ of another run, at a mean activity.

        The level is known so well, runs differ so much, and a channel's pileup power differs from its ring's.
        """
        power = CHANNEL_POWER * activity
        return np.asarray(np.sqrt(self.reference.level_error**2 + self.spread**2 + power**2))


@dataclass(frozen=True, eq=False)
class Sums:
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


def sums_against(reference: Reference, series: Series, activity: Floats) -> Sums:
    """Sum a series (with at least one lumisection) at activities (LS,), piece by piece."""
    observed, expected = np.zeros(len(series.channels)), np.zeros(len(series.channels))
    for first in range(0, len(series), CHUNK):
        rows = slice(first, first + CHUNK)
        observed += series.counts[rows].sum(axis=0)
        expected += series.events[rows] @ reference.expected(activity[rows])
    return Sums(float(series.events.sum()), observed, expected)


def comparable(maps: LumiMaps, subdetector: str) -> Series:
    """The lumisections that can be held against a reference; of a file without maps per LS, the run as one."""
    if maps.coarse is not None and maps.coarse.totals is not None:
        return series_of_totals(maps, maps.coarse.totals, subdetector)
    return series_of(maps, subdetector)


def fit_rates(runs: Sequence[LumiMaps], progress: Progress | None = None) -> dict[str, Rates]:
    """Rates of every sub-detector that has digis in the clean runs; ``progress`` counts sub-detectors.

    Raises:
        InputError: no digi, fewer than 20 lumisections (run totals count as many), or runs of several eras.
    """
    eras = sorted({run.channels.era.value for run in runs})
    if len(eras) != 1:
        raise InputError(f"the clean runs are of the detector eras {', '.join(eras)}; a reference is of one era")
    found = {}
    for done, name in enumerate(SUBDETECTORS):
        if progress:
            progress(done, len(SUBDETECTORS))
        series = [one for one in (comparable(run, name) for run in runs) if one.counts.any()]
        if series:
            _refuse_few(name, runs, series)
            found[name] = _fit(series)
    if not found:
        raise InputError("the clean runs hold no digi of HB or HE with enough events; nothing can be learned from them")
    return found


def _refuse_few(name: str, runs: Sequence[LumiMaps], series: Sequence[Series]) -> None:
    total = sum(len(one) for one in series)
    if total < FEWEST and all(run.coarse is None for run in runs):
        raise InputError(
            f"the clean runs hold {total} lumisections of {name} with maps and events, "
            f"expected at least {FEWEST}; give more or longer runs"
        )


def _fit(series: Sequence[Series]) -> Rates:
    reference = fit_reference(series)
    return Rates(
        channels=series[0].channels,
        reference=reference,
        spread=_spread(reference, series),
        digis=np.sum([one.counts.sum(axis=0, dtype=np.int64) for one in series], axis=0),
        events=float(sum(one.events.sum() for one in series)),
    )


def _spread(reference: Reference, series: Sequence[Series]) -> Floats:
    """(channels,) spread of runs about their common reference beyond statistics, pooled over the ring.

    Each of R runs is part of the reference, which takes 1/R of the variance away; another run is not, and has
    the reference's own 1/R to bear.
    """
    ring, runs = series[0].channels.ring, len(series)
    if runs == 1:
        return np.full(len(ring), ONE_RUN_SPREAD)
    excess, weight = np.zeros(int(ring.max()) + 1), np.zeros(int(ring.max()) + 1)
    for one in series:
        sums = sums_against(reference, one, fit_activity(reference, one.counts, one.events))
        info = sums.information
        z2 = np.minimum(sums.shift**2 * info * runs / (runs - 1), LARGEST_PULL**2)
        excess += np.bincount(ring, reference.live * (z2 - 1), len(excess))
        weight += np.bincount(ring, reference.live * info, len(weight))
    variance = excess / np.maximum(weight, 1e-9) * (1 + 1 / runs)
    return np.asarray(np.sqrt(np.maximum(variance, LEAST_SPREAD**2))[ring])


_COLUMNS = ("level", "level_error", "power", "power_error", "live")
_OWN = ("spread", "digis", "events")
KEYS = ("raw_id", *_COLUMNS, "activity", *_OWN)
"""Tensors of each sub-detector in a file of rates, named ``HB.level`` and so on."""


def save_rates(rates: Mapping[str, Rates], path: Path) -> None:
    """Write the rates of the sub-detectors as one safetensors file."""
    tensors: dict[str, NDArray[Any]] = {}
    for name, one in rates.items():
        values = {key: getattr(one.reference, key) for key in (*_COLUMNS, "activity")}
        values |= {"spread": one.spread, "digis": one.digis, "events": np.array([one.events])}
        values["raw_id"] = one.channels.raw_id
        tensors |= {f"{name}.{key}": _stored(key, np.asarray(value)) for key, value in values.items()}
    save_file(tensors, path)
    path.chmod(0o644)  # safetensors writes for the owner only


def _stored(key: str, values: NDArray[Any]) -> NDArray[Any]:
    if key == "live":
        return values.astype(np.uint8)
    return values.astype(np.float32) if key in (*_COLUMNS, "spread") else np.ascontiguousarray(values)


def load_rates(path: Path, era: Era) -> dict[str, Rates]:
    """Read rates back.

    Raises:
        ValueError: tensors are missing, not finite, or of other channels than the era's.
        OSError, SafetensorError: the file is not there, or is damaged.
    """
    tensors = load_file(path)
    names = sorted({key.partition(".")[0] for key in tensors})
    wanted = {f"{name}.{key}" for name in names for key in KEYS}
    if wanted != tensors.keys() or not set(names) <= set(SUBDETECTORS) or not names:
        odd = sorted(wanted ^ tensors.keys()) or names
        raise ValueError(f"tensors are missing or unknown: {', '.join(odd[:4])}")
    return {name: _loaded(name, {key: tensors[f"{name}.{key}"] for key in KEYS}, era) for name in names}


def _loaded(name: str, values: Mapping[str, NDArray[Any]], era: Era) -> Rates:
    channels = channel_table(era).select(name)
    if not np.array_equal(values["raw_id"], channels.raw_id):
        raise ValueError(f"the channels of {name} are not those of {era.value}")
    if not all(bool(np.isfinite(array).all()) for array in values.values()):
        raise ValueError(f"numbers of {name} are not finite")
    if any(values[key].shape != channels.ieta.shape for key in (*_COLUMNS, "spread", "digis")):
        raise ValueError(f"tensors of {name} are not of {len(channels)} channels")
    columns = {key: values[key].astype(np.float64) for key in _COLUMNS if key != "live"}
    low, high = values["activity"].astype(np.float64)
    reference = Reference(**columns, live=values["live"].astype(bool), activity=(float(low), float(high)))
    return Rates(
        channels, reference, values["spread"].astype(np.float64), values["digis"].astype(np.int64),
        float(values["events"][0]),
    )  # fmt: skip
