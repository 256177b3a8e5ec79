"""What one file says of one lumisection, gathered from 84 × 72 maps to channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad import detector
from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.inputs import InputFile

MAP_SHAPE = (detector.N_DQM_IETA, detector.N_IPHI)
"""Bins of a DQM depth map: ieta × iphi."""
HO_DEPTH = 4
"""The depth of HO, and so its map before it got one of its own."""


_LARGEST = np.iinfo(np.int32).max
FIRST_RUN, LAST_RUN = 286_497, 999_999_999
"""The run after the last certified one of 2016 (``Cert_285952-286496``): earlier detectors had other channels. Nine
digits, as in the names of DQM files."""
SUM_OF_RUNS = 999_999
"""The number under which several runs are harvested together."""
LAST_LUMISECTION = 100_000
"""27 days. Axes are made as long as the last lumisection."""


def table_of_run(run: int) -> detector.ChannelTable:
    """All channels (HB, HE, HO, HF) of a run's era, the columns of :attr:`LumisectionCounts.counts`."""
    return detector.channel_table(detector.era_of_run(run))


@cache
def needed_depths(era: str) -> tuple[int, ...]:
    """Depths that an era's HB and HE channels have."""
    return tuple(int(d) for d in np.unique(detector.channel_table(era).select("HB", "HE").depth))


def maps_of(era: str) -> tuple[int, ...]:
    """Numbers of the maps that are read: all depths, and that of HO, which need not be there."""
    return (*needed_depths(era), detector.HO_MAP)


@cache
def _cells(era: str, number: int) -> tuple[NDArray[np.intp], NDArray[np.int16], NDArray[np.int16], NDArray[np.bool_]]:
    """Rows of the channel table in a map, their bins on the map's two axes, and a map of bins without a channel."""
    table = detector.channel_table(era)
    inside = table.dqm_map == number
    if number == HO_DEPTH and detector.ho_in_depth_4(era):
        inside |= table.dqm_map == detector.HO_MAP
    rows = np.flatnonzero(inside)
    x, y = table.dqm_x[rows], table.dqm_y[rows]
    empty = np.ones(MAP_SHAPE, dtype=np.bool_)
    empty[x, y] = False
    return rows, x, y, empty


@dataclass(eq=False)
class LumisectionCounts:
    """Counts and event counters of one lumisection, summed as maps arrive.

    ``first`` is below ``lumisection`` where the counts span several lumisections that cannot be
    told apart. ``counts`` (all channels of the era, int32) is None until a map came; ``seen`` says
    how often each of the eight maps came (``depth1`` … ``depth7``, ``depthHO``). ``own_events`` and
    ``other_events`` are HCAL's and another subsystem's counters, ``own_growth`` and ``other_growth``
    what they grew by since the lumisection before in the same file: some count the events of a job so
    far. ``stray`` counts digis in bins that are no channel of the era. ``origin`` names the file, once
    several are put together. ``doubts``: why the counts must not be used.
    """

    run: int
    lumisection: int
    first: int = 0
    counts: NDArray[np.int32] | None = None
    seen: NDArray[np.int64] = field(default_factory=lambda: np.zeros(detector.N_MAPS, dtype=np.int64))
    own_events: int | None = None
    other_events: int | None = None
    stray: int = 0
    own_growth: int | None = None
    other_growth: int | None = None
    origin: str = ""
    doubts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.first = self.first or self.lumisection

    @property
    def complete(self) -> bool:
        """Whether the map of every depth that the era needs came, each equally often."""
        often = [int(self.seen[depth - 1]) for depth in needed_depths(detector.era_of_run(self.run))]
        return often[0] > 0 and min(often) == max(often)

    @property
    def has_ho(self) -> bool:
        """Whether HO came: its map as often as the others, or digis of it in the map of depth 4."""
        era, often = detector.era_of_run(self.run), int(self.seen[detector.HO_MAP - 1])
        if often or not detector.ho_in_depth_4(era):
            return self.complete and often == int(self.seen[needed_depths(era)[0] - 1])
        outer = table_of_run(self.run).rows_of("HO")
        return self.complete and self.counts is not None and bool(self.counts[outer].any())

    def add_map(self, number: int, values: NDArray[np.generic], where: str) -> None:
        """Add one 84 × 72 map of counts, of a depth or of HO; ``where`` names file, element and LS for errors.

        Raises:
            InputError: the map has other bins, or holds what cannot be a count.
        """
        counts = as_counts(values, where)
        rows, x, y, empty = _cells(detector.era_of_run(self.run), number)
        if self.counts is None:
            self.counts = np.zeros(len(table_of_run(self.run)), dtype=np.int32)
        self.counts[rows] = sum_of_counts(self.counts[rows], counts[x, y], where)
        self.seen[number - 1] += 1
        self.stray += int(counts[empty].sum())
        if saturated(values):
            self.doubt(SATURATED)

    def add_counts(self, counts: NDArray[np.int32], numbers: tuple[int, ...], where: str) -> None:
        """Add the counts (all channels of the era,) that the maps of those numbers hold; the array becomes ours.

        Raises:
            InputError: the sum leaves 32 bits.
        """
        self.counts = counts if self.counts is None else sum_of_counts(self.counts, counts, where)
        self.seen[np.array(numbers) - 1] += 1

    def doubt(self, reason: str) -> None:
        """Remember why the counts must not be used."""
        self.doubts = tuple(dict.fromkeys((*self.doubts, reason)))

    def take_counts(self) -> NDArray[np.int32]:
        """The counts, which this section holds no longer: a run's would else be in memory twice."""
        assert self.counts is not None
        counts, self.counts = self.counts, None
        return counts

    def count(self, whose: str, events: int, growth: int) -> None:
        """What HCAL's ``own`` counter, or an ``other`` subsystem's, says, and what it grew by since the LS before."""
        setattr(self, f"{whose}_events", events)
        setattr(self, f"{whose}_growth", growth)


