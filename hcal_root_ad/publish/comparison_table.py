"""What a comparison found, as short tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from hcal_root_ad.compare.changes import Change, UnitShift
from hcal_root_ad.compare.compared_elements import (
    DISTANCE_LIMIT,
    SHAPE_LIMIT,
    TREND_LIMIT,
    ComparedElement,
    Likeness,
)
from hcal_root_ad.compare.comparison import STRANGER, Comparison, Drift
from hcal_root_ad.detector import SUBDET_PM

LONGEST = 20
"""Lines shown at most; the JSON file has the rest."""
_STYLE = {Change.EMPTY: "red", Change.FILLED: "yellow", Change.LOWER: "yellow", Change.HIGHER: "yellow"}
_ELEMENT_STYLE = {Likeness.DIFFERS: "yellow", Likeness.FILLED: "yellow", Likeness.EMPTY: "red"}


def outcome(comparison: Comparison) -> str:
    """The outcome in one sentence; "the same" only where nothing differs and the reference knows the detector."""
    run, reference = f"run {comparison.maps.run}", comparison.reference.name
    strange = [name for name, part in comparison.parts.items() if part.misfit > STRANGER]
    doubt = f", but {reference} knows another detector in {' and '.join(strange)}" if strange else ""
    if not comparison.differs:
        if doubt:
            return f"nothing in {run} stands out against {reference}{doubt}: whether they are the same is not known"
        drift = sum(element.likeness is Likeness.WITHIN for element in comparison.elements)
        like = f"the same as {reference} within the limits" if drift else f"the same as {reference}"
        return f"{run} is {like}: no channel and none of {len(comparison.elements)} elements differ"
    largest = f", first {comparison.changes[0].unit} {comparison.changes[0].change}" if comparison.changes else ""
    return (
        f"{run} differs from {reference}: {_count(len(comparison.changes))} changed{largest}, "
        f"{len(comparison.differing)} of {len(comparison.elements)} elements differ{doubt}"
    )


def changes_table(comparison: Comparison) -> Table:
    """Channels and readout units that changed: what is empty first, then the most digis lost or gained."""
    lines = comparison.changes
    hidden = len(lines) - LONGEST
    more = f"and {hidden} more in the JSON file\n" if hidden > 0 else ""
    table = _table(
        f"Run {comparison.maps.run} against {comparison.reference.entry}: {_count(len(lines))} changed",
        f"{more}rate: over the reference's, at the run's pileup; where many events have a digi, the rate changes more "
        "than the digis. sigma: significance in standard deviations",
    )
    for name in ("unit", "change"):
        table.add_column(name)
    for name in ("channels", "digis", "expected", "rate", "sigma"):
        table.add_column(name, justify="right")
    for line in lines[:LONGEST]:
        table.add_row(
            line.unit, str(line.change), str(line.channels), str(line.observed),
            f"{line.expected:.0f}", _ratio(line.ratio, line.ratio_error), f"{line.significance:.0f}",
            style=_STYLE[line.change],
        )  # fmt: skip
    return table


def elements_table(comparison: Comparison) -> Table:
    """Monitor elements with ROOT's tests."""
    table = _table(
        f"Run {comparison.maps.run}: monitor elements against {comparison.reference.name}",
        "of shapes alone, at the run's pileup. beyond: RMS difference beyond chance. within limits: more than chance, "
        f"less than {SHAPE_LIMIT:.0%} of a map or projection, {TREND_LIMIT:.0%} against LS, a distance (KS) of "
        f"{DISTANCE_LIMIT:g}",
    )
    table.add_column("element")
    for name in ("χ²/ndf", "beyond", "KS"):
        table.add_column(name, justify="right")
    table.add_column("")
    for element in comparison.elements:
        table.add_row(*_element_cells(element), style=_ELEMENT_STYLE.get(element.likeness))
    return table


def drift_table(reference: str, drifts: Sequence[Drift]) -> Table:
    """One line per run: mean change of the log rate of each half, and the box that moved farthest."""
    table = _table(
        f"Drift against {reference}: mean change of log rate, in %",
        "what all of a sub-detector does in common looks like pileup and is not seen here",
    )
    table.add_column("run")
    for name in (*SUBDET_PM, "farthest RBX"):
        table.add_column(name, justify="right")
    for one in drifts:
        halves = {half.unit: half for half in one.halves}
        farthest = max(one.boxes, key=lambda box: abs(box.shift), default=None)
        last = f"{farthest.unit} {_percent(farthest)}" if farthest else "–"
        cells = (_percent(halves[half]) if half in halves else "–" for half in SUBDET_PM)
        table.add_row(str(one.run), *cells, last)
    return table


def _table(title: str, caption: str) -> Table:
    return Table(box=None, pad_edge=False, title=title, caption=caption, title_justify="left", caption_justify="left")


def _element_cells(element: ComparedElement) -> tuple[str, ...]:
    chi2, words = element.chi2, {Likeness.EMPTY: "empty here", Likeness.FILLED: "filled here"}
    return (
        element.path,
        f"{chi2.chi2 / chi2.ndf:.4g}" if chi2.ndf else "–",
        f"{element.beyond:.2%}",
        f"{element.kolmogorov.distance:.4f}",
        words.get(element.likeness, str(element.likeness)),
    )


def _ratio(ratio: float | None, error: float | None) -> str:
    return "–" if ratio is None or error is None else f"{ratio:.3f} ± {error:.3f}"


def _percent(one: UnitShift) -> str:
    return f"{100 * one.shift:+.2f}±{100 * one.error:.2f}"


def _count(lines: int) -> str:
    return {0: "nothing", 1: "1 place"}.get(lines, f"{lines} places")
