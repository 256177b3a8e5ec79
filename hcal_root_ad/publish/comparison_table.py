"""What a comparison found, as short tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from hcal_root_ad.compare.changes import Change, UnitShift
from hcal_root_ad.compare.compared_elements import ComparedElement, Likeness
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
        return f"{run} is the same as {reference}: no channel and none of {len(comparison.elements)} elements differ"
    largest = f", the largest {comparison.changes[0].unit} {comparison.changes[0].change}" if comparison.changes else ""
    return (
        f"{run} differs from {reference}: {_count(len(comparison.changes))} changed{largest}, "
        f"{len(comparison.differing)} of {len(comparison.elements)} elements differ{doubt}"
    )


def changes_table(comparison: Comparison) -> Table:
    """Channels and readout units that changed, the largest first."""
    lines = comparison.changes
    hidden = len(lines) - LONGEST
    more = f"and {hidden} more in the JSON file\n" if hidden > 0 else ""
    table = Table(
        title=f"Run {comparison.maps.run} against {comparison.reference.entry}: {_count(len(lines))} changed",
        caption=f"{more}ratio: rate over the reference's, at the run's pileup; significance: in standard deviations",
    )
    for name in ("subdet", "unit", "change"):
        table.add_column(name)
    for name in ("channels", "digis", "expected", "ratio", "significance"):
        table.add_column(name, justify="right")
    for line in lines[:LONGEST]:
        table.add_row(
            line.subdetector, line.unit, str(line.change), str(line.channels), str(line.observed),
            f"{line.expected:.0f}", _ratio(line.ratio, line.ratio_error), f"{line.significance:.0f}",
            style=_STYLE[line.change],
        )  # fmt: skip
    return table


def elements_table(comparison: Comparison) -> Table:
    """Monitor elements with ROOT's tests."""
    table = Table(
        title=f"Run {comparison.maps.run}: monitor elements against {comparison.reference.name}",
        caption="tests against the reference at the run's pileup; as it was: whatever its pileup; "
        "beyond chance: RMS difference in shape",
    )
    table.add_column("element")
    for name in ("χ²/ndf", "beyond chance", "KS distance", "χ²/ndf as it was"):
        table.add_column(name, justify="right")
    table.add_column("says")
    for element in comparison.elements:
        table.add_row(*_element_cells(element), style=_ELEMENT_STYLE.get(element.likeness))
    return table


def drift_table(reference: str, drifts: Sequence[Drift]) -> Table:
    """One line per run: mean change of the log rate of each half, and the box that moved farthest."""
    table = Table(
        title=f"Drift against {reference}: mean change of log rate, in %",
        caption="what all of a sub-detector does in common looks like pileup and is not seen here",
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


def _element_cells(element: ComparedElement) -> tuple[str, ...]:
    plain = element.plain_chi2
    chi2 = (f"{test.chi2 / test.ndf:.4g}" if test and test.ndf else "–" for test in (element.chi2, plain))
    now, then = chi2
    return (
        element.path,
        now,
        f"{element.beyond:.2%}",
        f"{element.kolmogorov.distance:.4f}",
        then,
        _says(element.likeness),
    )


def _says(likeness: Likeness) -> str:
    words = {
        Likeness.EMPTY: "empty here, filled in the reference",
        Likeness.FILLED: "filled here, empty in the reference",
    }
    return words.get(likeness, str(likeness))


def _ratio(ratio: float | None, error: float | None) -> str:
    return "–" if ratio is None or error is None else f"{ratio:.3f} ± {error:.3f}"


def _percent(one: UnitShift) -> str:
    return f"{100 * one.shift:+.2f} ± {100 * one.error:.2f}"


def _count(lines: int) -> str:
    return {0: "nothing", 1: "1 place"}.get(lines, f"{lines} places")
