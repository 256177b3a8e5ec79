"""``Hcal/HcalADClient/Comparison``: a run beside a reference run, with quality results, for the DQM GUIs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version

import numpy as np

from hcal_root_ad.compare.against import Against
from hcal_root_ad.compare.changes import Change, channel_changes
from hcal_root_ad.compare.compared_elements import DISTANCE_LIMIT, TREND, ComparedElement, Likeness
from hcal_root_ad.compare.comparison import Comparison
from hcal_root_ad.detector import N_DEPTH, SUBDET_PM
from hcal_root_ad.judge.aggregate import Array, Counts, Floats, States, by_map
from hcal_root_ad.judge.verdict import State
from hcal_root_ad.publish.axes import (
    RBX_LABELS,
    box_projection,
    counts_vs_ls,
    depth_map,
    ieta_projection,
    iphi_projection,
    lumi_axis,
)
from hcal_root_ad.publish.comparison_table import outcome
from hcal_root_ad.publish.elements import CLIENT, MonitorElement, MonitorElements, QualityResult, QualityStatus, Scalar
from hcal_root_ad.publish.fault_elements import MOST_EXCESS
from hcal_root_ad.publish.provenance import Provenance, provenance_of_maps, reference_material
from hcal_root_ad.publish.provenance_scalars import made_of

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
    parts = comparison.parts.values()
    return sum(float(part.rates.digis.sum()) for part in parts) / max(
        sum(float(part.sums.expected.sum()) for part in parts), 1.0
    )


def _histogram(comparison: Comparison, place: str, values: Array, contents: str) -> MonitorElement:
    """One of the histograms of a compared element, on the axes that its path asks for."""
    kind, _, name = place.split("/")
    path, title, entries = f"{FOLDER}/{place}", f"{name}: {contents}", float(values.sum())
    match kind.removeprefix("Expected"):
        case "Occupancyvsieta":
            return ieta_projection(path, values, title, "digis", entries)
        case "Occupancyvsiphi":
            return iphi_projection(path, values, title, "digis", entries)
        case _:
            axis = lumi_axis(comparison.maps)
            return counts_vs_ls(path, axis, axis.spread(values, comparison.lumisections), title, "digis")


def _channel_maps(comparison: Comparison) -> Iterator[MonitorElement]:
    """States of every channel by depth, and how much those that changed lost or gained: 0 where nothing did."""
    parts = comparison.parts.values()
    for name, states in by_map([(part.series.channels, _states(part)) for part in parts]):
        yield depth_map(f"{FOLDER}/StateSummary/depth/{name}", states, f"{name}: against the reference")
    for name, sign in (("Loss", -1), ("Excess", 1)):
        for depth, percent in by_map([(part.series.channels, _percent(part, sign)) for part in parts]):
            if percent.any():
                title = f"{depth}: {name.lower()} where changed [%]"
                yield depth_map(f"{FOLDER}/{name}/depth/{depth}", percent, title)


def _percent(part: Against, sign: int) -> Floats:
    """(channels,) percent by which the rate of a changed channel is lower or higher; 0 where nothing changed."""
    percent = np.zeros(len(part.series.channels))
    for change, where in channel_changes(part).items():
        shift = 100 * np.expm1(part.sums.shift)
        size = {Change.EMPTY: -100.0, Change.FILLED: MOST_EXCESS}.get(change, shift)
        percent = np.where(where, np.maximum(sign * size, 0), percent)
    return percent.clip(0, MOST_EXCESS)


def _states(part: Against) -> States:
    """(channels,) states: bad is empty here and filled in the reference, problematic is any other change."""
    states = np.where(part.live, State.GOOD, State.NOT_CONNECTED).astype(np.uint8)
    for change, where in channel_changes(part).items():
        states[where] = State.BAD if change is Change.EMPTY else State.PROBLEMATIC
    return states


def _box_ratios(comparison: Comparison) -> Iterator[MonitorElement]:
    """Mean ratio of rates of the channels filled in both, per box; a box without any is no point."""
    shifts = {one.unit: one for one in comparison.drift.boxes}
    for half in (half for half in SUBDET_PM if half[:2] in comparison.parts):
        found = [shifts.get(name) for name in RBX_LABELS[half]]
        ratios = np.array([np.exp(one.shift) if one else 0.0 for one in found])
        errors = np.array([ratio * one.error if one else 0.0 for ratio, one in zip(ratios, found, strict=True)])
        path, title = f"{FOLDER}/RateRatiovsRBX/SubdetPM/{half}", f"{half}: rate over the reference's"
        element = box_projection(path, ratios, title, "ratio of rates", half, float(np.count_nonzero(ratios)))
        yield replace(element, errors=errors, efficiency=True)


def _quality(comparison: Comparison) -> Iterator[QualityResult]:
    for element in comparison.elements:
        yield from _tests(element)
    changed = _changes_by_depth(comparison)
    for depth in range(1, N_DEPTH + 1):
        yield _channels(depth, changed)


def _tests(element: ComparedElement) -> Iterator[QualityResult]:
    """Two results per element, named as CMSSW's tests of that kind; the number is the one that has the limit."""
    chi2, kolmogorov = element.chi2, element.kolmogorov
    shape = (
        f"shape differs by {element.beyond:.2%} beyond chance, limit {element.limit:.0%} "
        f"(chi2 {chi2.chi2:.6g}, ndf {chi2.ndf}, p {chi2.p:.3g})"
    )
    yield _test(element, "Comp2RefChi2", element.shape_differs, element.beyond, shape)
    distance = f"distance {kolmogorov.distance:.3g}, limit {DISTANCE_LIMIT:g} (p {kolmogorov.p:.3g})"
    yield _test(element, "Comp2RefKolmogorov", element.distance_differs, kolmogorov.distance, distance)


def _test(element: ComparedElement, qtest: str, differs: bool, result: float, message: str) -> QualityResult:
    likeness = element.likeness
    if likeness is Likeness.DIFFERS and not differs:
        likeness = Likeness.WITHIN
    message = _WORDS.get(likeness, message)
    return QualityResult(f"{FOLDER}/{shown_by(element.path)}", qtest, _STATUS[likeness], result, _ALGORITHM, message)


def _changes_by_depth(comparison: Comparison) -> dict[Change, Counts]:
    """(8,) number of channels of each change at depth 0 … 7."""
    counts = {change: np.zeros(N_DEPTH + 1, dtype=np.int64) for change in Change}
    for part in comparison.parts.values():
        for change, where in channel_changes(part).items():
            counts[change] += np.bincount(part.series.channels.depth[where], minlength=N_DEPTH + 1)
    return counts


def _channels(depth: int, changed: dict[Change, Counts]) -> QualityResult:
    """The result is the number of channels that changed."""
    numbers = {change: int(counts[depth]) for change, counts in changed.items()}
    total = sum(numbers.values())
    status = QualityStatus.ERROR if numbers[Change.EMPTY] else QualityStatus.WARNING if total else QualityStatus.OK
    said = ", ".join(f"{number} {change}" for change, number in numbers.items() if number)
    path = f"{FOLDER}/StateSummary/depth/depth{depth}"
    return QualityResult(path, "Comp2RefChannels", status, float(total), _ALGORITHM, said or "no channel changed")


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
