"""A comparison as monitor elements, as JSON, and as tables in a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Column, Table

from hcal_root_ad.compare.comparison import (
    DISTANCE_LIMIT,
    ELEMENT_CHANCE,
    SHAPE_LIMIT,
    STRANGER,
    TREND,
    TREND_LIMIT,
    ComparedElement,
    Comparison,
    DriftPoint,
    Likeness,
)
from hcal_root_ad.compare.shifts import (
    CHANCE,
    LEAST_CHANGE,
    LEAST_UNIT_CHANGE,
    Against,
    ChangeKind,
    UnitShift,
    channel_changes,
)
from hcal_root_ad.detector import N_DEPTH, SUBDET_PM
from hcal_root_ad.files import write_text
from hcal_root_ad.judge.aggregate import Array, Floats, States, by_map
from hcal_root_ad.judge.verdict import State
from hcal_root_ad.provenance import Provenance, provenance_of_maps, reference_material
from hcal_root_ad.publish import elements
from hcal_root_ad.publish.elements import (
    CLIENT,
    RBX_LABELS,
    MonitorElement,
    MonitorElements,
    QualityResult,
    QualityStatus,
    Scalar,
)
from hcal_root_ad.publish.fault_elements import MOST_EXCESS
from hcal_root_ad.publish.publish import made_of
from hcal_root_ad.references import ReferenceEntry

LONGEST = 20
"""Lines shown at most; the JSON file has the rest."""
_STYLE = {ChangeKind.EMPTY: "red", ChangeKind.FILLED: "yellow", ChangeKind.LOWER: "yellow", ChangeKind.HIGHER: "yellow"}
_ELEMENT_STYLE = {Likeness.DIFFERS: "yellow", Likeness.FILLED: "yellow", Likeness.EMPTY: "red"}


def outcome(comparison: Comparison) -> str:
    """The outcome in one sentence; "the same" only where nothing differs and the reference knows the detector."""
    run, reference = f"run {comparison.maps.run}", comparison.reference.name
    strange = [name for name, fit in comparison.parts.items() if fit.misfit > STRANGER]
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
        ("unit", "change"), ("channels", "digis", "expected", "rate", "sigma"),
    )  # fmt: skip
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
        ("element",), ("χ²/ndf", "beyond", "KS"),
    )  # fmt: skip
    table.add_column("")
    words = {Likeness.EMPTY: "empty here", Likeness.FILLED: "filled here"}
    for element in comparison.elements:
        chi2, likeness = element.chi2, element.likeness
        table.add_row(
            element.path, f"{chi2.chi2 / chi2.ndf:.4g}" if chi2.ndf else "–", f"{element.beyond:.2%}",
            f"{element.kolmogorov.distance:.4f}", words.get(likeness, str(likeness)),
            style=_ELEMENT_STYLE.get(likeness),
        )  # fmt: skip
    return table


def drift_table(reference: str, drifts: Sequence[DriftPoint]) -> Table:
    """One line per run: mean change of the log rate of each half, and the box that moved farthest."""
    table = _table(
        f"Drift against {reference}: mean change of log rate, in %",
        "what all of a sub-detector does in common looks like pileup and is not seen here",
        ("run",), (*SUBDET_PM, "farthest RBX"),
    )  # fmt: skip
    for drift in drifts:
        halves = {half.unit: half for half in drift.halves}
        farthest = max(drift.boxes, key=lambda box: abs(box.shift), default=None)
        last = f"{farthest.unit} {_percent(farthest)}" if farthest else "–"
        cells = (_percent(halves[half]) if half in halves else "–" for half in SUBDET_PM)
        table.add_row(str(drift.run), *cells, last)
    return table


def _table(title: str, caption: str, left: Sequence[str], right: Sequence[str]) -> Table:
    """A table with columns of words and, to the right, of numbers."""
    columns: list[Column | str] = [*left, *(Column(name, justify="right") for name in right)]
    table = Table(*columns, box=None, pad_edge=False, title=title, caption=caption)
    table.title_justify = table.caption_justify = "left"
    return table


def _ratio(ratio: float | None, error: float | None) -> str:
    return "–" if ratio is None or error is None else f"{ratio:.3f} ± {error:.3f}"


def _percent(shift: UnitShift) -> str:
    return f"{100 * shift.shift:+.2f}±{100 * shift.error:.2f}"


def _count(lines: int) -> str:
    return {0: "nothing", 1: "1 place"}.get(lines, f"{lines} places")


FOLDER = f"{CLIENT}/Comparison"
_ALGORITHM = "HcalRootAd"
_STATUS = {
    Likeness.SAME: QualityStatus.OK,
    Likeness.WITHIN: QualityStatus.OK,
    Likeness.DIFFERS: QualityStatus.WARNING,
    Likeness.FILLED: QualityStatus.WARNING,
    Likeness.EMPTY: QualityStatus.ERROR,
    Likeness.NO_DATA: QualityStatus.INSUFFICIENT_STATISTICS,
}
_WORDS = {
    Likeness.EMPTY: "empty here, filled in the reference",
    Likeness.FILLED: "filled here, empty in the reference",
    Likeness.NO_DATA: "no digis here and in the reference",
}


def comparison_elements(comparison: Comparison, provenance: Provenance | None = None) -> MonitorElements:
    """Histograms, scalars and quality results of one comparison."""
    provenance = provenance or provenance_of_comparison(comparison)
    return MonitorElements(
        run=comparison.maps.run,
        elements=tuple(_elements(comparison)),
        scalars=tuple(_provenance(comparison, provenance)),
        quality=tuple(_quality(comparison)),
    )


def _elements(comparison: Comparison) -> Iterator[MonitorElement]:
    """Projections and trends; maps per depth and digis by RBX are shown by what changed in them alone."""
    for element in comparison.elements:
        if element.path == shown_by(element.path):
            expected = element.expected / _exposure(comparison, element)
            yield _histogram(comparison, element.path, element.observed, "digis of this run")
            yield _histogram(comparison, f"Expected{element.path}", expected, "digis expected here")
    yield from _channel_maps(comparison)
    yield from _box_ratios(comparison)


def shown_by(path: str) -> str:
    """Path of the published element that bears the tests of a compared one."""
    for kind, instead in (("Occupancy/", "StateSummary/"), ("OccupancyvsRBX/", "RateRatiovsRBX/")):
        if path.startswith(kind):
            return path.replace(kind, instead, 1)
    return path


def _exposure(comparison: Comparison, element: ComparedElement) -> float:
    """How much more the reference counted than it would have in this run; 1 against LS, where that is expected."""
    if element.path.startswith(TREND):
        return 1.0
    digis, expected = np.sum([(fit.rates.digis.sum(), fit.sums.expected.sum()) for fit in comparison.parts.values()], 0)
    return float(digis / max(expected, 1.0))


def _histogram(comparison: Comparison, place: str, values: Array, contents: str) -> MonitorElement:
    """One of the histograms of a compared element, on the axes that its path asks for."""
    kind, _, name = place.split("/")
    path, title, entries = f"{FOLDER}/{place}", f"{name}: {contents}", float(values.sum())
    match kind.removeprefix("Expected"):
        case "Occupancyvsieta":
            return elements.ieta_projection(path, values, title, "digis", entries)
        case "Occupancyvsiphi":
            return elements.iphi_projection(path, values, title, "digis", entries)
        case _:
            axis = elements.lumi_axis(comparison.maps)
            return elements.counts_vs_ls(path, axis, axis.spread(values, comparison.lumisections), title, "digis")


def _channel_maps(comparison: Comparison) -> Iterator[MonitorElement]:
    """States of every channel by depth, and how much those that changed lost or gained: 0 where nothing did."""
    parts = comparison.parts.values()
    for name, states in by_map([(fit.series.channels, _states(fit)) for fit in parts]):
        yield elements.depth_map(f"{FOLDER}/StateSummary/depth/{name}", states, f"{name}: against the reference")
    for name, sign in (("Loss", -1), ("Excess", 1)):
        for depth, percent in by_map([(fit.series.channels, _size_in_percent(fit, sign)) for fit in parts]):
            if percent.any():
                title = f"{depth}: {name.lower()} where changed [%]"
                yield elements.depth_map(f"{FOLDER}/{name}/depth/{depth}", percent, title)


def _size_in_percent(fit: Against, sign: int) -> Floats:
    """(channels,) percent by which the rate of a changed channel is lower or higher; 0 where nothing changed."""
    percent = np.zeros(len(fit.series.channels))
    for change, where in channel_changes(fit).items():
        shift = 100 * np.expm1(fit.sums.shift)
        size = {ChangeKind.EMPTY: -100.0, ChangeKind.FILLED: MOST_EXCESS}.get(change, shift)
        percent = np.where(where, np.maximum(sign * size, 0), percent)
    return percent.clip(0, MOST_EXCESS)


def _states(fit: Against) -> States:
    """(channels,) states: bad is empty here and filled in the reference, problematic is any other change."""
    states = np.where(fit.live, State.GOOD, State.NOT_CONNECTED).astype(np.uint8)
    for change, where in channel_changes(fit).items():
        states[where] = State.BAD if change is ChangeKind.EMPTY else State.PROBLEMATIC
    return states


def _box_ratios(comparison: Comparison) -> Iterator[MonitorElement]:
    """Mean ratio of rates of the channels filled in both, per box; a box without any is no point."""
    shifts = {box.unit: box for box in comparison.drift.boxes}
    for half in (half for half in SUBDET_PM if half[:2] in comparison.parts):
        boxes = [shifts.get(name) for name in RBX_LABELS[half]]
        ratios = np.array([np.exp(box.shift) if box else 0.0 for box in boxes])
        errors = np.array([ratio * box.error if box else 0.0 for ratio, box in zip(ratios, boxes, strict=True)])
        path, title = f"{FOLDER}/RateRatiovsRBX/SubdetPM/{half}", f"{half}: rate over the reference's"
        element = elements.box_projection(path, ratios, title, "ratio of rates", half, float(np.count_nonzero(ratios)))
        yield replace(element, errors=errors, efficiency=True)


def _quality(comparison: Comparison) -> Iterator[QualityResult]:
    """Two results per element, named as CMSSW's tests of that kind, whose number is the one that has the limit; and of
    each depth the number of channels that changed."""
    for element in comparison.elements:
        chi2, kolmogorov = element.chi2, element.kolmogorov
        shape = (
            f"shape differs by {element.beyond:.2%} beyond chance, limit {element.limit:.0%} "
            f"(chi2 {chi2.chi2:.6g}, ndf {chi2.ndf}, p {chi2.p:.3g})"
        )
        yield _test(element, "Comp2RefChi2", element.shape_differs, element.beyond, shape)
        distance = f"distance {kolmogorov.distance:.3g}, limit {DISTANCE_LIMIT:g} (p {kolmogorov.p:.3g})"
        yield _test(element, "Comp2RefKolmogorov", element.distance_differs, kolmogorov.distance, distance)
    changed = {change: np.zeros(N_DEPTH + 1, dtype=np.int64) for change in ChangeKind}
    for fit in comparison.parts.values():
        for change, where in channel_changes(fit).items():
            changed[change] += np.bincount(fit.series.channels.depth[where], minlength=N_DEPTH + 1)
    for depth in range(1, N_DEPTH + 1):
        numbers = {change: int(counts[depth]) for change, counts in changed.items() if counts[depth]}
        words = ", ".join(f"{number} {change}" for change, number in numbers.items()) or "no channel changed"
        status = QualityStatus.WARNING if numbers else QualityStatus.OK
        status = QualityStatus.ERROR if ChangeKind.EMPTY in numbers else status
        path, total = f"{FOLDER}/StateSummary/depth/depth{depth}", float(sum(numbers.values()))
        yield QualityResult(path, "Comp2RefChannels", status, total, _ALGORITHM, words)


def _test(element: ComparedElement, qtest: str, differs: bool, result: float, message: str) -> QualityResult:
    likeness = element.likeness
    if likeness is Likeness.DIFFERS and not differs:
        likeness = Likeness.WITHIN
    message = _WORDS.get(likeness, message)
    return QualityResult(f"{FOLDER}/{shown_by(element.path)}", qtest, _STATUS[likeness], result, _ALGORITHM, message)


def provenance_of_comparison(comparison: Comparison) -> Provenance:
    """Where a comparison comes from, as far as it knows itself."""
    return provenance_of_maps("compare", [comparison.maps], [reference_material(comparison.reference.entry)])


def _provenance(comparison: Comparison, provenance: Provenance) -> Iterator[Scalar]:
    folder, entry = f"{FOLDER}/Provenance", comparison.reference.entry
    yield Scalar(f"{FOLDER}/outcome", outcome(comparison))
    yield Scalar(f"{folder}/program", f"hcal-root-ad {version('hcal-root-ad')}")
    yield Scalar(f"{folder}/reference", str(entry))
    yield Scalar(f"{folder}/referenceDigest", entry.sha256.get(entry.rates, ""))
    yield Scalar(f"{folder}/definition", comparison.maps.definition)
    yield from made_of(folder, comparison.maps.sources, provenance)
    for number, note in enumerate(comparison.notes, start=1):
        yield Scalar(f"{folder}/note{number:02d}", note)


def comparison_numbers(comparison: Comparison, provenance: Provenance | None = None) -> dict[str, Any]:
    """Everything that was found in one run."""
    provenance = provenance or provenance_of_comparison(comparison)
    return {
        "program": f"hcal-root-ad {version('hcal-root-ad')}",
        "provenance": provenance.as_table(),
        "run": comparison.maps.run,
        "reference": _reference(comparison.reference.entry),
        "differs": comparison.differs,
        "lumisections": comparison.lumisections.tolist(),
        "limits": {
            "shape_beyond_chance": SHAPE_LIMIT, "trend_beyond_chance": TREND_LIMIT,
            "kolmogorov_distance": DISTANCE_LIMIT, "element_chance": ELEMENT_CHANCE, "channels_by_chance": CHANCE,
            "least_change": LEAST_CHANGE, "least_unit_change": LEAST_UNIT_CHANGE,
        },
        "subdetectors": {name: _subdetector(fit) for name, fit in comparison.parts.items()},
        "elements": [_element(element) for element in comparison.elements],
        "changes": [asdict(line) for line in comparison.changes],
        "pulls": [asdict(pull) for pull in comparison.pulls],
        "drift": asdict(comparison.drift),
        "notes": list(comparison.notes),
        "channels": {name: _channel_table(fit) for name, fit in comparison.parts.items()},
    }  # fmt: skip


def drift_numbers(reference: ReferenceEntry, drifts: Sequence[DriftPoint], provenance: Provenance) -> dict[str, Any]:
    """Mean changes of log rates with errors, run by run."""
    return {
        "program": f"hcal-root-ad {version('hcal-root-ad')}",
        "provenance": provenance.as_table(),
        "reference": _reference(reference),
        "runs": [asdict(drift) for drift in drifts],
    }


def save_json(numbers: dict[str, Any], path: Path) -> Path:
    """Write numbers, whole or not at all."""
    write_text(path, json.dumps(numbers, allow_nan=False))
    return path


def _reference(entry: ReferenceEntry) -> dict[str, Any]:
    return {
        "name": entry.name, "runs": list(entry.runs), "era": entry.era.value, "trigger": entry.trigger,
        "quantity": entry.quantity, "state": entry.state, "sha256": entry.sha256.get(entry.rates, ""),
    }  # fmt: skip


def _subdetector(fit: Against) -> dict[str, Any]:
    return {
        "events": int(fit.sums.events),
        "mean_log_pileup": float(np.average(fit.log_pileup, weights=fit.series.events)),
        "channels": int(fit.live.sum()),
        "misfit": fit.misfit,
    }


def _element(element: ComparedElement) -> dict[str, Any]:
    as_it_was = None
    if element.plain_chi2 and element.plain_kolmogorov:
        as_it_was = {"chi2": asdict(element.plain_chi2), "kolmogorov": asdict(element.plain_kolmogorov)}
    return {
        "path": element.path,
        "likeness": str(element.likeness),
        "digis": int(element.observed.sum()),
        "reference_digis": int(element.expected.sum()),
        "chi2": asdict(element.chi2),
        "kolmogorov": asdict(element.kolmogorov),
        "beyond_chance": element.beyond,
        "reference_as_it_was": as_it_was,
    }


def _channel_table(fit: Against) -> dict[str, list[Any]]:
    """Columns by channel: raw id, digis observed and expected, shift of log λ with its error, binomial pull."""
    return {
        "raw_id": fit.series.channels.raw_id.tolist(),
        "observed": fit.sums.observed.astype(np.int64).tolist(),
        "expected": fit.sums.expected.round(2).tolist(),
        "shift": np.where(fit.live, fit.sums.shift, 0.0).round(5).tolist(),
        "error": fit.error.round(5).tolist(),
        "pull": fit.pull.round(3).tolist(),
    }
