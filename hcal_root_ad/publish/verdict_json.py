"""Verdicts as one JSON document for scripts: findings, trust and conditions (schema: ``docs/verdict_json.md``)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.files import write_text
from hcal_root_ad.judge.verdict import CommonPart, Finding, RunVerdict, StripVerdict, Verdict
from hcal_root_ad.judge.wording import every_finding, how_sure
from hcal_root_ad.lumi_ranges import ranges_of
from hcal_root_ad.publish.provenance import Provenance

SCHEMA = 1
"""Raised when a key is renamed, removed or changes its meaning; new keys may come without."""
_DIGITS = 6


def verdicts_table(verdicts: Sequence[RunVerdict], provenance: Provenance) -> dict[str, Any]:
    """The document as a table; numbers that are not known are None."""
    return {
        "schema": SCHEMA,
        "program": f"hcal-root-ad {version('hcal-root-ad')}",
        "provenance": provenance.as_table(),
        "runs": [_run(verdict) for verdict in verdicts],
    }


def write_verdicts(verdicts: Sequence[RunVerdict], provenance: Provenance, path: Path) -> None:
    """Write the document, whole or not at all; raises OutputError where it cannot be written."""
    write_text(path, json.dumps(verdicts_table(verdicts, provenance), allow_nan=False, ensure_ascii=False) + "\n")


def _run(verdict: RunVerdict) -> dict[str, Any]:
    strips = {"strips": _judged(verdict.strips)} if verdict.strips else {}
    return {
        "run": verdict.maps.run,
        "lumisections": [list(part) for part in ranges_of(verdict.maps.lumisections)],
        "events": int(verdict.maps.events.sum()),
        "trust": str(verdict.trust),
        "trusted": verdict.trust.trusted,
        "subdetectors": {one.subdetector: _subdetector(one) for one in verdict.verdicts},
        **strips,
        "findings": [_finding(finding, noun, verdict) for finding, noun in every_finding(verdict)],
        "conditions": verdict.common and _conditions(verdict.common),
        "masked": list(verdict.masked),
        "notes": list(verdict.every_note),
    }


def _subdetector(verdict: Verdict) -> dict[str, Any]:
    return {**_judged(verdict), "granularity": verdict.granularity}


def _judged(verdict: Verdict | StripVerdict) -> dict[str, Any]:
    """Which lumisections were judged, by what, and how far that is trusted."""
    judge = verdict.judge
    return {
        "judged": [list(part) for part in ranges_of(verdict.lumisections[verdict.assessed])],
        "model": {"name": judge.name, "version": judge.version, "digest": judge.digest},
        "false_alarms": judge.false_alarms,
        "trust": str(verdict.trust),
        "trusted": verdict.trust.trusted,
        "trust_reason": verdict.trust_reason,
        "sensitivity": _number(verdict.sensitivity),
    }


def _finding(finding: Finding, noun: str, verdict: RunVerdict) -> dict[str, Any]:
    return {
        "subdetector": finding.subdetector,
        "level": str(finding.level),
        "unit": finding.unit,
        "kind": str(finding.kind),
        "state": finding.state.name.lower(),
        "ranges": [list(part) for part in finding.ranges],
        "lumisections": finding.lumisections,
        "duty": _number(finding.duty),
        "channels": finding.channels,
        "cells": _cells(finding, verdict) if noun == "channel" else [],
        "observed": finding.observed,
        "expected": _number(finding.expected),
        "size": _number(finding.size) if finding.expected > 0 else None,
        "size_error": _number(finding.size_error) if finding.expected > 0 else None,
        "significance": _number(finding.significance),
        "sure": how_sure(finding),
    }


def _cells(finding: Finding, verdict: RunVerdict) -> list[list[int]]:
    """ieta, iphi and depth of its channels."""
    (table,) = (one.channels for one in verdict.verdicts if one.subdetector == finding.subdetector)
    rows = np.array(finding.rows, dtype=np.intp)
    cells: list[list[int]] = np.stack([table.ieta[rows], table.iphi[rows], table.depth[rows]], axis=1).tolist()
    return cells


def _conditions(common: CommonPart) -> dict[str, Any]:
    return {
        "sentences": list(common.sentences),
        "lumisections": common.lumisections.tolist(),
        "log_pileup": _numbers(common.log_pileup),
        "log_pileup_error": _numbers(common.log_pileup_error),
        "subdetector": {name: _numbers(shift) for name, shift in common.subdetector.items()},
    }


def _numbers(values: NDArray[np.floating[Any]]) -> list[float | None]:
    return [_number(float(value)) for value in values]


def _number(value: float) -> float | None:
    """For people's eyes, too: six figures; None where it is not finite."""
    return float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None
