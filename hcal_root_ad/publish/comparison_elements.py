"""``Hcal/HcalMLClient/Comparison``: a run beside a reference run, with quality results, for the DQM GUIs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version

import numpy as np

from hcal_root_ad.compare.against import Against
from hcal_root_ad.compare.changes import Change, channel_changes
from hcal_root_ad.compare.compared_elements import DISTANCE_LIMIT, ComparedElement, Likeness
from hcal_root_ad.compare.comparison import Comparison
from hcal_root_ad.detector import N_DEPTH, N_RBX, SUBDET_PM
from hcal_root_ad.judge.verdict import State
from hcal_root_ad.publish.axes import box_projection, depth_map, ieta_projection, iphi_projection, trend
from hcal_root_ad.publish.elements import CLIENT, MonitorElement, MonitorElements, QualityResult, QualityStatus, Scalar
from hcal_root_ad.publish.provenance import Provenance, provenance_of_maps, reference_material
from hcal_root_ad.publish.provenance_scalars import made_of
from hcal_root_ad.publish.reductions import Array, Counts, Floats, States, depth_maps, on_axis

FOLDER = f"{CLIENT}/Comparison"
_ALGORITHM = "HcalRootAd"
_STATUS = {
    Likeness.SAME: QualityStatus.OK,
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
    for element in comparison.elements:
        yield _histogram(comparison, element, "", element.observed, "digis of this run")
        yield _histogram(comparison, element, "Expected", element.expected, "digis of the reference at this pileup")
        if element.reference is not None:
            yield _histogram(comparison, element, "Reference", element.reference, "digis of the reference as it was")
    yield from _channel_maps(comparison)
    yield from _box_shifts(comparison)


def _histogram(
    comparison: Comparison, element: ComparedElement, prefix: str, values: Array, contents: str
) -> MonitorElement:
    """One of the histograms of a compared element, on the axes that its path asks for."""
    kind, _, name = element.path.split("/")
    path, title, entries = f"{FOLDER}/{prefix}{element.path}", f"{name}: {contents}", float(values.sum())
    match kind:
        case "Occupancy":
            return depth_map(path, values, title, "digis", entries)
        case "Occupancyvsieta":
            return ieta_projection(path, values, title, "digis", entries)
        case "Occupancyvsiphi":
            return iphi_projection(path, values, title, "digis", entries)
        case "OccupancyvsRBX":
            return box_projection(path, values, title, "digis", name, entries)
        case _:
            length = int(comparison.maps.lumisections.max(initial=1))
            return trend(path, on_axis(values, comparison.lumisections, length), title, "digis", entries)


def _channel_maps(comparison: Comparison) -> Iterator[MonitorElement]:
    """Rate ratio, pulls and states of every channel, HB and HE together, per depth."""
    quantities: dict[str, tuple[str, str, Callable[[Against], Array]]] = {
        "RateRatio": ("rate over that of the reference", "ratio", _ratio),
        "Pull": ("(seen - expected)/sigma, binomial", "pull", lambda part: part.pull),
        "Significance": ("pull with the errors of the reference", "sigma", lambda part: part.significance),
        "StateSummary": ("against the reference", "state", _states),
    }
    for name, (title, contents, quantity) in quantities.items():
        parts = comparison.parts.values()
        maps = sum((depth_maps(part.series.channels, quantity(part)) for part in parts), np.zeros(()))
        for depth in range(1, N_DEPTH + 1):
            path = f"{FOLDER}/{name}/depth/depth{depth}"
            yield depth_map(path, maps[depth - 1], f"depth{depth}: {title}", contents)


def _ratio(part: Against) -> Floats:
    """(channels,) rate over that of the reference; 0 where the channel is empty here, or the reference is."""
    return np.where(part.live & ~part.empty, np.exp(part.sums.shift), 0.0)


def _states(part: Against) -> States:
    """(channels,) states: bad is empty here and filled in the reference, problematic is any other change."""
    states = np.where(part.live, State.GOOD, State.NOT_CONNECTED).astype(np.uint8)
    for change, where in channel_changes(part).items():
        states[where] = State.BAD if change is Change.EMPTY else State.PROBLEMATIC
    return states


def _box_shifts(comparison: Comparison) -> Iterator[MonitorElement]:
    shifts = {one.unit: one.shift for one in comparison.drift.boxes}
    for half in (half for half in SUBDET_PM if half[:2] in comparison.parts):
        values = np.array([shifts.get(f"{half}{rbx:02d}", 0.0) for rbx in range(1, N_RBX + 1)])
        title = f"{half}: mean change of log rate of the channels filled in both"
        yield box_projection(f"{FOLDER}/RateShiftvsRBX/SubdetPM/{half}", values, title, "log ratio of rates", half)


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
    if likeness in (Likeness.SAME, Likeness.DIFFERS):
        likeness = Likeness.DIFFERS if differs else Likeness.SAME
    message = _WORDS.get(likeness, message)
    return QualityResult(f"{FOLDER}/{element.path}", qtest, _STATUS[likeness], result, _ALGORITHM, message)


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
    yield Scalar(f"{folder}/program", f"hcal-root-ad {version('hcal-root-ad')}")
    yield Scalar(f"{folder}/reference", str(entry))
    yield Scalar(f"{folder}/referenceDigest", entry.sha256.get(entry.rates, ""))
    yield Scalar(f"{folder}/definition", comparison.maps.definition)
    yield from made_of(folder, comparison.maps.sources, provenance)
    for number, note in enumerate(comparison.notes, start=1):
        yield Scalar(f"{folder}/note{number:02d}", note)
