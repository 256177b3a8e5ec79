"""``verdict.plot``: pictures of a verdict in the CMS style, on matplotlib axes, for notebooks and slides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import NDArray

from hcal_root_ad.detector import IETA_LABELS, N_IPHI, N_RBX, SUBDET_PM
from hcal_root_ad.errors import UsageError
from hcal_root_ad.judge.aggregate import Array, box_states, depth_maps, has_boxes, on_axis, variance, worst_state
from hcal_root_ad.judge.verdict import RunParts, State, Verdict
from hcal_root_ad.lumi_maps import Range, ranges_of
from hcal_root_ad.style import HB_HE, NO_CHANNEL, STATES, STYLE, cms_label, lumi_axis, lumi_map, patch, state_colours

_BLUE, _RED = "#5790fc", "#e42536"
_NAMED = ("-29", "-20", "-10", "10", "20", "29")
"""Bins of the ieta axis that are named."""


@dataclass(frozen=True, eq=False)
class VerdictPlots:
    """Pictures of one verdict. Each takes matplotlib axes (``ax=``) or makes a figure, and gives the axes back."""

    run: RunParts

    def states(self, depth: int | None = None, ax: Axes | None = None) -> Axes:
        """Worst state of the channels of HB and HE in the run, ieta × iphi; of all depths, or of one.

        Raises:
            UsageError: HB and HE were not judged by channel, or there is no such depth.
        """
        parts = [one for one in self.run.verdicts if one.subdetector in ("HB", "HE")]
        if not parts:
            raise UsageError(f"run {self.run.maps.run}: no channel of HB or HE was judged; see plot.timeline().")
        maps = sum((depth_maps(one.channels, worst_state(one.states)) for one in parts), np.zeros((7, 84, 72)))
        if depth is not None and not 1 <= depth <= len(maps):
            raise UsageError(f"there is no depth {depth}; HB and HE have depths 1 to {len(maps)}.")
        values = maps.max(axis=0) if depth is None else maps[depth - 1]
        with self._axes(ax, (9, 7.5)) as axis:
            colours, norm = state_colours()
            edges = np.arange(HB_HE.stop - HB_HE.start + 1), np.arange(N_IPHI + 1) + 0.5
            shown = np.where(values > 0, values, np.nan)[HB_HE]
            axis.pcolormesh(*edges, shown.T, cmap=colours, norm=norm, rasterized=True)
            axis.set_facecolor(NO_CHANNEL)
            labels = IETA_LABELS[HB_HE]
            axis.xaxis.set_major_locator(FixedLocator([labels.index(name) + 0.5 for name in _NAMED]))
            axis.set_xticklabels(_NAMED)
            axis.yaxis.set_major_locator(FixedLocator([1, 18, 36, 54, 72]))
            for side in (axis.xaxis, axis.yaxis):
                side.set_minor_locator(NullLocator())
            axis.set(xlabel="ieta", ylabel="iphi")
            of = "worst of all depths" if depth is None else f"depth {depth}"
            _state_legend(axis, f"cells of ieta and iphi, {of}", shown)
        return axis

    def timeline(self, ax: Axes | None = None) -> Axes:
        """State of each of the 72 readout boxes of HB and HE against lumisections."""
        length = int(self.run.maps.lumisections.max(initial=1))
        states = np.zeros((length, len(SUBDET_PM) * N_RBX))
        for one in self.run.judged:
            if has_boxes(one) and len(one.assessed) == len(one.lumisections):
                own = on_axis(box_states(one), one.lumisections, length, State.NOT_ASSESSED)
                own[:, ~box_states(one).any(axis=0)] = 0
                np.maximum(states, own, out=states)
        with self._axes(ax, (12, 8)) as axis:
            colours, norm = state_colours()
            lumi_map(axis, np.where(states > 0, states, np.nan), cmap=colours, norm=norm)
            axis.set_facecolor(NO_CHANNEL)
            for edge in range(N_RBX, len(SUBDET_PM) * N_RBX, N_RBX):
                axis.axhline(edge + 0.5, color="black", linewidth=1)
            places = [half * N_RBX + rbx for half in range(len(SUBDET_PM)) for rbx in (1, 7, 13)]
            axis.yaxis.set_major_locator(FixedLocator(places))
            axis.set_yticklabels([f"{half}{rbx:02d}" for half in SUBDET_PM for rbx in (1, 7, 13)])
            axis.set(xlabel="lumisection", ylabel="RBX")
            _state_legend(axis, "readout boxes", None)
        return axis

    def channel(self, name: str, ax: Axes | None = None) -> Axes:
        """Digis per event of a channel (``HE +20/5/3``) or of a finding's unit (``HEP07``) against what was expected.

        Raises:
            UsageError: there is no such channel, and no finding of that unit.
        """
        verdict, rows, flagged = self._rows_of(name)
        use = np.flatnonzero(verdict.assessed)
        events = np.maximum(verdict.events[use], 1).astype(float)
        observed, expected = (array[np.ix_(use, rows)].astype(float) for array in (verdict.observed, verdict.expected))
        spread = np.sqrt(variance(expected, events[:, None]).sum(axis=1)) / events
        seen, wanted = observed.sum(axis=1) / events, expected.sum(axis=1) / events
        with self._axes(ax, (10, 6)) as axis:
            x = verdict.lumisections[use]
            for number, (first, last) in enumerate(flagged):
                label = "" if number else "flagged"
                axis.axvspan(first - 0.5, last + 0.5, color=_RED, alpha=0.12, linewidth=0, label=label)
            axis.fill_between(x, wanted - spread, wanted + spread, step="mid", color=_BLUE, alpha=0.45, linewidth=0)
            axis.step(x, wanted, where="mid", color=_BLUE, label=r"expected $\pm$ statistical $\sigma$")
            axis.plot(x, seen, "o", color="black", markersize=4, label="observed")
            top = max(float(np.max([*seen, *wanted], initial=0.0)), 1e-6)
            axis.set_ylim(-0.05 * top, 1.35 * top)
            lumi_axis(axis, int(verdict.lumisections.max(initial=1)))
            axis.set(xlabel="lumisection", ylabel="digis per event")
            axis.legend(loc="upper left", ncols=3, title=name, alignment="left")
        return axis

    def _rows_of(self, name: str) -> tuple[Verdict, NDArray[np.intp], list[Range]]:
        """Who has the channel or unit, its columns, and where it is flagged."""
        for verdict in self.run.verdicts:
            channels = verdict.channels
            if name.startswith(f"{verdict.subdetector} "):
                names = [channels.name_of(row) for row in range(len(channels))]
                if name in names:
                    row = names.index(name)
                    flagged = verdict.lumisections[verdict.states[:, row] >= State.PROBLEMATIC]
                    return verdict, np.array([row]), ranges_of(flagged.tolist())
            for finding in verdict.findings:
                if finding.unit == name:
                    return verdict, np.array(finding.rows, dtype=np.intp), list(finding.ranges)
        units = [finding.unit for finding in self.run.findings]
        near = get_close_matches(name, units, n=3, cutoff=0.4)
        hint = f"; the nearest findings are {', '.join(near)}" if near else ""
        raise UsageError(f"no channel or finding {name!r} in run {self.run.maps.run}; name one as HE +20/5/3{hint}.")

    @contextmanager
    def _axes(self, ax: Axes | None, size: tuple[float, float]) -> Iterator[Axes]:
        """Axes to draw on in the CMS style, with its label; a figure of their own where none are given."""
        with mpl.rc_context(STYLE):
            axis = ax if ax is not None else plt.subplots(figsize=size, layout="constrained")[1]
            yield axis
            cms_label(axis, self.run.maps.run, self.run.maps.sources)


def _state_legend(axis: Axes, title: str, states: Array | None) -> None:
    """The states below the axes, with their numbers where states are given."""
    labels = {
        state: name if states is None else f"{name}: {int((states == state).sum()):,}"
        for state, (name, _) in STATES.items()
    }
    handles = [patch(colour, labels[state]) for state, (_, colour) in STATES.items()]
    axis.legend(handles=handles, title=title, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, fontsize=11)
