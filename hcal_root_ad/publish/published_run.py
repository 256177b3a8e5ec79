"""A published file read back: the monitor elements as they were written, and what they say of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import uproot
from hist import Hist
from hist.axis import Regular
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable, channel_table, era_of_run
from hcal_root_ad.errors import InputError, UsageError
from hcal_root_ad.histograms import Names, Numbers, channel_histogram, worst
from hcal_root_ad.judge.verdict import Trust
from hcal_root_ad.lumi_maps import ls_ranges
from hcal_root_ad.publish.elements import (
    CLIENT,
    PRODUCTION,
    TASK,
    MonitorElement,
    MonitorElements,
    Scalar,
    scalar_of_text,
)

_STATES = f"{CLIENT}/StateSummary/depth"
_OURS = {folder.partition("/")[2]: folder for folder in (TASK, CLIENT)}
_OURS |= {theirs.partition("/")[2]: ours for ours, theirs in PRODUCTION.items()}
"""Folders of a run's summary that are ours, under our names."""


@dataclass(frozen=True, eq=False)
class PublishedRun:
    """What a file of ours says of a run.

    Attributes:
        path: the file.
        elements: the monitor elements by path, ``hist`` histograms in single precision, and the scalars.
    """

    path: Path
    elements: MonitorElements

    @property
    def run(self) -> int:
        return self.elements.run

    @cached_property
    def scalars(self) -> Mapping[str, int | float | str]:
        """Numbers and texts by path."""
        return {scalar.path: scalar.value for scalar in self.elements.scalars}

    @property
    def trust(self) -> Trust:
        """What the verdict rests on."""
        return Trust(str(self.scalars[f"{CLIENT}/EventInfo/trust"]))

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        return str(self.scalars[f"{CLIENT}/EventInfo/verdict"])

    @property
    def program(self) -> str:
        """What wrote the file."""
        return str(self.scalars.get(f"{CLIENT}/Provenance/program", "hcal-root-ad"))

    @cached_property
    def events(self) -> Hist[Any]:
        """Events against LS."""
        return self.elements[f"{TASK}/EventsvsLS/EventsvsLS"].histogram

    @property
    def lumisections(self) -> NDArray[np.int32]:
        """(LS,) from the first to the last that the file knows."""
        return np.asarray(np.rint(self.events.axes[0].edges[:-1]), dtype=np.int32)

    @cached_property
    def channels(self) -> ChannelTable:
        """The channels that were judged, in the order of the era's table."""
        every = channel_table(era_of_run(self.run))
        states = self._states(every)
        return every.take(np.flatnonzero(states > 0))

    @cached_property
    def states(self) -> NDArray[np.uint8]:
        """(channels,) worst state of the run of each of :attr:`channels`, values of ``State``."""
        states = self._states(self.channels)
        states.flags.writeable = False
        return states

    def _states(self, channels: ChannelTable) -> NDArray[np.uint8]:
        maps = np.zeros((8, 84, 72))
        names = [*(f"depth{depth}" for depth in range(1, 8)), "depthHO"]
        for number, name in enumerate(names):
            if f"{_STATES}/{name}" in self.paths:
                maps[number] = self.elements[f"{_STATES}/{name}"].histogram.values()
        return np.asarray(maps[channels.dqm_map - 1, channels.dqm_x, channels.dqm_y], dtype=np.uint8)

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """Paths of the histograms."""
        return tuple(element.path for element in self.elements.elements)

    def to_hist(
        self, *axes: str, subdetector: Names = None, ieta: Numbers = None, iphi: Numbers = None, depth: Numbers = None
    ) -> Hist[Any]:
        """Worst states of the run with axes ``ieta``, ``iphi``, ``depth``, as ``verdict.to_hist("states")`` has them.

        Raises:
            UsageError: nothing of that is there.
        """
        if not len(self.channels):
            raise UsageError(f"{self.path}: no channel was judged by itself; see elements for the readout boxes.")
        cells = {"ieta": ieta, "iphi": iphi, "depth": depth}
        names = axes or tuple(name for name, numbers in cells.items() if not isinstance(numbers, int))
        return channel_histogram(
            self.channels, self.states[None], self.lumisections[:1], names, subdetector=subdetector, cells=cells,
            together=worst, label="states",
        )  # fmt: skip

    def __str__(self) -> str:
        lines = [
            f"{self.path}",
            f"  format        published by {self.program}",
            f"  run           {self.run}",
            f"  lumisections  {ls_ranges(self.lumisections)}",
            f"  verdict       {self.verdict}",
            f"  trust         {self.trust}",
            "  to judge it again: give the files that it was made of (hcal-root-ad provenance)",
            "  monitor elements",
        ]
        return "\n".join([*lines, *(f"    {path}" for path in self.paths)])

    def __repr__(self) -> str:
        return f"<PublishedRun {self.run}: {len(self.paths)} monitor elements, {self.verdict}, {self.trust}>"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self).partition('  monitor elements')[0])}</pre>"