SATURATED = "contents at the ceiling of their type (32767 in a TH2S, 16777216 in a TH2F), which are no counts"
_CEILINGS = {"i2": 2**15 - 1, "i4": 2**31 - 1, "f4": 2**24, "f8": 2**53}
"""From these contents on a histogram of that type no longer counts: one more changes nothing."""


def ceiling(dtype: np.dtype[Any]) -> int:
    """The content from which on a histogram of that type no longer counts."""
    return _CEILINGS.get(dtype.str[1:], _LARGEST)


def saturated(values: NDArray[np.generic]) -> bool:
    """Whether some content is at the ceiling of its type."""
    return bool(values.size and np.max(values) >= ceiling(values.dtype))


def counter_of(bins: NDArray[Any]) -> int | None:
    """What a histogram of events counts; None where it is at the ceiling of its type."""
    return None if saturated(bins) else round(float(bins.sum()))


def sum_of_counts(a: NDArray[np.int32], b: NDArray[np.int32], where: str) -> NDArray[np.int32]:
    """The sum of counts, none of them negative.

    Raises:
        InputError: it leaves 32 bits.
    """
    total: NDArray[np.int32] = a + b
    if (total < 0).any():
        raise InputError(f"{where} adds up to more than {_LARGEST} digis of a channel, which cannot be counts.")
    return total


def growth_of_counter(counted: Mapping[tuple[int, int, int], int]) -> dict[tuple[int, int, int], int]:
    """What a counter grew by since the LS before in the same file; where it fell, it began again.

    Keys are run, LS, and which of several jobs of a merged file.
    """
    growth: dict[tuple[int, int, int], int] = {}
    before: dict[tuple[int, int], int] = {}
    for run, lumisection, job in sorted(counted):
        events = counted[run, lumisection, job]
        earlier = before.get((run, job), 0)
        growth[run, lumisection, job] = events - earlier if events >= earlier else events
        before[run, job] = events
    return growth


def as_counts(values: NDArray[np.generic], where: str) -> NDArray[np.int32]:
    """An 84 × 72 map as integers.

    Raises:
        InputError: other bins, NaN, a negative or a fractional content.
    """
    if values.shape != MAP_SHAPE:
        shape = " × ".join(str(n) for n in values.shape)
        raise InputError(f"{where} has {shape} bins; a depth map of HCAL's DQM has 84 (ieta) × 72 (iphi).")
    return whole_numbers(values, where)


