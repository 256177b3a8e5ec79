"""Values per lumisection and channel as ``hist.Hist`` with named axes (UHI): ``ls``, ``ieta``, ``iphi``, ``depth``.

The ``ieta`` axis has one bin for each ieta, as people count. The 84 bins of the DQM, with two for each of ±29 because
HF has a place of its own there, are an axis of another name, ``dqm_ieta``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_DQM_IETA, N_IPHI, ChannelTable
from hcal_root_ad.errors import UsageError

if TYPE_CHECKING:
    from hist import Hist
    from hist.axis import Regular

Numbers = int | Iterable[int] | None
"""One number, several (``range(10, 21)``), or None for all."""
Names = str | Iterable[str] | None
Array = NDArray[Any]

AXES = ("ls", "ieta", "iphi", "depth")
DQM_IETA = "dqm_ieta"
_OVERLAP = {("HB", "HO"): "depth 4", ("HE", "HF"): "|ieta| 29"}
"""Sub-detectors that have a cell of the axes in common."""


def chosen(numbers: Numbers, values: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which of the values were asked for."""
    if numbers is None:
        return np.ones(len(values), dtype=np.bool_)
    return np.isin(values, [numbers] if isinstance(numbers, int | np.integer) else list(numbers))


def chosen_channels(channels: ChannelTable, names: Names, cells: Mapping[str, Numbers]) -> NDArray[np.intp]:
    """Rows of the channels that were asked for; ``cells``: numbers by column (``ieta``, ``depth``, ``rbx`` …).

    Raises:
        UsageError: there is no such channel.
    """
    use = np.ones(len(channels), dtype=np.bool_)
    if names is not None:
        listed = [names] if isinstance(names, str) else list(names)
        if unknown := [name for name in listed if name not in ("HB", "HE", "HO", "HF")]:
            raise UsageError(f"there is no sub-detector {unknown[0]!r}; HB, HE, HO and HF are.")
        use &= np.isin(np.arange(len(channels)), channels.rows_of(*listed))
    for column, numbers in cells.items():
        use &= chosen(numbers, getattr(channels, column))
    if not use.any():
        asked = {"subdetector": names, **cells}
        words = ", ".join(f"{key}={value!r}" for key, value in asked.items() if value is not None)
        raise UsageError(
            f"no channel has {words}; {len(channels)} channels of {', '.join(_names(channels))} are there."
        )
    return np.flatnonzero(use)


def total(values: Array, axis: int = 0) -> Array:
    """Sum, as counts are put together."""
    return np.asarray(values.sum(axis=axis))


def worst(values: Array, axis: int = 0) -> Array:
    """Highest value, as states are put together."""
    return np.asarray(values.max(axis=axis))


def strongest(values: Array, axis: int = 0) -> Array:
    """Value of the largest size with its sign, as scores are put together."""
    high, low = values.max(axis=axis), values.min(axis=axis)
    return np.asarray(np.where(high >= -low, high, low))


def channel_histogram(
    channels: ChannelTable,
    values: Array,
    lumisections: NDArray[np.int32],
    axes: Sequence[str] = (),
    *,
    subdetector: Names = None,
    ls: Numbers = None,
    cells: Mapping[str, Numbers] | None = None,
    together: Callable[[Array], Array] = total,
    label: str = "",
) -> Hist[Any]:
    """(LS, channels) values on the named axes.

    Args:
        axes: which axes; by default all but those for which a single number was chosen.
        subdetector: by default HB and HE, which share no cell, or those that are there.
        ls, cells: lumisections, and by name ``ieta``, ``iphi`` and ``depth``, that are taken.
        together: how the values of what falls into one bin make one value.

    Raises:
        UsageError: nothing of that is there, an axis is unknown, or sub-detectors would share cells.
    """
    cells = dict(cells or {})
    if subdetector is None:
        subdetector = [name for name in _names(channels) if name in ("HB", "HE")] or _names(channels)[:1]
    columns = chosen_channels(channels, subdetector, cells)
    rows = np.flatnonzero(chosen(ls, lumisections))
    if not len(rows):
        span = f"LS {lumisections[0]} to {lumisections[-1]}" if len(lumisections) else "none"
        raise UsageError(f"no lumisection {ls!r} is there; there are {span}.")
    single = {name for name, numbers in {"ls": ls, **cells}.items() if isinstance(numbers, int | np.integer)}
    names = tuple(axes) or tuple(name for name in AXES if name not in single)
    _check(names, channels.take(columns))
    whole = channels.take(chosen_channels(channels, subdetector, {}))  # so that histograms of some channels add up
    bins = _bins(names, whole, lumisections[rows])
    return _filled(channels.take(columns), values[np.ix_(rows, columns)], lumisections[rows], bins, together, label)