def is_published(path: Path) -> bool:
    """Whether a file has our folders."""
    try:
        with uproot.open(path) as file:
            return bool(_folders(file))
    except Exception:  # whatever it is, it is no file of ours
        return False


def read_published(path: Path | str) -> PublishedRun:
    """Read a ROOT file that was published for the DQM GUI.

    Raises:
        InputError: the file is missing, damaged, or none of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a ROOT file that was published by `run` or `watch`.")
    try:
        with uproot.open(path) as file:
            folders = _folders(file)
            if folders:
                return PublishedRun(path, _elements(file, folders))
    except Exception as error:  # uproot fails on damage in its own many ways
        raise InputError(f"{path}: expected a published ROOT file, found it damaged ({error}).") from error
    raise InputError(f"{path}: expected the folders of HcalADTask and HcalADClient, found none; publish the run first.")


def _folders(file: Any) -> dict[str, str]:
    """Our folders in the file: place to GUI path."""
    folders: dict[str, str] = {}
    for run in file["DQMData"].keys(recursive=False, cycle=False) if "DQMData" in file else []:
        place = f"DQMData/{run}/Hcal/Run summary"
        names = file[place].keys(recursive=False, cycle=False) if place in file else []
        folders |= {f"{place}/{name}": _OURS[name] for name in names if name in _OURS}
    return folders


def _elements(file: Any, folders: Mapping[str, str]) -> MonitorElements:
    elements, scalars = [], []
    for place, folder in folders.items():
        for name, kind in file[place].classnames(cycle=False).items():
            if kind.startswith("TH"):
                elements.append(_element(file[f"{place}/{name}"], f"{folder}/{name}"))
            elif kind == "TObjString":
                parent = name.partition("<")[0]
                if (scalar := scalar_of_text(name[len(parent) :])) is not None:
                    scalars.append(Scalar(f"{folder}/{parent}{scalar[0]}", scalar[1]))
    run = int(next(iter(folders)).split("/")[1].removeprefix("Run "))
    return MonitorElements(run, tuple(elements), tuple(scalars))


def _element(histogram: Any, path: str) -> MonitorElement:
    axes = [histogram.member(f"f{name}axis") for name in "XY"[: len(histogram.axes)]]
    bins = (Regular(a.member("fNbins"), a.member("fXmin"), a.member("fXmax"), label=a.member("fTitle")) for a in axes)
    drawn: Hist[Any] = Hist(*bins)  # not by to_hist, which merges bins of the same name
    drawn.values()[...] = histogram.values()
    return MonitorElement(path, drawn, histogram.title, tuple(map(_labels, axes)))


def _labels(axis: Any) -> tuple[str, ...]:
    """Names of the bins of an axis, "" where one has none; none at all where no bin is named."""
    named = {label.member("@fUniqueID"): str(label) for label in axis.member("fLabels") or ()}
    return tuple(named.get(number, "") for number in range(1, axis.member("fNbins") + 1)) if named else ()