def whole_numbers(values: NDArray[np.generic], where: str) -> NDArray[np.int32]:
    """Contents as integers.

    Raises:
        InputError: NaN, a negative, a fractional or an absurdly large content.
    """
    contents = np.asarray(values, dtype=np.float64)
    if not np.all(np.isfinite(contents)):
        raise InputError(f"{where} holds contents that are not numbers; counts of digis were expected.")
    if np.any(contents < 0):
        raise InputError(f"{where} holds the negative content {contents.min():g}; counts of digis were expected.")
    whole = np.rint(contents)
    if np.any(whole != contents):
        odd = contents[whole != contents].flat[0]
        raise InputError(f"{where} holds the fraction {odd:g}; counts of digis were expected, not rates.")
    if np.any(whole > _LARGEST):
        raise InputError(f"{where} holds the content {whole.max():g}; counts of digis were expected.")
    return whole.astype(np.int32)


def whole_column(values: NDArray[Any], where: str) -> NDArray[np.int64]:
    """A column of runs, lumisections or counts as integers; 1.0 is 1.

    Raises:
        InputError: fractions, booleans, times, texts, or what 64 bits do not hold.
    """
    kind = values.dtype.kind
    if kind in "iu" and (kind == "i" or not values.size or values.max() <= np.iinfo(np.int64).max):
        return values.astype(np.int64)
    if kind == "f":
        values = values.astype(np.float64)
        odd = values[~(np.isfinite(values) & (values == np.rint(values)) & (np.abs(values) < 2**53))]
        if not len(odd):
            return values.astype(np.int64)
        raise InputError(f"{where} holds {odd[0]:g}; whole numbers were expected.")
    value = values.max() if kind == "u" else values.dtype
    raise InputError(f"{where} holds {value}; whole numbers of at most 63 bits were expected.")


_EDGES = ((0.0, float(detector.N_DQM_IETA)), (0.5, detector.N_IPHI + 0.5))


def check_axes(place: str, histogram: Any) -> None:
    """Make sure that the 84 × 72 bins of a map are those of HCAL's DQM; maps of other shapes are left to ``add_map``.

    Raises:
        InputError: axes with other edges, or labels that contradict the bins.
    """
    axes = [histogram.axis(number) for number in range(len(histogram.axes))]
    if tuple(int(axis.member("fNbins")) for axis in axes) != MAP_SHAPE:
        return
    for name, axis, (low, high) in zip(("ieta", "iphi"), axes, _EDGES, strict=True):
        if not np.allclose(axis.edges(), np.linspace(low, high, int(high - low) + 1)):
            raise InputError(
                f"{place}: the {name} axis of {histogram.name} goes from {axis.low:g} to {axis.high:g}; "
                f"that of a depth map of HCAL's DQM goes from {low:g} to {high:g} in steps of 1."
            )
    for number, label in enumerate(axes[0].labels() or ()):
        if label and label != detector.IETA_LABELS[number]:
            raise InputError(
                f"{place}: bin {number + 1} of the ieta axis of {histogram.name} is labelled {label!r}; in a depth map "
                f"of HCAL's DQM it is {detector.IETA_LABELS[number]!r}."
            )


def check_numbers(path: InputFile, run: int, lumisection: int = 0) -> None:
    """Make sure that these can be the numbers of a run and of a lumisection (0: the run).

    Raises:
        InputError: they cannot.
    """
    if run > LAST_RUN or run < 1:
        raise InputError(f"{path} speaks of run {run}; run numbers go from 1 to {LAST_RUN}: fetch the file again.")
    if run == SUM_OF_RUNS:
        raise InputError(
            f"{path} holds run {run}, which is no run but a sum of runs (a multi-run harvest); it cannot be judged as "
            "one: give the files of single runs."
        )
    if run < FIRST_RUN:
        raise InputError(
            f"{path} holds run {run}, of an era before 2017 or simulated without a run number; the channels are known "
            f"from run {FIRST_RUN} on."
        )
    if not 0 <= lumisection <= LAST_LUMISECTION:
        raise InputError(
            f"{path} speaks of LS {lumisection} of run {run}; no run has more than {LAST_LUMISECTION} lumisections: "
            "fetch the file again."
        )


def check_events(events: float, words: str) -> int:
    """A number of events, as an integer; ``words`` name the counter for errors, and whose it is.

    Raises:
        InputError: what cannot be a number of events.
    """
    if not 0 <= events <= _LARGEST:
        raise InputError(f"{words} counts {events:g} events, which cannot be; fetch the file again.")
    return round(events)


def where(path: InputFile, element: str, run: int, lumisection: int) -> str:
    """Words for errors: which element of which file."""
    return f"{element} of run {run}, LS {lumisection} in {path}" if lumisection else f"{element} of run {run} in {path}"