def _check(names: Sequence[str], channels: ChannelTable) -> None:
    if unknown := [name for name in names if name not in (*AXES, DQM_IETA)]:
        raise UsageError(f"there is no axis {unknown[0]!r}; the axes are {', '.join(AXES)} and {DQM_IETA}.")
    there = _names(channels)
    for pair, cell in _OVERLAP.items():
        if set(pair) <= set(there) and not (pair == ("HE", "HF") and DQM_IETA in names):
            raise UsageError(f"{pair[0]} and {pair[1]} share {cell} on these axes; choose one with subdetector=…")


def _bins(names: Sequence[str], channels: ChannelTable, lumisections: NDArray[np.int32]) -> dict[str, Regular]:
    """Axes by name, wide enough for the channels and lumisections."""
    from hist.axis import Regular  # not Integer, of which every bin is named on plots

    furthest = int(np.abs(channels.ieta).max())
    limits = {
        "ls": (int(lumisections[0]), int(lumisections[-1])), "ieta": (-furthest, furthest), "iphi": (1, N_IPHI),
        "depth": (1, int(channels.depth.max())),
    }  # fmt: skip
    edges = {name: (last - first + 1, first - 0.5, last + 0.5) for name, (first, last) in limits.items()}
    edges[DQM_IETA] = (N_DQM_IETA, 0, N_DQM_IETA)
    return {name: Regular(*edges[name], name=name, label=_LABELS[name], flow=False) for name in names}


def _filled(
    channels: ChannelTable,
    values: Array,
    lumisections: NDArray[np.int32],
    bins: Mapping[str, Regular],
    together: Callable[[Array], Array],
    label: str,
) -> Hist[Any]:
    from hist import Hist
    from hist.storage import Double, Int64

    places = {"ieta": channels.ieta, "iphi": channels.iphi, "depth": channels.depth, DQM_IETA: channels.dqm_x}
    if "ls" not in bins:
        values = together(values)[None]
    inner = [name for name in bins if name != "ls"]
    shape = [len(bins[name]) for name in inner]
    place = np.zeros(len(channels), dtype=np.intp)
    for name, size in zip(inner, shape, strict=True):
        place = place * size + places[name] - math.ceil(bins[name].edges[0])
    grouped = _grouped(values, place, int(np.prod(shape, dtype=int)), together)
    storage = Int64() if np.issubdtype(grouped.dtype, np.integer) else Double()
    histogram: Hist[Any] = Hist(*bins.values(), storage=storage, label=label)
    if "ls" in bins:
        content = np.zeros((len(bins["ls"]), grouped.shape[1]), dtype=grouped.dtype)
        content[lumisections - lumisections[0]] = grouped
        order = [["ls", *inner].index(name) for name in bins]
        histogram.values()[...] = content.reshape(len(content), *shape).transpose(order)
    else:
        histogram.values()[...] = grouped.reshape(shape)
    return histogram


def _grouped(values: Array, place: NDArray[np.intp], size: int, together: Callable[[Array], Array]) -> Array:
    """(rows, channels) values as (rows, size): those of the same place made one, 0 where there is none."""
    order = np.argsort(place, kind="stable")
    there, first = np.unique(place[order], return_index=True)
    out = np.zeros((len(values), size), dtype=np.int64 if np.issubdtype(values.dtype, np.integer) else np.float64)
    if len(there) == len(place):
        out[:, place] = values
        return out
    for cell, members in zip(there, np.split(order, first[1:]), strict=True):
        out[:, cell] = together(values[:, members].T)
    return out


_LABELS = {"ls": "lumisection", "ieta": "ieta", "iphi": "iphi", "depth": "depth", DQM_IETA: "ieta (bins of the DQM)"}


def _names(channels: ChannelTable) -> list[str]:
    """Sub-detectors of a table, in its order."""
    return [name for name in ("HB", "HE", "HO", "HF") if len(channels.rows_of(name))]
