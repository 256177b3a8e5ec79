"""All numbers of a comparison, and of the drift over several, as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from hcal_root_ad.compare import against, changes, compared_elements
from hcal_root_ad.compare.against import Against
from hcal_root_ad.compare.compared_elements import ComparedElement
from hcal_root_ad.compare.comparison import Comparison, Drift
from hcal_root_ad.files import write_text
from hcal_root_ad.publish.comparison_elements import provenance_of_comparison
from hcal_root_ad.publish.provenance import Provenance, reference_material
from hcal_root_ad.references.catalogue import Entry


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
            "shape_beyond_chance": compared_elements.SHAPE_LIMIT,
            "trend_beyond_chance": compared_elements.TREND_LIMIT,
            "kolmogorov_distance": compared_elements.DISTANCE_LIMIT,
            "element_chance": compared_elements.CHANCE,
            "channels_by_chance": against.CHANCE,
            "least_change": changes.LEAST_CHANGE,
            "least_unit_change": changes.LEAST_UNIT_CHANGE,
        },
        "subdetectors": {name: _subdetector(part) for name, part in comparison.parts.items()},
        "elements": [_element(element) for element in comparison.elements],
        "changes": [asdict(line) for line in comparison.changes],
        "pulls": [asdict(pull) for pull in comparison.pulls],
        "drift": asdict(comparison.drift),
        "notes": list(comparison.notes),
        "channels": {name: _channels(part) for name, part in comparison.parts.items()},
    }


def drift_numbers(reference: Entry, drifts: Sequence[Drift], provenance: Provenance | None = None) -> dict[str, Any]:
    """Mean changes of log rates with errors, run by run."""
    provenance = provenance or Provenance("compare", (reference_material(reference),))
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


def _reference(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "runs": list(entry.runs),
        "era": entry.era.value,
        "trigger": entry.trigger,
        "quantity": entry.quantity,
        "state": entry.state,
        "sha256": entry.sha256.get(entry.rates, ""),
    }


def _subdetector(part: Against) -> dict[str, Any]:
    return {
        "events": int(part.sums.events),
        "mean_log_pileup": float(np.average(part.log_pileup, weights=part.series.events)),
        "channels": int(part.live.sum()),
        "misfit": part.misfit,
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


def _channels(part: Against) -> dict[str, list[Any]]:
    """Columns by channel: raw id, digis seen and expected, shift of log λ with its error, binomial pull."""
    return {
        "raw_id": part.series.channels.raw_id.tolist(),
        "observed": part.sums.observed.astype(np.int64).tolist(),
        "expected": part.sums.expected.round(2).tolist(),
        "shift": np.where(part.live, part.sums.shift, 0.0).round(5).tolist(),
        "error": part.error.round(5).tolist(),
        "pull": part.pull.round(3).tolist(),
    }
