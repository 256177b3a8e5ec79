"""The verdict on a run as people hold it: looked at in a notebook, as tables, as histograms, as pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_RBX, SUBDET_PM, box_name
from hcal_root_ad.histograms import Names, Numbers
from hcal_root_ad.judge.aggregate import N_BOXES, box_states, has_boxes, worst_state
from hcal_root_ad.judge.verdict import COLOURS, RunParts, State, Trust, findings_html
from hcal_root_ad.lumi_maps import ls_ranges

if TYPE_CHECKING:
    import awkward as ak
    import pandas as pd
    import pyarrow as pa
    from hist import Hist

    from hcal_root_ad.judge.plots import VerdictPlots

_SHOWN = 12
"""Findings in the HTML of a verdict."""


NOTICEABLE = 1.6
"""Loss of sensitivity from which it is said."""


@dataclass(frozen=True, eq=False, repr=False)
class RunVerdict(RunParts):
    """All that was judged of one run, and what people ask of it."""

    def __repr__(self) -> str:
        return f"<RunVerdict {run_text(self)}>"

    def _repr_html_(self) -> str:
        return run_html(self)

    def to_hist(
        self, quantity: str, *axes: str, subdetector: Names = None, ls: Numbers = None, ieta: Numbers = None,
        iphi: Numbers = None, depth: Numbers = None,
    ) -> Hist[Any]:  # fmt: skip
        """``observed``, ``expected``, ``score`` or ``states`` as ``hist.Hist``; axes as in :meth:`LumiMaps.to_hist`.

        What falls into one bin is summed, but of scores the largest counts and of states the worst.

        Raises:
            UsageError: nothing of that is there, or the run was judged in strips.
        """
        from hcal_root_ad.judge.views import histogram_of

        cells = {"ieta": ieta, "iphi": iphi, "depth": depth}
        histogram: Hist[Any] = histogram_of(self, quantity, axes, subdetector, ls, cells)
        return histogram

    def to_arrow(self, table: str = "findings") -> pa.Table:
        """``findings``, ``intervals`` or ``channels`` as an Arrow table, the names of the readout in columns.

        Raises:
            UsageError: there is no such table.
        """
        from hcal_root_ad.judge.views import table_of

        return table_of(self, table)

    def to_awkward(self, table: str = "findings") -> ak.Array:
        """As :meth:`to_arrow`, as an awkward array of records."""
        from hcal_root_ad.judge.views import awkward_of

        return awkward_of(self, table)

    def to_pandas(self, table: str = "findings") -> pd.DataFrame:
        """As :meth:`to_arrow`, as a DataFrame; UsageError where pandas is not installed."""
        from hcal_root_ad.judge.views import pandas_of

        return pandas_of(self, table)

    @property
    def plot(self) -> VerdictPlots:
        """Pictures on matplotlib axes: ``plot.states()``, ``plot.timeline()``, ``plot.channel("HE +20/5/3")``."""
        from hcal_root_ad.judge.plots import VerdictPlots

        return VerdictPlots(self)


def run_text(run: RunParts) -> str:
    """One line on a verdict."""
    number = len(run.every_finding)
    names = enumerated([one.subdetector for one in run.verdicts]) or "strips of HB and HE"
    plural = "finding" if number == 1 else "findings"
    return (
        f"run {run.maps.run}: {number or 'no'} {plural} in {ls_ranges(run.maps.lumisections)} of {names}, {run.trust}"
    )


def run_html(run: RunParts) -> str:
    """A verdict to look at: in a line, its trust, the state of every readout box, and the strongest findings."""
    findings = run.every_finding
    parts = [f"<p><strong>{escape(run_text(run))}</strong></p>"]
    parts += [f"<p>Trust: {escape(sentence)}</p>" for sentence in trust_of_run(run)]
    boxes = worst_boxes(run)
    if boxes.any():
        parts.append(_box_map(boxes))
    if findings:
        parts.append(findings_html(findings[:_SHOWN]))
        if len(findings) > _SHOWN:
            parts.append(f"<p>and {len(findings) - _SHOWN} weaker; <code>findings</code> has all</p>")
    return "\n".join(parts)


def worst_boxes(run: RunParts) -> NDArray[np.uint8]:
    """(72,) worst state of each readout box of HB and HE; 0 where none was judged."""
    states = np.zeros(N_BOXES, dtype=np.uint8)
    for one in run.judged:
        if has_boxes(one):
            np.maximum(states, worst_state(box_states(one)), out=states)
    return states


def _box_map(states: NDArray[np.uint8]) -> str:
    """The 72 readout boxes as a small picture, four halves by eighteen."""
    side, left = 16, 34
    shapes = []
    for box, state in enumerate(states.tolist()):
        row, column = divmod(box, N_RBX)
        name = State(state).name.lower().replace("_", " ") if state else "not judged"
        shapes.append(
            f'<rect x="{left + side * column}" y="{side * row + 1}" width="{side - 2}" height="{side - 2}" '
            f'fill="{COLOURS[state]}" stroke="#888"><title>{box_name(box)}: {name}</title></rect>'
        )
    for row, half in enumerate(SUBDET_PM):
        shapes.append(f'<text x="0" y="{side * row + 12}" font-size="12" fill="currentColor">{half}</text>')
    width, height = left + side * N_RBX, side * len(SUBDET_PM) + 2
    title = "worst state of the run of each readout box, RBX 1 to 18"
    return f'<svg width="{width}" height="{height}" role="img" aria-label="{title}">{"".join(shapes)}</svg>'


class HasTrust(Protocol):
    """A verdict on a sub-detector, or the record of one."""

    @property
    def trust(self) -> Trust: ...
    @property
    def trust_reason(self) -> str: ...
    @property
    def sensitivity(self) -> float: ...


_RESTS_ON = {
    Trust.ADAPTED: "",
    Trust.STATE: "judged by a detector state",
    Trust.REFERENCE_RUN: "compared with a reference run",
    Trust.OLD_STATE: "NOT TRUSTED, judged by a detector state that missed too much",
    Trust.OTHER_PERIOD: "NOT TRUSTED, judged by a model of another period",
    Trust.NONE: "NOT TRUSTED, no reference",
}


def trust_sentences(judged: Mapping[str, HasTrust]) -> tuple[str, ...]:
    """How far the verdicts on sub-detectors, by name, can be trusted, where it is not as it should be."""
    names: dict[str, list[str]] = {}
    for name, part in judged.items():
        if words := "; ".join(_doubts(part)):
            names.setdefault(words, []).append(name)
    return tuple(f"{enumerated(alike)}: {words}." for words, alike in names.items())


def enumerated(names: Sequence[str]) -> str:
    """``HB``, ``HB and HE``, ``HB, HE and HF``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _doubts(part: HasTrust) -> Iterator[str]:
    if rests := _RESTS_ON[part.trust]:
        yield f"{rests} ({part.trust_reason.rstrip('.')})" if part.trust_reason else rests
    if part.sensitivity > NOTICEABLE and part.trust is not Trust.NONE:
        yield f"less sensitive: shifts must be {part.sensitivity:.1f} times as large"


def trust_of_run(verdict: RunParts) -> tuple[str, ...]:
    """As :func:`trust_sentences`, of all that was judged of a run."""
    judged: dict[str, HasTrust] = {one.subdetector: one for one in verdict.verdicts}
    if verdict.strips:
        judged["strips"] = verdict.strips
    return trust_sentences(judged)
